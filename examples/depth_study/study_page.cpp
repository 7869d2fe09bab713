#include "depth_study/study_page.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "depthgrow/io/atomic_file.hpp"
#include "depthgrow/io/html_report.hpp"
#include "support/console.hpp"
#include "support/training_report.hpp"

namespace study {

namespace {

/// A mean over seeds at x, with its interval; of shares what lies from 0 to 1, the only values they have.
void add_point(dg::plot_series& line, double x, const dg::mean_interval& mean, bool share) {
    line.x.push_back(x), line.y.push_back(mean.mean);
    if (!std::isfinite(mean.high)) return;
    line.low.push_back(share ? std::max(mean.low, 0.0) : mean.low);
    line.high.push_back(share ? std::min(mean.high, 1.0) : mean.high);
}

bool begins(const std::string& text, std::initializer_list<const char*> starts) {
    return std::any_of(starts.begin(), starts.end(), [&](const char* start) { return text.rfind(start, 0) == 0; });
}

/// Every quantity over the moments, a line a variant.
std::vector<dg::line_plot> plots_over_moments(const study_file& study, const std::vector<cell>& cells,
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
                std::string title = row.title;
                if (title[0] >= 'a' && title[0] <= 'z') title[0] = static_cast<char>(title[0] - 'a' + 'A');
                plots.push_back({std::move(title), shares ? "share of the run" : "step", "mean over seeds", {}, {}});
                for (const auto& v : study.variants) plots.back().series.push_back({v.name, {}, {}, false, true});
            }
            for (std::size_t v = 0; v < row.variants.size(); ++v) {
                if (row.variants[v].values.empty()) continue;
                const double end = static_cast<double>(cells.front().moments.back());
                add_point(
                    plots[at].series[v], !shares && study.moments[m] <= 1 ? end : study.moments[m],
                    row.variants[v].mean,
                    begins(row.key, {"task/", "answers/", "late_overlap", "logit_lens_overlap", "tuned_lens_overlap"}));
            }
        }
    for (auto& plot : plots) std::erase_if(plot.series, [](const auto& line) { return line.x.empty(); });
    return plots;
}

/// Values by layer or by start, to be averaged over seeds, with 95 % intervals: by plot, then by variant.
class layer_plots {
public:
    void add(const std::string& title, const std::string& x_label, const std::string& variant, std::size_t x,
             const dg::json& value) {
        if (!value.is_number()) return;
        auto at = std::find_if(plots_.begin(), plots_.end(), [&](const auto& plot) { return plot.title == title; });
        if (at == plots_.end()) at = plots_.insert(plots_.end(), {title, x_label, {}});
        at->values[variant][x].push_back(value.get<double>());
    }
    std::vector<dg::line_plot> draw(const study_file& study) const {
        std::vector<dg::line_plot> out;
        for (const auto& one : plots_) {
            dg::line_plot plot{one.title, one.x_label, "mean over seeds", {}, {}};
            for (const auto& v : study.variants) {
                if (!one.values.count(v.name)) continue;
                auto& line = plot.series.emplace_back(dg::plot_series{v.name, {}, {}});
                for (const auto& [x, seeds] : one.values.at(v.name))
                    add_point(line, static_cast<double>(x), dg::student_mean(seeds),
                              begins(one.title, {"Accuracy", "Top-5"}));
            }
            out.push_back(std::move(plot));
        }
        return out;
    }

private:
    struct averaged_plot {
        std::string title, x_label;
        std::map<std::string, std::map<std::size_t, std::vector<double>>> values;
    };
    std::vector<averaged_plot> plots_;
};

/// What lenses, skips and sweeps tell layer by layer at the end of the runs.
std::vector<dg::line_plot> plots_by_layer(const study_file& study, const std::vector<cell_result>& results) {
    const std::pair<const char*, const char*> arrays[] = {
        {"/logit_lens/top5_overlap", "Top-5 overlap with the output, logit lens"},
        {"/tuned_lens/top5_overlap", "Top-5 overlap with the output, tuned lens"},
        {"/skip/future/output_mean", "Future effect on the output of skipping a layer"},
        {"/contribution/attention_ratio", "Attention's contribution"},
        {"/contribution/mlp_ratio", "The MLP's contribution"}};
    layer_plots plots;
    for (const auto& result : results) {
        const auto& last = result.found.at("moments").back();
        if (last.contains("tasks"))
            for (const auto& [task, score] : last["tasks"].items())
                for (std::size_t l = 0; score.contains("early_exit") && l < score["early_exit"].size(); ++l)
                    plots.add("Accuracy of answers from each layer: " + task, "layers run", result.what->variant, l,
                              score["early_exit"][l]);
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

std::vector<std::string> drawn(const std::vector<dg::line_plot>& plots) {
    std::vector<std::string> out;
    for (const auto& plot : plots) out.push_back(dg::svg(plot));
    return out;
}

/// "Held-out loss: built-in" as "held-out-loss-built-in".
std::string file_name(const std::string& title) {
    std::string out;
    for (const char c : title) {
        const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (plain) out += static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
        else if (!out.empty() && out.back() != '-') out += '-';
    }
    if (!out.empty() && out.back() == '-') out.pop_back();
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
                                 drawn(plots_over_moments(study, cells, results))});
    if (auto plots = drawn(plots_by_layer(study, results)); !plots.empty())
        page.sections.push_back(
            {"Layer by layer, at the end", "Means over seeds and their 95 % intervals.", std::move(plots)});
    std::vector<tools::named_run> shown;  // the first seed of each variant
    std::set<std::string> seen;
    for (const auto& result : results)
        if (seen.insert(result.what->variant).second) shown.push_back({result.what->variant, result.found.at("log")});
    for (auto& section : tools::training_sections(shown)) page.sections.push_back(std::move(section));
    dg::write_html_report(file, page);
}

std::size_t write_figures(const std::filesystem::path& folder, const study_file& study, const std::vector<cell>& cells,
                          const std::vector<cell_result>& results) {
    std::vector<dg::line_plot> plots;
    if (study.moments.size() > 1) plots = plots_over_moments(study, cells, results);
    for (auto& plot : plots) plot.title += ", over the run";
    for (auto& plot : plots_by_layer(study, results)) plots.push_back(std::move(plot));
    std::filesystem::create_directories(folder);
    std::map<std::string, std::size_t> uses;  // "a b" and "a-b" are different titles
    for (const auto& plot : plots) {
        auto name = file_name(plot.title);
        if (const auto before = uses[name]++; before > 0) name += "-" + std::to_string(before + 1);
        dg::write_file(folder / (name + ".svg"), dg::svg_file(dg::svg(plot)));
    }
    return plots.size();
}

}  // namespace study
