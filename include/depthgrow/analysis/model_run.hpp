// A model run as scoring and generation ask: under an order of layers, up to an exit, answering there through a lens.
// Assumes a model that outlives it; nothing is recorded for a backward pass.
// Early exit: nostalgebraist 2020; relative early-exit accuracy, Kapl et al. 2025 (arXiv 2512.08819), figure 1C.
#pragma once

#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "depthgrow/analysis/tuned_lens.hpp"
#include "depthgrow/nn/forward.hpp"

namespace depthgrow {

/// How a model is run when it is scored.
template <class T, class Backend> struct scoring_options {
    std::vector<std::size_t> order;         // source layers to run; empty: all, once
    std::optional<std::size_t> exit_layer;  // answer from what enters this slot; the number of slots: the whole model
    const tuned_lens<T, Backend>* lens = nullptr;  // at the exit; null: the logit lens
    std::size_t max_rows = 0;    // tokens of one batch; 0: what suits the backend, 4096, on a device 16384
    bool share_contexts = true;  // run a context once for all continuations of it, where the backend can
};

/// Whether a model and its backend take decoding steps.
template <class Model>
concept takes_steps = decodes_steps<typename Model::backend_type, typename Model::number> &&
    requires(const Model& model, tape<typename Model::number, typename Model::backend_type>& tape,
             span<const token> rows) {
    model.step_tables(tape, rows);
};

/// The runs of one owner, whom errors name. What a run gives lives in tape memory until the next one.
template <class T, class Backend, decoder_model Model = decoder<T, Backend>> class model_run {
public:
    model_run(const char* owner, const Model& model, scoring_options<T, Backend> options)
        : owner_(owner), model_(model), options_(std::move(options)), tape_(model.backend()) {
        options_.max_rows = rows_at_a_time<Backend>(options_.max_rows, 4096, 16384);
        auto& order = options_.order;
        if (order.empty()) {
            order.resize(model.layers());
            std::iota(order.begin(), order.end(), std::size_t{0});
        }
        for (std::size_t slot = 0; slot < order.size(); ++slot)
            require(order[slot] < model.layers(), "[", owner, "] expected layer indices below ", model.layers(),
                    " in the order, got ", order[slot], " at place ", slot);
        exit_ = options_.exit_layer.value_or(order.size());
        require(exit_ <= order.size(), "[", owner, "] expected an exit layer of at most ", order.size(),
                " (the layers run), got ", exit_);
        if (options_.lens) options_.lens->check(model, order.size());
    }

    const Model& model() const { return model_; }
    const scoring_options<T, Backend>& options() const { return options_; }
    depthgrow::tape<T, Backend>& tape() { return tape_; }
    /// Layers that run before the exit.
    std::size_t exit() const { return exit_; }
    /// Tokens that the model has been run on so far, with padding.
    std::size_t tokens_run() const { return tokens_run_; }

    /// The residual at the exit of `batch` whole sequences of equal length, (B*T, C).
    variable<T> sequences(span<const token> tokens, std::size_t batch) {
        variable<T> out;
        sequences(tokens, batch, {&exit_, 1}, [&](std::size_t, variable<T> h) { out = h; });
        return out;
    }
    /// In one run, the residual that enters each slot of `exits`, (B*T, C): see(i, h) for exits[i].
    template <class See>
    void sequences(span<const token> tokens, std::size_t batch, span<const std::size_t> exits, const See& see) {
        const auto extents = model_.extents(tokens.size(), batch);
        take(tokens);
        const auto h = model_.embedding(tape_, ids_.flat(), extents);
        layers(h, exits, see, [&](residual_stream<T> in, std::size_t slot) {
            return model_.attention_sublayer(tape_, in, options_.order[slot], slot, extents, nullptr);
        });
    }
    /// The same of stretches of sequences, stacked, (rows, C): the layer_cache `cache(slot, i)` holds what comes before
    /// stretch i.
    template <class CacheOf>
    requires concepts::has_cached_attention<Backend, T> variable<T> stretches(span<const token> tokens,
                                                                              span<const row_stretch> parts,
                                                                              CacheOf cache) {
        variable<T> out;
        stretches(tokens, parts, cache, {&exit_, 1}, [&](std::size_t, variable<T> h) { out = h; });
        return out;
    }
    template <class CacheOf, class See>
    requires concepts::has_cached_attention<Backend, T>
    void stretches(span<const token> tokens, span<const row_stretch> parts, CacheOf cache,
                   span<const std::size_t> exits, const See& see) {
        take(tokens);
        const auto h = model_.embedding(tape_, ids_.flat(), parts);
        const auto positions = model_.positions(tape_, parts);
        std::vector<layer_cache<T, Backend>*> caches(parts.size());
        layers(h, exits, see, [&](residual_stream<T> in, std::size_t slot) {
            const std::size_t source = options_.order[slot];
            for (std::size_t i = 0; i < parts.size(); ++i) caches[i] = &cache(slot, i);
            return model_.attention_sublayer(tape_, in, source, slot,
                                             model_.cached(positions, tokens.size(), source, caches), nullptr);
        });
    }
    /// The same of one new row each of many sequences, whose places lie in backend memory: ids, positions and, slot by
    /// slot, caches. Nothing is read from the host, so that a backend may record it.
    variable<T> steps(span<const token> ids, span<const token> positions,
                      span<const cached_row<T>> caches) requires takes_steps<Model> {
        tape_.start(false);
        const auto h = model_.step_embedding(tape_, ids, positions);
        const auto tables = model_.step_tables(tape_, positions);
        variable<T> out;
        layers(
            h, {&exit_, 1}, [&](std::size_t, variable<T> at_exit) { out = at_exit; },
            [&](residual_stream<T> in, std::size_t slot) {
                const std::size_t source = options_.order[slot];
                const auto own = caches.subspan(slot * ids.size(), ids.size());
                return model_.attention_sublayer(tape_, in, source, slot,
                                                 model_.stepped(tables, own, positions, source), nullptr);
            });
        return out;
    }
    /// Norm_f of rows of the residual at an exit, through the lens if there is one: what the head takes. (rows, C).
    matrix<T> answer(variable<T> h) { return answer(h, exit_); }
    matrix<T> answer(variable<T> h, std::size_t exit) {
        const std::size_t rows = h.value.rows;
        if (!options_.lens || exit >= options_.order.size()) return model_.final_norm(tape_, h).value;
        const auto ones = tape_.make(rows, 1), moved = tape_.make(rows, model_.config().width);
        model_.backend().template fill<T>(ones.value.data, rows, T(1));
        detail::translate<T>(model_.backend(), options_.lens->at(options_.order, exit, model_.layers()), h.value,
                             ones.value, moved.value);
        tape_.drop(ones);
        const auto normed = model_.final_norm(tape_, moved).value;
        if (normed.data != moved.value.data) tape_.drop(moved);
        return normed;
    }

    /// Refuses ids beyond the vocabulary.
    void check(span<const token> tokens) const {
        for (token id : tokens)
            require(id >= 0 && static_cast<std::size_t>(id) < model_.config().vocab, "[", owner_,
                    "] expected token ids below the vocabulary of ", model_.config().vocab, ", got ", id);
    }

private:
    void take(span<const token> tokens) {
        check(tokens);
        ids_ = tensor<token, Backend>::from_host(model_.backend(), {tokens.size()}, tokens);
        tokens_run_ += tokens.size();
        tape_.start(false);
    }
    template <class See, class Attention>
    void layers(variable<T> h, span<const std::size_t> exits, const See& see, const Attention& attention) {
        const std::size_t last = *std::max_element(exits.begin(), exits.end());
        residual_stream<T> stream{h, {}};
        for (std::size_t slot = 0;; ++slot) {
            auto read = stream;
            if (slot < last) read.h.kept = read.pending.kept = true;  // layers go on from it
            for (std::size_t i = 0; i < exits.size(); ++i) {
                if (exits[i] != slot) continue;
                const auto residual = add_pending(tape_, read);
                see(i, residual);
                if (slot < last) tape_.drop(residual);
                else read = {residual, {}};  // what was pending has gone
            }
            if (slot == last) return;
            stream = model_.mlp_sublayer(tape_, attention(stream, slot), options_.order[slot], slot, nullptr);
        }
    }

    const char* owner_;
    const Model& model_;
    scoring_options<T, Backend> options_;
    depthgrow::tape<T, Backend> tape_;
    tensor<token, Backend> ids_;
    std::size_t exit_ = 0, tokens_run_ = 0;
};

}  // namespace depthgrow
