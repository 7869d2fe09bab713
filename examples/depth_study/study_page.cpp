#include "depth_study/study_page.hpp"

#include <algorithm>
#include <cmath>
#include <set>

#include "depthgrow/io/html_report.hpp"
#include "support/console.hpp"
#include "support/training_report.hpp"

namespace study {

namespace {

/// Every quantity over the moments, a line a variant.
std::vector<std::string> plots_over_moments(const study_file& study, const std::vector<cell>& cells,
                                            const std::vector<cell_result>& results) {
    std::vector<dg::line_plot> plots;
    std::vector<std::string> keys;
    const bool shares = study.moments.front() <= 1;
    for (std::size_t m = 0; m < study.moments.size(); ++m)
        for (const auto& row : make_table(study, cells, results, m)) {
            if (row.key == "layers" || row.key == "flops" || row.key == "seconds" || row.key == "joules") continue;
            const auto at = static_cast<std::size_t>(std::find(keys.begin(), keys.end(), row.key) - keys.begin());
            if (at == keys.size()) {
                keys.push_back(row.key);
                plots.push_back({row.title, shares ? "share of the run" : "step", "mean over seeds", {}, {}});
                for (const auto& v : study.variants) plots.back().series.push_back({v.name, {}, {}, false, true});
            }
            for (std::size_t v = 0; v < row.variants.size(); ++v) {
                if (row.variants[v].values.empty()) continue;
                auto& line = plots[at].series[v];
                const auto& mean = row.variants[v].mean;
                const double end = static_cast<double>(cells.front().run.steps);
                line.x.push_back(!shares && study.moments[m] <= 1 ? end : study.moments[m]),
                    line.y.push_back(mean.mean);
                if (std::isfinite(mean.high)) line.low.push_back(mean.low), line.high.push_back(mean.high);
            }
        }
    std::vector<std::string> out;
    for (auto& plot : plots) {
        std::erase_if(plot.series, [](const auto& line) { return line.x.empty(); });
        out.push_back(dg::svg(plot));
    }
    return out;
}

}  // namespace

void write_page(const std::filesystem::path& file, const study_file& study, const std::vector<cell>& cells,
                const std::vector<cell_result>& results) {
    dg::report_page page{study.name, "", {}};
    page.sections.push_back(
        {"Result",
         "Overlap 1 means that the last layer changes none of the five likeliest tokens; a small added loss means that "
         "middle blocks can be exchanged. ± is half of a 95 % interval by Student's t over seeds; differences are "
         "paired, seed by seed.",
         {dg::html_table(text_table(study, make_table(study, cells, results, study.moments.size() - 1), 0,
                                    study.variants.size()))}});
    if (study.moments.size() > 1)
        page.sections.push_back({"Over the run", "Each dot is a moment at which the runs were measured.",
                                 plots_over_moments(study, cells, results)});
    std::vector<tools::named_run> shown;  // the first seed of each variant
    std::set<std::string> seen;
    for (const auto& result : results)
        if (seen.insert(result.what->variant).second) shown.push_back({result.what->variant, result.found.at("log")});
    for (auto& section : tools::training_sections(shown)) page.sections.push_back(std::move(section));
    dg::write_html_report(file, page);
}

}  // namespace study
