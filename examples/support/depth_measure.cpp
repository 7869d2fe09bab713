#include "support/depth_measure.hpp"

#include <thread>

#include "depthgrow/analysis/integrated_gradients.hpp"
#include "depthgrow/analysis/skip_effects.hpp"
#include "depthgrow/io/model_checkpoint.hpp"
#include "support/console.hpp"
#include "support/cpu_backend.hpp"

namespace tools {

int resolve_threads(int threads) { return threads > 0 ? threads : std::max(1, static_cast<int>(std::thread::hardware_concurrency())); }

std::vector<dg::intervention> parse_sweeps(const std::string& flag, const std::string& list, std::size_t depth) {
    if (list == "none") return {};
    if (list == "standard") return dg::standard_interventions(depth);
    std::vector<dg::intervention> out;
    for (std::size_t first = 0; first < list.size();) {
        const std::size_t end = std::min(list.find(';', first), list.size());
        const std::string part = list.substr(first, end - first);
        first = end + 1;
        const auto colon = part.find(':');
        const std::string kind = part.substr(0, colon);
        dg::require(colon != part.npos && (kind == "skip" || kind == "swap" || kind == "reverse" || kind == "loop"), flag,
                    ": expected kinds and lengths like swap:1,2;reverse:4;loop:4x2, found \"", part, "\"");
        std::string lengths = part.substr(colon + 1);
        std::size_t times = 1;
        if (const auto cross = lengths.find('x'); kind == "loop" && cross != lengths.npos) {
            const auto given = parse_numbers(flag, lengths.substr(cross + 1));
            dg::require(given.size() == 1 && given[0] > 0, flag, ": expected a number of extra repetitions after x, found \"", part, "\"");
            times = given[0], lengths.resize(cross);
        }
        for (std::size_t length : parse_numbers(flag, lengths)) {
            auto more = dg::interventions(kind, length, depth, times);
            out.insert(out.end(), more.begin(), more.end());
        }
    }
    return out;
}

namespace {

std::string display_name(const std::string& model) {
    std::filesystem::path path = std::filesystem::path(model).lexically_normal();
    if (path.filename().empty()) path = path.parent_path();
    return path.filename().string();
}

template <class T, class Backend>
depth_measurement measure(Backend& backend, const report_settings& settings, const std::string& path, const std::function<void(const std::string&)>& progress) {
    depth_measurement out{display_name(path), path, {}, 0, 0, 0, dg::skip_unit::layer, {0, 0, dg::sample_table(), dg::sample_table(), {}}, {}, {}, {}, {0, dg::sample_table()},
                          {},   {},   {}, dg::sample_table(), {}, {}};
    const auto timed = [&](const std::string& part, auto&& work) {
        progress(out.name + ": " + part);
        stopwatch watch;
        work();
        out.seconds.emplace_back(part, watch.seconds());
    };
    const auto model = dg::load_model<T, Backend>(backend, path);
    const std::size_t L = model.layers();
    out.config = model.config();
    const auto given = read_prompts(settings.prompts, {model.config().vocab, model.config().context, dg::encode_bytes, parse_numbers("--boundaries", settings.boundaries)});
    const std::vector<dg::prompt> prompts(given.begin(), given.end());
    out.prompts = prompts.size();
    out.unit = settings.unit == "attention" ? dg::skip_unit::attention : settings.unit == "mlp" ? dg::skip_unit::mlp : dg::skip_unit::layer;
    out.block = settings.block.value_or(4);
    dg::require(out.block > 0, "--block: expected at least 1, found 0");
    if (settings.block) dg::require(L % out.block == 0, "--block: expected a block that divides the ", L, " layers of ", path, ", found ", out.block);
    std::optional<dg::tuned_lens<T, Backend>> lens;
    if (!settings.lens.empty()) lens = read_lens<T, Backend>(settings.lens, model);
    const auto gradient_layers = parse_numbers("--integrated-gradients", settings.gradients);
    for (std::size_t l : gradient_layers) dg::require(l < L, "--integrated-gradients: expected layers below ", L, ", found ", l);
    out.interventions = parse_sweeps("--sweeps", settings.sweeps, L);

    timed("contributions", [&] {
        std::vector<std::size_t> spans = {1};
        if (out.block > 1 && out.block <= L) spans.push_back(out.block);
        out.contribution = dg::contributions(model, prompts, spans);
    });
    dg::skip_options options;
    options.unit = out.unit, options.max_rows = settings.max_rows, options.seed = settings.seed;
    timed("current skip effects", [&] { out.skip.current = dg::current_effects(model, prompts, options); });
    timed("future skip effects", [&] {
        out.skip.future = dg::future_effects(model, prompts, options);
        out.layer_future = out.skip.future;
        if (out.unit == dg::skip_unit::layer) return;
        options.unit = dg::skip_unit::layer;
        out.layer_future = dg::future_effects(model, prompts, options);
    });
    if (settings.local) timed("local effects", [&] { out.local = dg::local_effects(model, prompts, options); });
    timed("logit lens", [&] { out.logit_lens = dg::logit_lens(model, prompts); });
    if (lens) timed("tuned lens", [&] { out.tuned_lens = dg::tuned_lens_statistics(model, prompts, *lens); });
    if (L % out.block == 0) timed("block similarity", [&] { out.similarity = dg::block_similarity(model, out.block); });
    timed("interventions", [&] {
        std::vector<dg::layer_order> orders = {dg::layer_order::identity(L)};
        for (const auto& one : out.interventions) orders.push_back(one.order);
        out.sweep_prompts = std::min(prompts.size(), std::max<std::size_t>(1, settings.sweep_prompts));
        out.losses = dg::order_losses(model, dg::span<const dg::prompt>(prompts).subspan(0, out.sweep_prompts), orders);
    });
    if (!gradient_layers.empty()) timed("integrated gradients", [&] {
        bool any = false;
        for (std::size_t p = 0; p < given.size(); ++p) {
            if (!given[p].answer_from) continue;
            any = true;
            const auto values = dg::integrated_gradients(model, given[p], *given[p].answer_from, gradient_layers, {settings.gradient_steps, std::min<std::size_t>(settings.max_rows, 2048)});
            for (std::size_t i = 0; i < values.size(); ++i) out.gradients.push_back({p, gradient_layers[i], values[i]});
        }
        dg::require(any, settings.prompts, ": expected a prompt with answer_from for --integrated-gradients, found none");
    });
    return out;
}

dg::json rows_of(const std::vector<double>& flat, std::size_t rows) {
    dg::json out = dg::json::array();
    const std::size_t cols = rows ? flat.size() / rows : 0;
    for (std::size_t r = 0; r < rows; ++r) out.push_back(std::vector<double>(flat.begin() + static_cast<std::ptrdiff_t>(r * cols), flat.begin() + static_cast<std::ptrdiff_t>((r + 1) * cols)));
    return out;
}

dg::json interval_json(const dg::mean_interval& i) { return {{"mean", i.mean}, {"low", i.low}, {"high", i.high}}; }

/// Low and high ends of columns [first, first + count).
dg::json ends_json(const std::vector<dg::mean_interval>& all, std::size_t first, std::size_t count) {
    std::vector<double> low, high;
    for (std::size_t i = first; i < first + count; ++i) low.push_back(all[i].low), high.push_back(all[i].high);
    return {{"low", low}, {"high", high}};
}

dg::json effects_json(const dg::effects& e) {
    return {{"change_max", rows_of(e.change_max, e.layers)}, {"output_max", e.output_max}, {"change_mean", rows_of(e.change_mean, e.layers)}, {"output_mean", e.output_mean}};
}

/// Interval of the mean output effect of every layer.
dg::json effects_interval(const dg::effects& e, const dg::bootstrap_options& bootstrap) {
    dg::sample_table table(e.layers);
    for (const auto& one : e.outputs) table.add(one, std::vector<double>(e.layers, 1.0));
    return {{"output_mean", ends_json(table.intervals(bootstrap), 0, e.layers)}, {"change_mean_standard_error", rows_of(e.change_error, e.layers)}};
}

}  // namespace

depth_measurement measure_depth(const report_settings& settings, const std::string& model, const std::function<void(const std::string&)>& progress) {
    dg::blas backend(cpu_options(resolve_threads(settings.threads)));
    return measure<float>(backend, settings, model, progress);
}

dg::json depth_json(const depth_measurement& m, const dg::bootstrap_options& bootstrap) {
    const std::size_t L = m.config.layers;
    dg::json out = {{"model", {{"layers", L}, {"width", m.config.width}, {"name", m.name}, {"path", m.path}, {"parameters", m.config.parameters()}}},
                    {"prompts", m.prompts}, {"positions", m.contribution.positions}};
    dg::json interval = {{"n", m.prompts}, {"confidence", bootstrap.confidence}, {"resamples", bootstrap.resamples}, {"seed", bootstrap.seed}};
    const auto layer_ends = m.contribution.layers.intervals(bootstrap);
    for (std::size_t q = 0; q < dg::contribution_report::quantities; ++q) {
        out["contribution"][dg::contribution_report::names[q]] = m.contribution.quantity(q);
        interval["contribution"][dg::contribution_report::names[q]] = ends_json(layer_ends, q * L, L);
    }
    out["contribution"]["residual_norm"] = m.contribution.residual_norm.means();
    interval["contribution"]["residual_norm"] = ends_json(m.contribution.residual_norm.intervals(bootstrap), 0, L + 1);
    out["skip"] = {{"unit", m.unit == dg::skip_unit::layer ? "layer" : m.unit == dg::skip_unit::mlp ? "mlp" : "attention"},
                   {"current", effects_json(m.skip.current)}, {"future", effects_json(m.skip.future)}};
    interval["skip"] = {{"current", effects_interval(m.skip.current, bootstrap)}, {"future", effects_interval(m.skip.future, bootstrap)}};
    if (m.local.layers) out["local"] = {{"current", rows_of(m.local.current, L)}, {"future", rows_of(m.local.future, L)}};
    if (L > 1) {
        const auto scores = dg::all_depth_scores(m.layer_future);
        const auto relative = [&](double score) { return dg::relative_depth(score, L); };
        out["depth_score"] = {{"mean", {{"output", scores.mean_output}, {"layer", scores.mean_layer}}}, {"max", {{"output", scores.max_output}, {"layer", scores.max_layer}}}};
        out["relative_depth_score"] = {{"mean", {{"output", relative(scores.mean_output)}, {"layer", relative(scores.mean_layer)}}},
                                       {"max", {{"output", relative(scores.max_output)}, {"layer", relative(scores.max_layer)}}}};
        interval["depth_score"] = {{"output", interval_json(dg::depth_score_interval(m.layer_future, bootstrap))}, {"layer", interval_json(dg::layer_depth_score_interval(m.layer_future, bootstrap))}};
    }
    const auto lens = [&](const std::string& key, const dg::lens_report& report) {
        const auto ends = report.table.intervals(bootstrap);
        for (std::size_t q = 0; q < dg::lens_report::quantities; ++q) {
            out[key][dg::lens_report::names[q]] = report.quantity(q);
            interval[key][dg::lens_report::names[q]] = ends_json(ends, q * (L + 1), L + 1);
        }
    };
    lens("logit_lens", m.logit_lens);
    if (m.tuned_lens) lens("tuned_lens", *m.tuned_lens);
    if (!m.similarity.empty()) out["block_similarity"] = {{"block", m.block}, {"cosine", m.similarity}};
    for (const auto& [n, table] : m.contribution.angular) {
        out["angular_distance"][std::to_string(n)] = table.means();
        interval["angular_distance"][std::to_string(n)] = ends_json(table.intervals(bootstrap), 0, table.columns());
    }
    const auto losses = m.losses.intervals(bootstrap);
    out["loss"] = losses[0].mean;
    interval["loss"] = interval_json(losses[0]);
    interval["sweep_prompts"] = m.sweep_prompts;
    out["sweeps"] = dg::json::array();
    for (std::size_t i = 0; i < m.interventions.size(); ++i) {
        const auto& one = m.interventions[i];
        dg::json entry = {{"kind", one.kind}, {"length", one.length}, {"start", one.start}, {"order", one.order.sources()}, {"loss", losses[i + 1].mean},
                          {"low", losses[i + 1].low}, {"high", losses[i + 1].high}};
        if (one.kind == "loop") entry["times"] = one.times;
        out["sweeps"].push_back(std::move(entry));
    }
    if (!m.gradients.empty()) {
        out["integrated_gradients"] = dg::json::array();
        for (const auto& g : m.gradients) out["integrated_gradients"].push_back({{"prompt", g.prompt}, {"layer", g.layer}, {"value", g.value}});
    }
    out["interval"] = std::move(interval);
    for (const auto& [part, seconds] : m.seconds) out["seconds"][part] = seconds;
    return out;
}

dg::json compare_json(const depth_measurement& first, const depth_measurement& other, const dg::bootstrap_options& bootstrap) {
    dg::json out = {{"first", first.name}, {"n", first.prompts}};
    if (first.config.layers > 1 && other.config.layers > 1) {
        out["depth_score"] = interval_json(dg::paired_depth_score_difference(other.layer_future, first.layer_future, bootstrap));
        out["relative_depth_score"] = interval_json(dg::paired_depth_score_difference(other.layer_future, first.layer_future, bootstrap, true));
    }
    const auto paired = [&](const dg::sample_table& a, std::size_t ca, const dg::sample_table& b, std::size_t cb) {
        std::vector<double> x, y;
        for (std::size_t p = 0; p < a.prompts(); ++p) x.push_back(a.prompt_mean(p, ca)), y.push_back(b.prompt_mean(p, cb));
        return interval_json(dg::paired_difference(y, x, bootstrap));
    };
    const std::size_t a = first.config.layers, b = other.config.layers;
    out["late_overlap"] = paired(first.logit_lens.table, 2 * (a + 1) + a - 1, other.logit_lens.table, 2 * (b + 1) + b - 1);
    out["loss"] = paired(first.logit_lens.table, 5 * (a + 1) + a, other.logit_lens.table, 5 * (b + 1) + b);
    return out;
}

}  // namespace tools
