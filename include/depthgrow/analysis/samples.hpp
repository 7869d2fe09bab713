// Means over prompts with bootstrap intervals, streamed: memory does not grow with the number of prompts.
// Assumes independent prompts, of which there are as many as announced; a prompt of more tokens weighs more, as in
// means over all tokens. Every resample draws prompts with replacement; tables of one seed and size draw alike.
// Maths: percentile bootstrap, Efron & Tibshirani 1993, chapter 13; multinomial counts as conditional binomials.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "depthgrow/metrics/statistics.hpp"

namespace depthgrow {

/// How often each of `prompts` prompts is drawn in every resample, prompt by prompt, without a table of all draws.
class resample_counts {
public:
    resample_counts(std::size_t prompts, const bootstrap_options& options)
        : to_come_(prompts), left_(options.resamples, prompts), counts_(options.resamples) {
        for (std::size_t s = 0; s < options.resamples; ++s) draws_.emplace_back(options.seed, s);
    }
    /// The next prompt's count in every resample.
    const std::vector<std::size_t>& next() {
        require(to_come_ > 0, "[resample_counts] expected no more prompts than were announced, got another");
        for (std::size_t s = 0; s < counts_.size(); ++s) {
            counts_[s] = to_come_ == 1 ? left_[s] : binomial(draws_[s], left_[s], 1.0 / static_cast<double>(to_come_));
            left_[s] -= counts_[s];
        }
        --to_come_;
        return counts_;
    }
    std::size_t to_come() const { return to_come_; }

private:
    /// Successes among `trials` of probability `share`, by inversion: about one step on average here.
    static std::size_t binomial(rng& draws, std::size_t trials, double share) {
        double at = draws.uniform(), chance = std::pow(1 - share, static_cast<double>(trials));
        std::size_t hits = 0;
        while (at >= chance && hits < trials) {
            at -= chance;
            ++hits;
            chance *= static_cast<double>(trials - hits + 1) / static_cast<double>(hits) * share / (1 - share);
        }
        return hits;
    }

    std::size_t to_come_;
    std::vector<rng> draws_;
    std::vector<std::size_t> left_, counts_;
};

/// Means of several quantities and their intervals; the mean of a column is Σ sums / Σ weights over prompts.
/// Memory: resamples × columns numbers.
class sample_table {
public:
    sample_table() : sample_table(0, 0, {}) {}
    sample_table(std::size_t columns, std::size_t prompts, const bootstrap_options& options)
        : options_(options),
          prompts_(prompts),
          counts_(prompts, options),
          sums_(columns),
          drawn_(options.resamples * columns),
          drawn_weight_(options.resamples) {
        require(options.confidence > 0 && options.confidence < 1,
                "[sample_table] expected a confidence in (0, 1), got ", options.confidence);
    }

    std::size_t columns() const { return sums_.size(); }
    /// Prompts that the table was made for.
    std::size_t prompts() const { return prompts_; }
    std::size_t resamples() const { return options_.resamples; }

    /// Adds the next prompt: each column's sum, and the number of tokens that the sums are over.
    void add(const std::vector<double>& sums, double weight) { add(span<const double>(sums), weight); }
    void add(span<const double> sums, double weight) {
        require(sums.size() == columns(), "[sample_table] expected ", columns(), " sums, got ", sums.size());
        const auto& counts = counts_.next();
        for (std::size_t c = 0; c < columns(); ++c) sums_[c] += sums[c];
        weight_ += weight;
        for (std::size_t s = 0; s < counts.size(); ++s) {
            if (counts[s] == 0) continue;
            const auto times = static_cast<double>(counts[s]);
            double* row = drawn_.data() + s * columns();
            for (std::size_t c = 0; c < columns(); ++c) row[c] += times * sums[c];
            drawn_weight_[s] += times * weight;
        }
    }

    double mean(std::size_t column) const { return finished(), sums_[column] / weight_; }
    std::vector<double> means() const {
        std::vector<double> out(columns());
        for (std::size_t c = 0; c < columns(); ++c) out[c] = mean(c);
        return out;
    }
    /// Sums of one resample, one a column.
    span<const double> drawn(std::size_t resample) const {
        return finished(), span<const double>(drawn_.data() + resample * columns(), columns());
    }
    double drawn_mean(std::size_t resample, std::size_t column) const {
        return drawn(resample)[column] / drawn_weight_[resample];
    }

    /// A column's mean with its interval over resampled prompts.
    mean_interval interval(std::size_t column) const {
        return interval_of(mean(column), [&](std::size_t s) { return drawn_mean(s, column); });
    }
    std::vector<mean_interval> intervals() const {
        std::vector<mean_interval> out;
        for (std::size_t c = 0; c < columns(); ++c) out.push_back(interval(c));
        return out;
    }
    /// The interval of any statistic, given its value and that of a resample: statistic(resample).
    template <class Statistic> mean_interval interval_of(double value, Statistic statistic) const {
        finished();
        require(resamples() > 0, "[sample_table] expected at least 1 resample, got 0");
        std::vector<double> values(resamples());
        for (std::size_t s = 0; s < values.size(); ++s) values[s] = statistic(s);
        std::sort(values.begin(), values.end());
        const double tail = (1 - options_.confidence) / 2;
        return {value, detail::sorted_quantile(values, tail), detail::sorted_quantile(values, 1 - tail)};
    }
    /// Refuses another table whose resamples are not of the same prompts.
    void require_same_draws(const sample_table& other) const {
        require(prompts_ == other.prompts_ && options_.seed == other.options_.seed && resamples() == other.resamples(),
                "[sample_table] expected the same prompts, seed and resamples for both, got ", prompts_, " and ",
                other.prompts_, " prompts, seeds ", options_.seed, " and ", other.options_.seed, ", ", resamples(),
                " and ", other.resamples(), " resamples");
    }

private:
    void finished() const {
        require(prompts_ > 0 && counts_.to_come() == 0,
                "[sample_table] expected all of at least 1 prompt to be added, got ", prompts_ - counts_.to_come(),
                " of ", prompts_);
    }

    bootstrap_options options_;
    std::size_t prompts_;
    resample_counts counts_;
    std::vector<double> sums_;
    double weight_ = 0;
    std::vector<double> drawn_, drawn_weight_;  // (resamples, columns), (resamples)
};

/// Mean of a column of `a` minus one of `b` on the same prompts, resampled together; an interval without 0 is a
/// difference.
inline mean_interval paired_difference(const sample_table& a, std::size_t column_a, const sample_table& b,
                                       std::size_t column_b) {
    a.require_same_draws(b);
    return a.interval_of(a.mean(column_a) - b.mean(column_b),
                         [&](std::size_t s) { return a.drawn_mean(s, column_a) - b.drawn_mean(s, column_b); });
}

}  // namespace depthgrow
