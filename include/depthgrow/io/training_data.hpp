// Training data: batches of windows drawn from a mix of sources.
// A batch is a function of (seed, step): resuming needs the step and no state.
// Held out is the last part of a file, or the generator's own held-out documents; training never sees it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/core/rng.hpp"
#include "depthgrow/core/token_batch.hpp"
#include "depthgrow/io/token_list.hpp"

namespace depthgrow {

/// One source of `--mix`.
struct mix_entry {
    std::string source;
    double weight = 1;
};

/// "built-in:0.4,notes.txt:0.6" as sources and weights; a source without a weight counts 1.
inline std::vector<mix_entry> parse_mix(std::string_view value) {
    std::vector<mix_entry> out;
    for (std::size_t first = 0; first <= value.size();) {
        const std::size_t end = std::min(value.find(',', first), value.size());
        const std::string part(value.substr(first, end - first));
        first = end + 1;
        mix_entry entry{part, 1};
        if (const auto colon = part.rfind(':'); colon != part.npos) {
            entry.source = part.substr(0, colon);
            const std::string number = part.substr(colon + 1);
            char* rest = nullptr;
            entry.weight = std::strtod(number.c_str(), &rest);
            require(!number.empty() && *rest == '\0' && entry.weight > 0 && std::isfinite(entry.weight),
                    "[mix] expected SOURCE:WEIGHT with a weight above 0, got ", part);
        }
        require(!entry.source.empty(), "[mix] expected SOURCE:WEIGHT, got an empty source in ", value);
        out.push_back(entry);
    }
    return out;
}

/// How the losses of several sources become one. By token: the weighted mean over the batch's tokens, so that a source
/// with few weighted tokens, as one of answers alone, counts little. By source: each source's weighted mean counts by
/// its share of the mix.
enum class mix_loss { by_token, by_source };

/// Sources with weights, and the windows drawn from them.
class training_data {
public:
    /// Windows predict `length` tokens, T.
    training_data(std::uint64_t seed, std::size_t length) : seed_(seed), length_(length) {
        require(length > 0, "[training_data] expected windows of at least 1 token, got 0");
    }

    /// Adds a file's tokens. The last `held_out_share` of them, at least one window, is kept for evaluation.
    void add_tokens(const std::string& name, token_list tokens, double weight = 1, double held_out_share = 0.05) {
        const std::size_t window = length_ + 1;
        require(held_out_share > 0 && held_out_share < 1,
                "[training_data] expected a held-out share between 0 and 1, got ", held_out_share);
        require(tokens.size() >= 2 * window, name, ": expected at least ", 2 * window, " tokens (one window of ",
                window, " to train on and one held out), found ", tokens.size());
        const auto share = static_cast<std::size_t>(static_cast<double>(tokens.size()) * held_out_share);
        const std::size_t kept = std::min(std::max(share, window), tokens.size() - window);
        source item{name, std::move(tokens), 0, {}, {}, 0};
        item.boundary = item.tokens.size() - kept;
        add(std::move(item), weight);
    }

    /// Adds generated documents: `training(i)` and `evaluation(i)` return something with `text` and, for each of its
    /// bytes, `answer`. With `answers_only` the other bytes weigh 0. Every window begins with a document.
    template <class Training, class HeldOut>
    void add_documents(const std::string& name, Training training, HeldOut evaluation, double weight = 1,
                       bool answers_only = false, const encode_function& encode = encode_bytes) {
        source item{name, token_list(2), 0, {}, {}, 0};
        const auto packer = [answers_only, encode](auto make) {
            return [make, encode, answers_only](std::uint64_t index, std::vector<std::int32_t>& tokens,
                                                std::vector<float>& weights) {
                const auto document = make(index);
                const std::string_view text = document.text;
                for (std::size_t first = 0; first < text.size();) {
                    std::size_t end = first + 1;
                    while (end < text.size() && (document.answer[end] != 0) == (document.answer[first] != 0)) ++end;
                    encode(text.substr(first, end - first), tokens);
                    weights.resize(tokens.size(), !answers_only || document.answer[first] ? 1.0f : 0.0f);
                    first = end;
                }
            };
        };
        item.training = packer(training);
        item.held_out = packer(evaluation);
        add(std::move(item), weight);
    }

    /// By token unless told otherwise; weights of the batches of `sample` are made to fit.
    void add_losses_by(mix_loss how) { losses_by_ = how; }

