// Lines with bands and markers over common axes, as SVG text.
// Assumes the style sheet of html_report.hpp. Values that are not finite are left out.
// Many points are thinned to the extremes of each pixel column, so that no peak is lost.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/io/plots/plot_axis.hpp"
#include "depthgrow/io/plots/svg_elements.hpp"

namespace depthgrow {

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

namespace detail {

inline bool has_band(const plot_series& line) {
    return line.low.size() == line.y.size() && line.high.size() == line.y.size() && !line.y.empty();
}

/// Axes that hold every point and band of the plot; both empty where nothing can be shown.
struct plot_axes {
    plot_axis x, y;
    bool empty = true;

    explicit plot_axes(const line_plot& plot) : x{plot.x_scale, 0, 1, {}}, y{plot.y_scale, 0, 1, {}} {
        const double none = std::numeric_limits<double>::infinity();
        double x_low = none, x_high = -none, y_low = none, y_high = -none;
        for (const auto& line : plot.series)
            for (std::size_t i = 0; i < std::min(line.x.size(), line.y.size()); ++i) {
                if (!x.shows(line.x[i]) || !y.shows(line.y[i])) continue;
                x_low = std::min(x_low, line.x[i]), x_high = std::max(x_high, line.x[i]);
                y_low = std::min(y_low, line.y[i]), y_high = std::max(y_high, line.y[i]);
                if (!has_band(line)) continue;
                if (y.shows(line.low[i])) y_low = std::min(y_low, line.low[i]);
                if (y.shows(line.high[i])) y_high = std::max(y_high, line.high[i]);
            }
        empty = !(x_low <= x_high);
        if (plot.y_from_zero && plot.y_scale == axis_scale::linear && !empty)
            y_low = std::min(y_low, 0.0), y_high = std::max(y_high, 0.0);
        x.fit(x_low, x_high, true, 6);
        y.fit(y_low, y_high, false, 5);
    }
};

/// The rectangle that the points are drawn in, in pixels.
struct plot_frame {
    double left, right, top, bottom;
    double width() const { return right - left; }
    double height() const { return bottom - top; }
    /// The point at shares of the axes.
    std::pair<double, double> at(double x, double y) const { return {left + width() * x, top + height() * (1 - y)}; }
};

/// The points of a series inside the frame, thinned to the extremes of each pixel column.
inline std::vector<std::pair<double, double>> visible_points(const plot_series& line, const plot_axes& axes,
                                                             const plot_frame& frame) {
    const plot_axis &x = axes.x, &y = axes.y;
    std::vector<std::pair<double, double>> points;
    const std::size_t count = std::min(line.x.size(), line.y.size());
    for (std::size_t i = 0; i < count; ++i)
        if (x.shows(line.x[i]) && y.shows(line.y[i]))
            points.push_back(frame.at(x.place(line.x[i]), y.place(line.y[i])));
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

/// The outline of a series' band, there along its upper and back along its lower end; what a log axis cannot show ends
/// at its foot.
inline std::string band_path(const plot_series& line, const plot_axes& axes, const plot_frame& frame) {
    const plot_axis &x = axes.x, &y = axes.y;
    std::vector<std::pair<double, double>> upper, lower;
    for (std::size_t i = 0; has_band(line) && i < std::min(line.x.size(), line.y.size()); ++i) {
        if (!x.shows(line.x[i]) || !y.shows(line.y[i]) || !y.shows(line.high[i]) || !std::isfinite(line.low[i]))
            continue;
        const double across = x.place(line.x[i]);
        upper.push_back(frame.at(across, y.place(line.high[i])));
        lower.push_back(frame.at(across, y.shows(line.low[i]) ? std::max(0.0, y.place(line.low[i])) : 0.0));
    }
    if (upper.size() < 2) return {};
    upper.insert(upper.end(), lower.rbegin(), lower.rend());
    return series_path(upper, false) + "Z";
}

/// The series' names with their colours from (left, y) on, in as many lines as they need; `y` becomes the last line's.
inline std::string plot_legend(const std::vector<plot_series>& series, double left, double right, double& y) {
    double x = left;
    std::string out;
    for (std::size_t i = 0; i < series.size(); ++i) {
        const double needed = 30 + text_width(series[i].name, 12) + 18;
        if (x + needed > right && x > left) x = left, y += 18;
        out += text("<line x1=\"", coordinate(x), "\" y1=\"", coordinate(y - 4), "\" x2=\"", coordinate(x + 22),
                    "\" y2=\"", coordinate(y - 4), "\" stroke=\"", series_colour(i), "\" stroke-width=\"3\"/>\n") +
               svg_text(x + 28, y, "start", "label", series[i].name);
        x += needed;
    }
    return out;
}

inline std::string plot_ticks(const plot_axes& axes, const plot_frame& frame) {
    std::string out;
    for (const auto& [at, label] : axes.y.ticks) {
        const double place = frame.bottom - frame.height() * axes.y.place(at);
        out += svg_line(frame.left, place, frame.right, place, "grid") +
               svg_text(frame.left - 6, place + 4, "end", "tick", label);
    }
    for (const auto& [at, label] : axes.x.ticks) {
        const double place = frame.left + frame.width() * axes.x.place(at);
        out += svg_line(place, frame.bottom, place, frame.bottom + 5, "axis") +
               svg_text(place, frame.bottom + 18, "middle", "tick", label);
    }
    return out;
}

/// Upright lines at the markers' places; a label that would run into the one before is left to the tooltip.
inline std::string plot_markers(const line_plot& plot, const plot_axis& x, const plot_frame& frame) {
    std::string out;
    double free_from = frame.left - 30;
    for (const auto& marker : plot.markers) {
        if (!x.shows(marker.x) || x.place(marker.x) < 0 || x.place(marker.x) > 1) continue;
        const double place = frame.left + frame.width() * x.place(marker.x), half = text_width(marker.label, 11) / 2;
        out += "<g><title>" + html_escape(marker.label) + "</title>" +
               svg_line(place, frame.top - 4, place, frame.bottom, "marker");
        const double middle = std::clamp(place, frame.left + half, frame.right - half);
        if (!marker.label.empty() && middle - half > free_from)
            out += svg_text(middle, frame.top - 8, "middle", "tick", marker.label), free_from = middle + half + 6;
        out += "</g>\n";
    }
    return out;
}

/// Bands first, so that no line is hidden by another's.
inline std::string plot_lines(const std::vector<plot_series>& series, const plot_axes& axes, const plot_frame& frame) {
    std::string out;
    for (std::size_t i = 0; i < series.size(); ++i)
        if (const std::string band = band_path(series[i], axes, frame); !band.empty())
            out += text("<path d=\"", band, "\" fill=\"", series_colour(i), "\" fill-opacity=\"0.18\"/>\n");
    for (std::size_t i = 0; i < series.size(); ++i) {
        const auto points = visible_points(series[i], axes, frame);
        if (points.size() > 1)
            out +=
                text("<path d=\"", series_path(points, series[i].steps), "\" fill=\"none\" stroke=\"", series_colour(i),
                     points.size() > 400 ? "\" stroke-width=\"1\" stroke-opacity=\"0.6\"" : "\" stroke-width=\"2\"",
                     " stroke-linejoin=\"round\"/>\n");
        if (series[i].dots || points.size() == 1)
            for (const auto& [px, py] : points)
                out += text("<circle cx=\"", coordinate(px), "\" cy=\"", coordinate(py), "\" r=\"3\" fill=\"",
                            series_colour(i), "\"/>\n");
    }
    return out;
}

}  // namespace detail

/// The plot as an `<svg>` element.
inline std::string svg(const line_plot& plot) {
    using namespace detail;
    const plot_axes axes(plot);
    double widest = 0, legend_y = 42;
    for (const auto& [at, label] : axes.y.ticks) widest = std::max(widest, text_width(label, 12));
    const double total = 530, left = 34 + widest, right = 512;
    const std::string legend = plot_legend(plot.series, left, right, legend_y);
    const bool labelled =
        std::any_of(plot.markers.begin(), plot.markers.end(), [](const auto& m) { return !m.label.empty(); });
    const double top = legend_y + (labelled ? 26 : 12);
    const plot_frame frame{left, right, top, top + 250};
    const double centre = (frame.left + frame.right) / 2, middle = (frame.top + frame.bottom) / 2;
    std::string out =
        svg_open(total, frame.bottom + 46, plot.title) + legend + plot_ticks(axes, frame) +
        plot_markers(plot, axes.x, frame) + svg_line(frame.left, frame.bottom, frame.right, frame.bottom, "axis") +
        svg_line(frame.left, frame.top, frame.left, frame.bottom, "axis") + plot_lines(plot.series, axes, frame);
    if (axes.empty) out += svg_text(centre, middle, "middle", "label", "no finite values");
    out += svg_text(centre, frame.bottom + 38, "middle", "label", plot.x_label);
    out += svg_text(0, 0, "middle", "label", plot.y_label,
                    text(" transform=\"translate(14 ", coordinate(middle), ") rotate(-90)\""));
    return out + "</svg>\n";
}

}  // namespace depthgrow
