// A decoder-only Transformer of any described kind: weights and the forward pass under any layer order, on any backend.
// Assumes a valid description. Slot-dependent parts (norm scaling, Mix-LN) go by the slot in the executed order, what a
// layer is (window, rope) by its source.
// h += Attn(Norm(h)); h += MLP(Norm(h)); logits = W_U Norm_f(h), with norms where the description puts them.
#pragma once

#include <numeric>
#include <utility>
#include <vector>

#include "depthgrow/autograd/ops/head.hpp"
#include "depthgrow/autograd/ops/mlp.hpp"
#include "depthgrow/autograd/ops/recompute.hpp"
#include "depthgrow/comm/sharding.hpp"
#include "depthgrow/growth/grow.hpp"
#include "depthgrow/nn/key_values.hpp"
#include "depthgrow/nn/parameters.hpp"
#include "depthgrow/nn/presets.hpp"
#include "depthgrow/nn/sublayers.hpp"

namespace depthgrow {

template <class T, class Backend> class decoder {
public:
    using number = T;
    using backend_type = Backend;
    using set = parameter_set<T, Backend>;
    using gradient_set = parameter_set<wide_t<T>, Backend>;
    static_assert(
        backend_for<Backend, T>,
        "depthgrow: a decoder needs a backend with every operation of backend/concept.hpp for this number type");

    /// Weights drawn from `seed`; `final_layers` (0: config.layers) scales the residual projections' initialisation.
    decoder(Backend& backend, const decoder_config& config, std::uint64_t seed, std::size_t final_layers = 0)
        : decoder(backend, config) {
        draw_model<wide_t<T>>(config, seed, final_layers, [&](std::size_t block, const std::vector<wide_t<T>>& values) {
            assign_block(block_of(weights, block), values);
        });
    }
    /// Zero weights, to be loaded.
    /// Zero weights; `shards` rounds the blocks' memory up to shares for several ranks.
    decoder(Backend& backend, const decoder_config& config, const sharding& shards = {})
        : weights((config.validate(), backend), shards.padded(outer_layout(config).size),
                  shards.padded(layer_layout(config).size), config.layers),
          backend_(&backend),
          config_(config),
          outer_layout_(outer_layout(config)),
          layer_layout_(layer_layout(config)) {
        for (const auto& rope : config.ropes) {
            const auto numbers = make_rope_numbers<wide_t<T>>(rope, config.head_width(), config.context);
            ropes_.push_back(
                {tensor<wide_t<T>, Backend>::from_host(backend, {config.context, numbers.pairs}, numbers.cosine),
                 tensor<wide_t<T>, Backend>::from_host(backend, {config.context, numbers.pairs}, numbers.sine)});
        }
        if (config.learned_positions) {
            std::vector<token> places(config.context);
            std::iota(places.begin(), places.end(), token{0});
            places_ = tensor<token, Backend>::from_host(backend, {config.context}, places);
        }
    }

    const decoder_config& config() const { return config_; }
    Backend& backend() const { return *backend_; }
    std::size_t layers() const { return weights.layers.size(); }
    /// Layers become `order` of themselves, what they are with them; layers that stay are the same objects.
    void grow(const layer_order& order) {
        weights.layers = depthgrow::grow(std::move(weights.layers), order);
        config_ = config_.with_layers(order.sources());
    }
    /// Layers become `how.rows()` of themselves, sums and averages among them. How other new layers begin is the
    /// trainer's.
    void grow(const growth& how) {
        decoder_config grown = grown_config(config_, how);
        weights.layers = depthgrow::grow(std::move(weights.layers), how.rows());
        config_ = std::move(grown);
    }

    /// Makes layer `index` one of another kind; its numbers stay.
    void set_kind(std::size_t index, layer_kind kind) {
        if (config_.kinds.empty()) config_.kinds.assign(layers(), layer_kind{});
        config_.kinds.at(index) = kind;
    }

    /// Embedding, the layers of `order` (empty: all, once) and the final norm: the residual h_L and Norm_f(h_L).
    /// Gradients go to `gradients` when the tape records. `observe(site, slot, rows)` sees every site; it may edit the
    /// rows of attn_out and mlp_out, which are added to the residual after it returns.
    template <class Observer = no_observer>
    ops::residual_norm<T> residual(tape<T, Backend>& tape, span<const token> ids, std::size_t batch,
                                   gradient_set* gradients, span<const std::size_t> order = {},
                                   Observer&& observe = {}) const;

    /// The parts of `residual`, for analyses that walk layer by layer. Extents of `batch` sequences of ids.
    attention_shape extents(std::size_t ids, std::size_t batch) const {
        require(batch > 0 && ids % batch == 0 && ids > 0, "[decoder] expected tokens for ", batch,
                " equal sequences, got ", ids, " tokens");
        require(ids / batch <= config_.context, "[decoder] expected sequences of at most ", config_.context,
                " tokens (the context), got ", ids / batch);
        return {batch, ids / batch, config_.heads, config_.kv_heads, config_.head_width()};
    }
    /// h_0 (B*T, C) of sequences of these extents.
    variable<T> embedding(tape<T, Backend>& tape, span<const token> ids, attention_shape s,
                          gradient_set* gradients = nullptr) const {
        std::vector<row_stretch> whole;
        if (config_.learned_positions)
            for (std::size_t b = 0; b < s.batch; ++b) whole.push_back({b * s.length, s.length, 0});
        return embedding(tape, ids, span<const row_stretch>(whole), gradients);
    }
    /// The same of stretches of sequences.
    variable<T> embedding(tape<T, Backend>& tape, span<const token> ids, span<const row_stretch> stretches,
                          gradient_set* gradients = nullptr) const {
        const auto h = ops::embedding(tape, ids, outer(part::embedding, gradients),
                                      static_cast<wide_t<T>>(config_.embedding_scale()));
        return config_.learned_positions
                   ? ops::add_positions(tape, h, outer(part::positions, gradients), places_.flat(), stretches)
                   : h;
    }
    /// Takes the residual entering `slot` and gives it back with layer `source`'s attention output pending. What comes
    /// in is dropped from the tape. `keys`: own_keys or cached_keys of layer `source`.
    template <class Keys, class Observer = no_observer>
    residual_stream<T> attention_sublayer(tape<T, Backend>& tape, residual_stream<T> in, std::size_t source,
                                          std::size_t slot, const Keys& keys, gradient_set* gradients,
                                          Observer&& observe = {}) const {
        const attention_weights<T> own{
            norm_of(source, part::input_norm, part::input_norm_bias, gradients),
            output_norm(source, part::attn_out_norm, gradients),
            {layer(source, part::q, part::v, gradients), layer(source, part::q_bias, part::v_bias, gradients),
             head_norm(source, part::q_norm, gradients), head_norm(source, part::k_norm, gradients)},
            layer(source, part::o, gradients),
            layer(source, part::o_bias, gradients)};
        return run_attention(tape, in, own, keys, rules(slot), observe);
    }
    /// The same over whole sequences of these extents.
    template <class Observer = no_observer>
    residual_stream<T> attention_sublayer(tape<T, Backend>& tape, residual_stream<T> in, std::size_t source,
                                          std::size_t slot, attention_shape s, gradient_set* gradients,
                                          Observer&& observe = {}) const {
        return attention_sublayer(tape, in, source, slot,
                                  own_keys<T>{config_.attention(s.batch, s.length, source), rope_table(source)},
                                  gradients, observe);
    }
    /// The same for the MLP: gives back the residual between the sublayers with the MLP's output pending.
    template <class Observer = no_observer>
    residual_stream<T> mlp_sublayer(tape<T, Backend>& tape, residual_stream<T> in, std::size_t source, std::size_t slot,
                                    gradient_set* gradients, Observer&& observe = {}) const {
        const part first = config_.gated ? part::gate : part::up,
                   first_bias = config_.gated ? part::gate_bias : part::up_bias;
        const mlp_weights<T> own{
            norm_of(source, part::mlp_norm, part::mlp_norm_bias, gradients),
            output_norm(source, part::mlp_out_norm, gradients),
            {layer(source, first, part::up, gradients), layer(source, first_bias, part::up_bias, gradients),
             layer(source, part::down, gradients), layer(source, part::down_bias, gradients), config_.act,
             config_.gated}};
        return run_mlp(tape, in, own, rules(slot), observe);
    }

    /// Norm_f(h): (B*T, C) -> (B*T, C).
    variable<T> final_norm(tape<T, Backend>& tape, variable<T> h, gradient_set* gradients = nullptr) const {
        return ops::normalize(tape, h, final_norm_parameters(gradients));
    }
    /// W_U, (V, C).
    parameter<T> head(gradient_set* gradients = nullptr) const {
        return outer(config_.tied ? part::embedding : part::head, gradients);
    }
    /// A parameter outside the layers; empty when the model has none of that part.
    parameter<T> outer(part which, gradient_set* gradients = nullptr) const {
        if (!outer_layout_.contains(which)) return {};
        const auto& place = outer_layout_.at(which);
        return {weights.outer.at(place), gradients ? gradients->outer.at(place) : matrix<wide_t<T>>{},
                gradients && gradients->fresh};
    }
    /// A parameter of a layer; empty when the model has none of that part.
    parameter<T> layer(std::size_t index, part which, gradient_set* gradients = nullptr) const {
        return layer(index, which, which, gradients);
    }
    /// Parameters from `first` to `last`, which lie together, as one: matrices stacked by rows, vectors one after
    /// another.
    parameter<T> layer(std::size_t index, part first, part last, gradient_set* gradients = nullptr) const {
        if (!layer_layout_.contains(first)) return {};
        const tensor_place &from = layer_layout_.at(first), &to = layer_layout_.at(last);
        const std::size_t count = to.offset + to.size() - from.offset, cols = from.vector() ? count : from.cols;
        const auto view = [&](auto& block) { return matrix(block.flat().data() + from.offset, count / cols, cols); };
        const bool inner = index > 0 && index + 1 < layers();
        return {view(weights.layers[index]), gradients ? view(gradients->layers[index]) : matrix<wide_t<T>>{},
                gradients && gradients->fresh, inner};
    }
    /// How a layer rotates queries and keys; empty when it does not.
    ops::rope_table<T> rope_table(std::size_t layer) const {
        const int which = config_.kind(layer).rope;
        return which == layer_kind::no_rope ? ops::rope_table<T>{} : table_of(ropes_[static_cast<std::size_t>(which)]);
    }
    /// What a run of stretches shares between its layers, in memory of the tape.
    stretch_positions<T> positions(tape<T, Backend>& tape, span<const row_stretch> stretches) const;
    /// What the queries of layer `source` attend to in a run of stretches, each with its cache.
    cached_keys<T, Backend> cached(const stretch_positions<T>& at, std::size_t rows, std::size_t source,
                                   span<layer_cache<T, Backend>* const> caches) const {
        const int which = config_.kind(source).rope;
        return {config_.attention(1, rows, source),
                which == layer_kind::no_rope ? ops::rope_table<T>{} : at.tables[static_cast<std::size_t>(which)],
                at.stretches, caches};
    }

    /// h_0 (rows, C) of one new row each of many sequences, ids and positions in backend memory; their rope tables, one
    /// a rope of the model; and what the queries of layer `source` attend to. Backends that decode steps only.
    variable<T> step_embedding(tape<T, Backend>& tape, span<const token> ids, span<const token> positions) const {
        const auto h =
            ops::embedding(tape, ids, outer(part::embedding), static_cast<wide_t<T>>(config_.embedding_scale()));
        if (!config_.learned_positions) return h;
        const auto at = ops::embedding(tape, positions, outer(part::positions));
        return add_pending(tape, {h, at});
    }
    std::vector<ops::rope_table<T>> step_tables(tape<T, Backend>& tape,
                                                span<const token> positions) const requires decodes_steps<Backend, T> {
        std::vector<ops::rope_table<T>> out;
        const auto gathered = [&](matrix<const wide_t<T>> table) {
            const matrix<wide_t<T>> to(tape.make_wide(positions.size() * table.cols).data(), positions.size(),
                                       table.cols);
            backend().gather_rows(positions, table, to);
            return to;
        };
        for (const auto& rope : ropes_) out.push_back({gathered(rope.cosine.rows()), gathered(rope.sine.rows())});
        return out;
    }
    stepped_keys<T> stepped(span<const ops::rope_table<T>> tables, span<const cached_row<T>> caches,
                            span<const token> positions, std::size_t source) const {
        const int which = config_.kind(source).rope;
        return {config_.attention(1, positions.size(), source),
                which == layer_kind::no_rope ? ops::rope_table<T>{} : tables[static_cast<std::size_t>(which)], caches,
                positions};
    }

    set weights;

private:
    struct rope_tensors {
        tensor<wide_t<T>, Backend> cosine, sine;  // (context, pairs)
    };
    static ops::rope_table<T> table_of(const rope_tensors& rope) { return {rope.cosine.rows(), rope.sine.rows()}; }
    ops::norm_parameters<T> norm(parameter<T> gain, parameter<T> bias, bool layer_norm) const {
        return {gain, bias, static_cast<wide_t<T>>(config_.norm_eps), layer_norm, config_.gain_offset};
    }
    ops::norm_parameters<T> norm_of(std::size_t source, part gain, part bias, gradient_set* gradients) const {
        return norm(layer(source, gain, gradients), layer(source, bias, gradients), config_.norm == norm_kind::layer);
    }
    ops::norm_parameters<T> output_norm(std::size_t source, part gain, gradient_set* gradients) const {
        return norm(layer(source, gain, gradients), {}, config_.norm == norm_kind::layer);
    }
    /// RMSNorm of queries or keys.
    ops::norm_parameters<T> head_norm(std::size_t source, part gain, gradient_set* gradients) const {
        return norm(layer(source, gain, gradients), {}, false);
    }
    ops::norm_parameters<T> final_norm_parameters(gradient_set* gradients) const {
        return norm(outer(part::final_norm, gradients), outer(part::final_norm_bias, gradients),
                    config_.norm == norm_kind::layer);
    }
    slot_rules<T> rules(std::size_t slot) const {
        return {slot, static_cast<wide_t<T>>(config_.norm_scale(slot)), config_.post_norm(slot), config_.parallel};
    }

    Backend* backend_;
    decoder_config config_;
    block_layout outer_layout_, layer_layout_;
    std::vector<rope_tensors> ropes_;
    tensor<token, Backend> places_;  // 0, 1, 2, …, where positions are learned
};

/// A model that analyses, trainers and files take: one that runs layer by layer, with what each sublayer adds at hand.
template <class Model>
concept decoder_model = requires(const Model& model, typename Model::backend_type& backend,
                                 tape<typename Model::number, typename Model::backend_type>& tape,
                                 span<const token> ids, residual_stream<typename Model::number> stream,
                                 variable<typename Model::number> h, attention_shape s, std::size_t n) {
    { model.config() } -> std::convertible_to<const decoder_config&>;
    { model.layers() } -> std::convertible_to<std::size_t>;
    { model.backend() } -> std::same_as<typename Model::backend_type&>;
    { model.extents(n, n) } -> std::same_as<attention_shape>;
    { model.embedding(tape, ids, s) } -> std::same_as<variable<typename Model::number>>;
    {
        model.attention_sublayer(tape, stream, n, n, s, nullptr)
        } -> std::same_as<residual_stream<typename Model::number>>;
    { model.mlp_sublayer(tape, stream, n, n, nullptr) } -> std::same_as<residual_stream<typename Model::number>>;
    { model.residual(tape, ids, n, nullptr) } -> std::same_as<ops::residual_norm<typename Model::number>>;
    { model.final_norm(tape, h) } -> std::same_as<variable<typename Model::number>>;
    { model.head() } -> std::same_as<parameter<typename Model::number>>;
};

template <class T, class Backend>
template <class Observer>
ops::residual_norm<T> decoder<T, Backend>::residual(tape<T, Backend>& tape, span<const token> ids, std::size_t batch,
                                                    gradient_set* gradients, span<const std::size_t> order,
                                                    Observer&& observe) const {
    if constexpr (std::is_same_v<std::remove_cvref_t<Observer>, no_observer>)
        return residual(tape, ids, batch, gradients, order, residual_only());
    const attention_shape s = extents(ids.size(), batch);
    const std::size_t slots = order.empty() ? layers() : order.size();
    residual_stream<T> stream{embedding(tape, ids, s, gradients), {}};
    for (std::size_t slot = 0; slot < slots; ++slot) {
        const std::size_t i = order.empty() ? slot : order[slot];
        require(i < layers(), "[decoder] expected layer indices below ", layers(), " in the order, got ", i,
                " at place ", slot);
        if (gradients && gradients->use_done) tape.record([gradients, i] { gradients->use_done(1 + i); });
        const auto run = [this, &tape, i, slot, s, gradients](residual_stream<T> in, auto&& watch) {
            const auto between = this->attention_sublayer(tape, in, i, slot, s, gradients, watch);
            return this->mlp_sublayer(tape, between, i, slot, gradients, watch);
        };
        if constexpr (std::is_same_v<std::remove_cvref_t<Observer>, residual_only>)
            if (tape.recording() && tape.recomputes()) {
                const auto alone = [&tape, run](variable<T> h) {
                    return add_pending(tape, run({h, {}}, residual_only()));
                };
                stream = {ops::recompute(tape, stream.h, alone), {}};
                continue;
            }
        stream = run(stream, observe);
    }
    const auto last = ops::enter(tape, stream, final_norm_parameters(gradients));
    observe(site::resid_post, slots - 1, last.sum.value);
    return last;
}

template <class T, class Backend>
stretch_positions<T> decoder<T, Backend>::positions(tape<T, Backend>& tape, span<const row_stretch> stretches) const {
    stretch_positions<T> out{stretches, {}};
    std::size_t rows = 0;
    for (const auto& s : stretches) rows += s.count;
    const auto gathered = [&](matrix<const wide_t<T>> table) -> matrix<const wide_t<T>> {
        if (stretches.size() == 1) return table.row_range(stretches[0].start, stretches[0].count);
        const matrix<wide_t<T>> to(tape.make_wide(rows * table.cols).data(), rows, table.cols);
        for (const auto& s : stretches)
            backend().template copy<wide_t<T>>(table.row(s.start), to.row(s.first), s.count * table.cols);
        return to;
    };
    for (const auto& rope : ropes_) out.tables.push_back({gathered(rope.cosine.rows()), gathered(rope.sine.rows())});
    return out;
}

}  // namespace depthgrow
