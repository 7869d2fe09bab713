#include "depth_study/study_measure.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "depthgrow/io/atomic_file.hpp"
#include "support/console.hpp"
#include "support/depth_measure.hpp"
#include "support/json_output.hpp"
#include "support/lens_fit.hpp"
#include "support/task_runner.hpp"

namespace study {

namespace fs = std::filesystem;

namespace {

/// Prompts to report on: all of a report, or the sweeps alone.
struct prompt_set {
    std::string name;
    fs::path file;
    bool sweeps_only = false;
};

/// A source's name without its folder.
std::string short_name(const std::string& source) { return fs::path(source).filename().string(); }

/// The rows of `batch` as prompts; with `weighted`, those in which training gives some token a weight, with the
/// weights.
std::string prompt_lines(const dg::token_batch& batch, bool weighted) {
    const auto tokens = tools::inputs_of(batch);
    std::string lines;
    for (std::size_t r = 0; r < batch.rows; ++r) {
        const auto begin = static_cast<std::ptrdiff_t>(r * batch.length),
                   end = begin + static_cast<std::ptrdiff_t>(batch.length);
        dg::json line = {{"tokens", std::vector<dg::token>(tokens.begin() + begin, tokens.begin() + end)}};
        if (weighted) {
            std::vector<float> weights = {0};  // training's are those of the next token
            weights.insert(weights.end(), batch.weights.begin() + begin, batch.weights.begin() + end - 1);
            if (std::none_of(weights.begin(), weights.end(), [](float w) { return w > 0; })) continue;
            line["weights"] = std::move(weights);
        }
        lines += dg::json_line(line);
    }
    return lines;
}

/// Held-out windows of every source as prompts in `folder`, and the study's own files. Where training weighs tokens
/// (answers alone, say), sweeps of losses weighted so come too, as "SOURCE answers".
std::vector<prompt_set> write_prompts(const measures& measure, const dg::training_data& data, const fs::path& folder) {
    std::vector<prompt_set> out;
    const auto add = [&](const std::string& name, const dg::token_batch& rows, bool weighted) {
        const auto lines = prompt_lines(rows, weighted);
        if (lines.empty()) return;  // no answer in these windows
        const auto file = folder / (std::to_string(out.size()) + ".jsonl");
        dg::write_file(file, lines);
        out.push_back({name, file, weighted});
    };
    for (std::size_t source = 0; source < data.sources(); ++source) {
        const std::size_t there = data.held_out_windows(source),
                          count = there ? std::min(there, measure.prompts) : measure.prompts;
        dg::token_batch rows;
        data.held_out(source, 0, count, rows);
        const auto name = short_name(data.name(source));
        add(name, rows, false);
        if (std::any_of(rows.weights.begin(), rows.weights.end(), [](float w) { return w != 1; }))
            add(name + " answers", rows, true);
    }
    for (const auto& [name, file] : measure.prompt_files) out.push_back({name, file});
    return out;
}

/// "swap:4;skip:4": the sweeps of a model that runs `depth` layers, blocks that fit twice.
std::string sweeps_of(const measures& measure, std::size_t block, std::size_t depth) {
    auto lengths = measure.sweep_lengths;
    if (lengths.empty()) lengths.push_back(block);
    std::string out;
    for (const char* kind : {"skip", "swap", "reverse", "loop"})
        for (std::size_t length : lengths)
            if (measure.has(kind) && length > 0 && 2 * length <= depth)
                out += dg::text(out.empty() ? "" : ";", kind, ":", length);
    return out.empty() ? "none" : out;
}

/// Numbers to seven digits.
dg::json rounded(const dg::json& value) {
    if (value.is_number_float()) return std::strtod(tools::format("%.7g", value.get<double>()).c_str(), nullptr);
    if (!value.is_structured()) return value;
    dg::json out = value;
    for (auto& part : out) part = rounded(part);
    return out;
}

/// A report without what a study does not keep: where its model was, intervals over prompts, times, lineage.
dg::json kept(dg::json report) {
    for (const char* key : {"model", "interval", "seconds", "lineage", "order"}) report.erase(key);
    if (report.contains("sweeps"))
        for (auto& one : report["sweeps"])
            for (const char* key : {"order", "low", "high", "n"}) one.erase(key);
    return rounded(report);
}

/// Measures one checkpoint.
class model_measurer {
public:
    model_measurer(const cell& one, const measures& measure, const tools::training_moment& now)
        : run_(one.run), measure_(measure), now_(now), folder_(fs::path(one.run.settings.out) / "measuring") {
        const auto& s = run_.settings;
        precision_ = s.precision == "fp8" ? "bf16" : s.precision;
        fs::remove_all(folder_);
        fs::create_directories(folder_);
    }
    ~model_measurer() {
        std::error_code ignored;
        fs::remove_all(folder_, ignored);
    }
    model_measurer(const model_measurer&) = delete;
    model_measurer& operator=(const model_measurer&) = delete;

