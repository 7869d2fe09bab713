// Means over prompts with their intervals: one row of sums a prompt, resampled by prompt.
// Assumes independent prompts; a prompt of more tokens weighs more, as in means over all tokens.
// Maths: percentile bootstrap, Efron & Tibshirani 1993, chapter 13.
#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "depthgrow/metrics/statistics.hpp"

namespace depthgrow {

/// Sums of several quantities, prompt by prompt; the mean of a quantity is Σ sums / Σ counts.
class sample_table {
public:
    explicit sample_table(std::size_t columns = 0) : columns_(columns) {}

    std::size_t columns() const { return columns_; }
    std::size_t prompts() const { return rows_.size(); }
    /// Adds one prompt: a sum for each column, and the number of tokens that each is over.
    void add(std::vector<double> sums, std::vector<double> counts) {
        require(sums.size() == columns_ && counts.size() == columns_, "[sample_table] expected ", columns_, " sums and counts, got ", sums.size(), " and ", counts.size());
        rows_.push_back({std::move(sums), std::move(counts)});
    }
    std::vector<double> means() const { return means_of(all()); }
    /// 95 % interval of every column over resampled prompts (seeded).
    std::vector<mean_interval> intervals(const bootstrap_options& options = {}) const {
        const auto centre = means();
        std::vector<std::vector<double>> drawn(columns_, std::vector<double>(options.resamples));
        rng draws(options.seed);
        auto picks = all();
        for (std::size_t s = 0; s < options.resamples; ++s) {
            for (auto& pick : picks) pick = static_cast<std::size_t>(draws.below(rows_.size()));
            const auto means = means_of(picks);
            for (std::size_t c = 0; c < columns_; ++c) drawn[c][s] = means[c];
        }
        std::vector<mean_interval> out;
        const double tail = (1 - options.confidence) / 2;
        for (std::size_t c = 0; c < columns_; ++c) {
            std::sort(drawn[c].begin(), drawn[c].end());
            out.push_back({centre[c], detail::sorted_quantile(drawn[c], tail), detail::sorted_quantile(drawn[c], 1 - tail)});
        }
        return out;
    }
    /// One prompt's own mean of a column.
    double prompt_mean(std::size_t prompt, std::size_t column) const { return rows_[prompt].sums[column] / rows_[prompt].counts[column]; }

private:
    struct row {
        std::vector<double> sums, counts;
    };
    std::vector<std::size_t> all() const {
        require(!rows_.empty(), "[sample_table] expected at least 1 prompt, got 0");
        std::vector<std::size_t> picks(rows_.size());
        for (std::size_t i = 0; i < picks.size(); ++i) picks[i] = i;
        return picks;
    }
    std::vector<double> means_of(const std::vector<std::size_t>& picks) const {
        std::vector<double> sums(columns_), counts(columns_);
        for (std::size_t p : picks)
            for (std::size_t c = 0; c < columns_; ++c) sums[c] += rows_[p].sums[c], counts[c] += rows_[p].counts[c];
        for (std::size_t c = 0; c < columns_; ++c) sums[c] /= counts[c];
        return sums;
    }

    std::size_t columns_;
    std::vector<row> rows_;
};

}  // namespace depthgrow
