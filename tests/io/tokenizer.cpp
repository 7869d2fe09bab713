// tokenizer.json: encodings against those of the tokenizers library (tests/fixtures/tokenizer), refusals, decoding.
// DEPTHGROW_TOKENIZER_DATA names a folder with SmolLM's and GPT-2's files for the same on real vocabularies.
#include "depthgrow/io/tokenizer.hpp"

#include <cstdlib>

#include "io/temporary.hpp"
#include "support/catch.hpp"

namespace dg = depthgrow;
using temporary::refusal;
using temporary::says;
using ids = std::vector<std::int32_t>;

namespace {

const std::filesystem::path fixtures = std::filesystem::path(DEPTHGROW_FIXTURES) / "tokenizer";

/// Five bytes, two merges, one special token.
dg::json small_document() {
    return dg::tokenizer_document({{"<s>", 0},
                                   {"a", 1},
                                   {"b", 2},
                                   {"\xc4\xa0", 3},
                                   {"ab", 4},
                                   {"\xc4\xa0"
                                    "ab",
                                    5}},
                                  dg::json::parse(R"([["a", "b"], "\u0120 ab"])"), {"<s>"}, false);
}

std::string refusal_of(const std::function<void(dg::json&)>& change) {
    auto document = small_document();
    change(document);
    return refusal([&] { dg::tokenizer(dg::json_text(document), "t.json"); });
}

void check_golden(const std::filesystem::path& golden,
                  const std::function<const dg::tokenizer&(const dg::json&)>& choose) {
    const std::string content = dg::read_text_file(golden);
    std::size_t count = 0;
    for (std::size_t first = 0; first < content.size();) {
        const std::size_t end = std::min(content.find('\n', first), content.size());
        const dg::json line = dg::json::parse(content.substr(first, end - first));
        first = end + 1;
        const auto& tokenizer = choose(line);
        const auto text = line["text"].get<std::string>();
        INFO(text);
        CHECK(tokenizer.encode(text) == line["ids"].get<ids>());
        ++count;
    }
    CHECK(count >= 50);
}

}  // namespace

TEST_CASE("encodings are those of the tokenizers library, with and without the digit split") {
    const auto digits = dg::read_tokenizer((fixtures / "digits.json").string()),
               plain = dg::read_tokenizer((fixtures / "plain.json").string());
    CHECK(digits.splits_digits());
    CHECK_FALSE(plain.splits_digits());
    check_golden(fixtures / "golden.jsonl", [&](const dg::json& line) -> const dg::tokenizer& {
        return line["tokenizer"] == "digits.json" ? digits : plain;
    });
}

TEST_CASE("any text comes back from its tokens") {
    const auto made = dg::read_tokenizer((fixtures / "digits.json").string());
    for (const std::string text : {"", "It's 1907 \xe6\x9d\xb1\xe4\xba\xac\n\n  x", "\xff\x00 broken \xe6"})
        CHECK(made.decode(made.encode(text)) == text);
    const ids with_special = {made.added_token("<|endoftext|>"), made.encode("a")[0]};
    CHECK(made.decode(with_special) == "<|endoftext|>a");
    CHECK(made.decode(with_special, true) == "a");
    CHECK_THROWS_WITH(made.decode(ids{100000}), Catch::Contains("expected token ids below"));
}

TEST_CASE("merges are read in both spellings, added tokens are found in text") {
    const dg::tokenizer made(dg::json_text(small_document()), "t.json");
    CHECK(made.encode("ab ab") == ids{4, 5});
    CHECK(made.encode("ab<s>ba") == ids{4, 0, 2, 1});
    CHECK(made.encode("<s<s>") == ids{0});  // '<' and 's' have no token
    CHECK(made.size() == 6);
}