    void operator()(dg::json& out) {
        dg::json seconds;
        const auto timed = [](dg::json& spent, const auto& work) {
            tools::stopwatch watch;
            work();
            spent = watch.seconds();
        };
        if (measure_.has("tuned_lens")) timed(seconds["lens_fit"], [&] { fit_lens(out); });
        const auto any = [&](std::initializer_list<const char*> names) {
            return std::any_of(names.begin(), names.end(), [&](const char* name) { return measure_.has(name); });
        };
        if (any({"lens", "tuned_lens", "depth_score", "contribution", "similarity", "skip", "swap", "reverse", "loop"}))
            for (const auto& prompts : write_prompts(measure_, now_.data, folder_))
                timed(seconds["prompts"][prompts.name], [&] { report(prompts, out); });
        if (any({"primitives", "early_exit"})) timed(seconds["tasks"], [&] { score_tasks(out); });
        out["measure_seconds"] = std::move(seconds);
    }

private:
    fs::path lens_folder() const { return folder_ / "lens"; }

    void fit_lens(dg::json& out) {
        tools::lens_fit_settings s;
        s.model = now_.checkpoint.string(), s.out = lens_folder().string(), s.backend = run_.settings.backend,
        s.precision = precision_, s.threads = run_.threads, s.steps = measure_.lens_steps, s.held_out = 0;
        s.context = run_.length, s.tokens_per_step = std::max(measure_.lens_tokens, run_.length);
        tools::progress_bar bar(s.steps);
        const auto fitted = tools::fit_lens(s, &now_.data, [&](std::size_t done, double kl) {
            bar.update(done, tools::format("tuned lens, KL %.4f", kl));
        });
        out["lens_fit"] = rounded(
            {{"steps", s.steps}, {"tokens", fitted.tokens}, {"kl_first", fitted.first}, {"kl_last", fitted.last}});
    }

    void report(const prompt_set& prompts, dg::json& out) {
        tools::report_settings s;
        s.models = {now_.checkpoint.string()}, s.names = {prompts.name}, s.prompts = prompts.file.string();
        s.backend = run_.settings.backend, s.precision = precision_, s.threads = run_.threads;
        s.resamples = 20, s.local = false, s.sweep_prompts = measure_.sweep_prompts;
        const auto wanted = [&](const char* part) { return !prompts.sweeps_only && measure_.has(part); };
        s.contributions = wanted("contribution"), s.similarity = wanted("similarity");
        s.skips = wanted("depth_score") ? tools::skip_parts::future : tools::skip_parts::none;
        s.logit_lens = wanted("lens") || wanted("tuned_lens");
        if (wanted("tuned_lens")) s.lenses = {lens_folder().string()};
        const std::size_t depth = run_.layers_run(now_.step - 1), block = run_.settings.block;
        if (depth % block == 0) s.block = block;
        s.sweeps = sweeps_of(measure_, block, depth);
        tools::progress_bar bar(8);
        std::size_t done = 0;
        const auto measured = tools::measure_depth(s, 0, [&](const std::string& part) { bar.update(done++, part); });
        out["depth"][prompts.name] = kept(tools::depth_json(measured, s));
    }

    void score_tasks(dg::json& out) {
        tools::task_run_settings s;
        s.model = now_.checkpoint.string(), s.backend = run_.settings.backend, s.precision = precision_;
        s.threads = run_.threads;
        if (measure_.has("tuned_lens")) s.lens = lens_folder().string();
        tools::with_task_model(s, [&](const tools::task_model& model) {
            for (const auto& name : measure_.tasks.empty() ? run_.tasks : measure_.tasks)
                out["tasks"][name] = score_task(name, model);
        });
    }

    dg::json score_task(const std::string& name, const tools::task_model& model) const {
        std::size_t shots = measure_.shots;
        const auto task = [&] {
            for (;; --shots) {  // as many examples as fit
                auto made = tools::make_task(name, {measure_.items, shots, model.context, 1});
                if (shots == 0) return made;
                try {
                    tools::require_fitting(made, model);
                    return made;
                } catch (const dg::error&) {}
            }
        }();
        tools::require_fitting(task, model);
        std::vector<std::size_t> exits;
        if (measure_.has("early_exit"))
            for (std::size_t layer = 0; layer < model.slots; ++layer) exits.push_back(layer);
        exits.push_back(model.slots);
        const auto results = model.answer_early(task, exits);
        const auto whole = results.back().score();
        dg::json out = {
            {"accuracy", whole.accuracy}, {"chance", whole.chance}, {"items", whole.items}, {"shots", shots}};
        if (!measure_.has("early_exit")) return out;
        for (const auto& result : results) out["early_exit"].push_back(result.score().accuracy);
        return out;
    }

    const tools::resolved_run& run_;
    const measures& measure_;
    const tools::training_moment& now_;
    fs::path folder_;
    std::string precision_;
};

}  // namespace

void require_measures(const cell& one, const measures& measure) {
    for (const auto& [name, file] : measure.prompt_files)
        tools::read_prompts(file, {one.run.model.vocab, one.run.model.context, one.run.encoder(), {}});
}

void measure_model(const cell& one, const measures& measure, const tools::training_moment& now, dg::json& out) {
    if (measure.names.empty()) return;
    if (!one.run.settings.quiet) std::printf("  measuring at step %zu\n", now.step), std::fflush(stdout);
    model_measurer measurer(one, measure, now);
    measurer(out);
}

}  // namespace study
