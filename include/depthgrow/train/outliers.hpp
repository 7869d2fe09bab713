// How far a step's loss or gradient norm lies from those of the steps before it: spikes, and steps better left out.
// Assumes numbers of one run in order; those of the last `window` steps are looked back upon.
// Source: the skipped steps of OLMo 2 (Walsh et al. 2024, arXiv 2501.00656, section 3.1): z-scores in a rolling window.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>
#include <vector>

namespace depthgrow {

class recent_numbers {
public:
    static constexpr std::size_t default_window = 128;

    explicit recent_numbers(std::size_t window = default_window) : window_(std::max<std::size_t>(2, window)) {}

    /// Numbers that are not finite are left out.
    void add(double number) {
        if (!std::isfinite(number)) return;
        if (numbers_.size() == window_) numbers_.erase(numbers_.begin());
        numbers_.push_back(number);
    }
    void clear() { numbers_.clear(); }

    /// Whether there are enough of them to judge by: a quarter of the window.
    bool enough() const { return 4 * numbers_.size() >= window_ && numbers_.size() > 1; }
    double mean() const {
        double sum = 0;
        for (double number : numbers_) sum += number;
        return sum / static_cast<double>(numbers_.size());
    }
    /// With one number less in the divisor.
    double standard_deviation() const {
        const double centre = mean();
        double squares = 0;
        for (double number : numbers_) squares += (number - centre) * (number - centre);
        return std::sqrt(squares / static_cast<double>(numbers_.size() - 1));
    }
    /// Standard deviations above the mean; 0 while there are too few numbers, and where all of them are equal.
    double z_score(double number) const {
        if (!enough()) return 0;
        const double deviation = standard_deviation();
        return deviation > 0 ? (number - mean()) / deviation : 0;
    }
    /// The number at a z-score; 0 while there are too few, and where all of them are equal.
    double at_z_score(double z) const {
        if (!enough()) return 0;
        const double deviation = standard_deviation();
        return deviation > 0 ? mean() + z * deviation : 0;
    }

    /// The numbers, oldest first, for a run that is to go on; the newest of too many are kept.
    const std::vector<double>& numbers() const { return numbers_; }
    void restore(std::vector<double> numbers) {
        const std::size_t surplus = numbers.size() > window_ ? numbers.size() - window_ : 0;
        numbers.erase(numbers.begin(), numbers.begin() + static_cast<std::ptrdiff_t>(surplus));
        numbers_ = std::move(numbers);
    }

private:
    std::size_t window_;
    std::vector<double> numbers_;
};

}  // namespace depthgrow
