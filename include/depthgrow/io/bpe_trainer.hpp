// Training of a byte-level BPE vocabulary: the most frequent pair becomes a token, again and again.
// Assumes that the counted words fit in memory. Deterministic: of equally frequent pairs the one with the smaller ids
// wins, whatever the number of threads. Algorithm: Sennrich et al. 2016, with counts updated where a pair occurred.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <queue>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/core/span.hpp"
#include "depthgrow/io/tokenizer.hpp"

namespace depthgrow {

struct bpe_training_options {
    std::size_t vocab = 4096;                              // tokens in all: special ones, 256 bytes, merges
    std::vector<std::string> special = {"<|endoftext|>"};  // ids from 0
    bool split_digits = true;
    std::uint64_t least = 2;  // a pair must occur this often
    int threads = 1;
};

namespace detail {

using word_counts = std::unordered_map<std::string, std::uint64_t>;

/// Words of texts with their counts.
inline word_counts count_words(span<const std::string> texts, const pre_tokenizer& words, int threads) {
    struct hash {
        std::size_t operator()(std::string_view word) const { return std::hash<std::string_view>()(word); }
    };
    const auto workers = static_cast<std::size_t>(std::max(1, threads));
    std::vector<std::unordered_map<std::string_view, std::uint64_t, hash>> parts(workers);
    const auto work = [&](std::size_t worker) {
        for (std::size_t i = worker; i < texts.size(); i += workers)
            words(texts[i], [&](std::string_view word) { ++parts[worker][word]; });
    };
    std::vector<std::thread> running;
    for (std::size_t worker = 1; worker < workers; ++worker) running.emplace_back(work, worker);
    work(0);
    for (auto& thread : running) thread.join();
    word_counts out;
    for (const auto& part : parts)
        for (const auto& [word, count] : part) out[std::string(word)] += count;
    return out;
}

/// The merges of a corpus of words.
class pair_counter {
public:
    pair_counter(const word_counts& words, const std::array<std::int32_t, 256>& byte_ids) {
        for (const auto& [word, count] : words) {
            if (word.size() < 2) continue;
            std::vector<std::int32_t> symbols;
            for (char c : word) symbols.push_back(byte_ids[static_cast<unsigned char>(c)]);
            const auto index = static_cast<std::uint32_t>(words_.size());
            for (std::size_t i = 0; i + 1 < symbols.size(); ++i)
                change(symbols[i], symbols[i + 1], static_cast<std::int64_t>(count), index);
            words_.push_back({std::move(symbols), count});
        }
        for (const auto& [key, entry] : pairs_) queue_.push({entry.count, key});
    }

    /// The most frequent pair, or false when none occurs `least` times.
    bool next(std::uint64_t least, std::int32_t& left, std::int32_t& right) {
        while (!queue_.empty()) {
            const candidate best = queue_.top();
            queue_.pop();
            const std::int64_t now = pairs_[best.key].count;
            if (now != best.count) {  // it has lost occurrences since it was queued
                if (now > 0) queue_.push({now, best.key});
                continue;
            }
            if (now < static_cast<std::int64_t>(std::max<std::uint64_t>(least, 1))) return false;
            left = static_cast<std::int32_t>(best.key >> 32), right = static_cast<std::int32_t>(best.key & 0xffffffffu);
            return true;
        }
        return false;
    }

