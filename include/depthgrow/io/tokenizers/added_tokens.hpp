// Added tokens: found in a text as a whole before it is split, those that are not normalized first.
// Assumes contents that differ; of matches at one place the longest wins, as does the leftmost of all.
// Format: huggingface/tokenizers 1.0, "added_tokens": special, single_word, lstrip, rstrip, normalized.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/io/json.hpp"
#include "depthgrow/io/unicode.hpp"

namespace depthgrow {

/// One of them.
struct added_token_entry {
    std::string content;  // as the file spells it
    std::int32_t id = 0;
    bool special = false;      // left out of decoded text when asked
    bool single_word = false;  // not inside a word
    bool lstrip = false;       // takes the white space before it
    bool rstrip = false;       // and after it
    bool normalized = false;   // looked for in the normalized text
    std::string match;         // what is looked for: the content, normalized if it is to be
};

/// Added tokens that are looked for together.
class added_token_set {
public:
    added_token_set() = default;
    added_token_set(std::vector<added_token_entry> tokens, const std::string& file) : tokens_(std::move(tokens)) {
        std::sort(tokens_.begin(), tokens_.end(), [](const auto& a, const auto& b) { return a.match < b.match; });
        for (std::size_t i = 0; i < tokens_.size(); ++i) {
            const std::string& match = tokens_[i].match;
            require(!match.empty(), file, ": expected added_tokens with content, found an empty one");
            require(i == 0 || match != tokens_[i - 1].match, file, ": expected every added token once, found ",
                    detail::quotable(match, 40), " twice");
            lengths_[static_cast<unsigned char>(match[0])].push_back(match.size());
        }
        for (auto& lengths : lengths_) {
            std::sort(lengths.begin(), lengths.end(), [](std::size_t a, std::size_t b) { return a > b; });
            lengths.erase(std::unique(lengths.begin(), lengths.end()), lengths.end());
        }
    }

    bool empty() const { return tokens_.empty(); }

    /// text(begin, end) for what is between the tokens, if anything, and token(id) for each of them, in order.
    template <class Text, class Token> void split(std::string_view in, Text text, Token found_token) const {
        std::size_t done = 0;
        for (std::size_t i = 0; !tokens_.empty() && i < in.size();) {
            const added_token_entry* found = find(in, i);
            if (!found) {
                ++i;
                continue;
            }
            std::size_t begin = i, end = i + found->match.size();
            i = end;
            if (found->single_word && (word_ends(in, begin) || word_begins(in, end))) continue;
            if (found->lstrip) begin = std::max(spaces_before(in, begin), done);
            if (found->rstrip) end = spaces_after(in, end);
            if (done < begin) text(done, begin);
            found_token(found->id);
            done = end;
        }
        if (done < in.size()) text(done, in.size());
    }

private:
    const added_token_entry* find(std::string_view in, std::size_t at) const {
        for (std::size_t length : lengths_[static_cast<unsigned char>(in[at])]) {
            if (length > in.size() - at) continue;
            const std::string_view wanted = in.substr(at, length);
            const auto place =
                std::lower_bound(tokens_.begin(), tokens_.end(), wanted,
                                 [](const added_token_entry& one, std::string_view text) { return one.match < text; });
            if (place != tokens_.end() && place->match == wanted) return &*place;
        }
        return nullptr;
    }
    static bool word_ends(std::string_view in, std::size_t at) {
        return at > 0 && is_word_character(character_before(in, at).code);
    }
    static bool word_begins(std::string_view in, std::size_t at) {
        return at < in.size() && is_word_character(character_at(in, at).code);
    }
    static std::size_t spaces_before(std::string_view in, std::size_t at) {
        while (at > 0) {
            const text_character c = character_before(in, at);
            if (c.kind != char_class::space) break;
            at -= c.length;
        }
        return at;
    }
    static std::size_t spaces_after(std::string_view in, std::size_t at) {
        while (at < in.size()) {
            const text_character c = character_at(in, at);
            if (c.kind != char_class::space) break;
            at += c.length;
        }
        return at;
    }

    std::vector<added_token_entry> tokens_;              // by match
    std::array<std::vector<std::size_t>, 256> lengths_;  // of those that begin with a byte, the longest first
};

/// The field "added_tokens"; ids are checked by the caller.
inline std::vector<added_token_entry> read_added_tokens(const json_fields& fields, const std::string& file) {
    std::vector<added_token_entry> out;
    const json* list = fields.find("added_tokens");
    if (!list) return out;
    require(list->is_array(), file, ": expected added_tokens to be a list, found ", describe(list));
    for (const json& value : *list) {
        const json_fields entry(value, file);
        added_token_entry one;
        one.content = entry.string("content");
        const std::uint64_t id = entry.count("id");
        require(id < 0x7fffffffu, file, ": expected token ids from 0 up, found ", id);
        one.id = static_cast<std::int32_t>(id);
        one.special = entry.boolean("special", false);
        one.single_word = entry.boolean("single_word", false);
        one.lstrip = entry.boolean("lstrip", false);
        one.rstrip = entry.boolean("rstrip", false);
        one.normalized = entry.boolean("normalized", false);
        require(!one.content.empty(), file, ": expected added_tokens with content, found an empty one");
        out.push_back(std::move(one));
    }
    return out;
}

}  // namespace depthgrow
