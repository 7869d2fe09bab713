// A Llama-shaped decoder: weights and the forward pass under any layer order, on any backend.
// Assumes a validated config. Slot-dependent parts (norm scaling, Mix-LN) go by the slot in the executed order.
// h += Attn(Norm(h)); h += MLP(Norm(h)); logits = W_U Norm_f(h). Residual adds are fused with the norm that follows.
#pragma once

#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "depthgrow/autograd/ops/add.hpp"
#include "depthgrow/autograd/ops/attention.hpp"
#include "depthgrow/autograd/ops/cross_entropy.hpp"
#include "depthgrow/autograd/ops/embedding.hpp"
#include "depthgrow/autograd/ops/linear.hpp"
#include "depthgrow/autograd/ops/recompute.hpp"
#include "depthgrow/autograd/ops/rms_norm.hpp"
#include "depthgrow/autograd/ops/swiglu_mlp.hpp"
#include "depthgrow/nn/parameters.hpp"
#include "depthgrow/nn/sites.hpp"

namespace depthgrow {

/// The residual h + pending (h alone when pending is empty): a sublayer's output waits to be added with the next norm.
template <class T>
struct residual_stream {
    variable<T> h, pending;  // (B*T, C) each
};

/// The residual with nothing left pending.
template <class T, class Backend>
variable<T> add_pending(tape<T, Backend>& tape, residual_stream<T> stream) {
    if (!stream.pending.value.data) return stream.h;
    const auto sum = ops::add(tape, stream.h, stream.pending);
    tape.drop(stream.h), tape.drop(stream.pending);
    return sum;
}

template <class T, class Backend>
class decoder {
public:
    using set = parameter_set<T, Backend>;
    using gradient_set = parameter_set<wide_t<T>, Backend>;

    /// Weights drawn from `seed`; `final_layers` (0: config.layers) scales the residual projections' initialisation.
    decoder(Backend& backend, const decoder_config& config, std::uint64_t seed, std::size_t final_layers = 0)
        : decoder(backend, config) {
        draw_model<wide_t<T>>(config, seed, final_layers, [&](std::size_t block, const std::vector<wide_t<T>>& values) { assign_block(block_of(weights, block), values); });
    }
    /// Zero weights, to be loaded.
    decoder(Backend& backend, const decoder_config& config)
        : weights((config.validate(), backend), config, config.layers), backend_(&backend), config_(config),
          outer_layout_(outer_layout(config)), layer_layout_(layer_layout(config, 0)) {
        make_rope_table();
    }

    const decoder_config& config() const { return config_; }
    Backend& backend() const { return *backend_; }
    std::size_t layers() const { return weights.layers.size(); }
    /// After `weights.layers` has grown: takes over the new depth.
    void adopt_depth() { config_ = config_.with_depth(weights.layers.size()); }

    /// Embedding, the layers of `order` (empty: all, once) and the final norm: the residual h_L and Norm_f(h_L).
    /// Gradients go to `gradients` when the tape records. `observe(site, slot, rows)` sees every site; it may edit the
    /// rows of attn_out and mlp_out, which are added to the residual after it returns.
    template <class Observer = no_observer>
    ops::residual_norm<T> residual(tape<T, Backend>& tape, span<const token> ids, std::size_t batch, gradient_set* gradients,
                                   span<const std::size_t> order = {}, Observer&& observe = {}) const;

    /// The parts of `residual`, for analyses that walk layer by layer. Extents of `batch` sequences of ids.
    attention_shape extents(std::size_t ids, std::size_t batch) const {
        require(batch > 0 && ids % batch == 0 && ids > 0, "[decoder] expected tokens for ", batch, " equal sequences, got ", ids, " tokens");
        require(ids / batch <= config_.context, "[decoder] expected sequences of at most ", config_.context, " tokens (the context), got ", ids / batch);
        return {batch, ids / batch, config_.heads, config_.kv_heads, config_.head_width()};
    }
    /// h_0 (B*T, C).
    variable<T> embedding(tape<T, Backend>& tape, span<const token> ids, gradient_set* gradients) const { return ops::embedding(tape, ids, outer(0, gradients)); }
    /// Takes the residual entering `slot` and gives it back with layer `source`'s attention output pending. What comes
    /// in is dropped from the tape.
    template <class Observer = no_observer>
    residual_stream<T> attention_sublayer(tape<T, Backend>& tape, residual_stream<T> in, std::size_t source, std::size_t slot, attention_shape s,
                                          gradient_set* gradients, Observer&& observe = {}) const;
    /// The same for the MLP: gives back the residual between the sublayers with the MLP's output pending.
    template <class Observer = no_observer>
    residual_stream<T> mlp_sublayer(tape<T, Backend>& tape, residual_stream<T> in, std::size_t source, std::size_t slot, gradient_set* gradients,
                                    Observer&& observe = {}) const;

