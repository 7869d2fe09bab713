// Byte-pair encoding of one word: the pair of lowest rank is merged first, the leftmost of equals, until none is left.
// Assumes tokens given as bytes or as text (not as the letters that stand for bytes in files), merges in order of rank.
// Algorithm: Sennrich et al. 2016; long words go through a queue, so that no input takes quadratic time.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <queue>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/io/unicode.hpp"

namespace depthgrow {

/// One merge: tokens `left` and `right` side by side become `result`.
struct bpe_merge {
    std::int32_t left = 0, right = 0, result = 0;
};

/// How words become symbols, and what is done with those that are no token.
struct bpe_options {
    std::int32_t unknown = -1;              // stands for a symbol that is no token; -1: such symbols are dropped
    bool whole_words = false;               // a word that is a token is that token whatever the merges say
    bool characters = false;                // symbols are the characters of a word, not its bytes
    bool fuse_unknown = false;              // unknown symbols side by side are one
    bool byte_fallback = false;             // characters that are no token become the tokens of their bytes
    std::array<std::int32_t, 256> bytes{};  // of byte_fallback: <0x00>, <0x01>, …; -1 where there is none
};

/// A vocabulary with its merges.
class bpe {
public:
    bpe() = default;
    /// `tokens[id]` are the bytes of a token (empty: a word is never that); tokens named by no merge and longer than a
    /// symbol only decode, unless words are tokens by themselves.
    bpe(std::vector<std::string> tokens, const std::vector<bpe_merge>& merges, const bpe_options& options)
        : tokens_(std::move(tokens)), options_(options) {
        symbol_.fill(-1);
        for (std::size_t id = tokens_.size(); id-- > 0;) name_symbol(tokens_[id], static_cast<std::int32_t>(id));
        std::size_t slots = 64;
        while (slots < 2 * merges.size()) slots *= 2;
        pairs_.resize(slots);
        for (std::size_t rank = 0; rank < merges.size(); ++rank) add(merges[rank], rank);
        slots = 64;
        while (slots < 2 * tokens_.size()) slots *= 2;
        words_.resize(slots, -1);
        std::vector<std::int32_t> encoded;
        for (std::size_t id = 0; id < tokens_.size(); ++id) {
            if (tokens_[id].empty()) continue;
            encoded.clear();
            if (!options_.whole_words) merge_word(tokens_[id], encoded);
            if (options_.whole_words || (encoded.size() == 1 && encoded[0] == static_cast<std::int32_t>(id)))
                remember(id);
        }
    }
    /// Of bytes.
    bpe(std::vector<std::string> tokens, const std::vector<bpe_merge>& merges, std::int32_t unknown = -1,
        bool whole_words = false)
        : bpe(std::move(tokens), merges, bpe_options{unknown, whole_words, false, false, false, {}}) {}

    std::size_t size() const { return tokens_.size(); }
    /// The bytes of a token.
    const std::string& token(std::size_t id) const { return tokens_[id]; }
    /// The token of a single byte, -1 when there is none.
    std::int32_t byte_token(unsigned char byte) const { return symbol_[byte]; }

    /// Appends the tokens of a word.
    void encode(std::string_view word, std::vector<std::int32_t>& out) const {
        if (const std::int32_t whole = find_word(word); whole >= 0) out.push_back(whole);
        else merge_word(word, out);
    }

private:
    static constexpr std::uint32_t no_rank = std::numeric_limits<std::uint32_t>::max();
    struct pair_slot {
        std::uint64_t key = 0;
        std::uint32_t rank = no_rank;  // no_rank: an empty slot
        std::int32_t result = 0;
    };
    static std::uint64_t key_of(std::int32_t left, std::int32_t right) {
        return (static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32) | static_cast<std::uint32_t>(right);
    }
    std::size_t slot_of(std::uint64_t key) const {
        key ^= key >> 29;
        key *= 0x9e3779b97f4a7c15ull;
        std::size_t slot = static_cast<std::size_t>(key >> 32) & (pairs_.size() - 1);
        return slot;
    }
    void add(const bpe_merge& merge, std::size_t rank) {
        const std::uint64_t key = key_of(merge.left, merge.right);
        std::size_t slot = slot_of(key);
        for (; pairs_[slot].rank != no_rank; slot = (slot + 1) & (pairs_.size() - 1))
            require(pairs_[slot].key != key, "[bpe] expected every merge once, got merge ", rank, " a second time");
        pairs_[slot] = {key, static_cast<std::uint32_t>(rank), merge.result};
    }
    /// The merge of two tokens; rank no_rank when there is none.
    const pair_slot& find_pair(std::int32_t left, std::int32_t right) const {
        const std::uint64_t key = key_of(left, right);
        std::size_t slot = slot_of(key);
        while (pairs_[slot].rank != no_rank && pairs_[slot].key != key) slot = (slot + 1) & (pairs_.size() - 1);
        return pairs_[slot];
    }
    static std::size_t hash(std::string_view word) {
        std::uint64_t h = 0x9e3779b97f4a7c15ull ^ word.size();
        for (char c : word) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
        return static_cast<std::size_t>(h ^ (h >> 32));
    }
    void remember(std::size_t id) {
        std::size_t slot = hash(tokens_[id]) & (words_.size() - 1);
        while (words_[slot] >= 0) slot = (slot + 1) & (words_.size() - 1);
        words_[slot] = static_cast<std::int32_t>(id);
    }
    std::int32_t find_word(std::string_view word) const {
        std::size_t slot = hash(word) & (words_.size() - 1);
        while (words_[slot] >= 0 && tokens_[static_cast<std::size_t>(words_[slot])] != word)
            slot = (slot + 1) & (words_.size() - 1);
        return words_[slot];
    }

