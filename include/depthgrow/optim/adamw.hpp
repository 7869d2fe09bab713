// AdamW over a model's blocks: global clip, decoupled decay, one step count, moments that grow with their layers.
// Assumes gradients in a parameter_set of the model's depth. Source: Loshchilov & Hutter 2019, Algorithm 2.
// The norm stays in backend memory between the two passes, so that nothing waits for the host.
#pragma once

#include <cmath>

#include "depthgrow/growth/optimizer_traits.hpp"
#include "depthgrow/nn/parameters.hpp"

namespace depthgrow {

template <class T, class Backend>
class adamw {
public:
    using set = parameter_set<T, Backend>;

    adamw(Backend& backend, const llama_config& config, adamw_constants constants = {})
        : first(backend, config, config.layers), second(backend, config, config.layers), constants_(constants),
          squares_(backend, {1}) {
        constants_.step = 0;
    }

    /// Steps taken so far; growth keeps it, one count for all layers.
    std::int64_t steps() const { return constants_.step; }
    void set_steps(std::int64_t steps) { constants_.step = steps; }
    const adamw_constants& constants() const { return constants_; }

    /// One update of every weight at learning rate `rate`.
    void step(set& weights, const set& gradients, double rate) {
        Backend& backend = weights.outer.backend();
        require(gradients.layers.size() == weights.layers.size() && first.layers.size() == weights.layers.size(),
                "[adamw] expected gradients and moments of ", weights.layers.size(), " layers, got ", gradients.layers.size(), " and ", first.layers.size());
        constants_.rate = rate;
        ++constants_.step;
        backend.template fill<double>(squares_.data(), 1, 0.0);
        gradients.each([&](const auto& block) { backend.template accumulate_squares<T>(block.flat(), squares_.data()); });
        for (std::size_t b = 0; b <= weights.layers.size(); ++b)
            backend.template adamw<T>(block_of(weights, b).flat(), block_of(gradients, b).flat(), block_of(first, b).flat(),
                                      block_of(second, b).flat(), constants_, squares_.data());
    }
    /// Moments follow their layers; `policy` says what the copies start with. The step count goes on.
    void grow_layers(const layer_order& order, state_policy policy = state_policy::copy) {
        const auto start = [&](parameter_block<T, Backend>& moment, std::size_t) {
            if (policy == state_policy::zero) moment.set_zero();
        };
        first.layers = grow(std::move(first.layers), order, start);
        second.layers = grow(std::move(second.layers), order, start);
    }
    /// Global gradient norm of the last step, before clipping.
    double gradient_norm() const {
        double squares = 0;
        squares_.backend().template to_host<double>(squares_.data(), &squares, 1);
        return std::sqrt(squares);
    }

    set first, second;  // exponential averages of g and g²

private:
    adamw_constants constants_;
    tensor<double, Backend> squares_;
};

}  // namespace depthgrow
