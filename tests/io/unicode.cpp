// Characters of a text: lengths, classes, broken bytes.
#include "depthgrow/io/unicode.hpp"

#include "support/catch.hpp"

namespace dg = depthgrow;

TEST_CASE("characters are decoded with their class") {
    const auto kind = [](std::string_view text) { return dg::character_at(text, 0).kind; };
    CHECK(kind("a") == dg::char_class::letter);
    CHECK(kind("\xc5\x81") == dg::char_class::letter);          // Ł
    CHECK(kind("\xe6\x9d\xb1") == dg::char_class::letter);      // 東
    CHECK(kind("\xf0\x9d\x94\x98") == dg::char_class::letter);  // 𝔘
    CHECK(kind("7") == dg::char_class::number);
    CHECK(kind("\xc2\xb2") == dg::char_class::number);      // ²
    CHECK(kind("\xd9\xa3") == dg::char_class::number);      // ٣
    CHECK(kind("\xe2\x85\xab") == dg::char_class::number);  // Ⅻ
    CHECK(kind("\n") == dg::char_class::space);
    CHECK(kind("\xc2\xa0") == dg::char_class::space);
    CHECK(kind("\xe3\x80\x80") == dg::char_class::space);
    CHECK(kind("\xe2\x80\x8b") == dg::char_class::other);  // zero width space is no white space
    CHECK(kind("_") == dg::char_class::other);
    CHECK(kind("\xf0\x9f\x99\x82") == dg::char_class::other);
    CHECK(dg::character_at("x\xf0\x9f\x99\x82", 1).length == 4);
    CHECK(dg::character_at("x\xf0\x9f\x99\x82", 1).code == 0x1f642);
}

TEST_CASE("bytes of no valid sequence are characters of their own") {
    for (std::string_view text : {"\x80", "\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xed\xa0\x80", "\xf0\x80\x80\x80",
                                  "\xf4\x90\x80\x80", "\xf5\x80", "\xff", "\xe6\x9d"}) {
        CHECK(dg::character_at(text, 0).length == 1);
        CHECK(dg::character_at(text, 0).code == 0xfffd);
    }
    CHECK(dg::valid_utf8("a\xff\xe6\x9d\xb1\x80") == "a\xef\xbf\xbd\xe6\x9d\xb1\xef\xbf\xbd");
}

TEST_CASE("a character that is not finished is held back") {
    CHECK(dg::unfinished_utf8("abc") == 0);
    CHECK(dg::unfinished_utf8("ab\xe6") == 1);
    CHECK(dg::unfinished_utf8("ab\xe6\x9d") == 2);
    CHECK(dg::unfinished_utf8("ab\xe6\x9d\xb1") == 0);
    CHECK(dg::unfinished_utf8("\xf0\x9f\x99") == 3);
    CHECK(dg::unfinished_utf8("\x80\x80") == 0);
    CHECK(dg::unfinished_utf8("") == 0);
}

TEST_CASE("classes are those of the tokenizers library over all code points") {
    std::uint64_t hash = 0xcbf29ce484222325ull;  // FNV-1a of the categories, from that library
    std::size_t letters = 0, numbers = 0, spaces = 0, numeric = 0, words = 0;
    for (char32_t code = 0; code < 0x110000; ++code) {
        hash = (hash ^ static_cast<std::uint64_t>(dg::category_of(code))) * 0x100000001b3ull;
        const auto kind = dg::detail::classify(code);
        letters += kind == dg::char_class::letter, numbers += kind == dg::char_class::number,
            spaces += kind == dg::char_class::space;
        numeric += dg::is_numeric(code), words += dg::is_word_character(code);
    }
    CHECK(hash == 0x2f09aaee28c9eb71ull);
    CHECK(letters == 141028);
    CHECK(numbers == 1911);
    CHECK(spaces == 25);
    for (const char32_t code : {0x09u, 0x0du, 0x20u, 0x85u, 0xa0u, 0x2028u, 0x3000u})
        CHECK(dg::detail::classify(code) == dg::char_class::space);
    CHECK(numeric == 1924);  // Digits follows a newer Unicode
    CHECK(words == 144667);
    CHECK(dg::category_of(0x0cdc) == dg::unicode_category::cn);
    CHECK(dg::category_of(0x110000) == dg::unicode_category::cn);
}

TEST_CASE("a character that is cut short is one replacement") {
    CHECK(dg::valid_utf8("\xe6\x9d") == "\xef\xbf\xbd");
    CHECK(dg::valid_utf8("\xf0\x9f\x99x") == "\xef\xbf\xbdx");
    CHECK(dg::valid_utf8("\xf0\x80\x80") == "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");  // never begins a character
    CHECK(dg::valid_utf8("\xed\xa0\x80") == "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");  // a surrogate
    CHECK(dg::is_valid_utf8("\xef\xbf\xbd\xe6\x9d\xb1"));
    CHECK_FALSE(dg::is_valid_utf8("a\xe6\x9d"));
}

TEST_CASE("the character before a place is the one that ends there") {
    const std::string_view text = "a\xc3\xa9\xf0\x9f\x99\x82\x80\xe6\x9d";
    CHECK(dg::character_before(text, 1).code == 'a');
    CHECK(dg::character_before(text, 3).code == 0xe9);
    CHECK(dg::character_before(text, 7).length == 4);
    CHECK(dg::character_before(text, 8).code == 0xfffd);
    CHECK(dg::character_before(text, 10).length == 1);
}
