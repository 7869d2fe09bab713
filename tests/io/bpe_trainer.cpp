// Trained vocabularies: those of the tokenizers library on the same text, the same for any number of threads.
#include "depthgrow/io/bpe_trainer.hpp"

#include "io/temporary.hpp"
#include "support/catch.hpp"

namespace dg = depthgrow;

namespace {

const std::filesystem::path fixtures = std::filesystem::path(DEPTHGROW_FIXTURES) / "tokenizer";

/// Merges as pairs, whichever way they are spelled.
dg::json merges_of(const std::string& text) { return dg::json::parse(text)["model"]["merges"]; }

}  // namespace

TEST_CASE("the trained vocabulary is that of the tokenizers library") {
    const std::vector<std::string> texts = {dg::read_text_file(fixtures / "text.txt")};
    for (const bool digits : {true, false}) {
        const std::string wanted = dg::read_text_file(fixtures / (digits ? "digits.json" : "plain.json"));
        const auto made = dg::train_bpe(texts, {400, {"<|endoftext|>", "<|im_start|>"}, digits, 2, 1});
        CHECK(merges_of(made.text()) == merges_of(wanted));
        CHECK(dg::json::parse(made.text())["model"]["vocab"] == dg::json::parse(wanted)["model"]["vocab"]);
    }
}

TEST_CASE("threads and the order of texts change nothing") {
    const std::string whole = dg::read_text_file(fixtures / "text.txt");
    std::vector<std::string> lines;
    for (std::size_t first = 0; first < whole.size();) {
        const std::size_t end = std::min(whole.find("\n\n", first), whole.size());
        lines.push_back(whole.substr(first, end - first));
        first = end + 2;
    }
    const auto one = dg::train_bpe(lines, {350, {"<|endoftext|>"}, true, 2, 1});
    std::reverse(lines.begin(), lines.end());
    CHECK(dg::train_bpe(lines, {350, {"<|endoftext|>"}, true, 2, 3}).text() == one.text());
    CHECK(one.size() == 350);
}

TEST_CASE("training stops when no pair is left, and refuses sizes below the bytes") {
    const std::vector<std::string> texts = {"aaaa aaaa b"};
    const auto made = dg::train_bpe(texts, {1000, {}, true, 1, 1});
    CHECK(made.size() < 270);
    CHECK(made.encode("aaaa").size() == 1);
    CHECK(temporary::says(temporary::refusal([&] {
                              dg::train_bpe(texts, {200, {}, true, 1, 1});
                          }),
                          "expected a vocabulary of at least 256"));
}