    /// Norm_f(h): (B*T, C) -> (B*T, C).
    variable<T> final_norm(tape<T, Backend>& tape, variable<T> h, gradient_set* gradients) const {
        return ops::rms_norm(tape, h, outer(1, gradients), static_cast<wide_t<T>>(config_.rms_eps), wide_t<T>(1));
    }
    /// Cosines and sines of RoPE, (context, D / 2) each.
    std::pair<matrix<const wide_t<T>>, matrix<const wide_t<T>>> rope_table() const { return {cosine_.rows(), sine_.rows()}; }
    /// W_U, (V, C).
    parameter<T> head(gradient_set* gradients = nullptr) const { return outer(config_.tied ? 0 : 2, gradients); }
    /// Tensors [first, first + count) of a layer as one matrix of stacked rows.
    parameter<T> layer(std::size_t index, std::size_t first, std::size_t count, gradient_set* gradients = nullptr) const {
        const tensor_place& place = layer_layout_.places[first];
        std::size_t rows = 0;
        for (std::size_t p = first; p < first + count; ++p) rows += layer_layout_.places[p].rows;
        const auto view = [&](auto& block) { return matrix(block.flat().data() + place.offset, rows, place.cols); };
        const bool inner = index > 0 && index + 1 < layers();
        return {view(weights.layers[index]), gradients ? view(gradients->layers[index]) : matrix<wide_t<T>>{}, gradients && gradients->fresh, inner};
    }

    set weights;

private:
    parameter<T> outer(std::size_t index, gradient_set* gradients) const {
        const auto& place = outer_layout_.places[index];
        return {weights.outer.at(place), gradients ? gradients->outer.at(place) : matrix<wide_t<T>>{}, gradients && gradients->fresh};
    }
    /// Adds what is pending and norms the sum: the residual and the sublayer's input, one and the same under post-norm.
    static ops::residual_norm<T> enter(tape<T, Backend>& tape, residual_stream<T> in, parameter<T> gain, bool post, wide_t<T> eps, wide_t<T> scale) {
        if (post) {
            const auto h = add_pending(tape, in);
            return {h, h};
        }
        if (!in.pending.value.data) return {in.h, ops::rms_norm(tape, in.h, gain, eps, scale)};
        const auto both = ops::residual_rms_norm(tape, in.h, in.pending, gain, eps, scale);
        tape.drop(in.h), tape.drop(in.pending);
        return both;
    }
    /// Whether a sublayer's output goes into the residual stream as it is made, with nothing left pending.
    template <class Observer>
    static constexpr bool joins = std::is_same_v<std::remove_cvref_t<Observer>, residual_only> && ops::adds_linear_maps<Backend, T>;
    static residual_stream<T> joined(tape<T, Backend>& tape, variable<T> x, parameter<T> weight, variable<T> h)
        requires ops::adds_linear_maps<Backend, T>
    {
        const auto sum = ops::linear_add(tape, x, weight, h);
        tape.drop(x), tape.drop(h);
        return {sum, {}};
    }
    /// What a post-norm sublayer changes: Norm(h + out) - h.
    static variable<T> change(tape<T, Backend>& tape, variable<T> h, variable<T> out, parameter<T> gain, wide_t<T> eps) {
        const auto both = ops::residual_rms_norm(tape, h, out, gain, eps, wide_t<T>(1));
        const auto difference = ops::add(tape, both.normed, h, wide_t<T>(-1));
        tape.drop(out), tape.drop(both.sum), tape.drop(both.normed);
        return difference;
    }
    void make_rope_table() {
        const std::size_t half = config_.head_width() / 2;
        std::vector<wide_t<T>> cosine(config_.context * half), sine(config_.context * half);
        for (std::size_t t = 0; t < config_.context; ++t)
            for (std::size_t i = 0; i < half; ++i) {
                const double turn = static_cast<double>(t) * std::pow(config_.rope_theta, -static_cast<double>(i) / static_cast<double>(half));
                cosine[t * half + i] = static_cast<wide_t<T>>(std::cos(turn));
                sine[t * half + i] = static_cast<wide_t<T>>(std::sin(turn));
            }
        cosine_ = tensor<wide_t<T>, Backend>::from_host(*backend_, {config_.context, half}, cosine);
        sine_ = tensor<wide_t<T>, Backend>::from_host(*backend_, {config_.context, half}, sine);
    }

