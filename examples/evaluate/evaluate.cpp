// Accuracy of a checkpoint on tasks: the whole model, answering early through a lens, or under any layer order.
#include <cmath>
#include <cstdio>
#include <map>

#include "depthgrow/analysis/sweeps.hpp"
#include "depthgrow/io/html_report.hpp"
#include "support/cli.hpp"
#include "support/console.hpp"
#include "support/depth_files.hpp"
#include "support/depth_measure.hpp"
#include "support/json_output.hpp"
#include "support/measuring_ranks.hpp"
#include "support/task_runner.hpp"
#include "support/text_tokens.hpp"

namespace {

namespace dg = depthgrow;

struct settings : tools::task_run_settings {
    std::string tasks, exits, sweep, json, html;
    std::size_t items = 1000, shots = 5, seed = 1;
    bool quiet = false;
};

/// e^−(mean log-likelihood) with its interval.
dg::mean_interval perplexity(const tools::task_result& r, const dg::bootstrap_options& bootstrap) {
    const auto mean = dg::bootstrap_mean(r.log_likelihoods, bootstrap);
    return {std::exp(-mean.mean), std::exp(-mean.high), std::exp(-mean.low)};
}

/// What every result holds: accuracy, n, standard error, interval.
dg::json accuracy_json(const tools::task_result& r, const dg::bootstrap_options& bootstrap) {
    const auto score = r.score();
    return {{"accuracy", score.accuracy},
            {"items", score.items},
            {"standard_error", score.standard_error},
            {"interval", tools::interval_json(r.plain.interval(bootstrap))}};
}

dg::json result_json(const tools::task_result& r, const dg::bootstrap_options& bootstrap) {
    dg::json out = accuracy_json(r, bootstrap);
    out["task"] = r.task, out["chance"] = r.score().chance, out["seed"] = bootstrap.seed;
    out["confidence"] = bootstrap.confidence, out["resamples"] = bootstrap.resamples;
    if (const auto normalised = r.normalised.score(); normalised.items) {
        out["accuracy_normalised"] = normalised.accuracy, out["standard_error_normalised"] = normalised.standard_error;
        out["interval_normalised"] = tools::interval_json(r.normalised.interval(bootstrap));
    }
    if (!r.log_likelihoods.empty()) {
        const auto value = perplexity(r, bootstrap);
        out["perplexity"] = value.mean, out["interval_perplexity"] = tools::interval_json(value);
    }
    return out;
}

/// Another run of the same items beside the whole model's: accuracy and the paired difference, item by item.
dg::json beside_json(const tools::task_result& r, const tools::task_result& whole,
                     const dg::bootstrap_options& bootstrap) {
    dg::json out = accuracy_json(r, bootstrap);
    out["difference"] =
        tools::interval_json(dg::paired_difference(r.plain.answers(), whole.plain.answers(), bootstrap));
    return out;
}

void print(const tools::task_result& r, const std::string& note, const dg::bootstrap_options& bootstrap) {
    const auto score = r.score();
    const auto interval = r.plain.interval(bootstrap);
    std::printf("%-24s %-26s %8.4f %8.4f  [%.4f, %.4f] %8.3f %7zu", r.task.c_str(), note.c_str(), score.accuracy,
                score.standard_error, interval.low, interval.high, score.chance, score.items);
    if (!r.log_likelihoods.empty()) {
        const auto value = perplexity(r, bootstrap);
        std::printf("   perplexity %.3f [%.3f, %.3f]", value.mean, value.low, value.high);
    }
    std::printf("\n");
    std::fflush(stdout);
}

/// Mean and interval.
void add_point(dg::plot_series& line, std::size_t x, const dg::mean_interval& value, double scale = 1) {
    line.dots = true;
    line.x.push_back(static_cast<double>(x)), line.y.push_back(value.mean * scale);
    line.low.push_back(value.low * scale), line.high.push_back(value.high * scale);
}

/// Early-exit and sweep curves, task by task.
struct task_plots {
    dg::line_plot relative{"Answering early",
                           "exit at the input of layer (the last point is the whole model)",
                           "accuracy / the whole model's",
                           {},
                           {}};
    dg::line_plot absolute{
        "Answering early", "exit at the input of layer (the last point is the whole model)", "accuracy", {}, {}};
    std::map<std::string, dg::line_plot> sweeps;  // by kind and length

