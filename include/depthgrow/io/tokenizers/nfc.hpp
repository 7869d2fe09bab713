// Unicode normalization form C: decompose, order the combining marks, compose again.
// Assumes nothing of the text: bytes of no valid sequence stay as they are and nothing composes across them.
// Algorithm: Unicode Standard Annex 15, Hangul by its arithmetic; tables as old as the tokenizers library's (9.0).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "depthgrow/io/tokenizers/normalization_tables.hpp"
#include "depthgrow/io/unicode.hpp"

namespace depthgrow {

namespace detail {

/// The tables, unpacked.
struct normalization_data {
    struct mapping {
        char32_t code, first, second;  // second 0: a single character
    };
    struct composition {
        std::uint64_t pair;
        char32_t code;
    };
    std::vector<mapping> mappings;          // by code
    std::vector<composition> compositions;  // by pair
    std::vector<std::uint8_t> classes;      // by code, up to the last that has one
    std::vector<char> pages;                // of 256 code points: does one of them decompose

    static std::uint64_t pair_of(char32_t a, char32_t b) { return (static_cast<std::uint64_t>(a) << 32) | b; }

    normalization_data() {
        read_mappings();
        read_classes();
        std::sort(compositions.begin(), compositions.end(),
                  [](const auto& a, const auto& b) { return a.pair < b.pair; });
        pages.resize(code_points >> 8, 0);
        for (const auto& one : mappings) pages[one.code >> 8] = 1;
    }
    const mapping* find(char32_t code) const {
        if (code >= code_points || !pages[code >> 8]) return nullptr;
        const auto at = std::lower_bound(mappings.begin(), mappings.end(), code,
                                         [](const mapping& one, char32_t wanted) { return one.code < wanted; });
        return at != mappings.end() && at->code == code ? &*at : nullptr;
    }
    std::uint8_t combining_class(char32_t code) const {
        return code < classes.size() ? classes[code] : std::uint8_t{0};
    }
    /// What two characters compose to; 0 when they do not.
    char32_t compose(char32_t a, char32_t b) const {
        if (a >= 0x1100 && a < 0x1113 && b >= 0x1161 && b < 0x1176)
            return 0xac00 + ((a - 0x1100) * 21 + (b - 0x1161)) * 28;
        if (a >= 0xac00 && a < 0xd7a4 && (a - 0xac00) % 28 == 0 && b > 0x11a7 && b < 0x11c3) return a + (b - 0x11a7);
        const auto at =
            std::lower_bound(compositions.begin(), compositions.end(), pair_of(a, b),
                             [](const composition& one, std::uint64_t wanted) { return one.pair < wanted; });
        return at != compositions.end() && at->pair == pair_of(a, b) ? at->code : 0;
    }

private:
    static char32_t hexadecimal(std::size_t& i) {
        char32_t value = 0;
        for (; i < decompositions.size(); ++i) {
            const char c = decompositions[i];
            if (c >= '0' && c <= '9') value = value * 16 + static_cast<char32_t>(c - '0');
            else if (c >= 'a' && c <= 'f') value = value * 16 + static_cast<char32_t>(c - 'a' + 10);
            else break;
        }
        return value;
    }
    void read_mappings() {
        char32_t code = 0;
        for (std::size_t i = 0; i < decompositions.size(); ++i, ++code) {
            char32_t first = hexadecimal(i), second = 0;
            if (decompositions[i] == '=') code = first, first = hexadecimal(++i);
            if (decompositions[i] == '.') second = hexadecimal(++i);
            const bool composes = second != 0 && decompositions[i] != '!';
            if (decompositions[i] == '!') ++i;
            mappings.push_back({code, first, second});
            if (composes) compositions.push_back({pair_of(first, second), code});
        }
    }
    void read_classes() {
        std::uint8_t value = 0;
        for (std::size_t i = 0; i < combining_classes.size();) {
            const std::size_t space = combining_classes.find(' ', i), equals = combining_classes.find('=', i);
            if (equals < space) {
                value = static_cast<std::uint8_t>(read(combining_classes.substr(i, equals - i), 10));
                i = equals + 1;
            }
            const std::string_view entry = combining_classes.substr(i, space - i);
            const std::size_t plus = entry.find('+');
            const std::size_t begin = read(entry.substr(0, plus), 16);
            const std::size_t count = plus == entry.npos ? 1 : read(entry.substr(plus + 1), 10);
            if (classes.size() < begin + count) classes.resize(begin + count, 0);
            std::fill_n(classes.begin() + static_cast<std::ptrdiff_t>(begin), count, value);
            i = space + 1;
        }
    }
    static std::size_t read(std::string_view digits, std::size_t base) {
        std::size_t value = 0;
        for (char c : digits) value = value * base + static_cast<std::size_t>(c <= '9' ? c - '0' : c - 'a' + 10);
        return value;
    }
};

inline const normalization_data& normalization() {
    static const normalization_data made;
    return made;
}

/// A character with its combining class; a byte of no character is a code beyond all.
struct nfc_symbol {
    char32_t code;
    std::uint8_t mark;
};
inline constexpr char32_t nfc_broken = 0x200000;

/// Every character taken apart, one after the other.
inline std::vector<nfc_symbol> nfc_decomposed(std::string_view text) {
    const auto& data = normalization();
    std::vector<nfc_symbol> symbols;
    const auto push = [&](char32_t code) { symbols.push_back({code, data.combining_class(code)}); };
    std::vector<char32_t> waiting;
    for (std::size_t i = 0; i < text.size();) {
        const text_character c = character_at(text, i);
        if (c.code == 0xfffd && c.length == 1) push(nfc_broken + static_cast<unsigned char>(text[i]));
        else if (c.code >= 0xac00 && c.code < 0xd7a4) {
            const char32_t index = c.code - 0xac00;
            push(0x1100 + index / 588), push(0x1161 + index % 588 / 28);
            if (index % 28 != 0) push(0x11a7 + index % 28);
        } else {
            waiting.assign(1, c.code);
            while (!waiting.empty()) {
                const char32_t code = waiting.back();
                waiting.pop_back();
                if (const auto* mapping = data.find(code)) {
                    if (mapping->second != 0) waiting.push_back(mapping->second);
                    waiting.push_back(mapping->first);
                } else push(code);
            }
        }
        i += c.length;
    }
    return symbols;
}

/// Marks between two starters in the order of their classes.
inline void nfc_order_marks(std::vector<nfc_symbol>& symbols) {
    for (auto first = symbols.begin(); first != symbols.end();) {
        if (first->mark == 0) {
            ++first;
            continue;
        }
        const auto last = std::find_if(first, symbols.end(), [](const nfc_symbol& one) { return one.mark == 0; });
        std::stable_sort(first, last, [](const nfc_symbol& a, const nfc_symbol& b) { return a.mark < b.mark; });
        first = last;
    }
}

/// Starters and the marks that go into them as one.
inline void nfc_compose(std::vector<nfc_symbol>& symbols) {
    const auto& data = normalization();
    std::size_t kept = 0, starter = symbols.size();
    for (std::size_t i = 0; i < symbols.size(); ++i) {
        const nfc_symbol one = symbols[i];
        if (starter < symbols.size()) {
            const bool adjacent = kept == starter + 1, blocked = !adjacent && symbols[kept - 1].mark >= one.mark;
            if (const char32_t composed = blocked ? 0 : data.compose(symbols[starter].code, one.code)) {
                symbols[starter].code = composed;
                continue;
            }
        }
        if (one.mark == 0) starter = kept;
        symbols[kept++] = one;
    }
    symbols.resize(kept);
}

}  // namespace detail

/// The text in normalization form C.
inline std::string to_nfc(std::string_view text) {
    // below U+0300 nothing changes
    if (std::none_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) >= 0xcc; }))
        return std::string(text);
    auto symbols = detail::nfc_decomposed(text);
    detail::nfc_order_marks(symbols);
    detail::nfc_compose(symbols);
    std::string out;
    for (const auto& one : symbols) {
        if (one.code >= detail::nfc_broken)
            out += static_cast<char>(static_cast<unsigned char>(one.code - detail::nfc_broken));
        else append_utf8(one.code, out);
    }
    return out;
}

}  // namespace depthgrow
