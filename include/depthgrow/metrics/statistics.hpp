// Means with their uncertainty: streaming mean and maximum, seeded bootstrap intervals, paired differences.
// Assumes C++17; one value per prompt, prompts independent. The same seed gives the same interval on every machine.
// Maths: Welford 1962; percentile bootstrap, Efron & Tibshirani 1993, chapter 13; binomial error sqrt(p(1-p)/n).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/core/rng.hpp"
#include "depthgrow/metrics/reduce.hpp"

namespace depthgrow {

/// Count, mean, maximum and variance of values that come one by one.
class running_statistics {
public:
    void add(double value) {
        ++count_;
        const double step = value - mean_;
        mean_ += step / static_cast<double>(count_);
        squares_ += step * (value - mean_);
        if (count_ == 1 || value > maximum_ || value != value) maximum_ = value;
    }

    std::size_t count() const { return count_; }
    double mean() const { return require_values(1), mean_; }
    double maximum() const { return require_values(1), maximum_; }
    /// Sample variance (n − 1).
    double variance() const { return require_values(2), squares_ / static_cast<double>(count_ - 1); }
    double standard_error() const { return std::sqrt(variance() / static_cast<double>(count_)); }

private:
    void require_values(std::size_t least) const {
        require(count_ >= least, "[running_statistics] expected at least ", least, " values, got ", count_);
    }

    std::size_t count_ = 0;
    double mean_ = 0;
    double squares_ = 0;
    double maximum_ = 0;
};

/// A mean and the ends of its confidence interval.
struct mean_interval {
    double mean = 0;
    double low = 0;
    double high = 0;
};

/// How a bootstrap draws.
struct bootstrap_options {
    std::uint64_t seed = 0;
    std::size_t resamples = 2000;
    double confidence = 0.95;
};

namespace detail {

/// Quantile of sorted values, linear between neighbours.
inline double sorted_quantile(const std::vector<double>& sorted, double fraction) {
    const double place = fraction * static_cast<double>(sorted.size() - 1);
    const auto below = static_cast<std::size_t>(place);
    const std::size_t above = below + 1 < sorted.size() ? below + 1 : below;
    return sorted[below] + (place - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

}  // namespace detail

/// Mean over prompts with its percentile bootstrap interval.
template <class Values> mean_interval bootstrap_mean(const Values& values, const bootstrap_options& options = {}) {
    const std::size_t count = values.size();
    require(count > 0, "[bootstrap_mean] expected at least 1 value, got 0");
    require(options.resamples > 0, "[bootstrap_mean] expected at least 1 resample, got 0");
    require(options.confidence > 0 && options.confidence < 1, "[bootstrap_mean] expected a confidence in (0, 1), got ",
            options.confidence);
    double sum = 0;
    for (std::size_t i = 0; i < count; ++i) {
        require(std::isfinite(detail::widen(values[i])), "[bootstrap_mean] expected finite values, got ",
                detail::widen(values[i]), " at ", i);
        sum += detail::widen(values[i]);
    }
    rng draws(options.seed);
    std::vector<double> means(options.resamples);
    for (double& mean : means) {
        double resampled = 0;
        for (std::size_t i = 0; i < count; ++i)
            resampled += detail::widen(values[static_cast<std::size_t>(draws.below(count))]);
        mean = resampled / static_cast<double>(count);
    }
    std::sort(means.begin(), means.end());
    const double tail = (1 - options.confidence) / 2;
    return {sum / static_cast<double>(count), detail::sorted_quantile(means, tail),
            detail::sorted_quantile(means, 1 - tail)};
}

/// Mean of a − b over the same prompts with its interval; an interval without 0 is a difference.
template <class A, class B>
mean_interval paired_difference(const A& a, const B& b, const bootstrap_options& options = {}) {
    detail::require_same_size("paired_difference", a, b);
    std::vector<double> differences(a.size());
    for (std::size_t i = 0; i < differences.size(); ++i) differences[i] = detail::widen(a[i]) - detail::widen(b[i]);
    return bootstrap_mean(differences, options);
}

/// Standard error of a proportion of `hits` among `trials`.
inline double binomial_standard_error(std::size_t hits, std::size_t trials) {
    require(trials > 0 && hits <= trials, "[binomial_standard_error] expected hits of at most ", trials,
            " trials (at least 1), got ", hits);
    const double p = static_cast<double>(hits) / static_cast<double>(trials);
    return std::sqrt(p * (1 - p) / static_cast<double>(trials));
}

}  // namespace depthgrow
