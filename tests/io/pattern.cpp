// Patterns: what they match, as Oniguruma would, and what is refused.
#include "depthgrow/io/tokenizers/pattern.hpp"

#include <chrono>
#include <string>
#include <vector>

#include "io/temporary.hpp"
#include "support/catch.hpp"

namespace dg = depthgrow;
using temporary::refusal;
using temporary::says;
using words = std::vector<std::string>;

namespace {

words matches(const std::string& pattern, std::string_view text) {
    words out;
    dg::pattern::regex(pattern, "t.json").each(text, [&](std::size_t begin, std::size_t end) {
        out.emplace_back(text.substr(begin, end - begin));
    });
    return out;
}

std::string refused(const std::string& pattern) {
    return refusal([&] { dg::pattern::regex(pattern, "t.json"); });
}

}  // namespace

TEST_CASE("alternatives, repeats and classes match from the left") {
    CHECK(matches("ab|a|b", "abba") == words{"ab", "b", "a"});
    CHECK(matches("a|ab", "ab") == words{"a"});
    CHECK(matches("[a-c]+[c-d]", "abccx") == words{"abcc"});  // gives one back
    CHECK(matches("[a-c]++c", "abcc").empty());               // gives none back
    CHECK(matches("a?+a", "a").empty());
    CHECK(matches("\\p{N}{1,3}", "1234567") == words{"123", "456", "7"});
    CHECK(matches("\\p{N}{2}", "123") == words{"12"});
    CHECK(matches("x{2,}", "xxxx x") == words{"xxxx"});
    CHECK(matches("(?:ab)?c", "abcc") == words{"abc", "c"});
    CHECK(matches("[^\\s\\p{L}]+", "a1 2b\xc3\xa9!") == words{"1", "2", "!"});
    CHECK(matches("[\\-\\]x]", "a-]x") == words{"-", "]", "x"});
    CHECK(matches("\\s+(?!\\S)|\\s+", "a  b ") == words{" ", " ", " "});
    CHECK(matches("\\P{L}+", "a12b") == words{"12"});
    CHECK(matches("\\p{^L}+", "a12b") == words{"12"});
    CHECK(matches("[\xe4\xb8\x80-\xe9\xbe\xa5]+",
                  "a\xe6\x9d\xb1\xe4\xba\xac"
                  "b") == words{"\xe6\x9d\xb1\xe4\xba\xac"});
    CHECK(matches("\\p{Lu}\\p{Ll}+", "Ab \xc3\x89t\xc3\xa9") == words{"Ab", "\xc3\x89t\xc3\xa9"});
    CHECK(matches("[^a]",
                  "\xff"
                  "a\xe6") == words{"\xff", "\xe6"});  // a broken byte is a character
    CHECK(matches("\\S+x", "\xff\xe6\x9dx\xff") == words{"\xff\xe6\x9dx"});
}

TEST_CASE("ignored case is that of Unicode") {
    CHECK(matches("(?i:'s|'ll)", "'s 'S 'LL 'lL '\xc5\xbf 'l") == words{"'s", "'S", "'LL", "'lL", "'\xc5\xbf"});
    CHECK(matches("'(?i:[sdmt]|ve)x", "'Sx'VEx'vX") == words{"'Sx", "'VEx"});
    CHECK(matches("(?i:k)k", "\xe2\x84\xaak") == words{"\xe2\x84\xaak"});
    CHECK(says(refused("(?i:st)"), "found ignored case of a ligature"));
    CHECK(says(refused("(?i:\xc3\xa9)"), "found ignored case beyond ASCII"));
}

TEST_CASE("what is not understood is refused, and what matches nothing") {
    for (const char* pattern :
         {".",          "^a",  "a$",    "a*?",         "(a+)+",  "(?=a)", "(?<!a)", "(?!ab)", "(?>a)", "\\b",
          "\\w",        "\\1", "[a",    "[[:alpha:]]", "[a&&b]", "(a",    "a)",     "a{2",    "a**",   "a{1,2}+",
          "\\p{Greek}", "\\p", "(?i)a", "[\\s-x]",     "[b-a]",  "a{0}",  "*a",     "\\",     "a(?!",  "(?i:"})
        CHECK(says(refused(pattern),
                   "t.json: expected a pattern of classes, groups and repeats that this library knows, found "));
    for (const char* pattern : {"a*", "a?|b", "", "(?!a)", "a|"})
        CHECK(says(refused(pattern), "expected a pattern that matches at least one character"));
    std::string nested = "a";
    for (int i = 0; i < 20; ++i) nested.insert(0, "(").append(")");
    CHECK(says(refused(nested), "found groups nested more"));
}

TEST_CASE("long texts take no quadratic time, and hostile patterns do not run for ever") {
    const auto start = std::chrono::steady_clock::now();
    const std::string llama3 =
        "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
        "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
    for (const char* unit : {"a", " ", ".", "\n", "7", "\xff"}) {
        std::string text;
        for (int i = 0; i < 300000; ++i) text += unit;
        std::size_t total = 0;
        for (const auto& one : matches(llama3, text)) total += one.size();
        CHECK(total == text.size());
    }
    CHECK(says(refusal([] { matches("a*a*a*a*a*a*a*b", std::string(2000, 'a')); }),
               "expected a pattern that splits text in reasonable time"));
    CHECK(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() < 20);
}