TEST_CASE("what is not understood is refused by its name") {
    const auto part = [](const char* key, const char* text) {
        return refusal_of([&](dg::json& d) { d[key] = dg::json::parse(text); });
    };
    CHECK(refusal_of([](dg::json&) {}) == "nothing thrown");
    CHECK(says(part("normalizer", R"({"type": "NFKC"})"),
               "t.json: expected a normalizer NFC, Replace, Prepend or a Sequence of them, found NFKC"));
    CHECK(says(part("normalizer", R"({"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}]})"),
               "found Lowercase"));
    CHECK(says(part("pre_tokenizer", R"({"type": "Whitespace"})"),
               "expected a pre_tokenizer Split, Digits, ByteLevel, Metaspace or a Sequence of them, found Whitespace"));
    CHECK(says(part("pre_tokenizer",
                    R"({"type": "Split", "pattern": {"Regex": "\\w+|x"}, "behavior": "Isolated", "invert": false})"),
               "t.json: expected a pattern of classes, groups and repeats that this library knows, found \\w at "
               "character 1 of \\w+|x"));
    CHECK(says(part("pre_tokenizer",
                    R"({"type": "Split", "pattern": {"Regex": "x"}, "behavior": "Sideways", "invert": false})"),
               "found Sideways"));
    CHECK(says(part("pre_tokenizer",
                    R"({"type": "Split", "pattern": {"String": ""}, "behavior": "Isolated", "invert": false})"),
               "expected a pattern of at least one character"));
    CHECK(says(
        part("pre_tokenizer", R"({"type": "Sequence", "pretokenizers": [{"type": "ByteLevel"}, {"type": "Digits"}]})"),
        "expected ByteLevel to be the last pre_tokenizer"));
    CHECK(says(part("pre_tokenizer", R"({"type": "Metaspace", "replacement": "__"})"),
               "expected replacement of Metaspace to be one character, found __"));
    CHECK(says(part("pre_tokenizer", R"({"type": "Metaspace", "replacement": "_", "prepend_scheme": "last"})"),
               "expected prepend_scheme always, first or never, found last"));
    CHECK(says(part("pre_tokenizer", R"({"type": "Metaspace", "replacement": "_", "add_prefix_space": false})"),
               "expected prepend_scheme never beside add_prefix_space false"));
    CHECK(says(part("post_processor", R"({"type": "BertProcessing"})"),
               "expected a post_processor ByteLevel, TemplateProcessing or a Sequence of them, found BertProcessing"));
    CHECK(says(part("post_processor", R"({"type": "TemplateProcessing", "single": []})"),
               "expected a template \"single\" with one sequence A"));
    CHECK(says(
        part("post_processor",
             R"({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "x"}}, {"Sequence": {"id": "A"}}],
                "special_tokens": {"x": {"ids": [6]}}})"),
        "expected ids of the template below 6, found 6"));
    CHECK(says(part("decoder", R"({"type": "WordPiece"})"), "found WordPiece"));
    CHECK(says(part("decoder", R"({"type": "Sequence", "decoders": [{"type": "ByteLevel"}, {"type": "Fuse"}]})"),
               "expected ByteLevel to be the only decoder, found 2"));
    CHECK(says(refusal_of([](dg::json& d) { d["model"]["type"] = "Unigram"; }),
               "expected model type BPE, found Unigram"));
    CHECK(says(refusal_of([](dg::json& d) { d["model"]["byte_fallback"] = true; }),
               "expected byte_fallback false beside ByteLevel"));
    CHECK(says(refusal_of([](dg::json& d) { d["model"]["end_of_word_suffix"] = "</w>"; }),
               "expected no end_of_word_suffix"));
    dg::json steps = dg::json::array();
    for (int i = 0; i < 40; ++i) steps.push_back({{"type", "Digits"}});
    CHECK(says(refusal_of([&](dg::json& d) {
                   d["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", steps}};
               }),
               "expected at most 32 pretokenizers, found more"));
}

