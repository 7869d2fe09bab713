// PROP-alpha stage lengths and growth plans: which depth is trained for which steps, grown by which order.
// Assumes C++17; steps are 0-based, ranges half-open; growth happens after the last step of a stage.
// Maths: T_i = i^alpha / sum_j j^alpha * T, Saunshi et al. 2024 definition 3.1; Kapl et al. 2025 appendix A.
#pragma once

#include <cmath>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/growth/layer_init.hpp"
#include "depthgrow/growth/layer_order.hpp"
#include "depthgrow/growth/operators.hpp"

namespace depthgrow {

/// How fractional stage lengths become whole steps.
enum class step_rounding {
    largest_remainder,  ///< missing steps go to the largest fractions, ties to the earlier stage (the paper's text)
    floor               ///< all missing steps go to the last stage (what reproduces the paper's Table 7)
};

/// Steps of `stages` stages proportional to i^alpha, i = 1 …; they sum to `total_steps`.
inline std::vector<std::size_t> stage_lengths(std::size_t stages, std::size_t total_steps, double alpha = 1,
                                              step_rounding rounding = step_rounding::largest_remainder) {
    require(stages > 0, "[stage_lengths] expected at least 1 stage, got 0");
    require(std::isfinite(alpha), "[stage_lengths] expected a finite alpha, got ", alpha);
    std::vector<double> weights;
    double weight_sum = 0;
    for (std::size_t i = 1; i <= stages; ++i) {
        weights.push_back(std::pow(static_cast<double>(i), alpha));
        weight_sum += weights.back();
    }
    require(std::isfinite(weight_sum), "[stage_lengths] expected an alpha whose weights stay finite, got ", alpha);
    std::vector<std::size_t> lengths;
    std::vector<double> remainders;
    std::size_t left = total_steps;
    for (double weight : weights) {
        // Exact for whole alpha: share and weight_sum are then integers that a double holds.
        const double share = static_cast<double>(total_steps) * weight;
        const auto whole = static_cast<std::size_t>(std::floor(share / weight_sum));
        lengths.push_back(whole < left ? whole : left);
        remainders.push_back(std::fmod(share, weight_sum));
        left -= lengths.back();
    }
    if (rounding == step_rounding::floor) {
        lengths.back() += left;
        return lengths;
    }
    for (; left > 0; --left) {
        std::size_t best = 0;
        for (std::size_t i = 1; i < stages; ++i)
            if (remainders[i] > remainders[best]) best = i;
        ++lengths[best];
        remainders[best] = -1;
    }
    return lengths;
}

/// What a growth run is asked for; depths in layers, lengths in optimizer steps.
struct growth_schedule {
    std::size_t initial_layers = 0;
    std::size_t final_layers = 0;
    std::size_t plateau_steps = 0;  ///< steps shared out among the stages (end of the learning-rate plateau)
    std::size_t total_steps = 0;    ///< at least plateau_steps; the rest belongs to the last stage
    double alpha = 1;
    step_rounding rounding = step_rounding::largest_remainder;
};

/// One depth and the steps [first_step, first_step + steps) trained at it.
struct growth_stage {
    std::size_t layers = 0;
    std::size_t first_step = 0;
    std::size_t steps = 0;
    layer_order order;  ///< applied on entering the stage, before `first_step`; the identity for the first stage
    growth how = {};    ///< set where more is to be said than an order says; `order` is then empty if layers are mixed

    /// What is applied on entering the stage.
    growth applied() const { return how.layers.empty() ? growth{order} : how; }
};

/// The stages of a run, in order, without gaps.
struct growth_plan {
    std::vector<growth_stage> stages;

    std::size_t total_steps() const { return stages.empty() ? 0 : stages.back().first_step + stages.back().steps; }
    std::size_t final_layers() const { return stages.empty() ? 0 : stages.back().layers; }