    /// Replaces the pair by `result` wherever it occurs.
    void merge(std::int32_t left, std::int32_t right, std::int32_t result) {
        auto where = std::move(pairs_[key_of(left, right)].where);
        std::sort(where.begin(), where.end());
        where.erase(std::unique(where.begin(), where.end()), where.end());
        fresh_.clear();
        for (std::uint32_t index : where) {
            auto& symbols = words_[index].symbols;
            const auto count = static_cast<std::int64_t>(words_[index].count);
            std::size_t kept = 0;
            for (std::size_t i = 0; i < symbols.size(); ++i, ++kept) {
                if (symbols[i] != left || i + 1 >= symbols.size() || symbols[i + 1] != right) {
                    symbols[kept] = symbols[i];
                    continue;
                }
                if (kept > 0)
                    change(symbols[kept - 1], left, -count, index), change(symbols[kept - 1], result, count, index);
                symbols[kept] = result;
                if (++i + 1 < symbols.size())
                    change(right, symbols[i + 1], -count, index), change(result, symbols[i + 1], count, index);
            }
            symbols.resize(kept);
        }
        pairs_[key_of(left, right)].count = 0;
        std::sort(fresh_.begin(), fresh_.end());
        fresh_.erase(std::unique(fresh_.begin(), fresh_.end()), fresh_.end());
        for (std::uint64_t key : fresh_) queue_.push({pairs_[key].count, key});
    }

private:
    struct counted_word {
        std::vector<std::int32_t> symbols;
        std::uint64_t count;
    };
    struct occurrences {
        std::int64_t count = 0;
        std::vector<std::uint32_t> where;  // words it occurs in, some of them no longer
    };
    struct candidate {
        std::int64_t count;
        std::uint64_t key;
        bool operator<(const candidate& other) const {
            return count != other.count ? count < other.count : key > other.key;
        }
    };
    static std::uint64_t key_of(std::int32_t left, std::int32_t right) {
        return (static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32) | static_cast<std::uint32_t>(right);
    }
    void change(std::int32_t left, std::int32_t right, std::int64_t count, std::uint32_t word) {
        const std::uint64_t key = key_of(left, right);
        auto& entry = pairs_[key];
        entry.count += count;
        if (count <= 0) return;
        if (entry.where.empty() || entry.where.back() != word) entry.where.push_back(word);
        fresh_.push_back(key);
    }

    std::vector<counted_word> words_;
    std::unordered_map<std::uint64_t, occurrences> pairs_;
    std::priority_queue<candidate> queue_;
    std::vector<std::uint64_t> fresh_;  // pairs that the merge in progress has created
};

}  // namespace detail

/// Trains on texts and gives the tokenizer; fewer tokens than asked for when no pair occurs often enough.
inline tokenizer train_bpe(span<const std::string> texts, const bpe_training_options& options) {
    require(options.vocab >= 256 + options.special.size(), "[train_bpe] expected a vocabulary of at least ",
            256 + options.special.size(), " (256 bytes and the special tokens), got ", options.vocab);
    json vocab = json::object(), merges = json::array();
    std::vector<std::string> tokens;                    // bytes by id
    std::unordered_map<std::string, std::int32_t> ids;  // by what the vocabulary calls them
    for (const auto& special : options.special) {
        require(!special.empty() && !vocab.contains(special), "[train_bpe] expected special tokens that differ, got \"",
                special, "\"");
        vocab[special] = tokens.size();
        ids.emplace(special, static_cast<std::int32_t>(tokens.size()));
        tokens.push_back(special);
    }
    std::vector<std::size_t> bytes(256);
    for (std::size_t b = 0; b < 256; ++b) bytes[b] = b;
    std::sort(bytes.begin(), bytes.end(),
              [](std::size_t a, std::size_t b) { return byte_letters()[a] < byte_letters()[b]; });
    std::array<std::int32_t, 256> byte_ids{};
    // A token that the vocabulary names already is that token: a special one, or the same bytes by another way.
    const auto name = [&](const std::string& spelled) {
        const auto [at, fresh] = ids.try_emplace(to_byte_letters(spelled), static_cast<std::int32_t>(tokens.size()));
        const auto id = static_cast<std::size_t>(at->second);
        if (fresh) {
            vocab[at->first] = id;
            tokens.push_back(spelled);
        }
        require(tokens[id] == spelled,
                "[train_bpe] expected special tokens that are not letters of the byte alphabet, got \"", tokens[id],
                "\", which is how a vocabulary spells other bytes: a text of those would be lost");
        return at->second;
    };
    for (std::size_t b : bytes) byte_ids[b] = name(std::string(1, static_cast<char>(static_cast<unsigned char>(b))));
    detail::pair_counter pairs(detail::count_words(texts, {options.split_digits, true}, options.threads), byte_ids);
    std::int32_t left = 0, right = 0;
    while (tokens.size() < options.vocab && pairs.next(options.least, left, right)) {
        const std::string a = tokens[static_cast<std::size_t>(left)], b = tokens[static_cast<std::size_t>(right)];
        merges.push_back({to_byte_letters(a), to_byte_letters(b)});
        pairs.merge(left, right, name(a + b));
    }
    return {json_text(tokenizer_document(std::move(vocab), std::move(merges), options.special, options.split_digits)),
            "[train_bpe]"};
}

}  // namespace depthgrow
