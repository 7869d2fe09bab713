// Normalization form C: composition, order of marks, Hangul, and bytes that are left alone.
#include "depthgrow/io/tokenizers/nfc.hpp"

#include "support/catch.hpp"

namespace dg = depthgrow;

TEST_CASE("characters compose, marks are put in order") {
    CHECK(dg::to_nfc("plain") == "plain");
    CHECK(dg::to_nfc("e\xcc\x81") == "\xc3\xa9");                                 // é
    CHECK(dg::to_nfc("\xe2\x84\xab") == "\xc3\x85");                              // the Ångström sign is Å
    CHECK(dg::to_nfc("a\xcc\x88\xcc\xa3") == "\xe1\xba\xa1\xcc\x88");             // the dot below goes first
    CHECK(dg::to_nfc("a\xcc\x81\xcc\x81") == "\xc3\xa1\xcc\x81");                 // the second stays
    CHECK(dg::to_nfc("\xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab") == "\xed\x95\x9c");  // Hangul from its letters
    CHECK(dg::to_nfc("\xed\x95\x98\xe1\x86\xab") == "\xed\x95\x9c");              // or from a syllable and one
    CHECK(dg::to_nfc("\xe0\xa5\x98") == "\xe0\xa4\x95\xe0\xa4\xbc");              // excluded from composition
    CHECK(dg::to_nfc("\xef\xa4\x80") == "\xe8\xb1\x88");                          // a compatibility ideograph
    CHECK(dg::to_nfc("\xcc\x81"
                     "e") ==
          "\xcc\x81"
          "e");  // a mark at the start
}

TEST_CASE("bytes of no character stay, and nothing composes across them") {
    CHECK(dg::to_nfc("e\xff\xcc\x81\xe6") == "e\xff\xcc\x81\xe6");
    CHECK(dg::to_nfc("\xcc"
                     "e\xcc\x81") == "\xcc\xc3\xa9");
    CHECK(dg::to_nfc("\xef\xbf\xbd\xcc\x81") == "\xef\xbf\xbd\xcc\x81");
}

TEST_CASE("the form is stable over all code points") {
    std::size_t changed = 0;
    for (char32_t code = 0; code < 0x110000; ++code) {
        if (code >= 0xd800 && code < 0xe000) continue;
        std::string text;
        dg::append_utf8(code, text);
        const std::string once = dg::to_nfc(text);
        changed += once != text;
        if (dg::to_nfc(once) != once) FAIL("not stable: " << static_cast<unsigned>(code));
    }
    CHECK(changed == 1120);  // as in the tokenizers library
}
