#include "support/training_report.hpp"

#include <algorithm>
#include <fstream>

#include "support/console.hpp"
#include "support/run_folder.hpp"

namespace tools {

namespace {

struct run_curves {
    dg::plot_series loss, held_out, layers, accuracy;
    std::vector<dg::plot_marker> growths;
};

run_curves make_curves(const named_run& run) {
    run_curves curves;
    for (const auto& value : thinned_log(run.log)) {
        if (value.contains("growth")) {
            curves.growths.push_back(
                {value["growth"].value("step", 0.0), std::to_string(value["growth"].value("layers", 0)) + " layers"});
        } else if (value.contains("loss")) {
            curves.loss.x.push_back(value.value("step", 0.0));
            curves.loss.y.push_back(value["loss"].is_number() ? value["loss"].get<double>() : NAN);
            const double depth = value.value("layers", 0.0), first = value.value("first_step", curves.loss.x.back());
            if (curves.layers.y.empty() || curves.layers.y.back() != depth)
                curves.layers.x.push_back(first - 1), curves.layers.y.push_back(depth);
        } else if (value.contains("validation_loss")) {
            curves.held_out.x.push_back(value.value("step", 0.0));
            curves.held_out.y.push_back(value["validation_loss"].is_number() ? value["validation_loss"].get<double>()
                                                                             : NAN);
            if (value.contains("answer_accuracy") && !value["answer_accuracy"].empty()) {
                double sum = 0;
                for (const auto& [task, share] : value["answer_accuracy"].items()) sum += share.get<double>();
                curves.accuracy.x.push_back(curves.held_out.x.back());
                curves.accuracy.y.push_back(sum / static_cast<double>(value["answer_accuracy"].size()));
            }
        }
    }
    if (!curves.loss.x.empty())
        curves.layers.x.push_back(curves.loss.x.back()), curves.layers.y.push_back(curves.layers.y.back());
    curves.layers.steps = true;
    curves.held_out.dots = curves.accuracy.dots = true;
    curves.loss.name = curves.held_out.name = curves.layers.name = curves.accuracy.name = run.name;
    return curves;
}

/// A table of the log's outliers, at most forty; its first row is the head.
std::vector<std::vector<std::string>> outlier_rows(const dg::json& log) {
    std::vector<std::vector<std::string>> rows = {{"step", "loss", "above", "gradient norm", "above", ""}};
    for (const auto& line : log) {
        if (!line.contains("outlier") || rows.size() > 40) continue;
        const auto& one = line["outlier"];
        rows.push_back(
            {std::to_string(one.value("step", 0)), format("%.4f", one.value("loss", 0.0)),
             format("%+.1f", one.value("loss_z_score", 0.0)), format("%.3f", one.value("gradient_norm", 0.0)),
             format("%+.1f", one.value("gradient_norm_z_score", 0.0)), one.value("skipped", false) ? "left out" : ""});
    }
    return rows;
}

/// Whether a line of a log is one of a training step, or of a stretch of them.
bool of_training(const dg::json& line) { return line.contains("loss"); }

}  // namespace

dg::json read_log(const std::filesystem::path& folder) {
    dg::json log = dg::json::array();
    for (const auto& file : log_files(folder)) {
        std::ifstream in(file);
        std::string line;
        while (std::getline(in, line))
            if (auto value = dg::json::parse(line, nullptr, false); !value.is_discarded() && !value.contains("done"))
                log.push_back(std::move(value));
    }
    return log;
}

dg::json thinned_log(const dg::json& log) {
    const auto steps = static_cast<std::size_t>(std::count_if(log.begin(), log.end(), of_training));
    const std::size_t longest = std::max<std::size_t>(1, steps / 200);
    dg::json out = dg::json::array(), stretch;
    std::size_t count = 0;
    const auto end_stretch = [&] {
        if (count == 0) return;
        stretch["loss"] = stretch["loss"].get<double>() / static_cast<double>(count);
        out.push_back(std::move(stretch));
        count = 0;
    };
    for (const auto& line : log) {
        if (!of_training(line)) {
            if (line.contains("growth")) end_stretch();
            out.push_back(line);
            continue;
        }
        if (count == 0) stretch = {{"first_step", line.value("first_step", line.value("step", 0))}, {"loss", 0.0}};
        stretch["step"] = line.value("step", 0), stretch["layers"] = line.value("layers", 0);
        stretch["loss"] = stretch["loss"].get<double>() + (line["loss"].is_number() ? line["loss"].get<double>() : NAN);
        if (++count == longest) end_stretch();
    }
    end_stretch();
    return out;
}

std::vector<dg::report_section> training_sections(const std::vector<named_run>& runs) {
    dg::line_plot loss{"Training loss", "step", "loss (nats per token)", {}, {}};
    dg::line_plot held_out{"Held-out loss", "step", "loss (nats per token)", {}, {}};
    dg::line_plot layers{"Depth", "step", "layers", {}, {}};
    dg::line_plot accuracy{"Held-out answers", "step", "share answered right", {}, {}};
    layers.y_from_zero = accuracy.y_from_zero = true;
    for (const auto& run : runs) {
        auto curves = make_curves(run);
        for (auto* plot : {&loss, &held_out, &accuracy})
            for (const auto& marker : curves.growths)
                plot->markers.push_back({marker.x, plot == &loss ? marker.label : ""});
        loss.series.push_back(std::move(curves.loss));
        held_out.series.push_back(std::move(curves.held_out));
        layers.series.push_back(std::move(curves.layers));
        if (!curves.accuracy.x.empty()) accuracy.series.push_back(std::move(curves.accuracy));
    }
    std::vector<dg::report_section> sections = {
        {"Loss and depth while training",
         "Dashed lines mark growth: the model becomes deeper by copies of its middle layers, its loss jumps, and "
         "training goes on with the optimiser's moments copied too.",
         {dg::svg(loss), dg::svg(layers)}},
        {"On held-out data", "Measured on text and questions that training never sees.", {dg::svg(held_out)}}};
    if (!accuracy.series.empty()) sections.back().figures.push_back(dg::svg(accuracy));
    return sections;
}

void write_training_report(const std::filesystem::path& out, const resolved_run& run, const training_summary& summary) {
    const auto number = [](double value, const char* pattern) { return format(pattern, value); };
    std::vector<std::vector<std::string>> facts = {
        {"quantity", "value"},
        {"layers, width", format("%zu, %zu", run.model.layers, run.model.width)},
        {"growth", run.settings.growth},
        {"steps, tokens a step", format("%zu, %zu", run.steps, run.tokens_per_step())},
        {"FLOPs over a plain run's", number(summary.flops_ratio, "%.3f")},
        {"seconds", number(summary.seconds, "%.1f")},
        {"held-out loss (nats per token)", number(summary.validation_loss, "%.4f")},
        {"top-5 overlap at the last layer's input", number(summary.late_overlap, "%.3f")},
        {"loss added by swapping the middle blocks", number(summary.swap_loss, "%.4f")},
    };
    for (const auto& [task, share] : summary.answer_accuracy)
        facts.push_back({"answers right: " + task, number(share, "%.3f")});
    const auto log = read_log(out);
    dg::report_page page{"Training run: " + run.model.name +
                             (run.settings.growth == "none" ? ", plain" : ", grown by " + run.settings.growth),
                         "", training_sections({{run.settings.growth == "none" ? "plain" : run.settings.growth, log}})};
    page.sections.insert(page.sections.begin(),
                         {"Result",
                          "Overlap 1 means that the last layer changes none of the five likeliest tokens; a small "
                          "added loss means that middle blocks can be exchanged.",
                          {dg::html_table(facts)}});
    if (const auto rows = outlier_rows(log); rows.size() > 1)
        page.sections.push_back({"Outliers",
                                 "Steps whose loss or gradient norm lay far above that of the 128 steps before, in "
                                 "standard deviations; log.jsonl names their worst sequences.",
                                 {dg::html_table(rows)}});
    dg::write_html_report(out / "report.html", page);
}

}  // namespace tools
