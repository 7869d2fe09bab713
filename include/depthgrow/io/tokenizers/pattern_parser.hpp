// The syntax of patterns: a regular expression as alternatives of sequences of parts, for pattern.hpp.
// Assumes Oniguruma's Ruby syntax, of which what tokenizers use is understood; the rest is refused by what was found.
// Ignored case is that of Unicode: (?i:s) is s, S and U+017F; what folds to one character (ss, st, …) is refused.
#pragma once

#include <cstddef>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/io/text_file.hpp"
#include "depthgrow/io/tokenizers/character_set.hpp"

namespace depthgrow::detail {

struct pattern_part;
using pattern_choices = std::vector<std::vector<pattern_part>>;

/// A character of a set and how often, a group, or (?!set).
struct pattern_part {
    enum part_kind { set, not_followed_by, group };
    part_kind kind = set;
    std::size_t set_index = 0, least = 1, most = 1;
    bool possessive = false;
    pattern_choices choices;
};

class pattern_parser {
public:
    pattern_parser(std::string_view source, const std::string& file) : source_(source), file_(file) {}

    pattern_choices parse() {
        auto out = alternatives(0);
        if (at_ < source_.size()) refuse(source_.substr(at_, 1));
        bool empty = false;
        for (const auto& sequence : out) empty = empty || may_be_empty(sequence);
        require(!empty, file_, ": expected a pattern that matches at least one character, found ", quoted());
        return out;
    }
    std::vector<character_set> take_sets() { return std::move(sets_); }

private:
    [[noreturn]] void refuse(std::string_view what) const {
        fail(file_, ": expected a pattern of classes, groups and repeats that this library knows, found ",
             quotable(what, 60), " at character ", at_ + 1, " of ", quoted());
    }
    std::string quoted() const { return quotable(source_, 160); }
    bool next_is(std::string_view text) const { return source_.substr(at_, text.size()) == text; }
    bool take(std::string_view text) {
        if (!next_is(text)) return false;
        at_ += text.size();
        return true;
    }

    pattern_choices alternatives(int depth) {
        if (depth > 16) refuse("groups nested more than 16 deep");
        pattern_choices out;
        do {
            out.emplace_back();
            while (at_ < source_.size() && source_[at_] != '|' && source_[at_] != ')')
                out.back().push_back(item(depth));
        } while (take("|"));
        return out;
    }

    pattern_part item(int depth) {
        pattern_part part;
        if (at_ >= source_.size()) refuse("its end");
        const char first = source_[at_];
        if (first == '(') {
            const bool was_ignoring = ignore_case_;
            if (take("(?i:")) ignore_case_ = true;
            else if (take("(?!")) part.kind = pattern_part::not_followed_by;
            else if (!take("(?:")) {
                if (next_is("(?")) refuse(source_.substr(at_, 4));
                take("(");
            }
            if (part.kind == pattern_part::not_followed_by) {
                const pattern_part inner = item(depth + 1);
                if (inner.kind != pattern_part::set || inner.least != 1) refuse("(?! of more than a character");
                part.set_index = inner.set_index;
            } else {
                part.kind = pattern_part::group;
                part.choices = alternatives(depth + 1);
            }
            if (!take(")")) refuse(at_ < source_.size() ? source_.substr(at_, 1) : "its end");
            ignore_case_ = was_ignoring;
        } else {
            character_set made;
            if (first == '[') bracket(made);
            else if (first == '\\') escape(made);
            else {
                static constexpr std::string_view signs = ".^$*+?{}]";
                if (signs.find(first) != signs.npos) refuse(source_.substr(at_, 1));
                single(made, character());
            }
            part.set_index = sets_.size();
            sets_.push_back(std::move(made));
        }
        quantifier(part);
        return part;
    }

    void quantifier(pattern_part& part) {
        if (at_ >= source_.size()) return;
        const std::size_t unbounded = std::numeric_limits<std::size_t>::max();
        const std::size_t before = at_;
        if (take("?")) part.least = 0;
        else if (take("*")) part.least = 0, part.most = unbounded;
        else if (take("+")) part.most = unbounded;
        else if (take("{")) {
            part.least = number();
            part.most = !take(",") ? part.least : next_is("}") ? unbounded : number();
            if (!take("}") || part.most < part.least || part.most == 0 || next_is("+"))
                refuse(source_.substr(before, 8));
        } else return;
        if (source_[at_ - 1] != '}') part.possessive = take("+");
        if (next_is("?") || next_is("*") || next_is("+") || next_is("{")) refuse(source_.substr(before, 8));
        const bool plain =
            part.kind == pattern_part::set || (part.kind == pattern_part::group && part.most == 1 && !part.possessive);
        if (!plain) refuse(source_.substr(before, 4));
        bool empty = part.kind != pattern_part::group;  // a group that may be empty is not repeated
        for (const auto& sequence : part.choices) empty = empty || may_be_empty(sequence);
        if (part.kind == pattern_part::group && empty) refuse(source_.substr(before, 4));
    }
    std::size_t number() {
        std::size_t value = 0;
        const std::size_t before = at_;
        for (; at_ < source_.size() && source_[at_] >= '0' && source_[at_] <= '9' && value < 1000; ++at_)
            value = value * 10 + static_cast<std::size_t>(source_[at_] - '0');
        if (at_ == before || value >= 1000) refuse(source_.substr(before, 8));
        return value;
    }

