#include "support/depth_measure.hpp"

#include "depthgrow/analysis/integrated_gradients.hpp"
#include "depthgrow/analysis/skip_effects.hpp"
#include "depthgrow/io/growth_record.hpp"
#include "depthgrow/io/model_checkpoint.hpp"
#include "support/any_backend.hpp"
#include "support/cli.hpp"
#include "support/console.hpp"
#include "support/json_output.hpp"
#include "support/text_tokens.hpp"

namespace tools {

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
        dg::require(colon != part.npos && (kind == "skip" || kind == "swap" || kind == "reverse" || kind == "loop"),
                    flag, ": expected kinds and lengths like swap:1,2;reverse:4;loop:4x2, found \"", part, "\"");
        std::string lengths = part.substr(colon + 1);
        std::size_t times = 1;
        if (const auto cross = lengths.find('x'); kind == "loop" && cross != lengths.npos) {
            const auto given = parse_numbers(flag, lengths.substr(cross + 1));
            dg::require(given.size() == 1 && given[0] > 0, flag,
                        ": expected a number of extra repetitions after x, found \"", part, "\"");
            times = given[0], lengths.resize(cross);
        }
        const std::size_t before = out.size();
        for (std::size_t length : parse_numbers(flag, lengths)) {
            auto more = dg::interventions(kind, length, depth, times);
            out.insert(out.end(), more.begin(), more.end());
        }
        dg::require(out.size() > before, flag, ": expected a length that fits ", depth, " layers, found \"", part,
                    "\"");
    }
    return out;
}

