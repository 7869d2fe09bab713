#include "depth_report/array_measure.hpp"

#include <algorithm>

#include "depth_report/array_prompt.hpp"
#include "depthgrow/metrics/contribution.hpp"
#include "depthgrow/metrics/divergence.hpp"
#include "depthgrow/metrics/overlap.hpp"
#include "support/console.hpp"

namespace tools {

namespace {

void add_contributions(const prompt_arrays& p, dg::contribution_report& out) {
    const std::size_t L = out.depth;
    const auto tokens = static_cast<double>(p.length);
    std::vector<double> sums(dg::contribution_report::quantities.size() * L), norms(L + 1);
    for (std::size_t l = 0; l < L; ++l) {
        dg::contribution_accumulator layer;
        layer.add(p.layer(p.h, l), p.layer(p.a, l), p.layer(p.m, l));
        const auto mean = layer.mean();
        const double values[] = {mean.attention_ratio, mean.mlp_ratio,    mean.layer_ratio,    mean.attention_cosine,
                                 mean.mlp_cosine,      mean.layer_cosine, mean.block_influence};
        for (const auto q : dg::contribution_report::quantities)
            sums[out.column(q, l)] = values[static_cast<std::size_t>(q)] * tokens;
    }
    const auto row = [&](std::size_t l, std::size_t u) {
        return dg::span<const double>(p.layer(p.h, l).row(u), p.h.shape[2]);
    };
    for (std::size_t l = 0; l <= L; ++l)
        for (std::size_t u = 0; u < p.length; ++u) norms[l] += dg::l2_norm(row(l, u));
    out.layers.add(sums, tokens);
    out.residual_norm.add(norms, tokens);
    for (auto& [n, table] : out.angular) {
        std::vector<double> angles;
        for (std::size_t l = 0; l + n <= L; ++l)
            angles.push_back(dg::angular_distance(row(l, p.length - 1), row(l + n, p.length - 1)));
        table.add(angles, 1);
    }
    out.positions += p.length;
}

void add_lens(const prompt_arrays& p, dg::lens_report& out) {
    const std::size_t L = out.depth, vocab = p.logits.shape[2];
    std::vector<double> sums(out.all_tokens.columns()), next(2 * (L + 1));
    for (std::size_t l = 0; l <= L; ++l)
        for (std::size_t u = 0; u < p.length; ++u) {
            const dg::span<const double> q(p.layer(p.logits, l).row(u), vocab), y(p.layer(p.logits, L).row(u), vocab);
            const std::pair<dg::lens_quantity, double> values[] = {
                {dg::lens_quantity::kl_lens_final, dg::kl_divergence(q, y)},
                {dg::lens_quantity::kl_final_lens, dg::kl_divergence(y, q)},
                {dg::lens_quantity::top5_overlap, dg::top_k_overlap(q, y, std::min<std::size_t>(5, vocab))},
                {dg::lens_quantity::agreement, dg::agreement(q, y) ? 1.0 : 0.0}};
            for (const auto& [which, value] : values) sums[out.column(which, l)] += value;
            const std::size_t target = p.targets[u];
            if (target == prompt_arrays::no_target) continue;
            next[out.column(dg::lens_quantity::accuracy, l)] += dg::argmax(q) == target ? 1 : 0;
            next[out.column(dg::lens_quantity::cross_entropy, l)] += dg::cross_entropy(q, target);
        }
    out.all_tokens.add(sums, static_cast<double>(p.length));
    const auto followed =
        p.length - static_cast<std::size_t>(std::count(p.targets.begin(), p.targets.end(), prompt_arrays::no_target));
    if (out.next_tokens.prompts() > 0) out.next_tokens.add(next, static_cast<double>(followed));
}

/// Arrays of a run without a layer's output, measured from position `from` on.
struct skipped_run {
    std::string folder;
    std::size_t layer = 0, from = 0;
};

/// The largest change of each layer's contribution and of the prediction, over rows that count.
void add_skip(const array_source& source, const prompt_arrays& p, const skipped_run& run, dg::prompt_effects& out) {
    const std::size_t L = out.layers, width = p.a.shape[2], vocab = p.logits.shape[2];
    const std::string name = run.folder + "/skip_" + std::to_string(run.layer) + "/";
    auto a = source.numbers(name + "attn_out", {L, p.given, width}),
         m = source.numbers(name + "mlp_out", {L, p.given, width});
    auto logits = source.numbers(name + "logits", {p.given, vocab});
    logits.shape.insert(logits.shape.begin(), 1);
    for (auto* array : {&a, &m, &logits}) p.keep_counted(*array);
    std::vector<double> clean(width), changed(width);
    for (std::size_t row = 0; row < p.length; ++row) {
        if (p.positions[row] < run.from) continue;
        for (std::size_t l = run.layer; l < L; ++l) {
            for (std::size_t i = 0; i < width; ++i) {
                clean[i] = p.layer(p.a, l)(row, i) + p.layer(p.m, l)(row, i);
                changed[i] = p.layer(a, l)(row, i) + p.layer(m, l)(row, i);
            }
            out.raise_change(run.layer, l, dg::relative_change(changed, clean));
        }
        const dg::span<const double> y(p.layer(p.logits, L).row(row), vocab), z(p.layer(logits, 0).row(row), vocab);
        out.raise_output(run.layer, dg::softmax_distance(z, y));
    }
}

/// Effects of one prompt in a mode: "current", or "future" at each of its boundaries.
dg::prompt_effects skips_of(const array_source& source, const prompt_arrays& p, std::size_t layers, bool future) {
    dg::prompt_effects out(layers);
    std::vector<std::int64_t> boundaries{0};
    if (future) boundaries = source.integers("boundaries");
    dg::require(!boundaries.empty(), source.label("boundaries"), ": expected at least one boundary, found none");
    for (const auto t : boundaries) {
        dg::require(!future || (t >= 2 && static_cast<std::size_t>(t) < p.given), source.label("boundaries"),
                    ": expected boundaries from 2 to ", p.given - 1, ", found ", t);
        const std::string folder = future ? "future/" + std::to_string(t) : "current";
        for (std::size_t l = 0; l < layers; ++l) add_skip(source, p, {folder, l, static_cast<std::size_t>(t)}, out);
    }
    return out;
}

/// Extents, and tables for as many prompts as there are.
void start_measurement(depth_measurement& out, const extents& all, const report_settings& settings,
                       const dg::bootstrap_options& bootstrap) {
    const std::size_t L = all.layers;
    dg::require(out.block > 0 && (!settings.block || L % out.block == 0), "--block: expected a block that divides the ",
                L, " layers of ", out.path, ", found ", out.block);
    out.config.layers = L, out.config.width = all.width;
    auto& c = out.contribution;
    c.depth = L;
    c.layers = {dg::contribution_report::quantities.size() * L, out.prompts, bootstrap};
    c.residual_norm = {L + 1, out.prompts, bootstrap};
    for (const std::size_t n : {std::size_t{1}, out.block})
        if (n <= L) c.angular.emplace(n, dg::sample_table(L - n + 1, out.prompts, bootstrap));
    if (all.lens) out.logit_lens = {L, {4 * (L + 1), out.prompts, bootstrap}, {}};
    if (all.lens && all.tokens) out.logit_lens.next_tokens = {2 * (L + 1), out.prompts, bootstrap};
}

}  // namespace

depth_measurement measure_arrays(const report_settings& settings, std::size_t index) {
    const dg::bootstrap_options bootstrap{settings.seed, settings.resamples, 0.95};
    const stopwatch watch;
    depth_measurement out;
    out.name = settings.names[index], out.path = settings.models[index], out.from_arrays = true;
    const auto prompts = prompts_of(out.path);
    out.prompts = prompts.size();
    out.block = settings.block.value_or(4);
    extents all;
    std::optional<dg::effects_accumulator> current, future;
    for (std::size_t i = 0; i < prompts.size(); ++i) {
        const array_source source(prompts[i]);
        const auto p = read_prompt(source, all, i == 0);
        const std::size_t L = all.layers;
        if (i == 0) {
            start_measurement(out, all, settings, bootstrap);
            if (all.current) current.emplace(L, prompts.size(), bootstrap);
            if (all.future) future.emplace(L, prompts.size(), bootstrap);
        }
        add_contributions(p, out.contribution);
        if (all.lens) add_lens(p, out.logit_lens);
        if (current) current->add(skips_of(source, p, L, false));
        if (future) future->add(skips_of(source, p, L, true));
    }
    if (current) out.skip.current = std::move(*current).result();
    if (future) out.skip.future = std::move(*future).result();
    out.seconds.emplace_back("arrays", watch.seconds());
    return out;
}

}  // namespace tools
