// tokenizer.json: encodings against those of the tokenizers library (tests/fixtures/tokenizer), refusals, decoding.
// DEPTHGROW_TOKENIZER_DATA names a folder with SmolLM's and GPT-2's files for the same on real vocabularies.
#include "support/catch.hpp"

#include <cstdlib>

#include "depthgrow/io/tokenizer.hpp"
#include "io/temporary.hpp"

namespace dg = depthgrow;
using temporary::refusal;
using temporary::says;
using ids = std::vector<std::int32_t>;

namespace {

const std::filesystem::path fixtures = std::filesystem::path(DEPTHGROW_FIXTURES) / "tokenizer";

/// Five bytes, two merges, one special token.
dg::json small_document() {
    return dg::tokenizer_document({{"<s>", 0}, {"a", 1}, {"b", 2}, {"\xc4\xa0", 3}, {"ab", 4}, {"\xc4\xa0" "ab", 5}},
                                  dg::json::parse(R"([["a", "b"], "\u0120 ab"])"), {"<s>"}, false);
}

std::string refusal_of(const std::function<void(dg::json&)>& change) {
    auto document = small_document();
    change(document);
    return refusal([&] { dg::tokenizer(dg::json_text(document), "t.json"); });
}

void check_golden(const std::filesystem::path& golden, const std::function<const dg::tokenizer&(const dg::json&)>& choose) {
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
    const auto digits = dg::read_tokenizer((fixtures / "digits.json").string()), plain = dg::read_tokenizer((fixtures / "plain.json").string());
    CHECK(digits.splits_digits());
    CHECK_FALSE(plain.splits_digits());
    check_golden(fixtures / "golden.jsonl", [&](const dg::json& line) -> const dg::tokenizer& { return line["tokenizer"] == "digits.json" ? digits : plain; });
}

TEST_CASE("any text comes back from its tokens") {
    const auto made = dg::read_tokenizer((fixtures / "digits.json").string());
    for (const std::string text : {"", "It's 1907 \xe6\x9d\xb1\xe4\xba\xac\n\n  x", "\xff\x00 broken \xe6"}) CHECK(made.decode(made.encode(text)) == text);
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

TEST_CASE("what would be encoded differently is refused by its field") {
    CHECK(refusal_of([](dg::json&) {}) == "nothing thrown");
    CHECK(says(refusal_of([](dg::json& d) { d["normalizer"] = {{"type", "NFC"}}; }), "t.json: expected no normalizer, found {\"type\":\"NFC\"}"));
    CHECK(says(refusal_of([](dg::json& d) { d["pre_tokenizer"] = {{"type", "Split"}}; }), "expected pre_tokenizer ByteLevel, or Digits and ByteLevel"));
    CHECK(says(refusal_of([](dg::json& d) { d["pre_tokenizer"]["add_prefix_space"] = true; }), "expected add_prefix_space false"));
    CHECK(says(refusal_of([](dg::json& d) { d["post_processor"] = {{"type", "TemplateProcessing"}}; }), "expected post_processor ByteLevel"));
    CHECK(says(refusal_of([](dg::json& d) { d["model"]["type"] = "Unigram"; }), "expected model type BPE, found Unigram"));
    CHECK(says(refusal_of([](dg::json& d) { d["model"]["byte_fallback"] = true; }), "expected byte_fallback false"));
    CHECK(says(refusal_of([](dg::json& d) { d["model"]["end_of_word_suffix"] = "</w>"; }), "expected no end_of_word_suffix"));
    CHECK(says(refusal_of([](dg::json& d) { d["added_tokens"][0]["lstrip"] = true; }), "expected lstrip false in added_tokens, found true for <s>"));
}

TEST_CASE("vocabularies and merges that lie are refused") {
    CHECK(says(refusal_of([](dg::json& d) { d["model"]["vocab"]["b"] = 1; }), "expected every token id once, found 1 twice"));
    CHECK(says(refusal_of([](dg::json& d) { d["model"]["vocab"]["b"] = -1; }), "expected token ids from 0 up, found -1"));
    CHECK(says(refusal_of([](dg::json& d) { d["model"]["vocab"]["b"] = 2000000000; }), "expected token ids below 65564 for 6 tokens, found 2000000000"));
    CHECK(says(refusal_of([](dg::json& d) { d["added_tokens"][0]["id"] = 3; }), "expected added token <s> under one id, found 3 and 0"));
    CHECK(says(refusal_of([](dg::json& d) { d["model"]["merges"].push_back("b a"); }), "expected merge 2 to join two tokens of the vocabulary to a third"));
    CHECK(says(refusal_of([](dg::json& d) { d["model"]["merges"].push_back("a "); }), "expected merge 2 to be two tokens that are not empty"));
    CHECK(says(refusal_of([](dg::json& d) { d["model"]["vocab"][""] = 6, d["model"]["merges"].push_back({"a", ""}); }), "expected merge 2 to be two tokens that are not empty"));  // a cycle
    CHECK(says(refusal_of([](dg::json& d) { d["model"]["merges"].push_back("a b"); }), "expected every merge once, got merge 2"));
    CHECK(says(refusal_of([](dg::json& d) { d["model"]["unk_token"] = "<unk>"; }), "expected unk_token <unk> in the vocabulary"));
    CHECK(says(refusal([] { dg::tokenizer(std::string(100, '['), "deep.json"); }), "deep.json: expected JSON nested at most 64 deep"));
    CHECK(says(refusal([] { dg::read_tokenizer("/nowhere/tokenizer.json"); }), "expected a file, found nothing of that name"));
}

TEST_CASE("a vocabulary and its merges file make the same tokenizer") {
    const temporary::folder folder;
    folder.file("vocab.json", R"({"a": 0, "b": 1, "ab": 2, "<|endoftext|>": 3})");
    folder.file("merges.txt", "#version: 0.2\na b\r\n");
    const auto made = dg::read_tokenizer((folder.path / "vocab.json").string() + "," + (folder.path / "merges.txt").string());
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
    const auto gpt2 = dg::read_tokenizer((folder / "gpt2_encoder.json").string() + "," + (folder / "gpt2_vocab.bpe").string());
    CHECK(gpt2.encode("Hello world") == ids{15496, 995});
    CHECK(gpt2.encode("It's 1234  <|endoftext|>") == ids{1026, 338, 1105, 2682, 220, 220, 50256});
}