namespace {

template <class T, class Backend>
depth_measurement measure(Backend& backend, dg::communicator& comm, const report_settings& settings, std::size_t index,
                          const dg::bootstrap_options& bootstrap,
                          const std::function<void(const std::string&)>& progress) {
    const std::string& path = settings.models[index];
    depth_measurement out;
    out.name = settings.names.empty() ? path : settings.names[index], out.path = path;
    const auto timed = [&](const std::string& part, auto&& work) {
        progress(out.name + ": " + part);
        stopwatch watch;
        try {
            work();
        } catch (const dg::error& problem) {  // the library does not know the model's file
            dg::require(problem.what()[0] != '[', path, ": ", problem.what());
            throw;
        }
        out.seconds.emplace_back(part, watch.seconds());
    };
    const dg::checkpoint_reader checkpoint(path);
    auto model = load_finite_model<T, Backend>(backend, checkpoint);
    out.growth = dg::read_growth(checkpoint);
    if (!out.growth.empty()) out.grown = dg::read_lineage(checkpoint);
    out.order = unroll(model, checkpoint, settings.order);
    if (!out.order.empty()) {
        if (!out.grown) out.grown.emplace(checkpoint.config().layers);
        out.grown->record({out.order, checkpoint.config().layers});
    }
    const std::size_t L = model.layers();
    out.config = model.config();
    const text_tokens text(settings.tokenizer, path, model.config().vocab);
    const auto given =
        read_prompts(settings.prompts, {model.config().vocab, model.config().context, text.prompt_encoder(),
                                        parse_numbers("--boundaries", settings.boundaries)});
    const std::vector<dg::prompt> prompts(given.begin(), given.end());
    out.prompts = prompts.size();
    out.unit = settings.unit == "attention" ? dg::skip_unit::attention
               : settings.unit == "mlp"     ? dg::skip_unit::mlp
                                            : dg::skip_unit::layer;
    out.block = settings.block.value_or(4);
    dg::require(out.block > 0, "--block: expected at least 1, found 0");
    if (settings.block)
        dg::require(L % out.block == 0, "--block: expected a block that divides the ", L, " layers of ", path,
                    ", found ", out.block);
    std::optional<dg::tuned_lens<T, Backend>> lens;
    if (!settings.lenses.empty()) lens = read_lens<T, Backend>(settings.lenses[index], model);
    const auto gradient_layers = parse_numbers("--integrated-gradients", settings.gradients);
    for (std::size_t l : gradient_layers)
        dg::require(l < L, "--integrated-gradients: expected layers below ", L, ", found ", l);
    out.interventions = parse_sweeps("--sweeps", settings.sweeps, L);

    const auto rows_at_most = [&](std::size_t most) {
        return settings.max_rows ? std::min(settings.max_rows, most) : most;
    };
    if (settings.contributions)
        timed("contributions", [&] {
            std::vector<std::size_t> spans = {1};
            if (out.block > 1 && out.block <= L) spans.push_back(out.block);
            out.contribution = dg::contributions(model, prompts, spans, bootstrap, comm);
        });
    dg::skip_options options;
    options.unit = out.unit, options.max_rows = settings.max_rows, options.seed = settings.seed,
    options.bootstrap = bootstrap;
    if (settings.skips != skip_parts::none)
        timed("skip effects", [&] {
            const bool all = settings.skips == skip_parts::all;
            if (all) out.skip = dg::skip_effects(model, prompts, options, comm);
            options.unit = dg::skip_unit::layer;
            if (!all || out.unit != dg::skip_unit::layer)
                out.future_of_layers = dg::future_effects(model, prompts, options, comm);
        });
    if (settings.local) timed("local effects", [&] { out.local = dg::local_effects(model, prompts, options, comm); });
    dg::lens_options lens_options;
    lens_options.bootstrap = bootstrap;
    if (settings.logit_lens)
        timed("logit lens", [&] { out.logit_lens = dg::logit_lens(model, prompts, lens_options, comm); });
    if (lens)
        timed("tuned lens",
              [&] { out.tuned_lens = dg::tuned_lens_statistics(model, prompts, *lens, lens_options, comm); });
    if (settings.similarity && L % out.block == 0)
        timed("block similarity", [&] { out.similarity = dg::block_similarity(model, out.block); });
    timed("interventions", [&] {
        std::vector<dg::layer_order> orders = {dg::layer_order::identity(L)};
        for (const auto& one : out.interventions) orders.push_back(one.order);
        out.sweep_prompts = std::min(prompts.size(), std::max<std::size_t>(1, settings.sweep_prompts));
        out.losses = dg::order_losses(model, dg::span<const dg::prompt>(prompts).subspan(0, out.sweep_prompts), orders,
                                      bootstrap, comm, rows_at_most(16384));
    });
    if (!gradient_layers.empty())
        timed("integrated gradients", [&] {
            std::vector<std::size_t> answered;
            std::size_t longest = 0;
            for (std::size_t p = 0; p < given.size(); ++p)
                if (given[p].answer_from) answered.push_back(p), longest = std::max(longest, given[p].tokens.size());
            dg::require(!answered.empty(), settings.prompts,
                        ": expected a prompt with answer_from for --integrated-gradients, found none");
            const auto one_prompt = [&](std::size_t a, dg::span<double> row) {
                const auto& one = given[answered[a]];
                const auto values = dg::integrated_gradients(model, one, *one.answer_from, gradient_layers,
                                                             {settings.gradient_steps, rows_at_most(2048)});
                for (std::size_t i = 0; i < values.size(); ++i)
                    std::copy(values[i].begin(), values[i].end(), row.subspan(i * longest, longest).begin());
            };
            dg::share_out(
                comm, answered.size(), gradient_layers.size() * longest, one_prompt,
                [&](std::size_t a, dg::span<const double> row) {
                    const std::size_t length = given[answered[a]].tokens.size();
                    for (std::size_t i = 0; i < gradient_layers.size(); ++i) {
                        const auto values = row.subspan(i * longest, length);
                        out.gradients.push_back({answered[a], gradient_layers[i], {values.begin(), values.end()}});
                    }
                });
        });
    return out;
}

dg::json rows_of(const std::vector<double>& flat, std::size_t rows) {
    dg::json out = dg::json::array();
    const std::size_t cols = rows ? flat.size() / rows : 0;
    for (std::size_t r = 0; r < rows; ++r)
        out.push_back(std::vector<double>(flat.begin() + static_cast<std::ptrdiff_t>(r * cols),
                                          flat.begin() + static_cast<std::ptrdiff_t>((r + 1) * cols)));
    return out;
}

/// Low and high ends, as vectors or as `rows` rows.
dg::json ends_json(const std::vector<dg::mean_interval>& all, std::size_t rows = 0) {
    std::vector<double> low, high;
    for (const auto& one : all) low.push_back(one.low), high.push_back(one.high);
    if (rows) return {{"low", rows_of(low, rows)}, {"high", rows_of(high, rows)}};
    return {{"low", low}, {"high", high}};
}

dg::json effects_json(const dg::effects& e) {
    return {{"change_max", rows_of(e.change_max, e.layers)},
            {"output_max", e.output_max},
            {"change_mean", rows_of(e.change_mean, e.layers)},
            {"output_mean", e.output_mean}};
}

dg::json effects_interval(const dg::effects& e) {
    return {{"change_mean", ends_json(e.change.intervals(), e.layers)},
            {"output_mean", ends_json(e.output.intervals())}};
}

}  // namespace

