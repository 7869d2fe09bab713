// An axis of a plot: its range, linear or logarithmic, and ticks at round numbers.
// Assumes C++17 and a range of finite numbers; numbers that are not finite are not on an axis.
// Ticks are 1, 2 or 5 times a power of ten; on a logarithmic axis of many decades, powers of ten.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

namespace depthgrow {

enum class axis_scale { linear, log };

namespace detail {

/// A number as an axis shows it: as many digits as the distance between ticks needs, in a unit that suits the
/// largest number of the axis ("170k", "2.1M").
inline std::string tick_text(double value, double step, double largest) {
    const double size = std::max(largest, step);
    const char* suffix = size >= 1e9 ? "G" : size >= 1e6 ? "M" : size >= 1e4 ? "k" : "";
    const double unit = size >= 1e9 ? 1e9 : size >= 1e6 ? 1e6 : size >= 1e4 ? 1e3 : 1;
    if (value == 0) return "0";
    char digits[48];
    if (size < 1e-4 || size >= 1e13) {
        std::snprintf(digits, sizeof digits, "%.2g", value);
        return digits;
    }
    const int places = std::clamp(static_cast<int>(std::ceil(-std::log10(step / unit) - 1e-9)), 0, 8);
    std::snprintf(digits, sizeof digits, "%.*f%s", places, value / unit, suffix);
    return digits;
}

/// One axis: its range, its ticks and where a value lies between 0 and 1.
struct plot_axis {
    axis_scale scale = axis_scale::linear;
    double low = 0, high = 1;
    std::vector<std::pair<double, std::string>> ticks;

    bool shows(double value) const { return std::isfinite(value) && (scale == axis_scale::linear || value > 0); }
    double place(double value) const {
        return scale == axis_scale::log ? (std::log(value) - std::log(low)) / (std::log(high) - std::log(low))
                                        : (value - low) / (high - low);
    }

    /// Chooses range and ticks around the values [least, most]; `tight` keeps the range at the values.
    void fit(double least, double most, bool tight, int wanted) {
        if (scale == axis_scale::log && !(least > 0)) least = most > 0 ? most / 10 : 1;
        if (!(least <= most)) least = scale == axis_scale::log ? 1 : 0, most = scale == axis_scale::log ? 10 : 1;
        if (least == most) {
            const double margin = scale == axis_scale::log ? 0 : std::max(std::fabs(least) * 0.1, 1e-6);
            low = scale == axis_scale::log ? least / 2 : least - margin;
            high = scale == axis_scale::log ? most * 2 : most + margin;
        } else {
            low = least;
            high = most;
        }
        if (scale == axis_scale::log) fit_log(tight);
        else fit_linear(tight, wanted);
    }

private:
    void fit_linear(bool tight, int wanted) {
        const double raw = (high - low) / wanted, power = std::pow(10.0, std::floor(std::log10(raw)));
        const double step = power * (raw / power <= 1.0001   ? 1
                                     : raw / power <= 2.0001 ? 2
                                     : raw / power <= 5.0001 ? 5
                                                             : 10);
        if (!tight) low = std::floor(low / step + 1e-9) * step, high = std::ceil(high / step - 1e-9) * step;
        for (double at = std::ceil(low / step - 1e-9) * step; at <= high + step * 1e-6; at += step) {
            const double value = std::fabs(at) < step * 1e-6 ? 0 : at;
            ticks.emplace_back(value, tick_text(value, step, std::max(std::fabs(low), std::fabs(high))));
        }
    }
    void fit_log(bool tight) {
        const bool few = high / low < 50;
        if (!tight && !few)
            low = std::pow(10.0, std::floor(std::log10(low) + 1e-9)),
            high = std::pow(10.0, std::ceil(std::log10(high) - 1e-9));
        if (!tight && few) low /= 1.05, high *= 1.05;
        const int decades = static_cast<int>(std::log10(high / low)) + 1, stride = std::max(1, decades / 8);
        for (int power = static_cast<int>(std::floor(std::log10(low)));
             power <= static_cast<int>(std::ceil(std::log10(high))); power += few ? 1 : stride)
            for (int digit : {1, 2, 3, 5, 7}) {
                if (digit > 1 && (!few || (high / low > 8 && (digit == 3 || digit == 7)))) continue;
                const double at = digit * std::pow(10.0, power);
                if (at >= low * 0.9999 && at <= high * 1.0001)
                    ticks.emplace_back(at, tick_text(at, std::pow(10.0, power), at));
            }
        if (ticks.size() < 3) ticks.clear(), fit_linear(true, 5);  // a range too narrow for round numbers of a decade
    }
};

}  // namespace detail

}  // namespace depthgrow
