// Integrated gradients of the answer's probability with respect to what a layer gives.
// Assumes one prompt; the steps of the path are sequences of one batch. Baseline: the mean of the residual over tokens.
// Maths: Sundararajan et al. 2017 (arXiv 1703.01365) eq. 1 and 3, as in Csordás et al. 2025 (arXiv 2505.13898).
// Chosen, as in their public code: left Riemann sum of 256 steps, the probability itself (not its logarithm).
#pragma once

#include <vector>

#include "depthgrow/analysis/prompts.hpp"
#include "depthgrow/analysis/row_operations.hpp"
#include "depthgrow/nn/forward.hpp"

namespace depthgrow {

struct gradient_options {
    std::size_t steps = 256;
    std::size_t max_rows = 2048;  // steps × positions in flight; gradients keep every activation
};

/// For each of `layers`, T numbers: how much the layer's output at each position moves S, the summed probability of the
/// gold tokens at positions answer_from … T−1. Their sum approaches S(output) − S(baseline).
template <decoder_model Model, class T = typename Model::number, class Backend = typename Model::backend_type>
std::vector<std::vector<double>> integrated_gradients(const Model& model, const prompt& one, std::size_t answer_from,
                                                      const std::vector<std::size_t>& layers,
                                                      const gradient_options& options = {}) {
    Backend& backend = model.backend();
    const std::size_t length = one.tokens.size(), width = model.config().width, L = model.layers();
    detail::check_prompt(one, 0, model.config().context, model.config().vocab);
    require(answer_from >= 1 && answer_from < length, "[integrated_gradients] expected an answer that starts at 1 to ",
            length - 1, ", got ", answer_from);
    require(options.steps > 0, "[integrated_gradients] expected at least 1 step, got 0");
    for (std::size_t l : layers) require(l < L, "[integrated_gradients] expected layers below ", L, ", got ", l);

    tape<T, Backend> tape(backend);
    std::vector<std::vector<T>> outputs(L);  // what every layer gives, (T, C)
    const auto ids = tensor<token, Backend>::from_host(backend, {length}, one.tokens);
    tape.start(false);
    model.residual(tape, ids.flat(), 1, nullptr, {}, [&](site where, std::size_t slot, matrix<T> h) {
        if (where != site::resid_post) return;
        outputs[slot].resize(h.size());
        backend.template to_host<T>(h.data, outputs[slot].data(), h.size());
    });
    const std::size_t together = std::max<std::size_t>(1, std::min(options.steps, options.max_rows / length));
    std::vector<std::vector<double>> result;
    for (std::size_t l : layers) {
        const auto& x = outputs[l];
        std::vector<double> base(width), gradient_sum(length * width);
        for (std::size_t i = 0; i < x.size(); ++i)
            base[i % width] += static_cast<double>(x[i]) / static_cast<double>(length);
        for (std::size_t first = 0; first < options.steps; first += together) {
            const std::size_t count = std::min(together, options.steps - first), total = count * length;
            std::vector<T> path(total * width);
            std::vector<token> gold(total, -1);
            for (std::size_t k = 0; k < count; ++k) {
                const double share = static_cast<double>(first + k) / static_cast<double>(options.steps);
                for (std::size_t i = 0; i < x.size(); ++i)
                    path[k * x.size() + i] = static_cast<T>(static_cast<wide_t<T>>(
                        base[i % width] + share * (static_cast<double>(x[i]) - base[i % width])));
                for (std::size_t u = answer_from; u < length; ++u) gold[k * length + u - 1] = one.tokens[u];
            }
            tape.start(true);
            const auto y = tape.make(total, width);
            backend.template from_host<T>(path.data(), y.value.data, path.size());
            residual_stream<T> stream{y, {}};
            for (std::size_t i = l + 1; i < L; ++i) {
                stream = model.attention_sublayer(tape, stream, i, i, model.extents(total, count), nullptr);
                stream = model.mlp_sublayer(tape, stream, i, i, nullptr);
            }
            const auto h = add_pending(tape, stream);
            const auto z = ops::linear(tape, model.final_norm(tape, h, nullptr), model.head());
            const auto value = tape.make_wide(total);
            // z becomes its own gradient; nothing in the backward pass reads the logits
            rows::probability_gradient_inplace<T>(backend, z.value, gold, value);
            tape.seed(z, z.value);
            tape.backward();
            const auto dy = tape.gradient(y);
            std::vector<T> host(total * width);
            backend.template to_host<T>(dy.data, host.data(), host.size());
            for (std::size_t i = 0; i < host.size(); ++i) gradient_sum[i % x.size()] += static_cast<double>(host[i]);
        }
        std::vector<double> at(length);
        for (std::size_t i = 0; i < x.size(); ++i)
            at[i / width] +=
                gradient_sum[i] / static_cast<double>(options.steps) * (static_cast<double>(x[i]) - base[i % width]);
        for (double value : at)
            require(std::isfinite(value),
                    "[integrated_gradients] expected finite gradients, got NaN or infinity at layer ", l);
        result.push_back(std::move(at));
    }
    return result;
}

}  // namespace depthgrow
