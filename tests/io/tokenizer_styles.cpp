// Tokenizers of every style beside the tokenizers library: vocabularies trained with it and golden lines that it wrote
// (tests/real_model/tokenizer_styles.py --fixtures), and what a style promises that a golden line does not show.
#include <algorithm>

#include "depthgrow/io/bpe_trainer.hpp"
#include "depthgrow/io/tokenizer.hpp"
#include "io/temporary.hpp"
#include "support/catch.hpp"

namespace dg = depthgrow;
using temporary::refusal;
using temporary::says;
using ids = std::vector<std::int32_t>;

namespace {

const std::filesystem::path fixtures = std::filesystem::path(DEPTHGROW_FIXTURES) / "tokenizers";

std::vector<std::string> lines_of(const std::filesystem::path& file) {
    const std::string content = dg::read_text_file(file);
    std::vector<std::string> out;
    for (std::size_t first = 0; first < content.size();) {
        const std::size_t end = std::min(content.find('\n', first), content.size());
        out.push_back(content.substr(first, end - first));
        first = end + 1;
    }
    return out;
}

dg::tokenizer style(const std::string& name) { return dg::read_tokenizer((fixtures / (name + ".json")).string()); }

dg::tokenizer of(const dg::json& document) { return {dg::json_text(document), "t.json"}; }

/// Byte level: the 256 bytes, and what is added.
dg::json byte_document(const dg::json& added) {
    dg::json vocab = dg::json::object();
    for (int b = 0; b < 256; ++b) vocab[dg::to_byte_letters(std::string(1, static_cast<char>(b)))] = b;
    auto document = dg::tokenizer_document(vocab, dg::json::array(), {}, false);
    document["added_tokens"] = added;
    return document;
}

}  // namespace

TEST_CASE("every style encodes and decodes as the tokenizers library does") {
    for (const char* name : {"gpt2",   "gpt2_prefix", "neox",    "smollm",    "digit_runs",      "digits_3", "llama3",
                             "olmo2",  "gpt4",        "gpt4o",   "qwen",      "qwen_marks",      "deepseek", "added",
                             "splits", "llama2",      "mistral", "metaspace", "metaspace_never", "unknown",  "gemma"}) {
        const auto made = style(name);
        const auto golden = lines_of(fixtures / (std::string(name) + ".jsonl"));
        CHECK(golden.size() == 40);
        for (const auto& one : golden) {
            const dg::json line = dg::json::parse(one);
            const auto given = line["given"].get<std::string>();
            INFO(name << ": " << given);
            CHECK(made.encode(given) == line["ids"].get<ids>());
            CHECK(made.encode_whole(given) == line["whole"].get<ids>());
            CHECK(made.decode(made.encode(given)) == line["text"].get<std::string>());
            CHECK(made.decode(made.encode_whole(given), true) == line["plain"].get<std::string>());
        }
    }
}

TEST_CASE("a template's tokens stand around a whole text, not around its parts") {
    const auto made = style("llama3");
    REQUIRE(made.leading().size() == 1);
    CHECK(made.leading()[0] == made.added_token("<|begin_of_text|>"));
    CHECK(made.trailing().empty());
    CHECK(made.encode("").empty());
    CHECK(made.encode_whole("").size() == 1);
    const auto two = style("llama2");
    CHECK(two.encode_whole("") == ids{1, 2});
}

TEST_CASE("what transformers writes again opens: a template without special tokens") {
    auto document = byte_document(dg::json::array());
    document["post_processor"] =
        dg::json::parse(R"({"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {}})");
    CHECK(of(document).encode_whole("a") == of(document).encode("a"));
}

TEST_CASE("added tokens that are not normalized are found first") {
    const auto made = of(byte_document(dg::json::parse(
        R"([{"content": "abc", "id": 256, "normalized": true}, {"content": "cde", "id": 257, "normalized": false}])")));
    CHECK(made.encode("abcde") == ids{'a', 'b', 257});
    CHECK(made.encode("abcd") == ids{256, 'd'});
}

