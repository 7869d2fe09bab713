// Every depth diagnostic of one or several checkpoints: numbers on the screen, JSON, and one HTML page of plots.
#include <algorithm>
#include <cstdio>

#include "depth_report/array_measure.hpp"
#include "depth_report/depth_page.hpp"
#include "support/cli.hpp"
#include "support/console.hpp"
#include "support/depth_measure.hpp"
#include "support/json_output.hpp"
#include "support/measuring_ranks.hpp"
#include "support/model_names.hpp"
#include "support/text_tokens.hpp"

namespace {

namespace dg = depthgrow;

void print_depth_score(const tools::depth_measurement& m) {
    const auto score = dg::depth_score_interval(m.layer_future());
    std::printf("  depth score            %.3f  [%.3f, %.3f]   relative %.3f (0 first layer, 1 last)\n", score.mean,
                score.low, score.high, dg::relative_depth(score.mean, m.config.layers));
}

void print_summary(const tools::depth_measurement& m) {
    std::printf("%s: %zu layers, width %zu, %s parameters; %zu prompts, %zu positions\n", m.name.c_str(),
                m.config.layers, m.config.width, tools::human(static_cast<double>(m.config.parameters())).c_str(),
                m.prompts, m.contribution.positions);
    for (const auto& entry : m.growth)
        std::printf(
            "  grown%s by layers %s%s\n",
            entry.contains("step") ? tools::format(" after step %zu", entry["step"].get<std::size_t>()).c_str() : "",
            entry["order"].dump().c_str(), entry.contains("zero_new") ? ", new ones begun as identities" : "");
    if (!m.order.empty()) std::printf("  run in another order of layers than stored\n");
    if (m.config.layers > 1) print_depth_score(m);
    const auto overlap_late = m.late_overlap(), loss = m.loss();
    std::printf("  late top-5 overlap     %.3f  [%.3f, %.3f]   %s lens at the last layer's input\n", overlap_late.mean,
                overlap_late.low, overlap_late.high, m.tuned_lens ? "tuned" : "logit");
    std::printf("  loss (nats per token)  %.4f [%.4f, %.4f]\n", loss.mean, loss.low, loss.high);
    std::printf(
        "  brackets: 95 %% bootstrap intervals over the %zu prompts; --json and --html have those of every layer\n",
        m.prompts);
    const auto& lens = m.lens();
    const auto ratio = m.contribution.quantity(dg::contribution_quantity::layer_ratio),
               influence = m.contribution.quantity(dg::contribution_quantity::block_influence),
               kl = lens.quantity(dg::lens_quantity::kl_final_lens),
               overlap = lens.quantity(dg::lens_quantity::top5_overlap);
    std::printf("  %5s %12s %12s %12s %12s %12s\n", "layer", "|c|/|h|", "influence", "future skip", "KL to final",
                "top-5");
    for (std::size_t l = 0; l < m.config.layers; ++l)
        std::printf("  %5zu %12.4f %12.4f %12.4f %12.4f %12.4f\n", l, ratio[l], influence[l],
                    m.skip.future.output_mean[l], kl[l], overlap[l]);
    double total = 0;
    for (const auto& [part, seconds] : m.seconds) total += seconds;
    std::printf("  %.2f s:", total);
    for (const auto& [part, seconds] : m.seconds) std::printf(" %s %.2f;", part.c_str(), seconds);
    std::printf("\n\n");
}

void print_arrays(const tools::depth_measurement& m) {
    std::printf("%s: arrays of %zu layers, width %zu; %zu prompts, %zu positions\n", m.name.c_str(), m.config.layers,
                m.config.width, m.prompts, m.contribution.positions);
    if (m.has_future() && m.config.layers > 1) print_depth_score(m);
    const auto ratio = m.contribution.quantity(dg::contribution_quantity::layer_ratio),
               influence = m.contribution.quantity(dg::contribution_quantity::block_influence);
    std::vector<double> kl, overlap;
    if (m.has_lens())
        kl = m.logit_lens.quantity(dg::lens_quantity::kl_final_lens),
        overlap = m.logit_lens.quantity(dg::lens_quantity::top5_overlap);
    std::printf("  %5s %12s %12s%s\n", "layer", "|c|/|h|", "influence", kl.empty() ? "" : "  KL to final        top-5");
    for (std::size_t l = 0; l < m.config.layers; ++l) {
        std::printf("  %5zu %12.4f %12.4f", l, ratio[l], influence[l]);
        if (!kl.empty()) std::printf(" %12.4f %12.4f", kl[l], overlap[l]);
        std::printf("\n");
    }
}

/// Writes the reports of one or several models, compared with the first, and the page.
void write_reports(const std::vector<tools::depth_measurement>& measured, const tools::report_settings& s) {
    const bool told = !s.quiet && s.json != "-";
    dg::json reports = dg::json::array();
    for (std::size_t i = 0; i < measured.size(); ++i) {
        reports.push_back(tools::depth_json(measured[i], s));
        if (i == 0) continue;
        reports.back()["compared"] = tools::compare_json(measured[0], measured[i]);
        for (const auto& [key, value] : reports.back()["compared"].items())
            if (told && value.contains("mean"))
                std::printf("%s - %s: %s %+.4f [%+.4f, %+.4f], paired over %zu prompts\n", measured[i].name.c_str(),
                            measured[0].name.c_str(), key.c_str(), value["mean"].get<double>(),
                            value["low"].get<double>(), value["high"].get<double>(), measured[0].prompts);
    }
    tools::write_json(s.json, measured.size() == 1 ? reports[0] : reports, 1);
    if (s.html.empty()) return;
    tools::write_depth_page(s.html, measured);
    if (told) std::printf("page: %s\n", s.html.c_str());
}

/// The report on --activations, which has no model.
void report_arrays(const tools::command_line& flags, tools::report_settings s, const std::vector<std::string>& arrays,
                   const std::vector<std::string>& labels) {
    for (const char* flag : {"--model", "--prompts", "--order", "--lens", "--unit", "--boundaries", "--sweeps",
                             "--sweep-prompts", "--no-local", "--integrated-gradients", "--gradient-steps",
                             "--tokenizer", "--backend", "--precision", "--threads", "--ranks", "--max-rows"})
        dg::require(!flags.was_given(flag), flag,
                    ": expected none beside --activations, which has no model to run, found one");
    s.models = arrays, s.names = tools::model_names(s.models, labels);
    std::vector<tools::depth_measurement> measured;
    for (std::size_t i = 0; i < arrays.size(); ++i) {
        measured.push_back(tools::measure_arrays(s, i));
        const auto &first = measured[0], &last = measured[i];
        dg::require(first.prompts == last.prompts && first.has_lens() == last.has_lens() &&
                        first.has_next_tokens() == last.has_next_tokens() &&
                        first.has_current() == last.has_current() && first.has_future() == last.has_future(),
                    arrays[i], ": expected the prompts and kinds of arrays of ", arrays[0], ", found others");
        if (!s.quiet && s.json != "-") print_arrays(last);
    }
    write_reports(measured, s);
}

}  // namespace