depth_measurement measure_depth(const report_settings& settings, std::size_t index,
                                const std::function<void(const std::string&)>& progress) {
    const dg::bootstrap_options bootstrap{settings.seed, settings.resamples, 0.95};
    std::optional<depth_measurement> out;
    with_backend(settings.backend, settings.precision, settings.threads, true, settings.ranks, "lower --max-rows",
                 [&]<class T>(auto& backend, dg::communicator& comm) {
                     out = measure<T>(backend, comm, settings, index, bootstrap, progress);
                 });
    return std::move(*out);
}

namespace {

/// A report as it is written: what was measured, and the ends of its intervals beside.
struct report_json {
    dg::json out, interval;
};

void add_contribution(report_json& r, const dg::contribution_report& contribution) {
    for (const auto q : dg::contribution_report::quantities) {
        r.out["contribution"][dg::name_of(q)] = contribution.quantity(q);
        r.interval["contribution"][dg::name_of(q)] = ends_json(contribution.intervals(q));
    }
    r.out["contribution"]["residual_norm"] = contribution.residual_norm.means();
    r.interval["contribution"]["residual_norm"] = ends_json(contribution.residual_norm.intervals());
    for (const auto& [n, table] : contribution.angular) {
        r.out["angular_distance"][std::to_string(n)] = table.means();
        r.interval["angular_distance"][std::to_string(n)] = ends_json(table.intervals());
    }
}

const char* name_of_unit(dg::skip_unit unit) {
    if (unit == dg::skip_unit::layer) return "layer";
    return unit == dg::skip_unit::mlp ? "mlp" : "attention";
}

void add_skip(report_json& r, const depth_measurement& m) {
    const bool all = m.skip.current.layers > 0 || !m.future_of_layers;  // else only what depth scores are made of
    const auto& future = all ? m.skip.future : *m.future_of_layers;
    r.out["skip"]["unit"] = name_of_unit(all ? m.unit : dg::skip_unit::layer);
    for (const auto& [mode, effects] : {std::pair("current", &m.skip.current), std::pair("future", &future)}) {
        if (effects->layers == 0) continue;  // not measured, or arrays without such runs
        r.out["skip"][mode] = effects_json(*effects);
        r.interval["skip"][mode] = effects_interval(*effects);
    }
}

void add_local(report_json& r, const depth_measurement& m) {
    if (m.local.layers)
        r.out["local"] = {{"current", rows_of(m.local.current, m.config.layers)},
                          {"future", rows_of(m.local.future, m.config.layers)}};
}

void add_depth_score(report_json& r, const dg::effects& future, std::size_t layers) {
    const auto scores = dg::all_depth_scores(future);
    const auto relative = [&](double score) { return dg::relative_depth(score, layers); };
    r.out["depth_score"] = {{"mean", {{"output", scores.mean_output}, {"layer", scores.mean_layer}}},
                            {"max", {{"output", scores.max_output}, {"layer", scores.max_layer}}}};
    r.out["relative_depth_score"] = {
        {"mean", {{"output", relative(scores.mean_output)}, {"layer", relative(scores.mean_layer)}}},
        {"max", {{"output", relative(scores.max_output)}, {"layer", relative(scores.max_layer)}}}};
    const auto output = dg::depth_score_interval(future), layer = dg::layer_depth_score_interval(future);
    r.interval["depth_score"]["mean"] = {{"output", interval_json(output)}, {"layer", interval_json(layer)}};
    r.interval["relative_depth_score"]["mean"] = {
        {"output", interval_json({relative(output.mean), relative(output.low), relative(output.high)})},
        {"layer", interval_json({relative(layer.mean), relative(layer.low), relative(layer.high)})}};
}

void add_lens(report_json& r, const std::string& key, const dg::lens_report& report) {
    for (const auto q : dg::lens_report::quantities) {
        if (report.table(q).prompts() == 0) continue;  // no tokens to compare with
        r.out[key][dg::name_of(q)] = report.quantity(q);
        r.interval[key][dg::name_of(q)] = ends_json(report.intervals(q));
    }
}

dg::json lineage_json(const depth_measurement& m) {
    std::vector<std::size_t> ancestors;
    for (std::size_t l = 0; l < m.config.layers; ++l) ancestors.push_back(m.grown->descends_from(l));
    return {{"initial_layers", m.grown->initial_depth()},
            {"stages", m.grown->stage()},
            {"descends_from", ancestors},
            {"shared_until", m.grown->layer_matrix()},
            {"growth", m.growth}};
}

void add_loss(report_json& r, const depth_measurement& m) {
    r.out["loss"] = m.loss().mean;
    r.interval["loss"] = interval_json(m.loss());
}

/// For each intervention the losses of the sweeps' prompts.
void add_sweeps(report_json& r, const depth_measurement& m) {
    const auto losses = m.losses.intervals();
    r.out["clean_loss"] = losses[0].mean;
    r.interval["clean_loss"] = interval_json(losses[0]);
    r.interval["clean_loss"]["n"] = m.sweep_prompts;
    r.out["sweeps"] = dg::json::array();
    for (std::size_t i = 0; i < m.interventions.size(); ++i) {
        const auto& one = m.interventions[i];
        dg::json entry = {
            {"kind", one.kind},           {"length", one.length},
            {"start", one.start},         {"order", one.order.sources()},
            {"loss", losses[i + 1].mean}, {"low", losses[i + 1].low},
            {"high", losses[i + 1].high}, {"added", interval_json(dg::paired_difference(m.losses, i + 1, m.losses, 0))},
            {"n", m.sweep_prompts}};
        if (one.kind == "loop") entry["times"] = one.times;
        r.out["sweeps"].push_back(std::move(entry));
    }
}

}  // namespace

