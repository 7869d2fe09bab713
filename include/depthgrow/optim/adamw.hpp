// AdamW over a model's blocks: global clip, decoupled decay, one step count, moments that grow with their layers.
// Assumes gradients in a parameter_set of the model's depth. Weights in a narrow type (bfloat16) have master copies in
// the wide one, which is what is updated; the model's own are those, rounded.
// Source: Loshchilov & Hutter 2019, Algorithm 2; mixed precision: Micikevicius et al. 2018.
#pragma once

#include <cmath>
#include <type_traits>
#include <vector>

#include "depthgrow/backend/capabilities.hpp"
#include "depthgrow/growth/optimizer_traits.hpp"
#include "depthgrow/nn/parameters.hpp"

namespace depthgrow {

template <class T, class Backend>
class adamw {
public:
    using set = parameter_set<wide_t<T>, Backend>;
    /// Whether weights have master copies.
    static constexpr bool mixed = !std::is_same_v<T, wide_t<T>>;

    adamw(Backend& backend, const decoder_config& config, adamw_constants constants = {})
        : first(backend, config, config.layers), second(backend, config, config.layers), constants_(constants),
          device_constants_(backend, {1}), squares_(backend, {1}) {
        if constexpr (mixed) master = set(backend, config, config.layers);
        constants_.step = 0;
    }

    /// Steps taken so far; growth keeps it, one count for all layers.
    std::int64_t steps() const { return constants_.step; }
    void set_steps(std::int64_t steps) { constants_.step = steps; }
    const adamw_constants& constants() const { return constants_; }

    /// Counts a step at learning rate `rate` and sends its constants to the backend; `update` then takes it.
    void prepare(double rate) {
        constants_.rate = rate;
        ++constants_.step;
        device_constants_.backend().template from_host<adamw_constants>(&constants_, device_constants_.data(), 1);
    }
    /// The update of every weight. Nothing here depends on the host's numbers, so a backend may record and replay it.
    void update(parameter_set<T, Backend>& weights, const set& gradients) {
        Backend& backend = weights.outer.backend();
        require(gradients.layers.size() == weights.layers.size() && first.layers.size() == weights.layers.size(),
                "[adamw] expected gradients and moments of ", weights.layers.size(), " layers, got ", gradients.layers.size(), " and ", first.layers.size());
        blocks_.clear();
        for (std::size_t b = 0; b <= weights.layers.size(); ++b) {
            blocks_.push_back({{}, std::as_const(block_of(gradients, b)).flat(), block_of(first, b).flat(), block_of(second, b).flat(), {}});
            const auto weight = block_of(weights, b).flat();
            if constexpr (mixed) blocks_.back().weight = block_of(master, b).flat(), blocks_.back().narrow = weight;
            else blocks_.back().weight = weight;
        }
        if constexpr (updates_together<Backend, T>) return backend.template adamw_step<T>(span<const adamw_operands<T>>(blocks_), device_constants_.data(), squares_.data());
        backend.template fill<double>(squares_.data(), 1, 0.0);
        for (const auto& block : blocks_) backend.template accumulate_squares<wide_t<T>>(block.gradient, squares_.data());
        for (const auto& block : blocks_)
            backend.template adamw<T>(block.weight, block.gradient, block.first, block.second, block.narrow, device_constants_.data(), squares_.data());
    }
    void step(parameter_set<T, Backend>& weights, const set& gradients, double rate) {
        prepare(rate);
        update(weights, gradients);
    }
    /// Moments (and masters) follow their layers; `policy` says what the copies' moments start with. The step count goes on.
    void grow_layers(const layer_order& order, state_policy policy = state_policy::copy) {
        const auto start = [&](parameter_block<wide_t<T>, Backend>& moment, std::size_t) {
            if (policy == state_policy::zero) moment.set_zero();
        };
        first.layers = grow(std::move(first.layers), order, start);
        second.layers = grow(std::move(second.layers), order, start);
        if constexpr (mixed) master.layers = grow(std::move(master.layers), order);
    }
    /// Global gradient norm of the last step, before clipping.
    double gradient_norm() const {
        double squares = 0;
        squares_.backend().template to_host<double>(squares_.data(), &squares, 1);
        return std::sqrt(squares);
    }

    set first, second;  // exponential averages of g and g²
    set master;         // the weights in the wide type; empty unless `mixed`

private:
    adamw_constants constants_;
    tensor<adamw_constants, Backend> device_constants_;
    tensor<double, Backend> squares_;
    std::vector<adamw_operands<T>> blocks_;  // of the step at hand; kept for its memory
};

}  // namespace depthgrow
