// Unicode as a tokenizer needs it: UTF-8 decoding, general categories, and the classes letter, number and white space.
// Assumes nothing of the text: a byte that belongs to no valid sequence is a character of its own, of class `other`.
// Tables: tokenizers/unicode_tables.hpp, the same as the tokenizers library's over all code points.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "depthgrow/io/tokenizers/unicode_tables.hpp"

namespace depthgrow {

/// `\p{L}`, `\p{N}`, `\s`, or none of them.
enum class char_class : std::uint8_t { other, letter, number, space };

/// General category, in the order of the tables.
enum class unicode_category : std::uint8_t {
    lu,
    ll,
    lt,
    lm,
    lo,
    mn,
    mc,
    me,
    nd,
    nl,
    no,
    pc,
    pd,
    ps,
    pe,  // letters, marks, numbers, punctuation
    pi,
    pf,
    po,
    sm,
    sc,
    sk,
    so,
    zs,
    zl,
    zp,
    cc,
    cf,
    cs,
    co,
    cn  // and symbols, separators, the rest
};
inline constexpr std::size_t unicode_categories = 30;

/// A character of a text: its code point (0xfffd for an invalid byte), its length in bytes, its class.
struct text_character {
    char32_t code = 0;
    std::size_t length = 1;
    char_class kind = char_class::other;
};

namespace detail {

inline constexpr char32_t code_points = 0x110000;

// Tables are filled by functions: of a lambda in their place a compiler would try for seconds to make a constant.
inline std::vector<unicode_category> unpacked_categories() {
    std::vector<unicode_category> made;
    made.reserve(code_points);
    for (std::size_t i = 0; i < category_runs.size();) {
        const char letter = category_runs[i++];
        std::size_t run = 0;
        for (; i < category_runs.size() && category_runs[i] >= '0' && category_runs[i] <= '9'; ++i)
            run = run * 10 + static_cast<std::size_t>(category_runs[i] - '0');
        made.insert(made.end(), run ? run : 1,
                    static_cast<unicode_category>(letter >= 'a' ? letter - 'a' + 26 : letter - 'A'));
    }
    made.resize(code_points, unicode_category::cn);
    return made;
}

/// Categories of all code points, unpacked when first asked for.
inline const std::vector<unicode_category>& category_table() {
    static const auto table = unpacked_categories();
    return table;
}

inline char_class class_of(char32_t code, unicode_category category) {
    if (category <= unicode_category::lo) return char_class::letter;
    if (category >= unicode_category::nd && category <= unicode_category::no) return char_class::number;
    const bool space = (category >= unicode_category::zs && category <= unicode_category::zp) ||
                       (code >= 9 && code <= 13) || code == 0x85;
    return space ? char_class::space : char_class::other;
}

inline char_class classify(char32_t code) { return class_of(code, category_table()[code]); }

/// Classes of the 128 ASCII characters.
inline const std::array<char_class, 128>& ascii_classes() {
    static const auto table = [] {
        std::array<char_class, 128> made{};
        for (char32_t c = 0; c < 128; ++c) made[c] = classify(c);
        return made;
    }();
    return table;
}

/// The code point that starts at `position` and its length in bytes; an invalid byte is U+FFFD, of length 1.
inline char32_t decode_utf8(std::string_view text, std::size_t position, std::size_t& length) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[position + i]); };
    const unsigned lead = byte(0);
    const char32_t invalid = 0xfffd;
    length = 1;
    if (lead < 0x80) return static_cast<char32_t>(lead);
    const std::size_t wanted = lead >= 0xc2 && lead < 0xe0   ? 2
                               : lead >= 0xe0 && lead < 0xf0 ? 3
                               : lead >= 0xf0 && lead < 0xf5 ? 4
                                                             : 0;
    if (wanted == 0 || wanted > text.size() - position) return invalid;
    char32_t code = lead & (0x7fu >> wanted);
    for (std::size_t i = 1; i < wanted; ++i) {
        if ((byte(i) & 0xc0u) != 0x80u) return invalid;
        code = (code << 6) | (byte(i) & 0x3fu);
    }
    const bool overlong = (wanted == 3 && code < 0x800) || (wanted == 4 && code < 0x10000);
    if (overlong || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return invalid;
    length = wanted;
    return code;
}

}  // namespace detail

/// The general category of a code point; cn (unassigned) beyond the last.
inline unicode_category category_of(char32_t code) {
    return code < detail::code_points ? detail::category_table()[code] : unicode_category::cn;
}

/// The character that starts at `position`.
inline text_character character_at(std::string_view text, std::size_t position) {
    text_character out;
    out.code = detail::decode_utf8(text, position, out.length);
    if (out.code < 0x80) out.kind = detail::ascii_classes()[out.code];
    else if (out.length > 1) out.kind = detail::classify(out.code);
    return out;
}