    void write(const std::filesystem::path& file, const std::string& model, std::size_t items) const {
        dg::report_page page{
            "Tasks: " + model,
            tools::format("Bands are 95 %% bootstrap intervals over the items, at most %zu a task.", items),
            {}};
        if (!absolute.series.empty())
            page.sections.push_back({"When the answer is known",
                                     "Each point answers from the input of a layer through the lens. A curve that "
                                     "reaches its end early has layers left that the task does not need; "
                                     "one that jumps at the end needs them all. Chance is in the printed table.",
                                     {dg::svg(relative), dg::svg(absolute)}});
        dg::report_section orders{"What the order of layers is worth",
                                  "Accuracy when layers from a start on are skipped, exchanged with the next block, "
                                  "reversed or repeated; the level line is the model as it is.",
                                  {}};
        for (const auto& [name, plot] : sweeps) orders.figures.push_back(dg::svg(plot));
        if (!orders.figures.empty()) page.sections.push_back(std::move(orders));
        dg::write_html_report(file, page);
    }
};

void run(const settings& s, const tools::task_model& model) {
    std::vector<tools::task> tasks;
    for (std::size_t first = 0; first < s.tasks.size();) {
        const std::size_t end = std::min(s.tasks.find(',', first), s.tasks.size());
        tasks.push_back(
            tools::make_task(s.tasks.substr(first, end - first), {s.items, s.shots, model.context, s.seed}));
        first = end + 1;
    }
    for (const auto& task : tasks) tools::require_fitting(task, model);
    std::vector<std::size_t> exits;
    if (s.exits == "all")
        for (std::size_t l = 0; l <= model.slots; ++l) exits.push_back(l);
    else exits = tools::parse_numbers("--exit-layer", s.exits);
    for (std::size_t l : exits)
        dg::require(l <= model.slots, "--exit-layer: expected at most ", model.slots, " (the layers run), found ", l);
    const auto sweep = tools::parse_sweeps("--sweep", s.sweep.empty() ? "none" : s.sweep, model.layers);

    const bool shown = !s.quiet && s.json != "-";
    if (shown)
        std::printf("%-24s %-26s %8s %8s  %-16s %8s %7s\n", "task", "run", "accuracy", "error", "95 % bootstrap",
                    "chance", "items");
    const dg::bootstrap_options bootstrap{s.seed, 2000, 0.95};
    dg::json record = {{"model", s.model}, {"tasks", dg::json::array()}};
    task_plots plots;
    plots.relative.y_from_zero = plots.absolute.y_from_zero = true;
    if (!model.order.empty()) record["order"] = model.order;
    for (const auto& task : tasks) {
        const auto whole = model.answer(task, {});
        const double whole_accuracy = whole.score().accuracy;
        dg::json entry = result_json(whole, bootstrap);
        if (shown) print(whole, model.order.empty() ? "whole model" : "order", bootstrap);
        dg::plot_series relative_line{task.name, {}, {}}, line_of_exits{task.name, {}, {}};
        const auto early = model.answer_early(task, exits);
        for (std::size_t e = 0; e < exits.size(); ++e) {
            const std::size_t l = exits[e];
            const auto& result = early[e];
            dg::json point = beside_json(result, whole, bootstrap);
            point["layer"] = l, point["lens"] = model.tuned ? "tuned" : "logit";
            point["relative"] =
                whole_accuracy > 0 ? dg::json(result.score().accuracy / whole_accuracy) : dg::json(nullptr);
            const auto interval = result.plain.interval(bootstrap);
            add_point(line_of_exits, l, interval);
            if (whole_accuracy > 0) add_point(relative_line, l, interval, 1 / whole_accuracy);
            entry["early_exit"].push_back(std::move(point));
            if (shown)
                print(result, tools::format("exit at layer %zu, %s lens", l, model.tuned ? "tuned" : "logit"),
                      bootstrap);
        }
        if (!line_of_exits.y.empty()) plots.absolute.series.push_back(std::move(line_of_exits));
        if (!relative_line.y.empty()) plots.relative.series.push_back(std::move(relative_line));
        std::map<std::string, dg::plot_series> lines;
        for (const auto& one : sweep) {
            const auto result = model.answer(task, one.order.sources());
            dg::json point = beside_json(result, whole, bootstrap);
            point["kind"] = one.kind, point["length"] = one.length, point["start"] = one.start,
            point["order"] = one.order.sources();
            entry["sweep"].push_back(std::move(point));
            const std::string name =
                one.kind + " " + std::to_string(one.length) + (one.times > 1 ? " x" + std::to_string(one.times) : "");
            lines[name].name = task.name;
            add_point(lines[name], one.start, result.plain.interval(bootstrap));
            if (shown) print(result, name + " at " + std::to_string(one.start), bootstrap);
        }
        for (auto& [name, line] : lines) {
            auto& plot =
                plots.sweeps.try_emplace(name, dg::line_plot{name, "first layer", "accuracy", {}, {}}).first->second;
            plot.y_from_zero = true;
            plot.series.push_back(
                {task.name + ", whole model", {line.x.front(), line.x.back()}, {whole_accuracy, whole_accuracy}});
            plot.series.push_back(std::move(line));
        }
        record["tasks"].push_back(std::move(entry));
    }
    if (!s.ranks->first()) return;
    tools::write_json(s.json, record);
    if (!s.html.empty()) plots.write(s.html, s.model, s.items);
}

}  // namespace

