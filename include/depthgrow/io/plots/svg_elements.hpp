// The elements of a plot as SVG text: texts, lines, colours.
// Assumes the style sheet of html_report.hpp (colours are CSS variables, so that light and dark both read well).
// Palettes: Okabe & Ito 2008 for series, viridis (van der Walt & Smith 2015) for heat maps.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <string>
#include <string_view>

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

namespace detail {

inline std::string coordinate(double value) {
    char digits[48];
    std::snprintf(digits, sizeof digits, "%.1f", value);
    return digits;
}

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

}  // namespace detail

}  // namespace depthgrow