    void merge_word(std::string_view word, std::vector<std::int32_t>& out) const {
        if (word.size() > short_word) return merge_long(word, out);
        std::array<std::int32_t, short_word> ids;
        std::array<std::uint32_t, short_word> ranks;  // of the pair that begins here
        std::array<std::int32_t, short_word> results;
        std::size_t count = 0;
        symbols(word, [&](std::int32_t id) { ids[count++] = id; });
        const auto look = [&](std::size_t i) {
            ranks[i] = no_rank;
            if (i + 1 >= count) return;
            const pair_slot& found = find_pair(ids[i], ids[i + 1]);
            ranks[i] = found.rank, results[i] = found.result;
        };
        for (std::size_t i = 0; i < count; ++i) look(i);
        while (count > 1) {
            const auto best = static_cast<std::size_t>(
                std::min_element(ranks.begin(), ranks.begin() + static_cast<std::ptrdiff_t>(count - 1)) -
                ranks.begin());
            if (ranks[best] == no_rank) break;
            ids[best] = results[best];
            --count;
            for (std::size_t i = best + 1; i < count; ++i)
                ids[i] = ids[i + 1], ranks[i] = ranks[i + 1], results[i] = results[i + 1];
            look(best);
            if (best > 0) look(best - 1);
        }
        out.insert(out.end(), ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(count));
    }

    /// The same in n log n: candidates wait in a queue, merged symbols are unlinked.
    void merge_long(std::string_view word, std::vector<std::int32_t>& out) const {
        struct node {
            std::int32_t id;
            std::size_t before, after;
        };
        struct candidate {
            std::uint32_t rank;
            std::size_t at;
            std::int32_t left, right, result;
            bool operator<(const candidate& other) const {
                return rank != other.rank ? rank > other.rank : at > other.at;
            }
        };
        const std::size_t none = std::numeric_limits<std::size_t>::max();
        std::vector<node> nodes;
        symbols(word, [&](std::int32_t id) { nodes.push_back({id, nodes.size() - 1, nodes.size() + 1}); });
        if (nodes.empty()) return;
        nodes.back().after = none;  // nodes.front().before is `none` already
        std::priority_queue<candidate> queue;
        const auto look = [&](std::size_t at) {
            if (at == none || nodes[at].after == none) return;
            const std::int32_t left = nodes[at].id, right = nodes[nodes[at].after].id;
            const pair_slot& found = find_pair(left, right);
            if (found.rank != no_rank) queue.push({found.rank, at, left, right, found.result});
        };
        for (std::size_t i = 0; i < nodes.size(); ++i) look(i);
        while (!queue.empty()) {
            const candidate best = queue.top();
            queue.pop();
            node& left = nodes[best.at];
            if (left.id != best.left || left.after == none || nodes[left.after].id != best.right)
                continue;  // merged meanwhile
            node& right = nodes[left.after];
            left.id = best.result;
            right.id = -1;
            left.after = right.after;
            if (left.after != none) nodes[left.after].before = best.at;
            look(best.at);
            look(left.before);
        }
        for (std::size_t i = 0; i != none; i = nodes[i].after) out.push_back(nodes[i].id);
    }

    /// A token of one symbol can begin a word.
    void name_symbol(const std::string& name, std::int32_t id) {
        if (name.size() == 1 && (!options_.characters || static_cast<unsigned char>(name[0]) < 0x80))
            symbol_[static_cast<unsigned char>(name[0])] = id;
        else if (options_.characters && !name.empty())
            if (const text_character c = character_at(name, 0); c.length == name.size()) characters_[c.code] = id;
    }
    std::int32_t find_symbol(std::string_view symbol) const {
        if (symbol.size() == 1) return symbol_[static_cast<unsigned char>(symbol[0])];
        const auto found = characters_.find(character_at(symbol, 0).code);
        return found == characters_.end() ? -1 : found->second;
    }
    bool falls_back(std::string_view symbol) const {
        return options_.byte_fallback && std::all_of(symbol.begin(), symbol.end(), [&](char c) {
                   return options_.bytes[static_cast<unsigned char>(c)] >= 0;
               });
    }
    /// push(id) for what a word begins as, at most one a byte.
    template <class Push> void symbols(std::string_view word, Push push) const {
        bool waiting = false;  // an unknown symbol that others may join
        for (std::size_t i = 0; i < word.size();) {
            const std::string_view one = word.substr(i, options_.characters ? character_at(word, i).length : 1);
            i += one.size();
            if (const std::int32_t id = find_symbol(one); id >= 0) {
                if (waiting) push(options_.unknown);
                waiting = false;
                push(id);
            } else if (falls_back(one)) {  // overtakes an unknown symbol that waits, as in the tokenizers library
                for (char c : one) push(options_.bytes[static_cast<unsigned char>(c)]);
            } else if (options_.unknown >= 0) {
                if (waiting && !options_.fuse_unknown) push(options_.unknown);
                waiting = true;
            }
        }
        if (waiting) push(options_.unknown);
    }

    static constexpr std::size_t short_word = 32;
    std::vector<std::string> tokens_;
    bpe_options options_;
    std::array<std::int32_t, 256> symbol_{};                 // of one byte
    std::unordered_map<char32_t, std::int32_t> characters_;  // of several
    std::vector<pair_slot> pairs_;                           // open addressing by (left, right)
    std::vector<std::int32_t> words_;  // open addressing: tokens that are what their bytes encode to
};

}  // namespace depthgrow
