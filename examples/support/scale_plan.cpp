#include "support/scale_plan.hpp"

#include <algorithm>
#include <cstdio>
#include <numeric>

#include "depthgrow/growth/flops.hpp"
#include "depthgrow/nn/presets.hpp"
#include "support/console.hpp"

namespace tools {

namespace {

/// benchmarks/README.md: one H100, sequences of the preset's context.
struct measured_rate {
    const char *preset, *precision;
    double tokens_per_second;
    std::size_t rows, context;
};
constexpr measured_rate measured_rates[] = {
    {"mini", "bf16", 1.807e6, 128, 512},       {"smollm-360m", "bf16", 1.858e5, 16, 2048},
    {"smollm-360m", "fp8", 2.054e5, 16, 2048}, {"smollm-1.7b", "bf16", 5.15e4, 8, 2048},
    {"smollm-1.7b", "fp8", 6.572e4, 8, 2048},
};
constexpr double host_link = 290e9;  // reduce-scatter and all-gather of two H100 over NVLink: benchmarks/ranks
constexpr double other_link = 45e9;  // an adapter of 400 Gbit/s a GPU, at nine tenths
/// AdamW with master weights: those and both moments read and written, gradients read, bfloat16 weights written.
constexpr double update_bytes = 30, memory_rate = 3e12;
/// Of a pass, how long its backward half takes: sums of gradients can hide behind it.
constexpr double backward_share = 2.0 / 3;

/// Seconds of one step at a depth, and what of them is spent on exchanges.
struct step_time {
    double exchanged = 0, exchange = 0, exposed = 0, whole = 0;
};

step_time time_of(const resolved_run& run, const scale_figures& figures, std::size_t gpus, std::size_t layers,
                  std::size_t layers_run) {
    const auto shape = run.shape();
    const auto parameters = static_cast<double>(run.model.with_depth(layers).parameters());
    const auto full = static_cast<double>(run.model.parameters());
    const double n = static_cast<double>(gpus), rows = static_cast<double>(run.batch) / n,
                 length = static_cast<double>(run.length), measured_rows = static_cast<double>(figures.rows);
    const double full_update = update_bytes * full / memory_rate;
    const double measured_pass = std::max(0.0, measured_rows * length / figures.gpu_rate - full_update) / measured_rows;
    const double row = measured_pass * dg::step_flops(shape, layers_run, run.length) /
                       dg::step_flops(shape, run.layers_run(run.steps - 1), run.length);
    step_time out;
    const bool one_host = gpus <= figures.gpus_of_host;
    const double gathered = run.settings.precision == "fp32" ? 4 : 2, others = (n - 1) / n;
    const double speed = one_host ? figures.host_link : figures.link;
    out.exchanged = parameters * (4 + gathered) * others;
    out.exchange = out.exchanged / speed;
    const double sums = parameters * 4 * others / speed;
    const double hidden =
        one_host ? 0 : std::min(sums, backward_share * row * std::min(rows, static_cast<double>(figures.rows)));
    out.exposed = out.exchange - hidden;
    out.whole = rows * row + update_bytes * parameters / memory_rate / n + out.exposed;
    return out;
}

/// Days of all steps, each at its depth.
double days_of(const resolved_run& run, const scale_figures& figures, std::size_t gpus) {
    double seconds = 0, last = 0;
    std::size_t layers = 0, layers_run = 0;
    for (std::size_t step = 0; step < run.steps; ++step) {
        if (run.plan.layers_at(step) != layers || run.layers_run(step) != layers_run) {
            layers = run.plan.layers_at(step), layers_run = run.layers_run(step);
            last = time_of(run, figures, gpus, layers, layers_run).whole;
        }
        seconds += last;
    }
    return seconds / 86400;
}

/// Bytes of one of `gpus` GPUs at the run's deepest.
std::size_t memory_of(resolved_run run, const scale_figures& figures, std::size_t gpus) {
    const std::size_t rows = run.batch / gpus;
    run.settings.backend = "cuda";
    run.ranks = gpus;
    run.micro_batch = run.settings.micro_batch.value_or(std::gcd(std::min(figures.rows, rows), rows));
    if (rows % run.micro_batch != 0) run.micro_batch = std::gcd(run.micro_batch, rows);
    run.batch = gpus * run.micro_batch * (rows > run.micro_batch ? 2 : 1);  // more passes take no more memory
    return planned_memory(run);
}

}  // namespace

scale_figures scale_figures_of(const resolved_run& run) {
    const auto& s = run.settings;
    scale_figures out;
    out.host_link = s.link > 0 ? s.link * 1e9 : host_link, out.link = s.link > 0 ? s.link * 1e9 : other_link;
    out.rows = s.micro_batch.value_or(8), out.gpu_rate = s.gpu_rate;
    if (out.gpu_rate > 0) return out;
    std::string known;
    for (const auto& one : measured_rates) {
        known += dg::text(known.empty() ? "" : ", ", one.preset, " ", one.precision);
        const auto all = dg::presets();
        const auto preset = std::find_if(all.begin(), all.end(), [&](const auto& p) { return p.name == one.preset; });
        if (preset == all.end() || run.model.name != one.preset || s.precision != one.precision ||
            run.length != one.context || run.model.parameters() != preset->parameters() || !run.loop_order.empty() ||
            !run.cooldown_order.empty())
            continue;
        out.gpu_rate = one.tokens_per_second / (s.recompute ? 4.0 / 3 : 1), out.rows = one.rows;
        return out;
    }
    dg::fail("--plan: expected --gpu-rate, the tokens a second of one GPU, for ", run.model.name, " in ", s.precision,
             " on sequences of ", run.length, " tokens (measured are, at their own shapes: ", known, "), found none");
}

std::vector<scale_row> scale_rows(const resolved_run& run, const scale_figures& figures, std::size_t gpus) {
    std::vector<std::size_t> counts;
    for (std::size_t n = 1; n < gpus; n *= 2) counts.push_back(n);
    counts.push_back(gpus);
    std::vector<scale_row> out;
    const auto tokens = static_cast<double>(run.tokens_per_step());
    const double alone = tokens / time_of(run, figures, 1, run.model.layers, run.layers_run(run.steps - 1)).whole;
    for (const std::size_t n : counts) {
        if (run.batch % n != 0) continue;
        const auto step = time_of(run, figures, n, run.model.layers, run.layers_run(run.steps - 1));
        scale_row row;
        row.gpus = n, row.rows = run.batch / n, row.memory = memory_of(run, figures, n);
        row.exchanged = step.exchanged, row.exchange_seconds = step.exchange, row.exposed_seconds = step.exposed;
        row.step_seconds = step.whole, row.tokens_per_second = tokens / step.whole;
        row.efficiency = row.tokens_per_second / alone / static_cast<double>(n);
        row.days = days_of(run, figures, n);
        out.push_back(row);
    }
    return out;
}

dg::json scale_plan(const resolved_run& run) {
    const auto& s = run.settings;
    dg::require(s.gpus > 0 && s.gpus <= 65536, "--gpus: expected 1 to 65536, found ", s.gpus);
    dg::require(run.batch % s.gpus == 0, "--gpus: expected a divisor of the batch of ", run.batch, " sequences, found ",
                s.gpus);
    const auto figures = scale_figures_of(run);
    const auto rows = scale_rows(run, figures, s.gpus);
    const double tokens = static_cast<double>(run.steps) * static_cast<double>(run.tokens_per_step());
    dg::json out = {{"steps", run.steps},           {"tokens", tokens},
                    {"flops", run.flops()},         {"flops_ratio", run.flops_ratio()},
                    {"gpu_rate", figures.gpu_rate}, {"host_link", figures.host_link},
                    {"link", figures.link},         {"plan", dg::json::array()}};
    for (const auto& r : rows)
        out["plan"].push_back({{"gpus", r.gpus},
                               {"rows", r.rows},
                               {"memory", r.memory},
                               {"exchanged", r.exchanged},
                               {"exchange_seconds", r.exchange_seconds},
                               {"exposed_seconds", r.exposed_seconds},
                               {"step_seconds", r.step_seconds},
                               {"tokens_per_second", r.tokens_per_second},
                               {"efficiency", r.efficiency},
                               {"days", r.days}});
    if (s.quiet) return out;
    std::printf("run     %s, growth %s: %zu steps of %s tokens, %s tokens in all, %sFLOP (%.3f of a plain run's)\n",
                run.model.name.c_str(), s.growth.c_str(), run.steps,
                human(static_cast<double>(run.tokens_per_step())).c_str(), human(tokens).c_str(),
                human(run.flops()).c_str(), run.flops_ratio());
    std::printf(
        "speeds  %s tok/s of one GPU at the final depth; exchanges at %.0f GB/s up to %zu GPUs (one host), %.0f "
        "GB/s above, where sums hide behind the backward pass\n\n",
        human(figures.gpu_rate).c_str(), figures.host_link * 1e-9, figures.gpus_of_host, figures.link * 1e-9);
    std::printf("%6s %9s %10s %12s %10s %10s %10s %10s %6s %9s\n", "GPUs", "rows each", "memory", "sent a step",
                "exchange", "exposed", "step", "tok/s", "share", "days");
    for (const auto& r : rows)
        std::printf("%6zu %9zu %9sB %11sB %7.1f ms %7.1f ms %8.3f s %10s %5.0f%% %9.2f\n", r.gpus, r.rows,
                    human(static_cast<double>(r.memory)).c_str(), human(r.exchanged).c_str(), 1e3 * r.exchange_seconds,
                    1e3 * r.exposed_seconds, r.step_seconds, human(r.tokens_per_second).c_str(), 100 * r.efficiency,
                    r.days);
    if (rows.back().rows < figures.rows)
        std::printf("\nfewer than the %zu rows a GPU that its speed was measured with: it will be slower than this\n",
                    figures.rows);
    return out;
}

}  // namespace tools
