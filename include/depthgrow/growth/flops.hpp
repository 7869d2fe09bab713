// Training cost: floating-point operations of plain and grown runs, and the plain run that costs the same.
// Assumes C++17, a decoder whose attention sees its whole context, backward = 2 x forward; norms, softmax and embedding
// lookup count nothing. Maths: spec formula that reproduces Table 7 of Kapl et al. 2025 (arXiv 2512.08819) to the last
// printed digit.
#pragma once

#include <cstddef>
#include <cstdint>

#include "depthgrow/core/error.hpp"
#include "depthgrow/growth/schedule.hpp"

namespace depthgrow {

/// Extents of a decoder; `kv_width` is key/value heads times head size, `context` the tokens of one sequence.
struct model_shape {
    std::size_t layers = 0;
    std::size_t width = 0;
    std::size_t kv_width = 0;
    std::size_t ffn = 0;
    std::size_t vocab = 0;
    std::size_t context = 0;
    std::size_t q_width = 0;   ///< heads times head size; 0: width
    std::size_t mlp_maps = 3;  ///< matrices of the MLP: 3 gated, 2 plain
};

/// Whether the masked half of the attention products is counted: `full` for the paper's numbers, `causal` for MFU.
enum class attention_cost { full, causal };

/// Forward operations of one token at `layers` layers (shape.layers is not read).
inline std::uint64_t forward_flops_per_token(const model_shape& shape, std::size_t layers,
                                             attention_cost cost = attention_cost::full) {
    const std::uint64_t width = shape.width;
    const std::uint64_t queries = shape.q_width > 0 ? shape.q_width : width;
    const std::uint64_t products =
        2 * (2 * width * queries + 2 * width * shape.kv_width + shape.mlp_maps * width * shape.ffn);
    const std::uint64_t attention = (cost == attention_cost::full ? 4 : 2) * shape.context * queries;
    return layers * (products + attention) + 2 * width * shape.vocab;
}

/// Operations of one optimizer step (forward and backward) at `layers` layers.
inline double step_flops(const model_shape& shape, std::size_t layers, std::size_t tokens_per_step,
                         attention_cost cost = attention_cost::full) {
    return 3.0 * static_cast<double>(tokens_per_step) *
           static_cast<double>(forward_flops_per_token(shape, layers, cost));
}

namespace detail {

/// Forward operations of a plan for one token a step.
inline std::uint64_t plan_flops_per_token(const model_shape& shape, const growth_plan& plan, attention_cost cost) {
    std::uint64_t sum = 0;
    for (const growth_stage& stage : plan.stages)
        sum += stage.steps * forward_flops_per_token(shape, stage.layers, cost);
    return sum;
}

}  // namespace detail

/// Operations of a run by `plan`; the plan's depths count, not shape.layers.
inline double training_flops(const model_shape& shape, const growth_plan& plan, std::size_t tokens_per_step,
                             attention_cost cost = attention_cost::full) {
    return 3.0 * static_cast<double>(tokens_per_step) *
           static_cast<double>(detail::plan_flops_per_token(shape, plan, cost));
}

/// Operations of `steps` steps at shape.layers.
inline double training_flops(const model_shape& shape, std::size_t steps, std::size_t tokens_per_step,
                             attention_cost cost = attention_cost::full) {
    return static_cast<double>(steps) * step_flops(shape, shape.layers, tokens_per_step, cost);
}

/// Steps of the longest plain run at the plan's final depth that costs no more than the plan.
inline std::size_t flop_matched_steps(const model_shape& shape, const growth_plan& plan,
                                      attention_cost cost = attention_cost::full) {
    const std::uint64_t one = forward_flops_per_token(shape, plan.final_layers(), cost);
    require(one > 0, "[flop_matched_steps] expected a model shape and a plan that cost something, got 0 operations");
    return static_cast<std::size_t>(detail::plan_flops_per_token(shape, plan, cost) / one);
}

}  // namespace depthgrow