TEST_CASE("added tokens take the spaces and the words that their flags say") {
    const auto made = of(byte_document(dg::json::parse(
        R"([{"content": "<l>", "id": 256, "lstrip": true}, {"content": "<r>", "id": 257, "rstrip": true},
        {"content": "word", "id": 258, "single_word": true}, {"content": "words", "id": 259}])")));
    CHECK(made.encode("a \n<l> b") == ids{'a', 256, ' ', 'b'});
    CHECK(made.encode("a <r>\xc2\xa0 b") == ids{'a', ' ', 257, 'b'});
    CHECK(made.encode("<r> <l>") == ids{257, 256});
    CHECK(made.encode("word.word") == ids{258, '.', 258});
    CHECK(made.encode("aword") == ids{'a', 'w', 'o', 'r', 'd'});
    CHECK(made.encode("words") == ids{259});         // the longest at a place
    CHECK(made.encode("word\xcc\x81").size() == 6);  // a mark goes on with the word
}

TEST_CASE("an added token of the byte alphabet's letters loses no text") {
    // one that nothing else stands for is its own text
    const auto made =
        of(byte_document(dg::json::parse("[{\"content\": \"<|d\\u00e9but|>\", \"id\": 256, \"special\": true}, "
                                         "{\"content\": \"\\u0120a\", \"id\": 257}]")));
    for (const std::string text : {"<|d\xc3\xa9"
                                   "but|>",
                                   "\xc4\xa0"
                                   "a a",
                                   "d\xe9", "\xc3\xa9"})
        CHECK(made.decode(made.encode(text)) == text);
    // one that is the name of a byte would be two things at once
    for (unsigned b = 0; b < 256; ++b) {
        const std::string letter =
            dg::to_byte_letters(std::string(1, static_cast<char>(static_cast<unsigned char>(b))));
        const auto open = [&] { of(byte_document({{{"content", letter}, {"id", b}, {"special", true}}})); };
        if (b > ' ' && b < 0x7f) CHECK_NOTHROW(open());
        else CHECK(says(refusal(open), "t.json: expected added tokens that stand for nothing else, found \""));
    }
    // so would one that merges spell
    auto document = byte_document(dg::json::array());
    document["model"]["vocab"]["\xc3\xa9\xc3\xa9"] = 256;
    document["added_tokens"] = {{{"content", "\xc3\xa9\xc3\xa9"}, {"id", 256}}};
    CHECK(of(document).decode(of(document).encode("\xc3\xa9\xc3\xa9 \xe9\xe9")) == "\xc3\xa9\xc3\xa9 \xe9\xe9");
    document["model"]["ignore_merges"] = true;
    CHECK(says(refusal([&] { of(document); }), "expected added tokens that stand for nothing else"));
    document["model"]["ignore_merges"] = false;
    document["model"]["merges"].push_back("\xc3\xa9 \xc3\xa9");
    CHECK(says(refusal([&] { of(document); }), "expected added tokens that stand for nothing else"));
}

TEST_CASE("training keeps text beside special tokens that are letters, or refuses them") {
    const std::vector<std::string> texts = {"banana band sch\xc3\xb6n sch\xc3\xb6ner \xe9\xa0\x81 banana"};
    for (const std::string special : {"a", "an",
                                      "<|d\xc3\xa9"
                                      "but|>",
                                      "\xe6\x9d\xb1"}) {
        const auto made = dg::train_bpe(texts, {270, {special}, true, 2, 1});
        for (const std::string& text : {texts[0], special, special + " " + special})
            CHECK(made.decode(made.encode(text)) == text);
        CHECK(made.added_token(special) == 0);
    }
    for (const std::string special : {"\xc2\xb6", "\xc3\xa9", "\xc4\xa0"})
        CHECK(says(refusal([&] {
                       dg::train_bpe(texts, {270, {special}, true, 2, 1});
                   }),
                   "expected special tokens that are not letters of the byte alphabet"));
}

TEST_CASE("bytes of no character fall back to bytes, or to the unknown token") {
    const auto gemma = style("gemma");
    const ids broken = gemma.encode("a\xff\xe6\x9d");
    REQUIRE(broken.size() == 4);
    CHECK(gemma.token(broken[1]) == "\xff");
    CHECK(gemma.token(broken[2]) == "\xe6");
    CHECK(dg::valid_utf8(gemma.decode(broken)) == "a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    const auto unknown = style("unknown");
    CHECK(unknown.encode("\xff\xff") == ids{unknown.encode("a")[0], 0, 0});  // the sign of a space comes first
    for (const char* name : {"gpt2", "llama3", "olmo2", "gpt4o"}) {
        const auto made = style(name);
        for (const std::string text : {"\xff\x00 broken \xe6", "\xe6\x9d\xb1\xe6\x9d 12\xf0\x9f\x99", "\x80\x80'S\xc3"})
            CHECK(made.decode(made.encode(text)) == text);
    }
}

TEST_CASE("without a decoder tokens are joined with spaces") {
    auto document = byte_document(dg::json::array());
    document["decoder"] = nullptr;
    CHECK(of(document).decode(ids{'a', ' ', 'b'}) == "a \xc4\xa0 b");
}