dg::json depth_json(const depth_measurement& m, const report_settings& settings) {
    const std::size_t L = m.config.layers;
    report_json r;
    r.out = {{"model", {{"layers", L}, {"width", m.config.width}, {"name", m.name}, {"path", m.path}}},
             {"prompts", m.prompts}};
    r.interval = {{"n", m.prompts}, {"confidence", 0.95}, {"resamples", settings.resamples}, {"seed", settings.seed}};
    if (!m.from_arrays) r.out["model"]["parameters"] = m.config.parameters();
    if (!m.order.empty()) r.out["order"] = m.order;
    if (m.contribution.positions) r.out["positions"] = m.contribution.positions, add_contribution(r, m.contribution);
    if (m.has_current() || m.has_future()) add_skip(r, m);
    add_local(r, m);
    if (m.has_future() && L > 1) add_depth_score(r, m.layer_future(), L);
    if (m.has_lens()) add_lens(r, "logit_lens", m.logit_lens);
    if (m.tuned_lens) add_lens(r, "tuned_lens", *m.tuned_lens);
    if (!m.similarity.empty()) r.out["block_similarity"] = {{"block", m.block}, {"cosine", m.similarity}};
    if (m.grown) r.out["lineage"] = lineage_json(m);
    if (m.has_next_tokens()) add_loss(r, m);
    if (!m.from_arrays) add_sweeps(r, m);
    if (!m.gradients.empty()) {
        r.out["integrated_gradients"] = dg::json::array();
        for (const auto& g : m.gradients)
            r.out["integrated_gradients"].push_back({{"prompt", g.prompt}, {"layer", g.layer}, {"value", g.value}});
    }
    r.out["interval"] = std::move(r.interval);
    for (const auto& [part, seconds] : m.seconds) r.out["seconds"][part] = seconds;
    return std::move(r.out);
}