    Backend* backend_;
    decoder_config config_;
    block_layout outer_layout_, layer_layout_;
    tensor<wide_t<T>, Backend> cosine_, sine_;
};

template <class T, class Backend>
template <class Observer>
residual_stream<T> decoder<T, Backend>::attention_sublayer(tape<T, Backend>& tape, residual_stream<T> in, std::size_t source, std::size_t slot,
                                                         attention_shape s, gradient_set* gradients, Observer&& observe) const {
    const auto eps = static_cast<wide_t<T>>(config_.rms_eps), scale = static_cast<wide_t<T>>(config_.norm_scale(slot));
    const bool post = config_.post_norm(slot);
    const auto gain = layer(source, 0, 1, gradients);
    auto [h, x] = enter(tape, in, gain, post, eps, scale);
    if (slot > 0) observe(site::resid_post, slot - 1, h.value);
    observe(site::resid_pre, slot, h.value);
    const ops::rope_table<T> table{cosine_.rows(), sine_.rows()};
    auto qkv = ops::projections(tape, x, layer(source, 1, 3, gradients), s, table);  // (B*T, (H + 2 H_kv) D)
    if (!post) tape.drop(x);
    auto mixed = ops::attention(tape, qkv, s, table);  // (B*T, H*D)
    tape.drop(qkv);
    if constexpr (joins<Observer>)
        if (!post) return joined(tape, mixed, layer(source, 4, 1, gradients), h);
    auto a = ops::linear(tape, mixed, layer(source, 4, 1, gradients));  // (B*T, C)
    tape.drop(mixed);
    if (post) a = change(tape, h, a, gain, eps);
    observe(site::attn_out, slot, a.value);
    return {h, a};
}

template <class T, class Backend>
template <class Observer>
residual_stream<T> decoder<T, Backend>::mlp_sublayer(tape<T, Backend>& tape, residual_stream<T> in, std::size_t source, std::size_t slot,
                                                   gradient_set* gradients, Observer&& observe) const {
    const auto eps = static_cast<wide_t<T>>(config_.rms_eps), scale = static_cast<wide_t<T>>(config_.norm_scale(slot));
    const bool post = config_.post_norm(slot);
    const auto gain = layer(source, 5, 1, gradients);
    auto [h, x] = enter(tape, in, gain, post, eps, scale);
    observe(site::resid_mid, slot, h.value);
    if (post) x.kept = true;  // it is h as well
    const auto gate_up = layer(source, 6, 2, gradients), down = layer(source, 8, 1, gradients);
    if constexpr (joins<Observer>)
        if (!post) {
            const auto sum = ops::swiglu_mlp(tape, x, gate_up, down, h);
            tape.drop(h);
            return {sum, {}};
        }
    auto m = ops::swiglu_mlp(tape, x, gate_up, down);  // (B*T, C)
    if (post) m = change(tape, h, m, gain, eps);
    observe(site::mlp_out, slot, m.value);
    return {h, m};
}

template <class T, class Backend>
template <class Observer>
ops::residual_norm<T> decoder<T, Backend>::residual(tape<T, Backend>& tape, span<const token> ids, std::size_t batch, gradient_set* gradients,
                                             span<const std::size_t> order, Observer&& observe) const {
    if constexpr (std::is_same_v<std::remove_cvref_t<Observer>, no_observer>) return residual(tape, ids, batch, gradients, order, residual_only());
    const attention_shape s = extents(ids.size(), batch);
    const std::size_t slots = order.empty() ? layers() : order.size();
    residual_stream<T> stream{embedding(tape, ids, gradients), {}};
    for (std::size_t slot = 0; slot < slots; ++slot) {
        const std::size_t i = order.empty() ? slot : order[slot];
        require(i < layers(), "[decoder] expected layer indices below ", layers(), " in the order, got ", i, " at place ", slot);
        const auto run = [this, &tape, i, slot, s, gradients](residual_stream<T> in, auto&& watch) {
            const auto between = this->attention_sublayer(tape, in, i, slot, s, gradients, watch);
            return this->mlp_sublayer(tape, between, i, slot, gradients, watch);
        };
        if constexpr (std::is_same_v<std::remove_cvref_t<Observer>, residual_only>)
            if (tape.recording() && tape.recomputes()) {
                const auto alone = [&tape, run](variable<T> h) { return add_pending(tape, run({h, {}}, residual_only())); };
                stream = {ops::recompute(tape, stream.h, alone), {}};
                continue;
            }
        stream = run(stream, observe);
    }
    const auto last = enter(tape, stream, outer(1, gradients), false, static_cast<wide_t<T>>(config_.rms_eps), wide_t<T>(1));
    observe(site::resid_post, slots - 1, last.sum.value);
    return last;
}

}  // namespace depthgrow
