// Byte-pair encoding of one word: the pair of lowest rank is merged first, the leftmost of equals, until none is left.
// Assumes tokens given as bytes (not as the letters that stand for them in files) and merges in order of their rank.
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
#include <utility>
#include <vector>

#include "depthgrow/core/error.hpp"

namespace depthgrow {

/// One merge: tokens `left` and `right` side by side become `result`.
struct bpe_merge {
    std::int32_t left = 0, right = 0, result = 0;
};

/// A vocabulary with its merges.
class bpe {
public:
    bpe() = default;
    /// `tokens[id]` are the bytes of a token; tokens named by no merge and longer than a byte only decode. `unknown`
    /// stands for a byte that is no token (-1: such bytes are dropped). With `whole_words` a word that is a token is
    /// that token whatever the merges say.
    bpe(std::vector<std::string> tokens, const std::vector<bpe_merge>& merges, std::int32_t unknown = -1, bool whole_words = false)
        : tokens_(std::move(tokens)), unknown_(unknown) {
        byte_.fill(-1);
        for (std::size_t id = tokens_.size(); id-- > 0;)
            if (tokens_[id].size() == 1) byte_[static_cast<unsigned char>(tokens_[id][0])] = static_cast<std::int32_t>(id);
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
            if (!whole_words) merge_word(tokens_[id], encoded);
            if (whole_words || (encoded.size() == 1 && encoded[0] == static_cast<std::int32_t>(id))) remember(id);
        }
    }

    std::size_t size() const { return tokens_.size(); }
    /// The bytes of a token.
    const std::string& token(std::size_t id) const { return tokens_[id]; }
    /// The token of a single byte, -1 when there is none.
    std::int32_t byte_token(unsigned char byte) const { return byte_[byte]; }

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
        while (words_[slot] >= 0 && tokens_[static_cast<std::size_t>(words_[slot])] != word) slot = (slot + 1) & (words_.size() - 1);
        return words_[slot];
    }

    void merge_word(std::string_view word, std::vector<std::int32_t>& out) const {
        if (word.size() > short_word) return merge_long(word, out);
        std::array<std::int32_t, short_word> ids;
        std::array<std::uint32_t, short_word> ranks;  // of the pair that begins here
        std::array<std::int32_t, short_word> results;
        std::size_t count = 0;
        for (char c : word)
            if (const std::int32_t id = symbol(c); id >= 0) ids[count++] = id;
        const auto look = [&](std::size_t i) {
            ranks[i] = no_rank;
            if (i + 1 >= count) return;
            const pair_slot& found = find_pair(ids[i], ids[i + 1]);
            ranks[i] = found.rank, results[i] = found.result;
        };
        for (std::size_t i = 0; i < count; ++i) look(i);
        while (count > 1) {
            const auto best = static_cast<std::size_t>(std::min_element(ranks.begin(), ranks.begin() + static_cast<std::ptrdiff_t>(count - 1)) - ranks.begin());
            if (ranks[best] == no_rank) break;
            ids[best] = results[best];
            --count;
            for (std::size_t i = best + 1; i < count; ++i) ids[i] = ids[i + 1], ranks[i] = ranks[i + 1], results[i] = results[i + 1];
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
            bool operator<(const candidate& other) const { return rank != other.rank ? rank > other.rank : at > other.at; }
        };
        const std::size_t none = std::numeric_limits<std::size_t>::max();
        std::vector<node> nodes;
        for (char c : word)
            if (const std::int32_t id = symbol(c); id >= 0) nodes.push_back({id, nodes.size() - 1, nodes.size() + 1});
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
            if (left.id != best.left || left.after == none || nodes[left.after].id != best.right) continue;  // merged meanwhile
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

    std::int32_t symbol(char c) const {
        const std::int32_t id = byte_[static_cast<unsigned char>(c)];
        return id >= 0 ? id : unknown_;
    }

    static constexpr std::size_t short_word = 32;
    std::vector<std::string> tokens_;
    std::array<std::int32_t, 256> byte_{};
    std::vector<pair_slot> pairs_;     // open addressing by (left, right)
    std::vector<std::int32_t> words_;  // open addressing: tokens that are what their bytes encode to
    std::int32_t unknown_ = -1;
};

}  // namespace depthgrow
