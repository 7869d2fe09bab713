// Named values as horizontal bars, as SVG text.
// Assumes the style sheet of html_report.hpp. Values that are not finite have no bar.
// Bars start at zero, so that lengths compare; errors are lines of plus and minus their value.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <limits>
#include <string>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/io/plots/plot_axis.hpp"
#include "depthgrow/io/plots/svg_elements.hpp"

namespace depthgrow {

/// Named values as horizontal bars from zero, optionally with an error and a reference line (a chance level).
struct bar_chart {
    std::string title, x_label;
    std::vector<std::string> names;
    std::vector<double> values;
    std::vector<double> errors;  // empty, or as long as values
    double reference = std::numeric_limits<double>::quiet_NaN();
    std::string reference_label;
};

/// The bar chart as an `<svg>` element.
inline std::string svg(const bar_chart& chart) {
    using namespace detail;
    require(chart.names.size() == chart.values.size(), "[bar_chart] expected ", chart.names.size(), " values, got ",
            chart.values.size());
    require(chart.errors.empty() || chart.errors.size() == chart.values.size(), "[bar_chart] expected ",
            chart.values.size(), " errors, got ", chart.errors.size());
    double low = 0, high = 0, widest = 0;
    for (std::size_t i = 0; i < chart.values.size(); ++i) {
        widest = std::max(widest, text_width(chart.names[i], 12));
        const double error = chart.errors.empty() || !std::isfinite(chart.errors[i]) ? 0 : chart.errors[i];
        if (std::isfinite(chart.values[i]))
            low = std::min(low, chart.values[i] - error), high = std::max(high, chart.values[i] + error);
    }
    if (std::isfinite(chart.reference)) low = std::min(low, chart.reference), high = std::max(high, chart.reference);
    plot_axis x;
    x.fit(low, low < high ? high : low + 1, false, 5);
    const double left = std::min(widest, 200.0) + 20, right = 460, width = right - left,
                 top = std::isfinite(chart.reference) ? 48 : 34, row = 26;
    const double bottom = top + row * static_cast<double>(chart.names.size()), zero = left + width * x.place(0);
    std::string out = svg_open(530, bottom + 46, chart.title);
    for (const auto& [at, label] : x.ticks) {
        const double place = left + width * x.place(at);
        out += svg_line(place, top, place, bottom, "grid") + svg_text(place, bottom + 18, "middle", "tick", label);
    }
    for (std::size_t i = 0; i < chart.names.size(); ++i) {
        const double y = top + row * static_cast<double>(i), value = chart.values[i];
        out += svg_text(left - 8, y + row / 2 + 4, "end", "label", chart.names[i]);
        if (!std::isfinite(value)) continue;
        const double end = left + width * x.place(value);
        out += text("<rect x=\"", coordinate(std::min(zero, end)), "\" y=\"", coordinate(y + 4), "\" width=\"",
                    coordinate(std::fabs(end - zero)), "\" height=\"", coordinate(row - 8), "\" fill=\"",
                    series_colour(0), "\"/>\n");
        double label_at = std::max(end, zero);
        if (!chart.errors.empty() && std::isfinite(chart.errors[i])) {
            const double half = width * chart.errors[i] / (x.high - x.low);
            out += svg_line(end - half, y + row / 2, end + half, y + row / 2, "error");
            label_at = std::max(label_at, end + half);
        }
        char digits[32];
        std::snprintf(digits, sizeof digits, "%.3g", value);
        out += svg_text(label_at + 6, y + row / 2 + 4, "start", "tick", digits);
    }
    if (std::isfinite(chart.reference)) {
        const double place = left + width * x.place(chart.reference);
        out += svg_line(place, top - 4, place, bottom, "marker") +
               svg_text(place, top - 8, "middle", "tick", chart.reference_label);
    }
    out += svg_line(zero, top, zero, bottom, "axis") +
           svg_text((left + right) / 2, bottom + 38, "middle", "label", chart.x_label);
    return out + "</svg>\n";
}

}  // namespace depthgrow