int main(int argc, char** argv) {
    return tools::run_tool([&] {
        tools::report_settings s;
        bool no_local = false;
        tools::rank_settings processes;
        std::vector<std::string> labels, arrays;
        const bool of_arrays = std::any_of(argv, argv + argc, [](const std::string& one) {
            return one == "--activations" || one.rfind("--activations=", 0) == 0;
        });
        tools::command_line flags("depth_report --model DIR [--model DIR ...] --prompts FILE [FLAGS]",
                                  "Measures how a checkpoint uses its depth: contributions, skip effects, depth score, "
                                  "lenses, similarity, interventions.");
        flags.group("What to measure");
        const auto needed = [&](const std::string& flag, auto& value, const std::string& what) {
            if (of_arrays) flags.add(flag, value, what);
            else flags.add_required(flag, value, what);
        };
        needed("--model", s.models,
               "a model directory, or several to draw over each other and compare prompt by prompt");
        needed("--prompts", s.prompts,
               "prompts, one JSON object a line ({\"tokens\": [...]} or {\"text\": \"...\"}, optional "
               "\"boundaries\", \"answer_from\", \"weights\")");
        flags.add("--activations", arrays,
                  "In place of both, arrays of any framework's model: a folder of .npy files or of one folder a "
                  "prompt, or a .safetensors file; several are compared; names and shapes are on this tool's page");
        flags.add(
            "--label", labels,
            "Name of the model on the screen, the page and in JSON; one each for several (default: the end of its "
            "path that tells it apart)");
        flags.add_order(s.order);
        flags.add("--lens", s.lenses,
                  "Directory of the tuned lens fitted to the model; for several models one each, in their order");
        flags.add("--block", s.block, "Block length of block similarity and angular distance (default: 4)");
        flags.add_choice("--unit", s.unit, {"layer", "attention", "mlp"}, "What is skipped");
        flags.add("--boundaries", s.boundaries,
                  "Boundaries of future effects for prompts that name none, as 8,16 (default: drawn)");
        flags.add("--sweeps", s.sweeps, "Interventions: standard, none, or like swap:1,2;reverse:4;loop:4x2");
        flags.add("--sweep-prompts", s.sweep_prompts, "Interventions run on this many of the first prompts");
        flags.add_switch("--no-local", no_local, "Leave local effects out");
        flags.add("--integrated-gradients", s.gradients, "Layers, as 0,4, for prompts that have answer_from");
        flags.add("--gradient-steps", s.gradient_steps, "Steps of the path of integrated gradients");
        flags.group("Where it goes");
        flags.add_json(s.json);
        flags.add_output("--html", s.html, "Write the page to this file");
        flags.add_quiet(s.quiet);
        flags.group("How");
        flags.add("--tokenizer", s.tokenizer, std::string("Tokenizer of \"text\" prompts: ") + tools::tokenizer_help);
        flags.add_device(s.backend, s.precision);
        flags.add_threads(s.threads);
        processes.add(flags, "the prompts");
        flags.add("--max-rows", s.max_rows,
                  "Rows of runs x positions in flight: bounds the memory (0: 16384 on a CPU, 65536 on a GPU)");
        flags.add("--resamples", s.resamples, "Bootstrap resamples of the 95 % intervals");
        flags.add("--seed", s.seed, "Seed of drawn boundaries and of the bootstrap");
        flags.examples({"depth_report --model runs/lidas --prompts examples/prompts.jsonl --html report.html",
                        "depth_report --model runs/plain --model runs/lidas --prompts examples/prompts.jsonl "
                        "--no-local --html both.html",
                        "depth_report --model SmolLM2-135M --prompts prompts.jsonl --backend cuda --ranks all --json "
                        "report.json",
                        "depth_report --activations arrays --html report.html",
                        "depth_report --model runs/lidas --prompts examples/prompts.jsonl --unit attention --sweeps "
                        "none --json -"},
                       "Prompts fit the model's context; those of examples/prompts.jsonl are up to 128 bytes long "
                       "(train_smol's default context).");
        if (!flags.parse(argc, argv)) return;
        dg::require(s.resamples > 0, "--resamples: expected at least 1, found 0");
        if (of_arrays) return report_arrays(flags, s, arrays, labels);
        dg::require(s.lenses.empty() || s.lenses.size() == s.models.size(), "--lens: expected one for each of ",
                    s.models.size(), " --model, found ", s.lenses.size());
        s.names = tools::model_names(s.models, labels);
        s.local = !no_local;
        const tools::measuring_ranks ranks(processes, s.backend);
        s.ranks = &ranks, s.quiet = s.quiet || !ranks.first();
        std::vector<tools::depth_measurement> measured;
        tools::progress_bar bar(s.models.size() * 8);
        std::size_t done = 0;
        for (std::size_t i = 0; i < s.models.size(); ++i) {
            measured.push_back(tools::measure_depth(s, i, [&](const std::string& part) {
                if (!s.quiet) bar.update(done, part);
                ++done;
            }));
            bar.clear();
            if (!s.quiet && s.json != "-") print_summary(measured.back());
        }
        if (ranks.first()) write_reports(measured, s);
    });
}