TEST_CASE("vocabularies and merges that lie are refused") {
    CHECK(says(refusal_of([](dg::json& d) { d["model"]["vocab"]["b"] = 1; }),
               "expected every token id once, found 1 twice"));
    CHECK(
        says(refusal_of([](dg::json& d) { d["model"]["vocab"]["b"] = -1; }), "expected token ids from 0 up, found -1"));
    CHECK(says(refusal_of([](dg::json& d) { d["model"]["vocab"]["b"] = 2000000000; }),
               "expected token ids below 65564 for 6 tokens, found 2000000000"));
    CHECK(says(refusal_of([](dg::json& d) { d["added_tokens"][0]["id"] = 3; }),
               "expected added token <s> under id 0 (the vocabulary's), found 3"));
    CHECK(says(refusal_of([](dg::json& d) {
                   d["added_tokens"].push_back({{"content", "<t>"}, {"id", 9}});
               }),
               "expected added token <t> under id 6 (the next free one), found 9"));
    CHECK(says(refusal_of([](dg::json& d) { d["added_tokens"].push_back(d["added_tokens"][0]); }),
               "expected every added token once, found <s> twice"));
    CHECK(says(refusal_of([](dg::json& d) { d["model"]["merges"].push_back("b a"); }),
               "expected merge 2 to join two tokens of the vocabulary to a third"));
    CHECK(says(refusal_of([](dg::json& d) { d["model"]["merges"].push_back("a "); }),
               "expected merge 2 to be two tokens that are not empty"));
    CHECK(says(refusal_of([](dg::json& d) {
                   d["model"]["vocab"][""] = 6, d["model"]["merges"].push_back({"a", ""});
               }),
               "expected merge 2 to be two tokens that are not empty"));  // a cycle
    CHECK(says(refusal_of([](dg::json& d) { d["model"]["merges"].push_back("a b"); }),
               "expected every merge once, got merge 2"));
    CHECK(says(refusal_of([](dg::json& d) { d["model"]["unk_token"] = "<unk>"; }),
               "expected unk_token <unk> in the vocabulary"));
    CHECK(says(refusal([] { dg::tokenizer(std::string(100, '['), "deep.json"); }),
               "deep.json: expected JSON nested at most 64 deep"));
    CHECK(says(refusal([] { dg::read_tokenizer("/nowhere/tokenizer.json"); }),
               "expected a file, found nothing of that name"));
}

TEST_CASE("a vocabulary and its merges file make the same tokenizer") {
    const temporary::folder folder;
    folder.file("vocab.json", R"({"a": 0, "b": 1, "ab": 2, "<|endoftext|>": 3})");
    folder.file("merges.txt", "#version: 0.2\na b\r\n");
    const auto made =
        dg::read_tokenizer((folder.path / "vocab.json").string() + "," + (folder.path / "merges.txt").string());
    CHECK(made.encode("abb<|endoftext|>") == ids{2, 1, 3});
}

TEST_CASE("a written tokenizer reads back") {
    const temporary::folder folder;
    const auto made = dg::read_tokenizer((fixtures / "plain.json").string());
    dg::write_tokenizer(folder.path, made);
    CHECK(dg::read_tokenizer(folder.path.string()).encode("the tower") == made.encode("the tower"));
    CHECK(dg::read_json_file(folder.path / "tokenizer_config.json")["eos_token"] == "<|endoftext|>");
}

TEST_CASE("real vocabularies agree with their golden encodings") {
    const char* data = std::getenv("DEPTHGROW_TOKENIZER_DATA");
    if (!data) return;  // not part of the project
    const std::filesystem::path folder = data;
    const auto smollm = dg::read_tokenizer((folder / "smollm2_tokenizer.json").string());
    check_golden(folder / "golden_encodings.jsonl", [&](const dg::json&) -> const dg::tokenizer& { return smollm; });
    const auto gpt2 =
        dg::read_tokenizer((folder / "gpt2_encoder.json").string() + "," + (folder / "gpt2_vocab.bpe").string());
    CHECK(gpt2.encode("Hello world") == ids{15496, 995});
    CHECK(gpt2.encode("It's 1234  <|endoftext|>") == ids{1026, 338, 1105, 2682, 220, 220, 50256});
}
