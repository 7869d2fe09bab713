// Plots and the page: what is drawn, what is left out, and that nothing needs a network.
#include "depthgrow/io/html_report.hpp"

#include <cmath>

#include "io/temporary.hpp"
#include "support/catch.hpp"

using namespace depthgrow;
using temporary::refusal;
using temporary::says;

namespace {

std::size_t count_of(const std::string& text, std::string_view part) {
    std::size_t count = 0;
    for (auto at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++count;
    return count;
}

line_plot simple_plot() {
    return {"Loss",
            "step",
            "loss (nats)",
            {{"plain", {0, 1, 2, 3}, {4, 3, 2.5, 2.25}}, {"grown", {0, 1, 2, 3}, {4, 3.5, 2.5, 2.2}}},
            {{2, "8 layers"}}};
}

}  // namespace

TEST_CASE("a line plot has its labels, its series, its legend and its marker") {
    const std::string drawn = svg(simple_plot());
    for (const char* part : {">Loss<", ">step<", ">loss (nats)<", ">plain<", ">grown<", ">8 layers<", "var(--series-1)",
                             "var(--series-2)", "class=\"marker\""})
        CHECK(says(drawn, part));
    CHECK(count_of(drawn, "<path") == 2);
    CHECK(count_of(drawn, "<svg") == 1);
    CHECK(count_of(drawn, "</svg>") == 1);
}

TEST_CASE("a band is drawn around its line, within the axes, and only when it is whole") {
    auto plot = simple_plot();
    plot.series[0].low = {3.5, 2.5, 2, 1}, plot.series[0].high = {4.5, 3.5, 3, 9};
    plot.series[1].low = {1};
    const std::string drawn = svg(plot);
    CHECK(count_of(drawn, "fill-opacity") == 1);
    CHECK(count_of(drawn, "<path") == 3);
    CHECK(says(drawn, ">10<"));  // the axis reaches the band
    plot.y_scale = axis_scale::log;
    plot.series[0].low[1] = -1;  // ends at the foot of the axis
    CHECK(count_of(svg(plot), "fill-opacity") == 1);
    plot.series[0].high[1] = std::nan("");
    CHECK(svg(plot).find("nan") == std::string::npos);
}

TEST_CASE("values that are not finite are left out and never reach the page") {
    auto plot = simple_plot();
    plot.series[0].y[1] = std::nan("");
    plot.series[1].y[2] = INFINITY;
    plot.series[1].x[0] = -INFINITY;
    plot.markers.push_back({std::nan(""), "never"});
    const std::string drawn = svg(plot);
    CHECK(drawn.find("nan") == drawn.npos);
    CHECK(drawn.find("inf") == drawn.npos);
    CHECK(drawn.find("never") == drawn.npos);
}

TEST_CASE("plots without values, with one value and with equal values are drawn") {
    for (axis_scale scale : {axis_scale::linear, axis_scale::log}) {
        line_plot plot{"t", "x", "y", {}, {}, scale, scale};
        CHECK(says(svg(plot), "no finite values"));
        plot.series = {{"one", {5}, {7}}};
        CHECK(count_of(svg(plot), "<circle") == 1);
        plot.series = {{"same", {1, 2}, {7, 7}}, {"zeros", {1, 2}, {0, 0}}, {"ragged", {1, 2, 3}, {1}}};
        const std::string drawn = svg(plot);
        CHECK(drawn.find("nan") == drawn.npos);
        CHECK(drawn.find("inf") == drawn.npos);
    }
}

TEST_CASE("ticks stand at round numbers within the range") {
    detail::plot_axis axis;
    axis.fit(0, 20000, true, 6);
    std::vector<std::string> labels;
    for (const auto& tick : axis.ticks) labels.push_back(tick.second);
    CHECK(labels == std::vector<std::string>{"0", "5k", "10k", "15k", "20k"});
    detail::plot_axis small;
    small.fit(0.103, 0.298, false, 5);
    CHECK(small.low == Approx(0.1));
    CHECK(small.high == Approx(0.3));
    CHECK(small.ticks[1].second == "0.15");
    detail::plot_axis log{axis_scale::log, 0, 1, {}};
    log.fit(3, 40000, false, 5);
    labels.clear();
    for (const auto& tick : log.ticks) labels.push_back(tick.second);
    CHECK(labels == std::vector<std::string>{"1", "10", "100", "1000", "10k", "100k"});
}

TEST_CASE("long series are thinned but keep their extremes") {
    line_plot plot{"t", "x", "y", {{"long", {}, {}}}, {}};
    for (int i = 0; i < 100000; ++i) {
        plot.series[0].x.push_back(i);
        plot.series[0].y.push_back(i == 77777 ? 50 : std::sin(i));
    }
    const std::string drawn = svg(plot);
    CHECK(drawn.size() < 30000);
    plot.series[0].y[77777] = 0;
    CHECK(svg(plot) != drawn);
}

TEST_CASE("a heat map has one cell a value with its text, and marks what is missing") {
    const heat_map map{"Effects", "affected", "skipped", "change", 2, 3, {0, 0.5, 1, std::nan(""), 0.25, 2}, 0, 1};
    const std::string drawn = svg(map);
    CHECK(count_of(drawn, "<title>") == 6);
    CHECK(says(drawn, "skipped 0, affected 1: 0.5"));
    CHECK(says(drawn, "skipped 1, affected 0: no value"));
    CHECK(count_of(drawn, "var(--empty)") == 1);
    CHECK(refusal([] { svg(heat_map{"t", "", "", "", 2, 2, {1}}); }) == "[heat_map] expected 4 values, got 1");
    CHECK(says(svg(heat_map{"t", "", "", "", 0, 0, {}}), "</svg>"));
}

TEST_CASE("the colour scale ends where viridis ends") {
    CHECK(detail::viridis(0) == "#440154");
    CHECK(detail::viridis(1) == "#fde725");
    CHECK(detail::viridis(7) == "#fde725");
}

TEST_CASE("bars start at zero and show their errors and the reference") {
    const std::string drawn = svg(bar_chart{"Accuracy", "share", {"a", "b"}, {0.5, -0.25}, {0.1, 0.1}, 0.2, "chance"});
    CHECK(count_of(drawn, "<rect") == 2);
    CHECK(says(drawn, ">chance<"));
    CHECK(says(drawn, ">-0.25<"));
    bar_chart wrong;
    wrong.names = {"a"};
    CHECK(refusal([&] { svg(wrong); }) == "[bar_chart] expected 1 values, got 0");
}

TEST_CASE("a page is whole, escaped, and refers to nothing outside") {
    const temporary::folder folder;
    write_html_report(
        folder.path / "r.html",
        {"a < b & \"c\"",
         "x",
         {{"<script>", "it's", {svg(simple_plot()), html_table({{"run", "loss"}, {"<plain>", "1.5"}})}}}});
    const std::string page = temporary::content_of(folder.path / "r.html");
    CHECK(says(page, "<h1>a &lt; b &amp; &quot;c&quot;</h1>"));
    CHECK(says(page, "<h2>&lt;script&gt;</h2>"));
    CHECK(says(page, "<th>&lt;plain&gt;</th><td>1.5</td>"));
    CHECK(page.find("<script") == page.npos);
    CHECK(page.find("http") == page.npos);
    CHECK(says(page, "prefers-color-scheme: dark"));
    CHECK(page.substr(page.size() - 8) == "</html>\n");
}
