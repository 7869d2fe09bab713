#include "depth_report/depth_page.hpp"

#include "depthgrow/io/html_report.hpp"
#include "support/console.hpp"

namespace tools {

namespace {

std::vector<double> indices(std::size_t count) {
    std::vector<double> out(count);
    for (std::size_t i = 0; i < count; ++i) out[i] = static_cast<double>(i);
    return out;
}

/// Means with a band for their intervals.
dg::plot_series curve(const std::string& name, const std::vector<dg::mean_interval>& values) {
    dg::plot_series line{name, indices(values.size()), {}, false, true, {}, {}};
    for (const auto& value : values)
        line.y.push_back(value.mean), line.low.push_back(value.low), line.high.push_back(value.high);
    return line;
}

/// One curve a model.
template <class Values>
dg::line_plot curves(const std::string& title, const std::string& y_label, const std::vector<depth_measurement>& models,
                     Values values, const std::string& x_label = "layer") {
    dg::line_plot plot{title, x_label, y_label, {}, {}};
    for (const auto& m : models) plot.series.push_back(curve(m.name, values(m)));
    return plot;
}

/// Rows skip, columns change; what nothing can reach, columns below row + `first`, is left empty.
dg::heat_map square(const std::string& title, std::size_t n, std::vector<double> values, std::size_t first,
                    double high = 1) {
    for (std::size_t r = 0; r < n; ++r)
        for (std::size_t c = 0; c < std::min(n, r + first); ++c) values[r * n + c] = NAN;
    return {title, "affected layer", "skipped layer", "relative change", n, n, std::move(values), 0, high};
}

/// The end of one scale for all models' means, `effects(model)`: their largest value.
template <class Effects> double common_scale(const std::vector<depth_measurement>& models, Effects effects) {
    double high = 0;
    for (const auto& m : models)
        for (double value : effects(m).change_mean)
            if (std::isfinite(value)) high = std::max(high, value);
    return high > 0 ? high : 1;
}

/// The end of the scale of local maxima: 1, or their largest value where most of them are above 1.
double local_scale(const std::vector<depth_measurement>& models) {
    std::size_t cells = 0, above = 0;
    double high = 1;
    for (const auto& m : models)
        for (const auto* values : {&m.local.current, &m.local.future})
            for (double value : *values)
                if (value > 0 && std::isfinite(value)) ++cells, above += value > 1, high = std::max(high, value);
    return 2 * above > cells ? high : 1;
}

dg::report_section summary(const std::vector<depth_measurement>& models) {
    std::vector<std::vector<std::string>> rows = {{""},
                                                  {"layers, width"},
                                                  {"prompts, positions"},
                                                  {"loss (nats per token)"},
                                                  {"depth score (output)"},
                                                  {"the same / (layers − 1)"},
                                                  {"depth score (later layers)"},
                                                  {"top-5 overlap at the last layer's input"}};
    dg::bar_chart scores{
        "Depth score, relative to depth", "share of the way from the first layer to the last", {}, {}, {}, NAN, ""};
    for (const auto& m : models) {
        const auto interval = [](const dg::mean_interval& i, const char* pattern) {
            return format(pattern, i.mean) + " [" + format(pattern, i.low) + ", " + format(pattern, i.high) + "]";
        };
        rows[0].push_back(m.name);
        rows[1].push_back(format("%zu, %zu", m.config.layers, m.config.width));
        rows[2].push_back(format("%zu, %zu", m.prompts, m.contribution.positions));
        const std::size_t L = m.config.layers;
        rows[3].push_back(interval(m.loss(), "%.4f"));
        if (L > 1) {
            const auto output = dg::depth_score_interval(m.layer_future());
            const double scale = 1 / static_cast<double>(L - 1);
            rows[4].push_back(interval(output, "%.3f"));
            rows[5].push_back(interval({output.mean * scale, output.low * scale, output.high * scale}, "%.3f"));
            rows[6].push_back(interval(dg::layer_depth_score_interval(m.layer_future()), "%.3f"));
            scores.names.push_back(m.name), scores.values.push_back(output.mean * scale),
                scores.errors.push_back((output.high - output.low) / 2 * scale);
        } else {
            for (std::size_t r : {4u, 5u, 6u}) rows[r].push_back("");
        }
        rows[7].push_back(interval(m.late_overlap(), "%.3f") + (m.tuned_lens ? " tuned lens" : " logit lens"));
    }
    return {"Summary",
            format("Brackets hold 95 %% bootstrap intervals over the %zu prompts, as do the bands of all curves below. "
                   "The depth score is the layer, on average, whose removal changes later predictions most: high means "
                   "that late layers matter.",
                   models[0].prompts),
            {dg::html_table(rows), dg::svg(scores)}};
}

dg::report_section comparison(const std::vector<depth_measurement>& models) {
    std::vector<std::vector<std::string>> rows = {{"difference from " + models[0].name},
                                                  {"depth score"},
                                                  {"depth score / (layers − 1)"},
                                                  {"top-5 overlap at the last layer's input"},
                                                  {"loss (nats per token)"}};
    for (std::size_t i = 1; i < models.size(); ++i) {
        const dg::json d = compare_json(models[0], models[i]);
        rows[0].push_back(models[i].name);
        std::size_t r = 1;
        for (const char* key : {"depth_score", "relative_depth_score", "late_overlap", "loss"}) {
            const auto found = d.find(key);
            rows[r++].push_back(found == d.end()
                                    ? ""
                                    : format("%+.4f [%+.4f, %+.4f]", (*found)["mean"].get<double>(),
                                             (*found)["low"].get<double>(), (*found)["high"].get<double>()));
        }
    }
    return {"Compared, prompt by prompt",
            "Every difference is taken on the same prompt and then averaged; an interval without 0 is a difference "
            "that the prompts agree on.",
            {dg::html_table(rows)}};
}

dg::report_section predictions(const std::vector<depth_measurement>& models) {
    dg::line_plot overlap{"Top-5 overlap with the final prediction",
                          "layer input (the last point is the model's own head)",
                          "share of the five likeliest tokens",
                          {},
                          {}};
    dg::line_plot kl{"KL from the final prediction to the lens", "layer input", "KL(final ‖ lens) (nats)", {}, {}};
    dg::line_plot accuracy{"Next token right, answering early",
                           "layer input (the last point is the model's own head)",
                           "share of next tokens right",
                           {},
                           {}};
    overlap.y_from_zero = accuracy.y_from_zero = true;
    kl.y_scale = dg::axis_scale::log;
    for (const auto& m : models)
        for (const auto* lens : {m.tuned_lens ? &*m.tuned_lens : nullptr, &m.logit_lens}) {
            if (!lens) continue;
            const std::string name = m.name + (lens == &m.logit_lens ? " (logit lens)" : " (tuned lens)");
            overlap.series.push_back(curve(name, lens->intervals(dg::lens_quantity::top5_overlap)));
            kl.series.push_back(curve(name, lens->intervals(dg::lens_quantity::kl_final_lens)));
            if (m.has_next_tokens())
                accuracy.series.push_back(curve(name, lens->intervals(dg::lens_quantity::accuracy)));
        }
    dg::report_section out{
        "When the prediction is made",
        "A lens reads the answer off the input of each layer. A curve that is flat near its end says that the last "
        "layers change little; one that still climbs at the last layer says that they are needed.",
        {dg::svg(overlap), dg::svg(kl)}};
    if (!accuracy.series.empty()) out.figures.push_back(dg::svg(accuracy));
    return out;
}

dg::report_section skips(const std::vector<depth_measurement>& models) {
    dg::report_section out{"What a skip does to later layers", "", {}};
    const std::string unit = models[0].unit == dg::skip_unit::layer ? "layer"
                             : models[0].unit == dg::skip_unit::mlp ? "MLP"
                                                                    : "attention";
    out.sentence = "A row is a skipped " + unit +
                   ", a column a layer after it; bright cells are layers whose own contribution changes most (1: by as "
                   "much as it is, or more). Current: skipped everywhere "
                   "but at the first token. Future: skipped in the past only and measured later, so bright cells are "
                   "results that later tokens reuse. Maximum: the strongest change at any token of any prompt, as in "
                   "the paper's figures, which one token can drive to the top of the scale. Mean: each prompt's "
                   "strongest change, averaged over prompts, on a scale that ends at the largest of all models.";
    struct mode {
        bool measured;
        const char *name, *title;
        std::size_t first;  // the first layer that a skip can change, from the skipped one on
        dg::effects dg::skip_effects_result::*of;
    };
    const mode modes[] = {{models[0].has_current(), "current", "Change of the prediction, skipped everywhere", 0,
                           &dg::skip_effects_result::current},
                          {models[0].has_future(), "future", "Change of later predictions, skipped in the past", 1,
                           &dg::skip_effects_result::future}};
    for (const auto& m : models)
        for (const mode& each : modes) {
            if (!each.measured) continue;
            const double high = common_scale(
                models, [&](const auto& one) -> const auto& { return one.skip.*each.of; });
            const dg::effects& e = m.skip.*each.of;
            const std::string title = m.name + ": " + each.name;
            out.figures.push_back(dg::svg(square(title + ", maximum", e.layers, e.change_max, each.first)));
            out.figures.push_back(dg::svg(square(title + ", mean", e.layers, e.change_mean, each.first, high)));
        }
    for (const mode& each : modes) {
        if (!each.measured) continue;
        auto plot = curves(
            each.title, "‖softmax − softmax′‖₂ (mean over prompts)", models,
            [&](const auto& m) { return (m.skip.*each.of).output.intervals(); }, "skipped layer");
        plot.y_from_zero = true;
        out.figures.push_back(dg::svg(plot));
    }
    return out;
}

dg::report_section locals(const std::vector<depth_measurement>& models) {
    dg::report_section out{"Which layer reads which",
                           "Each later layer is run alone, its input without what the row's layer had added: bright "
                           "cells are direct use, not passed on by layers between. A bright column is a layer that "
                           "gathers from many earlier ones. Maxima over tokens and prompts; the scale ends at 1, or "
                           "at the largest change where most are above 1.",
                           {}};
    const double high = local_scale(models);
    for (const auto& m : models) {
        out.figures.push_back(dg::svg(square(m.name + ": current, direct", m.config.layers, m.local.current, 1, high)));
        out.figures.push_back(dg::svg(square(m.name + ": future, direct", m.config.layers, m.local.future, 1, high)));
    }
    return out;
}

dg::report_section contributions(const std::vector<depth_measurement>& models) {
    using dg::contribution_quantity;
    const auto plot = [&](const char* title, const char* label, contribution_quantity q) {
        auto drawn = curves(title, label, models, [q](const auto& m) { return m.contribution.intervals(q); });
        drawn.y_scale = q == contribution_quantity::attention_cosine ? dg::axis_scale::linear : dg::axis_scale::log;
        return dg::svg(drawn);
    };
    auto norm = curves(
        "Size of the residual", "mean ‖h‖", models,
        [](const auto& m) { return m.contribution.residual_norm.intervals(); }, "layer input");
    norm.y_scale = dg::axis_scale::log;
    dg::line_plot angle{"Turn of the residual at the last token", "first layer", "angle / π", {}, {}};
    for (const auto& m : models)
        for (const auto& [n, table] : m.contribution.angular) {
            angle.series.push_back(
                curve(format("%s, over %zu layer%s", m.name.c_str(), n, n == 1 ? "" : "s"), table.intervals()));
        }
    return {
        "What each layer adds",
        "Ratios compare what a sublayer adds with the residual it is added to; a cosine above 0 strengthens what "
        "is there, below 0 erases it. Grown models show a cycle as long as their block.",
        {plot("Attention: size of its contribution", "mean ‖a‖/‖h‖", contribution_quantity::attention_ratio),
         plot("Attention: direction of its contribution", "mean cos(a, h)", contribution_quantity::attention_cosine),
         plot("MLP: size of its contribution", "mean ‖m‖/‖h + a‖", contribution_quantity::mlp_ratio),
         plot("Layer: size of its contribution", "mean ‖a + m‖/‖h‖", contribution_quantity::layer_ratio),
         plot("Block influence", "1 − cos(input, output)", contribution_quantity::block_influence), dg::svg(norm),
         dg::svg(angle)}};
}

dg::report_section similarity(const std::vector<depth_measurement>& models) {
    dg::report_section out{"Which blocks share weights",
                           "Cosine between the MLP weights of blocks. Blocks that were one tensor late in training "
                           "stay alike: copies by growth show as bright cells, a model trained at full depth is dark.",
                           {}};
    double low = 0, high = 0.1;  // one range for all models; chance alone stays dark
    for (const auto& m : models)
        for (std::size_t i = 0; i < m.similarity.size(); ++i)
            for (std::size_t j = 0; j < i; ++j)
                low = std::min(low, m.similarity[i][j]), high = std::max(high, m.similarity[i][j]);
    for (const auto& m : models) {
        if (m.similarity.empty()) continue;
        const std::size_t n = m.similarity.size();
        std::vector<double> flat;
        for (std::size_t i = 0; i < n; ++i)
            for (std::size_t j = 0; j < n; ++j) flat.push_back(i == j ? NAN : m.similarity[i][j]);
        out.figures.push_back(dg::svg(dg::heat_map{format("%s: blocks of %zu layers", m.name.c_str(), m.block), "block",
                                                   "block", "cosine", n, n, std::move(flat), low, high}));
    }
    return out;
}

dg::report_section lineages(const std::vector<depth_measurement>& models) {
    dg::report_section out{"Which layers come from one",
                           "Growth copied layers; a cell is the last stage of training in which its two layers were "
                           "one tensor, 0 when they never were. The later the stage, the more two layers have learned "
                           "together; compare with the weights above.",
                           {}};
    for (const auto& m : models) {
        if (!m.grown) continue;
        const std::size_t L = m.config.layers;
        std::vector<double> stages;
        std::string from;
        for (std::size_t i = 0; i < L; ++i) {
            from += (i ? " " : "") + std::to_string(m.grown->descends_from(i));
            for (std::size_t j = 0; j < L; ++j)
                stages.push_back(i == j ? NAN : static_cast<double>(m.grown->shared_until(i, j)));
        }
        out.figures.push_back(dg::svg(
            dg::heat_map{m.name + ": grown in " + std::to_string(m.grown->stage()) + " stages", "layer", "layer",
                         "last common stage", L, L, std::move(stages), 0, static_cast<double>(m.grown->stage())}));
        out.figures.push_back(dg::html_table({{m.name},
                                              {"layers at the start", std::to_string(m.grown->initial_depth())},
                                              {"first layer that each descends from", from}}));
    }
    return out;
}

dg::report_section sweeps(const std::vector<depth_measurement>& models) {
    dg::report_section out{"What the order of layers is worth",
                           format("Loss on %zu prompts when layers from a start on are skipped, exchanged with the "
                                  "next block, reversed or repeated. Close to the clean line: the model does not mind. "
                                  "Bands are 95 %% intervals of the loss added, prompt by prompt.",
                                  models[0].sweep_prompts),
                           {}};
    for (const std::string kind : {"skip", "swap", "reverse", "loop"})
        for (const auto& m : models) {
            const double clean = m.losses.mean(0);
            std::map<std::pair<std::size_t, std::size_t>, dg::plot_series> lines;
            for (std::size_t i = 0; i < m.interventions.size(); ++i) {
                const auto& one = m.interventions[i];
                if (one.kind != kind) continue;
                auto& line = lines[{one.length, one.times}];
                line.name = one.times > 1 ? format("%zu layers, %zu more times", one.length, one.times)
                                          : format("%zu layer%s", one.length, one.length == 1 ? "" : "s");
                if (one.times == 1) line.name += ", once more";
                line.dots = true;
                const auto added = dg::paired_difference(m.losses, i + 1, m.losses, 0);
                line.x.push_back(static_cast<double>(one.start)), line.y.push_back(clean + added.mean),
                    line.low.push_back(clean + added.low), line.high.push_back(clean + added.high);
            }
            if (lines.empty()) continue;
            dg::line_plot plot{m.name + ": " + kind, "first layer", "loss (nats per token)", {}, {}};
            plot.y_scale = dg::axis_scale::log;
            for (auto& [key, line] : lines) plot.series.push_back(std::move(line));
            plot.series.push_back({"clean", {0, static_cast<double>(m.config.layers - 1)}, {clean, clean}});
            out.figures.push_back(dg::svg(plot));
        }
    return out;
}

dg::report_section gradients(const std::vector<depth_measurement>& models) {
    dg::report_section out{"Which positions the answer comes from",
                           "Integrated gradients of the answer's probability: how much what a layer gives at a "
                           "position moves it, above 0 for, below 0 against.",
                           {}};
    for (const auto& m : models) {
        std::map<std::size_t, dg::line_plot> plots;
        for (const auto& g : m.gradients) {
            auto& plot = plots
                             .try_emplace(g.prompt, dg::line_plot{format("%s: prompt %zu", m.name.c_str(), g.prompt),
                                                                  "position",
                                                                  "share of the answer's probability",
                                                                  {},
                                                                  {}})
                             .first->second;
            plot.series.push_back({format("output of layer %zu", g.layer), indices(g.value.size()), g.value});
        }
        for (const auto& [prompt, plot] : plots) out.figures.push_back(dg::svg(plot));
    }
    return out;
}

}  // namespace

void write_depth_page(const std::filesystem::path& file, const std::vector<depth_measurement>& models) {
    std::string title = "How deep: ";
    for (std::size_t i = 0; i < models.size(); ++i) title += (i ? ", " : "") + models[i].name;
    dg::report_page page{title,
                         "Layers count from 0. Definitions follow Csordás et al. 2025 (arXiv 2505.13898) and Kapl et "
                         "al. 2025 (arXiv 2512.08819).",
                         {}};
    if (models[0].from_arrays) {
        if (models.size() > 1) page.sections.push_back(comparison(models));
        if (models[0].has_lens()) page.sections.push_back(predictions(models));
        if (models[0].has_current() || models[0].has_future()) page.sections.push_back(skips(models));
        page.sections.push_back(contributions(models));
        return dg::write_html_report(file, page);
    }
    page.sections.push_back(summary(models));
    if (models.size() > 1) page.sections.push_back(comparison(models));
    page.sections.push_back(predictions(models));
    page.sections.push_back(skips(models));
    if (models[0].local.layers) page.sections.push_back(locals(models));
    page.sections.push_back(contributions(models));
    auto blocks = similarity(models);
    if (!blocks.figures.empty()) page.sections.push_back(std::move(blocks));
    auto origins = lineages(models);
    if (!origins.figures.empty()) page.sections.push_back(std::move(origins));
    auto orders = sweeps(models);
    if (!orders.figures.empty()) page.sections.push_back(std::move(orders));
    auto paths = gradients(models);
    if (!paths.figures.empty()) page.sections.push_back(std::move(paths));
    dg::write_html_report(file, page);
}

}  // namespace tools