    std::size_t sources() const { return sources_.size(); }
    const std::string& name(std::size_t source_index) const { return sources_.at(source_index).name; }
    /// Tokens that training may draw from; 0 for generated sources, which have no end.
    std::size_t training_tokens(std::size_t source_index) const { return sources_.at(source_index).boundary; }
    /// Windows held out, side by side; 0 for generated sources, which have no end.
    std::size_t held_out_windows(std::size_t source_index) const {
        const source& item = sources_.at(source_index);
        return item.training ? 0 : (item.tokens.size() - item.boundary - 1) / length_;
    }

    /// The batch of a step: each row picks its source by weight, then a window, both from (seed, step, row) alone.
    void sample(std::uint64_t step, std::size_t rows, token_batch& batch) const {
        require(!sources_.empty(), "[training_data] expected at least one source, got none");
        batch.resize(rows, length_);
        for (std::size_t row = 0; row < rows; ++row) {
            rng random(seed_, mix_bits(step) + row);
            const source& item = sources_[batch.sources[row] = pick(random.uniform())];
            if (item.training) fill_from_documents(item.training, random.bits() >> 1, row, batch);
            else fill_from_tokens(item.tokens, random.below(item.boundary - length_), row, batch);
        }
        if (losses_by_ == mix_loss::by_source && sources_.size() > 1) share_losses(batch);
    }

    /// Rows `first` ... `first + rows - 1` of a source's held-out windows, starting over after the last one.
    void held_out(std::size_t source_index, std::size_t first, std::size_t rows, token_batch& batch) const {
        const source& item = sources_.at(source_index);
        batch.resize(rows, length_);
        batch.sources.assign(rows, source_index);
        for (std::size_t row = 0; row < rows; ++row) {
            if (item.held_out) fill_from_documents(item.held_out, mix_bits(seed_ + first + row) >> 1, row, batch);
            else
                fill_from_tokens(item.tokens, item.boundary + (first + row) % held_out_windows(source_index) * length_,
                                 row, batch);
        }
    }

private:
    using packed_documents = std::function<void(std::uint64_t, std::vector<std::int32_t>&, std::vector<float>&)>;
    struct source {
        std::string name;
        token_list tokens;
        std::size_t boundary;                 // first held-out token
        packed_documents training, held_out;  // empty for files
        double upto;                          // sum of the weights up to and with this source
    };

    void add(source item, double weight) {
        require(weight > 0 && std::isfinite(weight), "[training_data] expected a weight above 0 for ", item.name,
                ", got ", weight);
        item.upto = (sources_.empty() ? 0 : sources_.back().upto) + weight;
        sources_.push_back(std::move(item));
    }

    /// Scales weights so that each source's sum is its share of the mix; their sum over the batch stays.
    void share_losses(token_batch& batch) const {
        const auto sums = batch.sums_by_source(sources_.size(), [](std::size_t) { return 1.0; });
        std::vector<double> factors(sums.size(), 0.0);
        double total = 0, shares = 0, before = 0;
        for (std::size_t s = 0; s < sums.size(); before = sources_[s++].upto) {
            if (sums[s] <= 0) continue;  // no row of it here, or none with a loss
            const double share = sources_[s].upto - before;
            factors[s] = share / sums[s], shares += share, total += sums[s];
        }
        for (std::size_t i = 0; i < batch.weights.size(); ++i)
            batch.weights[i] = static_cast<float>(static_cast<double>(batch.weights[i]) * total / shares *
                                                  factors[batch.sources[i / length_]]);
    }

    std::size_t pick(double draw) const {
        std::size_t chosen = 0;
        while (chosen + 1 < sources_.size() && draw * sources_.back().upto >= sources_[chosen].upto) ++chosen;
        return chosen;
    }

    void fill_from_tokens(const token_list& tokens, std::size_t first, std::size_t row, token_batch& batch) const {
        tokens.copy(first, length_ + 1, batch.tokens.data() + row * (length_ + 1));
        std::fill_n(batch.weights.data() + row * length_, length_, 1.0f);
    }

    void fill_from_documents(const packed_documents& documents, std::uint64_t index, std::size_t row,
                             token_batch& batch) const {
        std::vector<std::int32_t> tokens;
        std::vector<float> weights;
        for (std::size_t empty = 0; tokens.size() < length_ + 1; ++index) {
            const std::size_t before = tokens.size();
            documents(index, tokens, weights);
            empty = tokens.size() == before ? empty + 1 : 0;
            require(empty < 1000, "[training_data] expected documents with text, got 1000 empty ones");
        }
        std::copy_n(tokens.data(), length_ + 1, batch.tokens.data() + row * (length_ + 1));
        for (std::size_t t = 0; t < length_; ++t) batch.weights[row * length_ + t] = weights[t + 1];
    }

    std::uint64_t seed_;
    std::size_t length_;
    std::vector<source> sources_;
    mix_loss losses_by_ = mix_loss::by_token;
};

}  // namespace depthgrow
