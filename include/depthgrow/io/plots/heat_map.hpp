// A matrix of numbers as coloured cells with a colour bar, as SVG text.
// Assumes the style sheet of html_report.hpp. Values that are not finite have a colour of their own.
// Palette: viridis (van der Walt & Smith 2015), from the lowest value shown to the highest.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <string>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/io/plots/plot_axis.hpp"
#include "depthgrow/io/plots/svg_elements.hpp"

namespace depthgrow {

/// A matrix of numbers as coloured cells, row 0 on top.
struct heat_map {
    std::string title, x_label, y_label, value_label;
    std::size_t rows = 0, cols = 0;
    std::vector<double> values;                             // (rows, cols)
    double low = std::numeric_limits<double>::quiet_NaN();  // colour range; NaN: from the values
    double high = std::numeric_limits<double>::quiet_NaN();
};

/// The heat map as an `<svg>` element; every cell tells its row, column and value when pointed at.
inline std::string svg(const heat_map& map) {
    using namespace detail;
    require(map.values.size() == map.rows * map.cols, "[heat_map] expected ", map.rows * map.cols, " values, got ",
            map.values.size());
    double low = map.low, high = map.high, least = std::numeric_limits<double>::infinity(), most = -least;
    for (double value : map.values)
        if (std::isfinite(value)) least = std::min(least, value), most = std::max(most, value);
    if (!std::isfinite(low)) low = std::isfinite(least) ? least : 0;
    if (!std::isfinite(high)) high = std::isfinite(most) ? most : 1;
    if (!(low < high)) high = low + 1;
    const double longest = static_cast<double>(std::max<std::size_t>({map.rows, map.cols, 1}));
    const double cell = std::clamp(400 / longest, 4.0, 36.0), left = 58, top = 34;
    const double width = cell * static_cast<double>(map.cols), height = cell * static_cast<double>(map.rows),
                 bottom = top + height;
    plot_axis scale;
    scale.fit(low, high, true, 6);
    const double bar = left + width + 24, bar_height = std::max(height, 90.0);
    std::string out = svg_open(std::max(bar + 110, 24 + text_width(map.title, 15)), top + bar_height + 48, map.title);
    for (std::size_t r = 0; r < map.rows; ++r)
        for (std::size_t c = 0; c < map.cols; ++c) {
            const double value = map.values[r * map.cols + c];
            const std::string colour = std::isfinite(value) ? viridis((value - low) / (high - low)) : "var(--empty)";
            out += text("<rect x=\"", coordinate(left + cell * static_cast<double>(c)), "\" y=\"",
                        coordinate(top + cell * static_cast<double>(r)), "\" width=\"", coordinate(cell + 0.2),
                        "\" height=\"", coordinate(cell + 0.2), "\" fill=\"", colour, "\"><title>",
                        html_escape(map.y_label), " ", r, ", ", html_escape(map.x_label), " ", c, ": ",
                        std::isfinite(value) ? text(value) : std::string("no value"), "</title></rect>\n");
        }
    const auto stride = static_cast<std::size_t>(std::max(1.0, std::ceil(24 / cell)));
    const std::size_t every = stride <= 2 ? stride : stride <= 4 ? 4 : stride <= 5 ? 5 : 10;
    for (std::size_t c = 0; c < map.cols; c += every)
        out += svg_text(left + cell * (static_cast<double>(c) + 0.5), bottom + 16, "middle", "tick", text(c));
    for (std::size_t r = 0; r < map.rows; r += every)
        out += svg_text(left - 6, top + cell * (static_cast<double>(r) + 0.5) + 4, "end", "tick", text(r));
    for (int i = 0; i < 40; ++i)
        out += text("<rect x=\"", coordinate(bar), "\" y=\"", coordinate(top + bar_height * (39 - i) / 40),
                    "\" width=\"14\" height=\"", coordinate(bar_height / 40 + 0.3), "\" fill=\"", viridis(i / 39.0),
                    "\"/>\n");
    for (const auto& [at, label] : scale.ticks)
        out += svg_text(bar + 20, top + bar_height * (1 - scale.place(at)) + 4, "start", "tick", label);
    out += svg_text(0, 0, "middle", "label", map.value_label,
                    text(" transform=\"translate(", coordinate(bar + 76), " ", coordinate(top + bar_height / 2),
                         ") rotate(-90)\""));
    out += svg_text(left + width / 2, bottom + 36, "middle", "label", map.x_label);
    out += svg_text(0, 0, "middle", "label", map.y_label,
                    text(" transform=\"translate(18 ", coordinate(top + height / 2), ") rotate(-90)\""));
    return out + "</svg>\n";
}

}  // namespace depthgrow
