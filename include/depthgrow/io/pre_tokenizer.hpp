// Words of a text as byte-level BPE sees them: GPT-2's pattern, after splitting at every digit when asked.
// Assumes nothing of the text; the words in order are the text. A hand-written scanner, no regular expressions.
// Pattern: 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ (Radford et al. 2019).
#pragma once

#include <cstddef>
#include <string_view>

#include "depthgrow/io/unicode.hpp"

namespace depthgrow {

/// How a text falls into words.
struct pre_tokenizer {
    bool split_digits =
        false;  // every character of category N is a word of its own, and what surrounds it is split apart
    bool use_pattern = true;  // GPT-2's pattern; false: one word

    /// emit(word) for every word.
    template <class Emit> void operator()(std::string_view text, Emit emit) const {
        if (!split_digits) return piece(text, emit);
        std::size_t start = 0;
        for (std::size_t i = 0; i < text.size();) {
            const text_character c = character_at(text, i);
            if (is_numeric(c.code)) {
                piece(text.substr(start, i - start), emit);
                emit(text.substr(i, c.length));
                start = i + c.length;
            }
            i += c.length;
        }
        piece(text.substr(start), emit);
    }

private:
    template <class Emit> void piece(std::string_view text, Emit& emit) const {
        if (text.empty()) return;
        if (!use_pattern) return emit(text);
        for (std::size_t i = 0; i < text.size();) {
            const std::size_t end = word_end(text, i);
            emit(text.substr(i, end - i));
            i = end;
        }
    }

    /// Length of "s", "t", "re", … after an apostrophe; 0 when there is none.
    static std::size_t contraction(std::string_view rest) {
        if (rest.empty()) return 0;
        const char a = rest[0], b = rest.size() > 1 ? rest[1] : '\0';
        if (a == 's' || a == 't' || a == 'm' || a == 'd') return 1;
        return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? 2 : 0;
    }

    static std::size_t run_end(std::string_view text, std::size_t i, char_class kind) {
        while (i < text.size()) {
            const text_character c = character_at(text, i);
            if (c.kind != kind) break;
            i += c.length;
        }
        return i;
    }

    static std::size_t word_end(std::string_view text, std::size_t i) {
        if (text[i] == '\'')
            if (const std::size_t length = contraction(text.substr(i + 1))) return i + 1 + length;
        const text_character first = character_at(text, i);
        if (first.kind != char_class::space) return run_end(text, i + first.length, first.kind);
        if (text[i] == ' ' && i + 1 < text.size()) {
            const text_character next = character_at(text, i + 1);
            if (next.kind != char_class::space) return run_end(text, i + 1 + next.length, next.kind);
        }
        // white space: all of it at the end, else all but the last character, which may lead the next word
        std::size_t end = i, last = i;
        while (end < text.size()) {
            const text_character c = character_at(text, end);
            if (c.kind != char_class::space) return last > i ? last : end;
            last = end;
            end += c.length;
        }
        return end;
    }
};

}  // namespace depthgrow
