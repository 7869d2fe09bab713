// Means with their uncertainty: streaming mean and maximum, seeded bootstrap intervals, paired differences.
// Assumes C++17; one value per prompt, prompts independent. The same seed gives the same interval on every machine.
// Maths: Welford 1962; percentile bootstrap, Efron & Tibshirani 1993, chapter 13; Student 1908 for few values;
// binomial error sqrt(p(1-p)/n).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <iterator>
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

/// The 97.5 % point of Student's t with `degrees` of freedom: from tables to 30, Cornish-Fisher's series (error below
/// 1e-5) from there on.
inline double student_975(std::size_t degrees) {
    constexpr double table[] = {12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004,
                                2.262157,  2.228139, 2.200985, 2.178813, 2.160369, 2.144787, 2.131450, 2.119905,
                                2.109816,  2.100922, 2.093024, 2.085963, 2.079614, 2.073873, 2.068658, 2.063899,
                                2.059539,  2.055529, 2.051831, 2.048407, 2.045230, 2.042272};
    require(degrees > 0, "[student_975] expected at least 1 degree of freedom, got 0");
    if (degrees <= std::size(table)) return table[degrees - 1];
    const double z = 1.959964, n = static_cast<double>(degrees), z3 = z * z * z, z5 = z3 * z * z, z7 = z5 * z * z;
    return z + (z3 + z) / (4 * n) + (5 * z5 + 16 * z3 + 3 * z) / (96 * n * n) +
           (3 * z7 + 19 * z5 + 17 * z3 - 15 * z) / (384 * n * n * n);
}

/// Mean of a few independent values, as one for each seed, with its 95 % interval by Student's t, where a bootstrap
/// would be too narrow. One value alone has no interval: both ends are NaN.
template <class Values> mean_interval student_mean(const Values& values) {
    running_statistics all;
    for (const auto& value : values) all.add(detail::widen(value));
    require(all.count() > 0, "[student_mean] expected at least 1 value, got 0");
    if (all.count() == 1) return {all.mean(), std::nan(""), std::nan("")};
    const double half = student_975(all.count() - 1) * all.standard_error();
    return {all.mean(), all.mean() - half, all.mean() + half};
}

/// Standard error of a proportion of `hits` among `trials`.
inline double binomial_standard_error(std::size_t hits, std::size_t trials) {
    require(trials > 0 && hits <= trials, "[binomial_standard_error] expected hits of at most ", trials,
            " trials (at least 1), got ", hits);
    const double p = static_cast<double>(hits) / static_cast<double>(trials);
    return std::sqrt(p * (1 - p) / static_cast<double>(trials));
}

}  // namespace depthgrow
