// Plots as SVG text for one self-contained page: lines, bars and heat maps, no scripts.
// Assumes the style sheet of html_report.hpp (colours are CSS variables, so that light and dark both read well).
// Palettes: Okabe & Ito 2008 for series, viridis (van der Walt & Smith 2015) for heat maps. Non-finite values are left
// out.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "depthgrow/core/error.hpp"

namespace depthgrow {

/// `text` with the characters that mean something to HTML replaced.
inline std::string html_escape(std::string_view text) {
    std::string out;
    for (char c : text) {
        if (c == '&') out += "&amp;";
        else if (c == '<') out += "&lt;";
        else if (c == '>') out += "&gt;";
        else if (c == '"') out += "&quot;";
        else if (c == '\'') out += "&#39;";
        else if (static_cast<unsigned char>(c) >= 32 || c == '\n' || c == '\t') out += c;
    }
    return out;
}

enum class axis_scale { linear, log };

/// A named line.
struct plot_series {
    std::string name;
    std::vector<double> x, y;           // equally long
    bool steps = false;                 // constant from each point to the next
    bool dots = false;                  // a dot at every point
    std::vector<double> low{}, high{};  // a band around y (an interval), or empty
};

/// A vertical line at x, for example a growth.
struct plot_marker {
    double x = 0;
    std::string label;
};

/// Lines over common axes. Labels carry their units, "loss (nats per byte)".
struct line_plot {
    std::string title, x_label, y_label;
    std::vector<plot_series> series;
    std::vector<plot_marker> markers;
    axis_scale x_scale = axis_scale::linear, y_scale = axis_scale::linear;
    bool y_from_zero = false;
};

/// A matrix of numbers as coloured cells, row 0 on top.
struct heat_map {
    std::string title, x_label, y_label, value_label;
    std::size_t rows = 0, cols = 0;
    std::vector<double> values;                             // (rows, cols)
    double low = std::numeric_limits<double>::quiet_NaN();  // colour range; NaN: from the values
    double high = std::numeric_limits<double>::quiet_NaN();
};

/// Named values as horizontal bars from zero, optionally with an error and a reference line (a chance level).
struct bar_chart {
    std::string title, x_label;
    std::vector<std::string> names;
    std::vector<double> values;
    std::vector<double> errors;  // empty, or as long as values
    double reference = std::numeric_limits<double>::quiet_NaN();
    std::string reference_label;
};

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

inline std::string coordinate(double value) {
    char digits[48];
    std::snprintf(digits, sizeof digits, "%.1f", value);
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

inline double text_width(std::string_view text, double size) {  // of a sans-serif face, rounded up
    std::size_t letters = 0;
    for (char c : text) letters += (static_cast<unsigned char>(c) & 0xc0u) != 0x80u;
    return 0.58 * size * static_cast<double>(letters);
}

inline std::string svg_text(double x, double y, std::string_view anchor, std::string_view style,
                            std::string_view content, std::string_view more = "") {
    return text("<text x=\"", coordinate(x), "\" y=\"", coordinate(y), "\" text-anchor=\"", anchor, "\" class=\"",
                style, "\"", more, ">", html_escape(content), "</text>\n");
}

inline std::string svg_line(double x1, double y1, double x2, double y2, std::string_view style) {
    return text("<line x1=\"", coordinate(x1), "\" y1=\"", coordinate(y1), "\" x2=\"", coordinate(x2), "\" y2=\"",
                coordinate(y2), "\" class=\"", style, "\"/>\n");
}

inline std::string svg_open(double width, double height, std::string_view title) {
    return text("<svg viewBox=\"0 0 ", coordinate(width), " ", coordinate(height),
                "\" style=\"max-width:", coordinate(width), "px\" role=\"img\" aria-label=\"", html_escape(title),
                "\">\n", svg_text(12, 20, "start", "title", title));
}

/// Colour of series `index`: a CSS variable of the page.
inline std::string series_colour(std::size_t index) { return text("var(--series-", index % 7 + 1, ")"); }

/// viridis at `share` between 0 and 1.
inline std::string viridis(double share) {
    static constexpr unsigned char stops[][3] = {{68, 1, 84},    {72, 40, 120},  {62, 74, 137},  {49, 104, 142},
                                                 {38, 130, 142}, {31, 158, 137}, {53, 183, 121}, {109, 205, 89},
                                                 {180, 222, 44}, {253, 231, 37}};
    const double at = std::clamp(share, 0.0, 1.0) * 9;
    const auto left = std::min<std::size_t>(static_cast<std::size_t>(at), 8);
    char colour[16];
    int parts[3];
    for (std::size_t k = 0; k < 3; ++k)
        parts[k] = static_cast<int>(
            std::lround(stops[left][k] + (at - static_cast<double>(left)) * (stops[left + 1][k] - stops[left][k])));
    std::snprintf(colour, sizeof colour, "#%02x%02x%02x", static_cast<unsigned>(parts[0]) & 255u,
                  static_cast<unsigned>(parts[1]) & 255u, static_cast<unsigned>(parts[2]) & 255u);
    return colour;
}

/// The points of a series inside the frame, thinned to the extremes of each pixel column.
inline std::vector<std::pair<double, double>> visible_points(const plot_series& line, const plot_axis& x,
                                                             const plot_axis& y, double left, double width, double top,
                                                             double height) {
    std::vector<std::pair<double, double>> points;
    const std::size_t count = std::min(line.x.size(), line.y.size());
    for (std::size_t i = 0; i < count; ++i)
        if (x.shows(line.x[i]) && y.shows(line.y[i]))
            points.emplace_back(left + width * x.place(line.x[i]), top + height * (1 - y.place(line.y[i])));
    if (points.size() <= 1500 || line.steps) return points;
    std::vector<std::pair<double, double>> thin;
    for (std::size_t first = 0; first < points.size();) {
        std::size_t last = first, least = first, most = first;
        for (; last < points.size() && std::floor(points[last].first) == std::floor(points[first].first); ++last) {
            if (points[last].second < points[least].second) least = last;
            if (points[last].second > points[most].second) most = last;
        }
        thin.push_back(points[std::min(least, most)]);
        if (least != most) thin.push_back(points[std::max(least, most)]);
        first = last;
    }
    return thin;
}

inline std::string series_path(const std::vector<std::pair<double, double>>& points, bool steps) {
    std::string path;
    for (std::size_t i = 0; i < points.size(); ++i) {
        const std::string x = coordinate(points[i].first), y = coordinate(points[i].second);
        if (i == 0) path += "M" + x + " " + y;
        else path += steps ? "H" + x + "V" + y : "L" + x + " " + y;
    }
    return path;
}

inline bool has_band(const plot_series& line) {
    return line.low.size() == line.y.size() && line.high.size() == line.y.size() && !line.y.empty();
}

/// The outline of a series' band, there along its upper and back along its lower end; what a log axis cannot show ends
/// at its foot.
inline std::string band_path(const plot_series& line, const plot_axis& x, const plot_axis& y, double left, double width,
                             double top, double height) {
    std::vector<std::pair<double, double>> upper, lower;
    for (std::size_t i = 0; has_band(line) && i < std::min(line.x.size(), line.y.size()); ++i) {
        if (!x.shows(line.x[i]) || !y.shows(line.y[i]) || !y.shows(line.high[i]) || !std::isfinite(line.low[i]))
            continue;
        const double at = left + width * x.place(line.x[i]);
        upper.emplace_back(at, top + height * (1 - y.place(line.high[i])));
        lower.emplace_back(at, top + height * (1 - (y.shows(line.low[i]) ? std::max(0.0, y.place(line.low[i])) : 0.0)));
    }
    if (upper.size() < 2) return {};
    upper.insert(upper.end(), lower.rbegin(), lower.rend());
    return series_path(upper, false) + "Z";
}

}  // namespace detail

/// The plot as an `<svg>` element.
inline std::string svg(const line_plot& plot) {
    using namespace detail;
    plot_axis x{plot.x_scale, 0, 1, {}}, y{plot.y_scale, 0, 1, {}};
    const double none = std::numeric_limits<double>::infinity();
    double x_low = none, x_high = -none, y_low = none, y_high = -none;
    for (const auto& line : plot.series)
        for (std::size_t i = 0; i < std::min(line.x.size(), line.y.size()); ++i)
            if (x.shows(line.x[i]) && y.shows(line.y[i])) {
                x_low = std::min(x_low, line.x[i]), x_high = std::max(x_high, line.x[i]);
                y_low = std::min(y_low, line.y[i]), y_high = std::max(y_high, line.y[i]);
                if (!has_band(line)) continue;
                if (y.shows(line.low[i])) y_low = std::min(y_low, line.low[i]);
                if (y.shows(line.high[i])) y_high = std::max(y_high, line.high[i]);
            }
    const bool empty = !(x_low <= x_high);
    if (plot.y_from_zero && plot.y_scale == axis_scale::linear && !empty)
        y_low = std::min(y_low, 0.0), y_high = std::max(y_high, 0.0);
    x.fit(x_low, x_high, true, 6);
    y.fit(y_low, y_high, false, 5);

    double widest = 0;
    for (const auto& [at, label] : y.ticks) widest = std::max(widest, text_width(label, 12));
    const double total = 530, left = 34 + widest, right = 512, width = right - left;
    double legend_x = left, legend_y = 42;
    std::string legend;
    for (std::size_t i = 0; i < plot.series.size(); ++i) {
        const double needed = 30 + text_width(plot.series[i].name, 12) + 18;
        if (legend_x + needed > right && legend_x > left) legend_x = left, legend_y += 18;
        legend += text("<line x1=\"", coordinate(legend_x), "\" y1=\"", coordinate(legend_y - 4), "\" x2=\"",
                       coordinate(legend_x + 22), "\" y2=\"", coordinate(legend_y - 4), "\" stroke=\"",
                       series_colour(i), "\" stroke-width=\"3\"/>\n") +
                  svg_text(legend_x + 28, legend_y, "start", "label", plot.series[i].name);
        legend_x += needed;
    }
    const bool labelled =
        std::any_of(plot.markers.begin(), plot.markers.end(), [](const auto& m) { return !m.label.empty(); });
    const double top = legend_y + (labelled ? 26 : 12), height = 250, bottom = top + height;
    std::string out = svg_open(total, bottom + 46, plot.title) + legend;
    for (const auto& [at, label] : y.ticks) {
        const double place = bottom - height * y.place(at);
        out += svg_line(left, place, right, place, "grid") + svg_text(left - 6, place + 4, "end", "tick", label);
    }
    for (const auto& [at, label] : x.ticks) {
        const double place = left + width * x.place(at);
        out +=
            svg_line(place, bottom, place, bottom + 5, "axis") + svg_text(place, bottom + 18, "middle", "tick", label);
    }
    double free_from = left - 30;
    for (const auto& marker : plot.markers) {
        if (!x.shows(marker.x) || x.place(marker.x) < 0 || x.place(marker.x) > 1) continue;
        const double place = left + width * x.place(marker.x), half = text_width(marker.label, 11) / 2;
        out +=
            "<g><title>" + html_escape(marker.label) + "</title>" + svg_line(place, top - 4, place, bottom, "marker");
        const double middle = std::clamp(place, left + half, right - half);
        if (!marker.label.empty() && middle - half > free_from)
            out += svg_text(middle, top - 8, "middle", "tick", marker.label), free_from = middle + half + 6;
        out += "</g>\n";
    }
    out += svg_line(left, bottom, right, bottom, "axis") + svg_line(left, top, left, bottom, "axis");
    for (std::size_t i = 0; i < plot.series.size(); ++i)
        if (const std::string band = band_path(plot.series[i], x, y, left, width, top, height); !band.empty())
            out += text("<path d=\"", band, "\" fill=\"", series_colour(i), "\" fill-opacity=\"0.18\"/>\n");
    for (std::size_t i = 0; i < plot.series.size(); ++i) {
        const auto points = visible_points(plot.series[i], x, y, left, width, top, height);
        if (points.size() > 1)
            out += text("<path d=\"", series_path(points, plot.series[i].steps), "\" fill=\"none\" stroke=\"",
                        series_colour(i),
                        points.size() > 400 ? "\" stroke-width=\"1\" stroke-opacity=\"0.6\"" : "\" stroke-width=\"2\"",
                        " stroke-linejoin=\"round\"/>\n");
        if (plot.series[i].dots || points.size() == 1)
            for (const auto& [px, py] : points)
                out += text("<circle cx=\"", coordinate(px), "\" cy=\"", coordinate(py), "\" r=\"3\" fill=\"",
                            series_colour(i), "\"/>\n");
    }
    if (empty) out += svg_text((left + right) / 2, (top + bottom) / 2, "middle", "label", "no finite values");
    out += svg_text((left + right) / 2, bottom + 38, "middle", "label", plot.x_label);
    out += svg_text(0, 0, "middle", "label", plot.y_label,
                    text(" transform=\"translate(14 ", coordinate((top + bottom) / 2), ") rotate(-90)\""));
    return out + "</svg>\n";
}

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
