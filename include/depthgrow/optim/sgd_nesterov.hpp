// SGD with Nesterov's momentum over a model's blocks: global clip, coupled decay, a buffer that grows with its layers.
// Assumes gradients in a parameter_set of the model's depth; master weights as for AdamW.
// Source: Sutskever et al. 2013, in the form of torch.optim.SGD(nesterov=True): decay joins the gradient.
#pragma once

#include <vector>

#include "depthgrow/optim/optimizer.hpp"

namespace depthgrow {

template <class T, class Backend> class sgd_nesterov {
public:
    static_assert(steps_with_momentum<Backend, T>,
                  "depthgrow: sgd_nesterov needs a backend with the operation sgd_nesterov (backend/capabilities.hpp)");
    using set = parameter_set<wide_t<T>, Backend>;
    using constants_type = momentum_constants;
    static constexpr std::string_view name = "sgd_nesterov";

    sgd_nesterov(Backend& backend, const decoder_config& config, momentum_constants constants = {},
                 communicator& comm = no_other_ranks())
        : momentum(detail::state_of<set>(backend, config, sharding(comm))),
          constants_(constants),
          outer_(outer_layout(config)),
          layer_(layer_layout(config)),
          device_constants_(backend, {1}),
          squares_(backend, comm) {}

    /// Steps taken so far.
    std::int64_t steps() const { return steps_; }
    void set_steps(std::int64_t steps) { steps_ = steps; }
    const momentum_constants& constants() const { return constants_; }

    void prepare(double rate, double skip_above = 0) {
        constants_.rate = rate, constants_.skip_above = skip_above;
        ++steps_;
        device_constants_.backend().template from_host<momentum_constants>(&constants_, device_constants_.data(), 1);
    }
    void measure(span<const trained_block<T>> blocks) {
        detail::check_blocks("sgd_nesterov", blocks, momentum);
        squares_.measure(blocks);
    }
    void update(span<const trained_block<T>> blocks, std::size_t from, std::size_t to) {
        for (std::size_t b = from; b < to; ++b)
            momentum.outer.backend().template sgd_nesterov<T>(blocks[b].weight, blocks[b].gradient,
                                                              block_of(momentum, b).flat(), blocks[b].rounded,
                                                              device_constants_.data(), squares_.data());
    }
    /// The buffer grows as first moments do.
    void grow_layers(const growth& how) { detail::grow_layer_states(momentum, how.rows(), how); }
    double gradient_norm() const { return squares_.norm(); }

    std::vector<optimizer_state<set>> states() { return {{"momentum_buffer", &momentum, outer_, layer_}}; }
    std::vector<optimizer_state<const set>> states() const { return {{"momentum_buffer", &momentum, outer_, layer_}}; }

    set momentum;  // of this rank's shares

private:
    momentum_constants constants_;
    std::int64_t steps_ = 0;
    block_layout outer_, layer_;
    tensor<momentum_constants, Backend> device_constants_;
    detail::gradient_squares<T, Backend> squares_;
};

}  // namespace depthgrow