/// The character that ends at `position`, which is above 0 and where a character begins or the text ends.
inline text_character character_before(std::string_view text, std::size_t position) {
    for (std::size_t back = 2; back <= 4 && back <= position; ++back)
        if (const text_character c = character_at(text.substr(0, position), position - back); c.length == back)
            return c;
    return character_at(text.substr(0, position), position - 1);
}

namespace detail {

/// Begin, end, begin, end, …
inline std::vector<char32_t> unpacked_digits() {
    std::vector<char32_t> made;
    char32_t value = 0;
    for (char c : digits_beyond_category) {
        if (c == '-' || c == ' ') made.push_back(value), value = 0;
        else value = value * 16 + static_cast<char32_t>(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    return made;
}

}  // namespace detail

/// What the pre-tokenizer Digits takes for a digit: category N, and a few that are younger than the other tables.
inline bool is_numeric(char32_t code) {
    const unicode_category category = category_of(code);
    if (category >= unicode_category::nd && category <= unicode_category::no) return true;
    static const auto younger = detail::unpacked_digits();
    for (std::size_t i = 0; i + 1 < younger.size(); i += 2)
        if (code >= younger[i] && code < younger[i + 1]) return true;
    return false;
}

/// `\w`: alphabetic characters, marks, decimal digits, connectors and joiners.
inline bool is_word_character(char32_t code) {
    const unicode_category category = category_of(code);
    if (category <= unicode_category::nl || category == unicode_category::pc) return true;
    const bool circled = (code >= 0x24b6 && code < 0x24ea) || (code >= 0x1f130 && code < 0x1f14a) ||
                         (code >= 0x1f150 && code < 0x1f16a) || (code >= 0x1f170 && code < 0x1f18a);
    return circled || code == 0x200c || code == 0x200d;
}

/// Appends a code point as UTF-8.
inline void append_utf8(char32_t code, std::string& out) {
    const auto put = [&](char32_t bits) { out += static_cast<char>(static_cast<unsigned char>(bits)); };
    if (code < 0x80) return put(code);
    if (code < 0x800) return put(0xc0 | (code >> 6)), put(0x80 | (code & 0x3f));
    if (code < 0x10000) return put(0xe0 | (code >> 12)), put(0x80 | ((code >> 6) & 0x3f)), put(0x80 | (code & 0x3f));
    put(0xf0 | (code >> 18)), put(0x80 | ((code >> 12) & 0x3f)), put(0x80 | ((code >> 6) & 0x3f)),
        put(0x80 | (code & 0x3f));
}

/// Whether every byte belongs to a character.
inline bool is_valid_utf8(std::string_view text) {
    for (std::size_t i = 0, length = 1; i < text.size(); i += length)
        if (detail::decode_utf8(text, i, length) == 0xfffd && length == 1) return false;
    return true;
}

/// The text with what is no character replaced by U+FFFD, a character that is cut short by one of them: what Unicode
/// recommends, and what other libraries do.
inline std::string valid_utf8(std::string_view text) {
    std::string out;
    for (std::size_t i = 0, length = 1; i < text.size(); i += length) {
        const char32_t code = detail::decode_utf8(text, i, length);
        append_utf8(code, out);
        if (code != 0xfffd || length > 1) continue;
        // bytes that could have gone on to a character belong to the same replacement
        const auto byte = [&](std::size_t at) {
            return at < text.size() ? static_cast<unsigned>(static_cast<unsigned char>(text[at])) : 0u;
        };
        const unsigned lead = byte(i), second = byte(i + 1);
        const std::size_t wanted = lead >= 0xc2 && lead < 0xe0   ? 2
                                   : lead >= 0xe0 && lead < 0xf0 ? 3
                                   : lead >= 0xf0 && lead < 0xf5 ? 4
                                                                 : 1;
        const unsigned least = lead == 0xe0   ? 0xa0
                               : lead == 0xf0 ? 0x90
                                              : 0x80,
                       most = lead == 0xed   ? 0x9f
                              : lead == 0xf4 ? 0x8f
                                             : 0xbf;
        if (wanted < 3 || second < least || second > most) continue;
        length = wanted == 4 && (byte(i + 2) & 0xc0u) == 0x80u ? 3 : 2;
    }
    return out;
}

/// Bytes at the end of `text` that begin a character but do not finish it.
inline std::size_t unfinished_utf8(std::string_view text) {
    for (std::size_t back = 1; back <= 3 && back <= text.size(); ++back) {
        const auto byte = static_cast<unsigned char>(text[text.size() - back]);
        if ((byte & 0xc0u) == 0x80u) continue;
        const std::size_t length = byte >= 0xc2 && byte < 0xe0   ? 2
                                   : byte >= 0xe0 && byte < 0xf0 ? 3
                                   : byte >= 0xf0 && byte < 0xf5 ? 4
                                                                 : 1;
        return length > back ? back : 0;
    }
    return 0;
}

}  // namespace depthgrow
