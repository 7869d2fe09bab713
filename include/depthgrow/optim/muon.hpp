// Muon: momentum orthogonalised by Newton-Schulz for each matrix inside the layers, AdamW for all other parameters.
// Assumes matrices one part at a time (q, k and v apart); Newton-Schulz runs in T, weights and states are wide. Of
// several ranks each keeps its share of the states, and orthogonalises its share of the matrices for all.
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

    muon(Backend& backend, const decoder_config& config, muon_constants constants = {},
         communicator& comm = no_other_ranks())
        : first(detail::state_of<set>(backend, config, sharding(comm))),
          comm_(&comm),
          shards_(comm),
          constants_(constants),
          layer_size_(layer_layout(config).size),
          outer_(outer_layout(config)),
          matrices_(part_of(layer_layout(config), [](const tensor_place& p) { return is_muon_matrix(true, p.kind); })),
          others_(part_of(layer_layout(config), [](const tensor_place& p) { return !is_muon_matrix(true, p.kind); })),
          packed_(comm.alone() ? packed_part_of(layer_layout(config),
                                                [](const tensor_place& p) { return !is_muon_matrix(true, p.kind); })
                               : others_),
          device_momentum_(backend, {1}),
          device_adam_(backend, {1}),
          squares_(backend, comm) {
        constants_.step = 0;
        second = set(backend, shards_.share(outer_.size), shards_.share(packed_.size), config.layers);
        if (!comm.alone()) directions_ = tensor<T, Backend>(backend, {shards_.padded(layer_size_)});
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

    void prepare(double rate, double skip_above = 0) {
        auto& k = constants_;
        k.rate = rate;
        ++k.step;
        const momentum_constants momentum{rate, k.momentum, k.decay, k.clip, skip_above};
        const adamw_constants adam{rate, k.beta1, k.beta2, k.eps, k.decay, k.clip, k.step, skip_above};
        device_momentum_.backend().template from_host<momentum_constants>(&momentum, device_momentum_.data(), 1);
        device_adam_.backend().template from_host<adamw_constants>(&adam, device_adam_.data(), 1);
    }
    void measure(span<const trained_block<T>> blocks) {
        detail::check_blocks("muon", blocks, first);
        squares_.measure(blocks);
    }
    void update(span<const trained_block<T>> blocks, std::size_t from, std::size_t to) {
        if (from == 0) adam(blocks[0], first.outer.flat(), second.outer.flat());
        for (std::size_t b = std::max<std::size_t>(1, from); b < to; ++b) {
            const std::size_t l = b - 1;
            const auto& block = blocks[b];
            if (comm_->alone())
                for (const auto& place : matrices_.places) step_matrix(place, block, first.layers[l].flat());
            else step_shared_matrices(l, block, first.layers[l].flat());
            for (std::size_t p = 0; p < others_.places.size(); ++p) {
                const auto own = own_part(others_.places[p]);
                if (own.count == 0) continue;
                const std::size_t second_at = comm_->alone() ? packed_.places[p].offset : own.first;
                adam(part_of_block(block, own), first.layers[l].flat().subspan(own.first, own.count),
                     second.layers[l].flat().subspan(second_at, own.count));
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
    set second;  // second moments of those others; without room for the matrices, where there is one rank

private:
    /// What of a parameter lies in this rank's share of its layer, counted from the share's beginning.
    sharding::range own_part(const tensor_place& place) const {
        auto own = shards_.own_part(place.offset, place.size(), layer_size_);
        own.first -= std::min(own.first, shards_.begin(layer_size_));
        return own;
    }
    static trained_block<T> part_of_block(const trained_block<T>& block, sharding::range own) {
        return {block.weight.subspan(own.first, own.count), block.gradient.subspan(own.first, own.count),
                block.rounded.empty() ? span<T>() : block.rounded.subspan(own.first, own.count)};
    }
    static double step_size(const tensor_place& place) {
        return 0.2 * std::sqrt(static_cast<double>(std::max(place.rows, place.cols)));
    }

    void adam(const trained_block<T>& block, span<wide_t<T>> m, span<wide_t<T>> v) {
        first.outer.backend().template adamw<T>(block.weight, block.gradient, m, v, block.rounded, device_adam_.data(),
                                                squares_.data());
    }
    void direction_of(const trained_block<T>& part, span<wide_t<T>> buffer, span<T> out) {
        first.outer.backend().template muon_direction<T>(part.gradient, buffer, out, device_momentum_.data(),
                                                         squares_.data());
    }
    void apply(const trained_block<T>& part, span<const T> update, const tensor_place& place) {
        first.outer.backend().template muon_apply<T>(part.weight, update, part.rounded, step_size(place),
                                                     device_momentum_.data(), squares_.data());
    }
    void step_matrix(const tensor_place& place, const trained_block<T>& layer, span<wide_t<T>> buffers) {
        const sharding::range whole{place.offset, place.size()};
        const auto part = part_of_block(layer, whole);
        const span<T> direction(x_.data(), place.size());
        direction_of(part, buffers.subspan(whole.first, whole.count), direction);
        first.outer.backend().template muon_normalize<T>(direction);
        apply(part, {orthogonalize(place.rows, place.cols), place.size()}, place);
    }
    /// The matrices of a layer whose directions lie in shares: gathered, each orthogonalised by one rank, and applied
    /// to every rank's share.
    void step_shared_matrices(std::size_t layer, const trained_block<T>& block, span<wide_t<T>> buffers) {
        const span<T> all = directions_.flat(), own_share = shards_.own(all);
        for (const auto& place : matrices_.places)
            if (const auto own = own_part(place); own.count > 0)
                direction_of(part_of_block(block, own), buffers.subspan(own.first, own.count),
                             own_share.subspan(own.first, own.count));
        comm_->all_gather(all);
        comm_->join();
        Backend& backend = first.outer.backend();
        const auto owner = [&](std::size_t p) { return (layer * matrices_.places.size() + p) % comm_->size(); };
        for (std::size_t p = 0; p < matrices_.places.size(); ++p) {
            const auto& place = matrices_.places[p];
            if (owner(p) != comm_->rank()) continue;
            const span<T> whole = all.subspan(place.offset, place.size());
            backend.template copy<T>(whole.data(), x_.data(), place.size());
            backend.template muon_normalize<T>({x_.data(), place.size()});
            backend.template copy<T>(orthogonalize(place.rows, place.cols), whole.data(), place.size());
        }
        for (std::size_t p = 0; p < matrices_.places.size(); ++p)
            comm_->broadcast(all.subspan(matrices_.places[p].offset, matrices_.places[p].size()), owner(p));
        comm_->join();
        for (const auto& place : matrices_.places)
            if (const auto own = own_part(place); own.count > 0)
                apply(part_of_block(block, own), own_share.subspan(own.first, own.count), place);
    }
    /// Five steps X = a X + (b A + c A²) X with A = X Xᵀ, from x_; for tall matrices X (b A + c A²) with A = XᵀX, so
    /// that A has the smaller side. Returns where the result lies.
    const T* orthogonalize(std::size_t rows, std::size_t cols) {
        Backend& backend = first.outer.backend();
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

    communicator* comm_;
    sharding shards_;
    muon_constants constants_;
    std::size_t layer_size_;
    block_layout outer_, matrices_, others_,
        packed_;  // of a layer: matrices, the rest where it is, the rest moved together
    tensor<momentum_constants, Backend> device_momentum_;
    tensor<adamw_constants, Backend> device_adam_;
    detail::gradient_squares<T, Backend> squares_;
    tensor<T, Backend> x_, next_, gram_, polynomial_;  // of the largest matrix
    tensor<T, Backend> directions_;                    // of a layer's matrices, where there are several ranks
};

}  // namespace depthgrow
