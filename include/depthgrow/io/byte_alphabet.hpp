// The letters that stand for bytes in the vocabulary of a byte-level tokenizer, both ways.
// Assumes the alphabet of GPT-2: printable bytes of Latin-1 stand for themselves, the others for code points from 256
// up. Source: Radford et al. 2019, bytes_to_unicode.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "depthgrow/io/unicode.hpp"

namespace depthgrow {

/// Code points of the 256 bytes' letters.
inline const std::array<char32_t, 256>& byte_letters() {
    static const auto table = [] {
        std::array<char32_t, 256> made{};
        char32_t next = 256;
        for (char32_t b = 0; b < 256; ++b) {
            const bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174 && b <= 255);
            made[b] = printable ? b : next++;
        }
        return made;
    }();
    return table;
}

/// The bytes as letters, UTF-8.
inline std::string to_byte_letters(std::string_view bytes) {
    std::string out;
    for (char c : bytes) append_utf8(byte_letters()[static_cast<unsigned char>(c)], out);
    return out;
}

/// The bytes that letters stand for; false when one of them stands for none.
inline bool from_byte_letters(std::string_view letters, std::string& bytes) {
    static const auto table = [] {
        std::array<std::int16_t, 512> made{};
        made.fill(-1);
        for (std::size_t b = 0; b < 256; ++b) made[byte_letters()[b]] = static_cast<std::int16_t>(b);
        return made;
    }();
    bytes.clear();
    for (std::size_t i = 0; i < letters.size();) {
        const text_character c = character_at(letters, i);
        if (c.code >= table.size() || table[c.code] < 0) return false;
        bytes += static_cast<char>(static_cast<unsigned char>(table[c.code]));
        i += c.length;
    }
    return true;
}

}  // namespace depthgrow
