// Byte-pair encoding of words against its definition, and in time that does not explode.
#include "depthgrow/io/bpe.hpp"

#include <chrono>

#include "depthgrow/core/rng.hpp"
#include "support/catch.hpp"

namespace dg = depthgrow;
using ids = std::vector<std::int32_t>;

namespace {

/// The definition: look for the lowest rank everywhere, merge its leftmost occurrence, start over.
ids by_definition(const std::vector<std::string>& tokens, const std::vector<dg::bpe_merge>& merges,
                  std::string_view word) {
    ids out;
    for (char c : word)
        for (std::size_t id = 0; id < tokens.size(); ++id)
            if (tokens[id] == std::string(1, c)) {
                out.push_back(static_cast<std::int32_t>(id));
                break;
            }
    for (bool merged = true; merged;) {
        merged = false;
        for (const auto& merge : merges) {
            for (std::size_t i = 0; i + 1 < out.size() && !merged; ++i)
                if (out[i] == merge.left && out[i + 1] == merge.right) {
                    out[i] = merge.result;
                    out.erase(out.begin() + static_cast<std::ptrdiff_t>(i) + 1);
                    merged = true;
                }
            if (merged) break;
        }
    }
    return out;
}

ids encode(const dg::bpe& made, std::string_view word) {
    ids out;
    made.encode(word, out);
    return out;
}

}  // namespace

TEST_CASE("words encode as the definition says, short and long") {
    dg::rng random(7, 0);
    for (int round = 0; round < 40; ++round) {
        std::vector<std::string> tokens = {"a", "b", "c"};
        std::vector<dg::bpe_merge> merges;
        for (int m = 0; m < 12; ++m) {
            const auto left = random.below(tokens.size()), right = random.below(tokens.size());
            const std::string joined = tokens[left] + tokens[right];
            if (std::find(tokens.begin(), tokens.end(), joined) != tokens.end()) continue;
            merges.push_back({static_cast<std::int32_t>(left), static_cast<std::int32_t>(right),
                              static_cast<std::int32_t>(tokens.size())});
            tokens.push_back(joined);
        }
        const dg::bpe made(tokens, merges);
        for (std::size_t length : {1u, 2u, 5u, 31u, 32u, 33u, 80u}) {
            std::string word;
            for (std::size_t i = 0; i < length; ++i) word += static_cast<char>('a' + random.below(3));
            CHECK(encode(made, word) == by_definition(tokens, merges, word));
        }
    }
}

TEST_CASE("bytes without a token are dropped, or become the unknown token") {
    const std::vector<std::string> tokens = {"a", "b", "ab", "?"};
    CHECK(encode(dg::bpe(tokens, {{0, 1, 2}}), "axb") == ids{2});
    CHECK(encode(dg::bpe(tokens, {{0, 1, 2}}, 3), "axb") == ids{0, 3, 1});
    CHECK(encode(dg::bpe(tokens, {{0, 1, 2}}), "xyz").empty());
    CHECK(encode(dg::bpe(tokens, {{0, 1, 2}}), std::string(100, 'x')).empty());
    CHECK(dg::bpe(tokens, {}).byte_token('x') == -1);
}

TEST_CASE("a token that its merges do not reach is used for whole words only when asked") {
    const std::vector<std::string> tokens = {"a", "b", "ab"};
    CHECK(encode(dg::bpe(tokens, {}), "ab") == ids{0, 1});
    CHECK(encode(dg::bpe(tokens, {}, -1, true), "ab") == ids{2});
}

TEST_CASE("a merge given twice is refused") {
    CHECK_THROWS_WITH(dg::bpe({"a", "b", "ab"}, {{0, 1, 2}, {0, 1, 2}}),
                      Catch::Contains("expected every merge once, got merge 1"));
}

TEST_CASE("a word of a million letters takes no quadratic time") {
    std::vector<std::string> tokens = {"a", "aa", "aaaa"};
    const dg::bpe made(tokens, {{0, 0, 1}, {1, 1, 2}});
    const auto start = std::chrono::steady_clock::now();
    CHECK(encode(made, std::string(1000001, 'a')).size() == 250001);
    CHECK(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() < 20);
}
