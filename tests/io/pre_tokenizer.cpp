// Words of a text, by GPT-2's pattern and with the digit split.
#include "depthgrow/io/pre_tokenizer.hpp"

#include <string>
#include <vector>

#include "depthgrow/core/rng.hpp"
#include "support/catch.hpp"

namespace dg = depthgrow;
using words = std::vector<std::string>;

namespace {

words split(const dg::pre_tokenizer& by, std::string_view text) {
    words out;
    by(text, [&](std::string_view word) { out.emplace_back(word); });
    return out;
}

}  // namespace

TEST_CASE("the pattern splits words, numbers, signs and white space as GPT-2 does") {
    const dg::pre_tokenizer pattern;
    CHECK(split(pattern, "Hello, world!") == words{"Hello", ",", " world", "!"});
    CHECK(split(pattern, "they'll've it's 'tis") == words{"they", "'ll", "'ve", " it", "'s", " '", "tis"});
    CHECK(split(pattern, "'RE ''s") == words{"'", "RE", " ''", "s"});
    CHECK(split(pattern, "a  b") == words{"a", " ", " b"});
    CHECK(split(pattern, "a \n b") == words{"a", " \n", " b"});
    CHECK(split(pattern, "a\nb") == words{"a", "\n", "b"});
    CHECK(split(pattern, "a  ") == words{"a", "  "});
    CHECK(split(pattern, "12 34x") == words{"12", " 34", "x"});
    CHECK(split(pattern, "x\xc2\xa0y") == words{"x", "\xc2\xa0", "y"});
    CHECK(split(pattern, "").empty());
}

TEST_CASE("with the digit split every number stands alone and cuts the text") {
    const dg::pre_tokenizer digits{true, true};
    CHECK(split(digits, "a 12 b") == words{"a", " ", "1", "2", " b"});
    CHECK(split(digits,
                "x\xc2\xbd"
                "7") == words{"x", "\xc2\xbd", "7"});
    CHECK(split({true, false}, "ab c1 d") == words{"ab c", "1", " d"});
}

TEST_CASE("the words of any bytes are the bytes, in order") {
    dg::rng random(1, 0);
    for (int round = 0; round < 300; ++round) {
        std::string text;
        static constexpr std::string_view pieces[] = {"a",    " ",    "'", "s", "7", "\n", "\xc2\xa0", "\xe6\x9d\xb1",
                                                      "\xff", "\xe6", ".", "ll"};
        for (std::size_t i = random.below(24); i > 0; --i) text += pieces[random.below(std::size(pieces))];
        for (const dg::pre_tokenizer by :
             {dg::pre_tokenizer{false, true}, dg::pre_tokenizer{true, true}, dg::pre_tokenizer{false, false}}) {
            std::string joined;
            for (const auto& word : split(by, text)) {
                CHECK_FALSE(word.empty());
                joined += word;
            }
            CHECK(joined == text);
        }
    }
}
