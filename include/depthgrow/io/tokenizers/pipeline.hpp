// Pre-tokenizers of a tokenizer.json, one after the other: a text falls into the words that the model sees.
// Assumes Split, Digits, ByteLevel (last of all) and Metaspace, alone or in a Sequence; others are refused by name.
// Format: huggingface/tokenizers 1.0, "pre_tokenizer". Words of ByteLevel are given as bytes, not as their letters.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/io/json.hpp"
#include "depthgrow/io/pre_tokenizer.hpp"
#include "depthgrow/io/tokenizers/normalizer.hpp"
#include "depthgrow/io/tokenizers/split.hpp"

namespace depthgrow {

/// When Metaspace puts its sign before a piece.
enum class prepend_scheme { always, first, never };

namespace detail {

struct metaspace_fields {
    std::string replacement;
    prepend_scheme prepend;
    bool split;
};

/// The fields of Metaspace, in a pre_tokenizer or a decoder.
inline metaspace_fields read_metaspace(const json_fields& fields, const std::string& file) {
    metaspace_fields out{fields.string("replacement"), prepend_scheme::always, fields.boolean("split", true)};
    const bool one = !out.replacement.empty() && character_at(out.replacement, 0).length == out.replacement.size();
    require(one, file, ": expected replacement of Metaspace to be one character, found ",
            quotable(out.replacement, 20));
    const std::string scheme = fields.string("prepend_scheme", "always");
    if (scheme == "first") out.prepend = prepend_scheme::first;
    else if (scheme == "never") out.prepend = prepend_scheme::never;
    else
        require(scheme == "always", file, ": expected prepend_scheme always, first or never, found ",
                quotable(scheme, 20));
    require(fields.boolean("add_prefix_space", true) || out.prepend == prepend_scheme::never, file,
            ": expected prepend_scheme never beside add_prefix_space false, found ", scheme);
    return out;
}

}  // namespace detail

class pre_tokenizer_chain {
public:
    pre_tokenizer_chain() = default;
    /// Of the field "pre_tokenizer"; a text is one word when it is absent.
    pre_tokenizer_chain(const json* part, const std::string& file) {
        std::vector<const json*> list;
        if (part) detail::read_steps(*part, "pretokenizers", file, list);
        for (const json* one : list) {
            require(!byte_level(), file, ": expected ByteLevel to be the last pre_tokenizer, found one after it");
            steps_.push_back(read_step(json_fields(*one, file), file));
        }
    }

    /// Whether words are bytes that letters stand for in the vocabulary.
    bool byte_level() const { return !steps_.empty() && steps_.back().what == kind::byte_level; }
    /// Whether every digit is a word of its own.
    bool splits_digits() const {
        for (const step& one : steps_)
            if (one.what == kind::digits && one.each) return true;
        return false;
    }

    /// emit(word) for every word; `at_start`: the text begins where the whole text did.
    template <class Emit> void operator()(std::string_view text, bool at_start, Emit emit) const {
        run(0, text, at_start, emit);
    }

private:
    enum class kind { split, digits, byte_level, metaspace };
    struct step {
        kind what = kind::split;
        std::vector<pattern> matches;
        split_behavior behavior = split_behavior::isolated;
        bool invert = false;
        bool each = false;          // Digits: individual_digits; ByteLevel: use_regex; Metaspace: split
        bool prefix_space = false;  // ByteLevel
        prepend_scheme prepend = prepend_scheme::never;
        std::string replacement;  // Metaspace
    };

    static step read_step(const json_fields& fields, const std::string& file) {
        const std::string type = fields.string("type");
        step out;
        if (type == "Split") {
            out.matches.push_back(detail::read_pattern(fields, file));
            out.behavior = detail::read_behavior(fields, file);
            out.invert = fields.boolean("invert");
        } else if (type == "Digits") {
            out.what = kind::digits;
            out.each = fields.boolean("individual_digits", false);
        } else if (type == "ByteLevel") {
            out.what = kind::byte_level;
            out.each = fields.boolean("use_regex", true);
            out.prefix_space = fields.boolean("add_prefix_space", true);
        } else if (type == "Metaspace") {
            auto read = detail::read_metaspace(fields, file);
            out.what = kind::metaspace;
            out.each = read.split, out.prepend = read.prepend, out.replacement = std::move(read.replacement);
        } else
            fail(file, ": expected a pre_tokenizer Split, Digits, ByteLevel, Metaspace or a Sequence of them, found ",
                 detail::quotable(type, 40));
        return out;
    }

    template <class Emit> void run(std::size_t index, std::string_view text, bool at_start, Emit& emit) const {
        if (text.empty()) return;
        if (index == steps_.size()) return emit(text);
        const step& now = steps_[index];
        const auto next = [&](std::size_t begin, std::size_t end) {
            run(index + 1, text.substr(begin, end - begin), at_start && begin == 0, emit);
        };
        switch (now.what) {
            case kind::split:
                return split(now, text, next);
            case kind::digits:
                return digits(now, text, next);
            case kind::byte_level:
                return level(now, text, emit);
            case kind::metaspace:
                return metaspace(now, index, text, at_start, emit);
        }
    }

    template <class Next> static void split(const step& now, std::string_view text, const Next& next) {
        if (now.behavior == split_behavior::isolated) {  // the usual case needs no list
            std::size_t done = 0;
            now.matches[0].each(text, [&](std::size_t begin, std::size_t end) {
                if (done < begin) next(done, begin);
                next(begin, end);
                done = end;
            });
            if (done < text.size()) next(done, text.size());
            return;
        }
        detail::splitter parts(now.behavior, now.invert, text.size());
        now.matches[0].each(text, [&](std::size_t begin, std::size_t end) { parts.match(begin, end); });
        parts.pieces(next);
    }

    template <class Next> static void digits(const step& now, std::string_view text, const Next& next) {
        std::size_t begin = 0;
        bool number = false;  // is the piece that begins there one of digits
        for (std::size_t i = 0; i < text.size();) {
            const text_character c = character_at(text, i);
            const bool digit = is_numeric(c.code);
            if (i > begin && (digit != number || (digit && now.each))) next(begin, i), begin = i;
            number = digit;
            i += c.length;
        }
        if (begin < text.size()) next(begin, text.size());
    }

    template <class Emit> static void level(const step& now, std::string_view text, Emit& emit) {
        const pre_tokenizer words{false, now.each};
        const auto give = [&](std::string_view word) { emit(word); };
        if (now.prefix_space && text[0] != ' ') words(" " + std::string(text), give);
        else words(text, give);
    }

    template <class Emit>
    void metaspace(const step& now, std::size_t index, std::string_view text, bool at_start, Emit& emit) const {
        std::string out;
        for (char c : text) {
            if (c == ' ') out += now.replacement;
            else out += c;
        }
        const bool prepends =
            now.prepend == prepend_scheme::always || (now.prepend == prepend_scheme::first && at_start);
        if (prepends && out.compare(0, now.replacement.size(), now.replacement) != 0) out.insert(0, now.replacement);
        const std::string_view whole = out;
        const auto next = [&](std::size_t begin, std::size_t end) {
            run(index + 1, whole.substr(begin, end - begin), at_start && begin == 0, emit);
        };
        if (!now.each) return next(0, whole.size());
        detail::splitter parts(split_behavior::merged_with_next, false, whole.size());
        for (std::size_t i = 0; (i = whole.find(now.replacement, i)) != whole.npos; i += now.replacement.size())
            parts.match(i, i + now.replacement.size());
        parts.pieces(next);
    }

    std::vector<step> steps_;
};

}  // namespace depthgrow
