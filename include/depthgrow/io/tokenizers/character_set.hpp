// A set of characters as a pattern names it: single ones, ranges, general categories, white space, or what is not
// those. Assumes code points; ASCII is a bitmap, the rest a mask of categories and a list of ranges. Classes: \p{L},
// \p{Lu}, …, \s, \d and their complements, as Oniguruma has them for Unicode.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "depthgrow/io/unicode.hpp"

namespace depthgrow {

class character_set {
public:
    bool contains(char32_t code) const {
        if (code < 128) return ((ascii_[code >> 6] >> (code & 63)) & 1u) != 0;
        if (((categories_ >> static_cast<unsigned>(category_of(code))) & 1u) != 0) return !complement_;
        for (const auto& [first, last] : ranges_)
            if (code >= first && code <= last) return !complement_;
        return complement_;
    }
    bool contains_ascii(unsigned char code) const { return ((ascii_[code >> 6] >> (code & 63)) & 1u) != 0; }

    void add(char32_t first, char32_t last) {
        for (char32_t code = first; code <= last && code < 128; ++code) set_ascii(code);
        if (last >= 128) ranges_.emplace_back(first < 128 ? 128 : first, last);
    }
    void add(char32_t code) { add(code, code); }
    void add_category(unicode_category category) { add_categories(1u << static_cast<unsigned>(category)); }
    /// A bit for each category.
    void add_categories(std::uint32_t mask) {
        categories_ |= mask;
        for (char32_t code = 0; code < 128; ++code)
            if (((mask >> static_cast<unsigned>(category_of(code))) & 1u) != 0) set_ascii(code);
    }
    /// `\s`, or `\S`.
    void add_space(bool complement) {
        const std::uint32_t separators = bits(unicode_category::zs, unicode_category::zp);
        if (!complement) {
            add_categories(separators);
            add(9, 13), add(0x85);
            return;
        }
        add_categories(every_category & ~separators & ~bits(unicode_category::cc, unicode_category::cc));
        add(0, 8), add(14, 31), add(0x7f, 0x84), add(0x86, 0x9f);
    }
    void invert() {
        complement_ = !complement_;
        ascii_[0] = ~ascii_[0], ascii_[1] = ~ascii_[1];
    }

    /// Categories of a name such as "L" or "Lu", a bit for each; 0 when there is none of that name.
    static std::uint32_t named(std::string_view name) {
        static constexpr std::string_view names = "LuLlLtLmLoMnMcMeNdNlNoPcPdPsPePiPfPoSmScSkSoZsZlZpCcCfCsCoCn";
        std::uint32_t mask = 0;
        for (std::size_t i = 0; i < unicode_categories; ++i)
            if ((name.size() == 1 || name.size() == 2) && names.substr(2 * i, name.size()) == name) mask |= 1u << i;
        return mask;
    }
    static constexpr std::uint32_t every_category = (1u << unicode_categories) - 1;

private:
    static std::uint32_t bits(unicode_category first, unicode_category last) {
        std::uint32_t mask = 0;
        for (auto i = static_cast<unsigned>(first); i <= static_cast<unsigned>(last); ++i) mask |= 1u << i;
        return mask;
    }
    void set_ascii(char32_t code) { ascii_[code >> 6] |= std::uint64_t{1} << (code & 63); }

    std::uint64_t ascii_[2] = {0, 0};
    std::uint32_t categories_ = 0;
    std::vector<std::pair<char32_t, char32_t>> ranges_;  // ends included
    bool complement_ = false;                            // of what is not ASCII
};

}  // namespace depthgrow
