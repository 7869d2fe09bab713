// AdamW over a model's blocks: global clip, decoupled decay, one step count, moments that grow with their layers.
// Assumes gradients in a parameter_set of the model's depth. Weights in a low-precision type (bfloat16) have master
// copies in the wide one, the trainer's, which is what is updated; the model's own are those, rounded. Source:
// Loshchilov & Hutter 2019, Algorithm 2; mixed precision: Micikevicius et al. 2018.
#pragma once

#include <type_traits>
#include <vector>

#include "depthgrow/optim/optimizer.hpp"

namespace depthgrow {

template <class T, class Backend> class adamw {
public:
    using set = parameter_set<wide_t<T>, Backend>;
    using constants_type = adamw_constants;
    static constexpr std::string_view name = "adamw";

    adamw(Backend& backend, const decoder_config& config, adamw_constants constants = {},
          communicator& comm = no_other_ranks())
        : first(detail::state_of<set>(backend, config, sharding(comm))),
          second(detail::state_of<set>(backend, config, sharding(comm))),
          constants_(constants),
          outer_(outer_layout(config)),
          layer_(layer_layout(config)),
          device_constants_(backend, {1}),
          squares_(backend, comm) {
        constants_.step = 0;
    }

    /// Steps taken so far; growth keeps it, one count for all layers.
    std::int64_t steps() const { return constants_.step; }
    void set_steps(std::int64_t steps) { constants_.step = steps; }
    const adamw_constants& constants() const { return constants_; }

    /// Counts a step at learning rate `rate` and sends its constants to the backend; `update` then takes it, unless the
    /// gradient norm is above `skip_above` (0: never).
    void prepare(double rate, double skip_above = 0) {
        constants_.rate = rate, constants_.skip_above = skip_above;
        ++constants_.step;
        device_constants_.backend().template from_host<adamw_constants>(&constants_, device_constants_.data(), 1);
    }
    /// The gradient norm, and the update of blocks [from, to). Nothing here depends on the host's numbers, so a backend
    /// may record and replay it.
    void measure(span<const trained_block<T>> blocks) {
        detail::check_blocks("adamw", blocks, first);
        squares_.measure(blocks);
    }
    void update(span<const trained_block<T>> blocks, std::size_t from, std::size_t to) {
        Backend& backend = first.outer.backend();
        blocks_.clear();
        for (std::size_t b = from; b < to; ++b)
            blocks_.push_back({blocks[b].weight, blocks[b].gradient, block_of(first, b).flat(),
                               block_of(second, b).flat(), blocks[b].rounded});
        if constexpr (updates_together<Backend, T>)
            return backend.template adamw_together<T>(span<const adamw_operands<T>>(blocks_), device_constants_.data(),
                                                      squares_.data());
        for (const auto& block : blocks_)
            backend.template adamw<T>(block.weight, block.gradient, block.first, block.second, block.rounded,
                                      device_constants_.data(), squares_.data());
    }
    /// Moments follow their layers; what new ones start with is `how.state`. The step count goes on.
    void grow_layers(const growth& how) {
        const mixture rows = how.rows();
        detail::grow_layer_states(first, rows, how);
        detail::grow_layer_states(second, squared(rows), how);
    }
    /// Global gradient norm of the last step, before clipping.
    double gradient_norm() const { return squares_.norm(); }

    std::vector<optimizer_state<set>> states() {
        return {{"exp_avg", &first, outer_, layer_}, {"exp_avg_sq", &second, outer_, layer_}};
    }
    std::vector<optimizer_state<const set>> states() const {
        return {{"exp_avg", &first, outer_, layer_}, {"exp_avg_sq", &second, outer_, layer_}};
    }

    set first, second;  // exponential averages of g and g², of this rank's shares

private:
    adamw_constants constants_;
    block_layout outer_, layer_;
    tensor<adamw_constants, Backend> device_constants_;
    detail::gradient_squares<T, Backend> squares_;
    std::vector<adamw_operands<T>> blocks_;  // of the step at hand; kept for its memory
};

}  // namespace depthgrow
