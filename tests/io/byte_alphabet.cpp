// Bytes and their letters.
#include "depthgrow/io/byte_alphabet.hpp"

#include "support/catch.hpp"

namespace dg = depthgrow;

TEST_CASE("every byte has its letter and comes back from it") {
    std::string all, back;
    for (int b = 0; b < 256; ++b) all += static_cast<char>(b);
    REQUIRE(dg::from_byte_letters(dg::to_byte_letters(all), back));
    CHECK(back == all);
    CHECK(dg::to_byte_letters(" a\n") ==
          "\xc4\xa0"
          "a"
          "\xc4\x8a");
    CHECK_FALSE(dg::from_byte_letters("a b", back));           // a space is no letter
    CHECK_FALSE(dg::from_byte_letters("\xe6\x9d\xb1", back));  // nor is 東
}
