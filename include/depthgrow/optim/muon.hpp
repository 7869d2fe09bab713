// Muon: momentum orthogonalised by Newton-Schulz for each matrix inside the layers, AdamW for all other parameters.
// Assumes matrices one part at a time (q, k and v apart); Newton-Schulz runs in T, weights and states are wide.
// Source: Jordan et al. 2024 (kellerjordan.github.io/posts/muon); steps of the size 0.2 sqrt(max(rows, cols)), so that
// one rate and decay serve both groups: Liu et al. 2025 (arXiv 2502.16982). Momentum as torch.optim.Muon has it.
#pragma once

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "depthgrow/optim/optimizer.hpp"

namespace depthgrow {

/// `momentum` belongs to the matrices, the betas and eps to the other parameters, the rest to both.
struct muon_constants {
    double rate = 1e-3;
    double momentum = 0.95;
    double beta1 = 0.9;
    double beta2 = 0.95;
    double eps = 1e-8;
    double decay = 0.01;
    double clip = 1.0;
    std::int64_t step = 0;
};

template <class T, class Backend> class muon {
public:
    static_assert(steps_with_muon<Backend, T>,
                  "depthgrow: muon needs a backend with the operations of Muon (backend/capabilities.hpp)");
    using set = parameter_set<wide_t<T>, Backend>;
    using constants_type = muon_constants;
    static constexpr std::string_view name = "muon";

    muon(Backend& backend, const decoder_config& config, muon_constants constants = {})
        : first(backend, config, config.layers),
          constants_(constants),
          outer_(outer_layout(config)),
          matrices_(part_of(layer_layout(config), [](const tensor_place& p) { return is_muon_matrix(true, p.kind); })),
          others_(part_of(layer_layout(config), [](const tensor_place& p) { return !is_muon_matrix(true, p.kind); })),
          packed_(packed_part_of(layer_layout(config),
                                 [](const tensor_place& p) { return !is_muon_matrix(true, p.kind); })),
          device_momentum_(backend, {1}),
          device_adam_(backend, {1}),
          squares_(backend) {
        constants_.step = 0;
        second.outer = parameter_block<wide_t<T>, Backend>(backend, outer_.size);
        for (std::size_t l = 0; l < config.layers; ++l) second.layers.emplace_back(backend, packed_.size);
        std::size_t most = 1, side = 1;
        for (const auto& place : matrices_.places)
            most = std::max(most, place.size()), side = std::max(side, std::min(place.rows, place.cols));
        for (auto* buffer : {&x_, &next_}) *buffer = tensor<T, Backend>(backend, {most});
        for (auto* buffer : {&gram_, &polynomial_}) *buffer = tensor<T, Backend>(backend, {side * side});
    }

    /// Steps taken so far; growth keeps it, one count for all layers.
    std::int64_t steps() const { return constants_.step; }
    void set_steps(std::int64_t steps) { constants_.step = steps; }
    const muon_constants& constants() const { return constants_; }

    void prepare(double rate) {
        auto& k = constants_;
        k.rate = rate;
        ++k.step;
        const momentum_constants momentum{rate, k.momentum, k.decay, k.clip};
        const adamw_constants adam{rate, k.beta1, k.beta2, k.eps, k.decay, k.clip, k.step};
        device_momentum_.backend().template from_host<momentum_constants>(&momentum, device_momentum_.data(), 1);
        device_adam_.backend().template from_host<adamw_constants>(&adam, device_adam_.data(), 1);
    }
    void update(set& weights, const set& gradients, parameter_set<T, Backend>* rounded = nullptr) {
        detail::check_depths("muon", weights.layers.size(), gradients, first);
        squares_.measure(gradients);
        adam(weights.outer.flat(), gradients.outer.flat(), first.outer.flat(), second.outer.flat(),
             rounded ? rounded->outer.flat() : span<T>());
        for (std::size_t l = 0; l < weights.layers.size(); ++l) {
            const auto rounded_part = [&](const tensor_place& place) {
                return rounded ? at(rounded->layers[l], place) : span<T>();
            };
            for (const auto& place : matrices_.places)
                step_matrix(place, at(weights.layers[l], place), at(gradients.layers[l], place),
                            at(first.layers[l], place), rounded_part(place));
            for (std::size_t p = 0; p < others_.places.size(); ++p) {
                const auto& place = others_.places[p];
                adam(at(weights.layers[l], place), at(gradients.layers[l], place), at(first.layers[l], place),
                     at(second.layers[l], packed_.places[p]), rounded_part(place));
            }
        }
    }
    /// Momentum and first moments grow with the coefficients of `how`, second moments with their squares.
    void grow_layers(const growth& how) {
        const mixture rows = how.rows();
        detail::grow_layer_states(first, rows, how);
        detail::grow_layer_states(second, squared(rows), how);
    }
    double gradient_norm() const { return squares_.norm(); }

    std::vector<optimizer_state<set>> states() {
        return {{"exp_avg", &first, outer_, others_},
                {"exp_avg_sq", &second, outer_, packed_},
                {"momentum_buffer", &first, {}, matrices_}};
    }
    std::vector<optimizer_state<const set>> states() const {
        return {{"exp_avg", &first, outer_, others_},
                {"exp_avg_sq", &second, outer_, packed_},
                {"momentum_buffer", &first, {}, matrices_}};
    }

    set first;   // momentum of matrices inside layers, first moments of all other parameters
    set second;  // second moments of those others alone, without room for the matrices

private:
    template <class Block> static auto at(Block& block, const tensor_place& place) {
        return block.flat().subspan(place.offset, place.size());
    }

    void adam(span<wide_t<T>> weight, span<const wide_t<T>> gradient, span<wide_t<T>> m, span<wide_t<T>> v,
              span<T> rounded) {
        first.outer.backend().template adamw<T>(weight, gradient, m, v, rounded, device_adam_.data(), squares_.data());
    }
    void step_matrix(const tensor_place& place, span<wide_t<T>> weight, span<const wide_t<T>> gradient,
                     span<wide_t<T>> buffer, span<T> rounded) {
        Backend& backend = first.outer.backend();
        const span<T> direction(x_.data(), place.size());
        backend.template muon_direction<T>(gradient, buffer, direction, device_momentum_.data(), squares_.data());
        backend.template muon_normalize<T>(direction);
        const span<const T> update(orthogonalize(backend, place.rows, place.cols), place.size());
        const double factor = 0.2 * std::sqrt(static_cast<double>(std::max(place.rows, place.cols)));
        backend.template muon_apply<T>(weight, update, rounded, factor, device_momentum_.data(), squares_.data());
    }
    /// Five steps X = a X + (b A + c A²) X with A = X Xᵀ, from x_; for tall matrices X (b A + c A²) with A = XᵀX, so
    /// that A has the smaller side. Returns where the result lies.
    const T* orthogonalize(Backend& backend, std::size_t rows, std::size_t cols) {
        constexpr wide_t<T> a = static_cast<wide_t<T>>(3.4445), b = static_cast<wide_t<T>>(-4.7750),
                            c = static_cast<wide_t<T>>(2.0315);
        const bool tall = rows > cols;
        const std::size_t side = std::min(rows, cols);
        matrix<T> x(x_.data(), rows, cols), next(next_.data(), rows, cols);
        const matrix<T> gram(gram_.data(), side, side), polynomial(polynomial_.data(), side, side);
        const auto product = [&](transpose ta, transpose tb, wide_t<T> alpha, matrix<const T> left,
                                 matrix<const T> right, wide_t<T> beta,
                                 matrix<T> out) { backend.template gemm<T>(ta, tb, alpha, left, right, beta, out); };
        for (int step = 0; step < 5; ++step) {
            product(tall ? transpose::yes : transpose::no, tall ? transpose::no : transpose::yes, 1, x, x, 0, gram);
            backend.template copy<T>(gram.data, polynomial.data, side * side);
            product(transpose::no, transpose::no, c, gram, gram, b, polynomial);
            backend.template copy<T>(x.data, next.data, rows * cols);
            product(transpose::no, transpose::no, 1, tall ? x : polynomial, tall ? polynomial : x, a, next);
            std::swap(x, next);
        }
        return x.data;
    }

    muon_constants constants_;
    block_layout outer_, matrices_, others_,
        packed_;  // of a layer: matrices, the rest where it is, the rest moved together
    tensor<momentum_constants, Backend> device_momentum_;
    tensor<adamw_constants, Backend> device_adam_;
    detail::gradient_squares<T, Backend> squares_;
    tensor<T, Backend> x_, next_, gram_, polynomial_;  // of the largest matrix
};

}  // namespace depthgrow