int main(int argc, char** argv) {
    return tools::run_tool([&] {
        settings s;
        tools::rank_settings processes;
        tools::command_line flags(
            "evaluate --model DIR --task LIST [FLAGS]",
            "Scores a checkpoint on tasks: whole, through a lens at a layer, or under any layer order.");
        flags.add_model(s.model);
        flags.add_required("--task", s.tasks, "tasks, comma-separated (their names are below)");
        flags.add("--items", s.items, "Items of a task, at most");
        flags.add("--shots", s.shots, "Solved examples before each built-in item");
        flags.add("--seed", s.seed, "Seed of the items and of the bootstrap");
        flags.add("--exit-layer", s.exits, "Also answer from the input of these layers: 8, or 0,4,8, or all");
        flags.add("--lens", s.lens, "Tuned lens for early exits (default: the logit lens)");
        flags.add_order(s.order);
        flags.add("--sweep", s.sweep, "Also run interventions: swap:1,2,4,8;loop:4x2, or standard");
        flags.add("--max-tokens", s.max_tokens, "Longest completion");
        flags.add("--tokenizer", s.tokenizer, std::string("Tokenizer: ") + tools::tokenizer_help);
        flags.add_device(s.backend, s.precision);
        flags.add_threads(s.threads);
        processes.add(flags, "the items of a task");
        flags.add("--max-rows", s.max_rows,
                  "Tokens of one batch: bounds the memory (0: 4096 on a CPU, 16384 on a GPU)");
        flags.add_json(s.json);
        flags.add_output("--html", s.html, "Draw early exits and sweeps on a page");
        flags.add_quiet(s.quiet);
        flags.examples(
            {"evaluate --model runs/lidas --task arithmetic,copy_words --shots 2 --items 200",
             "evaluate --model runs/lidas --task arithmetic --shots 2 --exit-layer all --sweep swap:3 --html "
             "early.html",
             "evaluate --model SmolLM2-135M --task lambada=lambada.jsonl --items 200 --order 0,1,2,3,2,3,4,5"},
            tools::task_help());
        if (!flags.parse(argc, argv)) return;
        dg::require(s.html.empty() || !s.exits.empty() || !s.sweep.empty(),
                    "--html: expected --exit-layer or --sweep to draw, found neither");
        dg::require(s.lens.empty() || !s.exits.empty(),
                    "--lens: expected --exit-layer, where a lens answers, found none");
        dg::require(s.items > 0, "--items: expected at least 1, found 0");
        const tools::measuring_ranks ranks(processes, s.backend);
        s.ranks = &ranks, s.quiet = s.quiet || !ranks.first();
        tools::with_task_model(s, [&](const tools::task_model& model) { run(s, model); });
    });
}