    /// Index of the stage that trains `step`.
    std::size_t stage_at(std::size_t step) const {
        require(step < total_steps(), "[growth_plan] expected a step below ", total_steps(), ", got ", step);
        std::size_t stage = 0;
        while (stage + 1 < stages.size() && stages[stage + 1].first_step <= step) ++stage;
        return stage;
    }
    std::size_t layers_at(std::size_t step) const { return stages[stage_at(step)].layers; }

    /// "Grow now?" What is done to the layers before `step` is trained; empty where the depth stays.
    std::optional<growth> growth_before(std::size_t step) const {
        const std::size_t stage = stage_at(step);
        if (stage == 0 || stages[stage].first_step != step) return std::nullopt;
        return stages[stage].applied();
    }
    /// The same as a list of layer indices; refuses stages whose layers are mixed or begin otherwise than as copies.
    std::optional<layer_order> order_before(std::size_t step) const {
        const std::optional<growth> how = growth_before(step);
        if (!how) return std::nullopt;
        require(how->layers.is_order() && how->init == layer_init() && how->state == state_policy::copy,
                "[growth_plan] expected copies of layers and states before step ", step, ", got ", how->to_string(),
                "; growth_before tells all of it");
        return how->layers.order();
    }

    /// Numbers of steps done when the model grows; one fewer than stages.
    std::vector<std::size_t> growth_steps() const {
        std::vector<std::size_t> steps;
        for (std::size_t i = 1; i < stages.size(); ++i) steps.push_back(stages[i].first_step);
        return steps;
    }
};

/// A run at one depth.
inline growth_plan plan_plain(std::size_t layers, std::size_t total_steps) {
    growth_plan plan;
    plan.stages.push_back({layers, 0, total_steps, layer_order::identity(layers)});
    return plan;
}

/// The stages that take `initial_layers` to `final_layers`; throws when the operator does not reach that depth, or
/// when a stage would be left without a step.
inline growth_plan plan_growth(const growth_operator& op, const growth_schedule& wanted) {
    require(wanted.initial_layers > 0, "[plan_growth] expected initial_layers of at least 1, got 0");
    require(wanted.final_layers >= wanted.initial_layers, "[plan_growth] expected final_layers of at least ",
            wanted.initial_layers, " (initial_layers), got ", wanted.final_layers);
    require(wanted.total_steps >= wanted.plateau_steps, "[plan_growth] expected total_steps of at least ",
            wanted.plateau_steps, " (plateau_steps), got ", wanted.total_steps);
    growth_plan plan;
    plan.stages.push_back({wanted.initial_layers, 0, 0, layer_order::identity(wanted.initial_layers)});
    std::string reached = std::to_string(wanted.initial_layers);
    while (plan.final_layers() < wanted.final_layers) {
        const std::size_t depth = plan.final_layers();
        layer_order order = op(depth);
        const std::size_t layers = order.size();
        reached += text(" ", layers);
        require(layers > depth && layers <= wanted.final_layers, "[plan_growth] expected a depth that ", op.name(),
                " reaches, got ", wanted.final_layers, "; it gives ", reached);
        plan.stages.push_back({layers, 0, 0, std::move(order)});
    }
    const std::vector<std::size_t> lengths =
        stage_lengths(plan.stages.size(), wanted.plateau_steps, wanted.alpha, wanted.rounding);
    std::size_t first_step = 0;
    for (std::size_t i = 0; i < lengths.size(); ++i) {
        plan.stages[i].first_step = first_step;
        plan.stages[i].steps = lengths[i];
        if (i + 1 == lengths.size()) plan.stages[i].steps += wanted.total_steps - wanted.plateau_steps;
        require(plan.stages[i].steps > 0, "[plan_growth] expected plateau_steps that give every stage a step, got ",
                wanted.plateau_steps, ", which leaves stage ", i + 1, " of ", lengths.size(), " without one");
        first_step += plan.stages[i].steps;
    }
    return plan;
}

}  // namespace depthgrow