dg::json compare_json(const depth_measurement& first, const depth_measurement& other) {
    dg::json out = {{"first", first.name}, {"n", first.prompts}};
    const bool skips = first.has_future() && other.has_future(), lenses = first.has_lens() && other.has_lens(),
               next_tokens = first.has_next_tokens() && other.has_next_tokens();
    if (skips && first.config.layers > 1 && other.config.layers > 1) {
        out["depth_score"] =
            interval_json(dg::paired_depth_score_difference(other.layer_future(), first.layer_future()));
        out["relative_depth_score"] =
            interval_json(dg::paired_depth_score_difference(other.layer_future(), first.layer_future(), true));
    }
    const auto lens = [&](dg::lens_quantity quantity, std::size_t layer, std::size_t layer_of_first) {
        const bool tuned = other.tuned_lens && first.tuned_lens;
        const auto &a = tuned ? *other.tuned_lens : other.logit_lens, &b = tuned ? *first.tuned_lens : first.logit_lens;
        return dg::paired_difference(a.table(quantity), a.column(quantity, layer), b.table(quantity),
                                     b.column(quantity, layer_of_first));
    };
    const std::size_t L = other.config.layers, first_layers = first.config.layers;
    if (lenses) out["late_overlap"] = interval_json(lens(dg::lens_quantity::top5_overlap, L - 1, first_layers - 1));
    if (next_tokens) out["loss"] = interval_json(lens(dg::lens_quantity::cross_entropy, L, first_layers));
    if (L != first_layers) return out;
    // models of one depth: layer by layer
    const auto each = [&](const std::string& key, std::size_t count, const auto& difference) {
        std::vector<dg::mean_interval> all;
        std::vector<double> mean;
        for (std::size_t l = 0; l < count; ++l) all.push_back(difference(l)), mean.push_back(all.back().mean);
        out["layers"][key] = ends_json(all);
        out["layers"][key]["mean"] = mean;
    };
    if (skips)
        each("future_output", L, [&](std::size_t l) {
            return dg::paired_difference(other.layer_future().output, l, first.layer_future().output, l);
        });
    for (const auto q : dg::contribution_report::quantities)
        each(dg::name_of(q), L, [&](std::size_t l) {
            return dg::paired_difference(other.contribution.layers, other.contribution.column(q, l),
                                         first.contribution.layers, first.contribution.column(q, l));
        });
    for (const auto q : dg::lens_report::quantities) {
        const bool of_next = q == dg::lens_quantity::accuracy || q == dg::lens_quantity::cross_entropy;
        if (of_next ? next_tokens : lenses) each(dg::name_of(q), L + 1, [&](std::size_t l) { return lens(q, l, l); });
    }
    return out;
}

}  // namespace tools