    char32_t character() {
        std::size_t length = 1;
        const char32_t code = decode_utf8(source_, at_, length);
        at_ += length;
        return code;
    }
    /// A character by itself, in both cases where case is ignored.
    void single(character_set& into, char32_t code) {
        into.add(code);
        if (!ignore_case_) return;
        const bool upper = code >= 'A' && code <= 'Z';
        const char32_t lower = upper ? code + 32 : code;
        if (code >= 128) refuse("ignored case beyond ASCII");
        if (lower < 'a' || lower > 'z') return;
        into.add(lower), into.add(lower - 32);
        if (lower == 's') into.add(0x17f);
        if (lower == 'k') into.add(0x212a);
        const auto follower = static_cast<char32_t>(at_ < source_.size() ? source_[at_] | 32 : 0);
        for (std::string_view pair : {"ss", "ff", "fi", "fl", "st"})
            if (static_cast<char32_t>(pair[0]) == lower && static_cast<char32_t>(pair[1]) == follower)
                refuse("ignored case of a ligature");
    }

    /// After a backslash: a class, or a character that stands for itself.
    void escape(character_set& into) {
        if (at_ + 1 >= source_.size()) refuse("a backslash at its end");
        const char c = source_[at_ + 1];
        if (c == 's' || c == 'S') into.add_space(c == 'S');
        else if (c == 'd') into.add_category(unicode_category::nd);
        else if (c == 'p' || c == 'P') {
            const std::size_t close = source_.find('}', at_);
            const bool braced = source_.substr(at_ + 2, 1) == "{" && close != source_.npos;
            std::string_view name = braced ? source_.substr(at_ + 3, close - at_ - 3) : std::string_view();
            const bool caret = !name.empty() && name[0] == '^';
            if (caret) name.remove_prefix(1);
            const std::uint32_t mask = character_set::named(name);
            if (mask == 0 || ignore_case_) refuse(source_.substr(at_, 12));
            into.add_categories(caret != (c == 'P') ? character_set::every_category & ~mask : mask);
            at_ = close + 1;
            return;
        } else {
            into.add(escaped());
            return;
        }
        at_ += 2;
    }
    char32_t escaped() {
        const char c = source_[at_ + 1];
        static constexpr std::string_view names = "rntfv", values = "\r\n\t\f\v";
        const bool sign = c > ' ' && c <= '~' && !(c >= '0' && c <= '9') && !((c | 32) >= 'a' && (c | 32) <= 'z');
        if (const auto known = names.find(c); known != names.npos)
            return at_ += 2, static_cast<char32_t>(values[known]);
        if (!sign) refuse(source_.substr(at_, 2));
        return at_ += 2, static_cast<char32_t>(c);
    }

    void bracket(character_set& into) {
        take("[");
        const bool complement = take("^");
        if (next_is("]")) refuse("an empty class");
        while (!next_is("]")) {
            if (at_ >= source_.size()) refuse("a class without an end");
            if (next_is("[") || next_is("&&")) refuse(source_.substr(at_, 2));
            if (next_is("\\") && at_ + 1 < source_.size()) {
                static constexpr std::string_view classes = "sSdpP";
                if (classes.find(source_[at_ + 1]) != classes.npos) {
                    escape(into);
                    if (next_is("-") && !next_is("-]")) refuse("a range that begins with a class");
                    continue;
                }
            }
            const char32_t first = bracket_character();
            if (!next_is("-") || next_is("-]")) {
                if (ignore_case_) single_in_class(into, first);
                else into.add(first);
                continue;
            }
            take("-");
            if (at_ >= source_.size() || next_is("[") || ignore_case_) refuse("a range that is not understood");
            const char32_t last = bracket_character();
            if (last < first) refuse("a range that ends before it begins");
            into.add(first, last);
        }
        take("]");
        if (complement) into.invert();
    }
    char32_t bracket_character() {
        if (!next_is("\\")) return character();
        if (at_ + 1 >= source_.size()) refuse("a backslash at its end");
        return escaped();
    }
    void single_in_class(character_set& into, char32_t code) {
        const std::size_t here = at_;
        at_ = source_.size();  // neighbours in a class are no sequence
        single(into, code);
        at_ = here;
    }

    static bool may_be_empty(const std::vector<pattern_part>& sequence) {
        for (const auto& part : sequence) {
            if (part.kind == pattern_part::not_followed_by || part.least == 0) continue;
            if (part.kind == pattern_part::set) return false;
            bool empty = false;
            for (const auto& choice : part.choices) empty = empty || may_be_empty(choice);
            if (!empty) return false;
        }
        return true;
    }

    std::string_view source_;
    const std::string& file_;
    std::size_t at_ = 0;
    bool ignore_case_ = false;
    std::vector<character_set> sets_;
};

}  // namespace depthgrow::detail
