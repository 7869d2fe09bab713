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

/// Values by layer or by start, to be averaged over seeds: by plot, then by variant.
class layer_plots {
public:
    void add(const std::string& title, const std::string& x_label, const std::string& variant, std::size_t x,
             const dg::json& value) {
        if (!value.is_number()) return;
        auto at = std::find_if(plots_.begin(), plots_.end(), [&](const auto& plot) { return plot.title == title; });
        if (at == plots_.end()) at = plots_.insert(plots_.end(), {title, x_label, {}});
        at->values[variant][x].add(value.get<double>());
    }
    std::vector<std::string> draw(const study_file& study) const {
        std::vector<std::string> out;
        for (const auto& one : plots_) {
            dg::line_plot plot{one.title, one.x_label, "mean over seeds", {}, {}};
            for (const auto& v : study.variants) {
                if (!one.values.count(v.name)) continue;
                plot.series.push_back({v.name, {}, {}});
                for (const auto& [x, mean] : one.values.at(v.name))
                    plot.series.back().x.push_back(static_cast<double>(x)), plot.series.back().y.push_back(mean.mean());
            }
            out.push_back(dg::svg(plot));
        }
        return out;
    }

private:
    struct averaged_plot {
        std::string title, x_label;
        std::map<std::string, std::map<std::size_t, dg::running_statistics>> values;
    };
    std::vector<averaged_plot> plots_;
};

/// What lenses, skips and sweeps tell layer by layer at the end of the runs.
std::vector<std::string> plots_by_layer(const study_file& study, const std::vector<cell_result>& results) {
    const std::pair<const char*, const char*> arrays[] = {
        {"/logit_lens/top5_overlap", "Top-5 overlap with the output, logit lens"},
        {"/tuned_lens/top5_overlap", "Top-5 overlap with the output, tuned lens"},
        {"/skip/future/output_mean", "Future effect on the output of skipping a layer"},
        {"/contribution/attention_ratio", "Attention's contribution"},
        {"/contribution/mlp_ratio", "The MLP's contribution"}};
    layer_plots plots;
    for (const auto& result : results) {
        const auto& last = result.found.at("moments").back();
        if (!last.contains("depth")) continue;
        for (const auto& [set, report] : last["depth"].items()) {
            for (const auto& [where, title] : arrays) {
                const dg::json::json_pointer at(where);
                if (!report.contains(at)) continue;
                for (std::size_t l = 0; l < report.at(at).size(); ++l)
                    plots.add(title + (": " + set), "layer", result.what->variant, l, report.at(at)[l]);
            }
            if (!report.contains("sweeps")) continue;
            for (const auto& one : report["sweeps"])
                plots.add(
                    "Loss added by " + one.at("kind").get<std::string>() + " " + one.at("length").dump() + ": " + set,
                    "first layer", result.what->variant, one.at("start").get<std::size_t>(),
                    one.at("added").at("mean"));
        }
    }
    return plots.draw(study);
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
    if (auto plots = plots_by_layer(study, results); !plots.empty())
        page.sections.push_back({"Layer by layer, at the end", "Means over seeds.", std::move(plots)});
    std::vector<tools::named_run> shown;  // the first seed of each variant
    std::set<std::string> seen;
    for (const auto& result : results)
        if (seen.insert(result.what->variant).second) shown.push_back({result.what->variant, result.found.at("log")});
    for (auto& section : tools::training_sections(shown)) page.sections.push_back(std::move(section));
    dg::write_html_report(file, page);
}

}  // namespace study
