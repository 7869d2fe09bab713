// A report as one HTML page: headings, sentences, tables and SVG plots; no scripts, no network.
// Assumes plots made by plots/, whose classes and colour variables the style sheet here defines.
// Light and dark follow the reader's setting; series colours are those of Okabe & Ito 2008.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/io/atomic_file.hpp"
#include "depthgrow/io/plots/bar_chart.hpp"
#include "depthgrow/io/plots/heat_map.hpp"
#include "depthgrow/io/plots/line_plot.hpp"

namespace depthgrow {

/// A heading, a sentence on what is seen, and what shows it (plots and tables as HTML, in order).
struct report_section {
    std::string heading;
    std::string sentence;
    std::vector<std::string> figures;
};

/// A whole page.
struct report_page {
    std::string title;
    std::string sentence;
    std::vector<report_section> sections;
};

/// A table as HTML: the first row is the heading, the first column the row names, the rest is aligned as numbers.
inline std::string html_table(const std::vector<std::vector<std::string>>& rows) {
    std::string out = "<div class=\"wide\"><table>\n";
    for (std::size_t r = 0; r < rows.size(); ++r) {
        out += "<tr>";
        for (std::size_t c = 0; c < rows[r].size(); ++c) {
            const bool head = r == 0 || c == 0;
            out += text(head ? "<th>" : "<td>", html_escape(rows[r][c]), head ? "</th>" : "</td>");
        }
        out += "</tr>\n";
    }
    return out + "</table></div>\n";
}

namespace detail {

/// Of plots alone: colours by the reader's setting, texts, lines.
inline constexpr const char* plot_style = R"(
:root { color-scheme: light dark; --page: #ffffff; --ink: #1b1f24; --soft: #5a6472; --grid: #e3e7ec; --empty: #eef0f3;
  --marker: #8a93a0;
    --series-1: #0072b2; --series-2: #d55e00; --series-3: #009e73; --series-4: #cc79a7; --series-5: #e69f00;
  --series-6: #56b4e9; --series-7: #1b1f24; }
@media (prefers-color-scheme: dark) { :root { --page: #14171c; --ink: #e6e9ee; --soft: #a4aebb; --grid: #2b313a;
  --empty: #232830; --marker: #77818e;
    --series-1: #56b4e9; --series-2: #e69f00; --series-3: #1fbf8f; --series-4: #cc79a7; --series-5: #f0e442;
  --series-6: #e8702a; --series-7: #e6e9ee; } }
svg text { font-family: system-ui, "DejaVu Sans", sans-serif; fill: var(--ink); } svg .title { font-size: 15px;
  font-weight: 600; } svg .label { font-size: 12px; }
svg .tick { font-size: 11px; fill: var(--soft); } svg .grid { stroke: var(--grid); } svg .axis { stroke: var(--soft);
  } svg .error { stroke: var(--ink); } svg .marker { stroke: var(--marker); stroke-dasharray: 4 3; }
)";

inline constexpr const char* page_style = R"(
body { margin: 0 auto; padding: 24px 20px 60px; max-width: 1100px; background: var(--page); color: var(--ink); font:
  16px/1.5 system-ui, "DejaVu Sans", sans-serif; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 8px; } h2 { font-size: 19px; margin: 36px 0 4px; } p { margin:
  4px 0 12px; max-width: 75ch; }
.figures { display: flex; flex-wrap: wrap; gap: 20px; align-items: flex-start; } svg { width: 100%; height: auto;
  flex: 1 1 min(480px, 100%); min-width: 0; }
.wide { overflow-x: auto; max-width: 100%; } table { border-collapse: collapse; font-variant-numeric: tabular-nums;
  font-size: 14px; }
th, td { padding: 4px 12px; border-bottom: 1px solid var(--grid); text-align: right; } th { font-weight: 600; }
  th:first-child { text-align: left; }
)";

}  // namespace detail

/// The page as text.
inline std::string html_page(const report_page& page) {
    std::string out = text(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" "
        "content=\"width=device-width, initial-scale=1\">\n<title>",
        html_escape(page.title), "</title>\n<style>", detail::plot_style, detail::page_style,
        "</style>\n</head>\n<body>\n<h1>", html_escape(page.title), "</h1>\n");
    if (!page.sentence.empty()) out += text("<p>", html_escape(page.sentence), "</p>\n");
    for (const auto& section : page.sections) {
        out += text("<section>\n<h2>", html_escape(section.heading), "</h2>\n");
        if (!section.sentence.empty()) out += text("<p>", html_escape(section.sentence), "</p>\n");
        out += "<div class=\"figures\">\n";
        for (const auto& figure : section.figures) out += figure;
        out += "</div>\n</section>\n";
    }
    return out + "</body>\n</html>\n";
}

/// A plot of plots/ as a file of its own: with its style sheet, and a ground under it.
inline std::string svg_file(const std::string& plot) {
    const std::size_t inside = plot.find('>');
    require(plot.compare(0, 5, "<svg ") == 0 && inside != plot.npos, "[svg_file] expected an <svg> element, got ",
            plot.substr(0, 20));
    return text("<svg xmlns=\"http://www.w3.org/2000/svg\" ", plot.substr(5, inside - 4), "\n<style>",
                detail::plot_style, "</style>\n<rect width=\"100%\" height=\"100%\" fill=\"var(--page)\"/>",
                plot.substr(inside + 1));
}

/// Writes the page, whole or not at all.
inline void write_html_report(const std::filesystem::path& path, const report_page& page) {
    write_file(path, html_page(page));
}

}  // namespace depthgrow
