// The three ways to run a model: loss with gradients, loss alone, logits; and a run that keeps chosen sites.
// Assumes ids and targets in the backend's memory for training; logits and traces come back in backend memory.
// The loss is the weighted mean of next-token cross entropies in nats.
#pragma once

#include <utility>

#include "depthgrow/nn/decoder.hpp"

namespace depthgrow {

/// Forward, and backward when `gradients` are wanted: the objective is Σ weight * loss. Returns loss (B*T) in tape
/// memory.
template <class T, class Backend, decoder_model Model>
span<wide_t<T>> token_losses(const Model& model, tape<T, Backend>& tape, span<const token> ids,
                             span<const token> targets, span<const wide_t<T>> weights, std::size_t batch,
                             parameter_set<wide_t<T>, Backend>* gradients, span<const std::size_t> order = {}) {
    tape.start(gradients != nullptr);
    const auto last = model.residual(tape, ids, batch, gradients, order);
    const auto loss = ops::linear_cross_entropy(tape, last.normed, model.head(gradients), targets, weights);
    if (gradients) tape.backward();
    return loss;
}

/// Logits (B*T, V) of a run under `order`, without gradients; valid until the tape starts again.
template <class T, class Backend, decoder_model Model, class Observer = no_observer>
matrix<T> logits(const Model& model, tape<T, Backend>& tape, span<const token> ids, std::size_t batch,
                 span<const std::size_t> order = {}, Observer&& observe = {}) {
    tape.start(false);
    const auto last = model.residual(tape, ids, batch, nullptr, order, observe);
    return ops::linear(tape, last.normed, model.head()).value;
}

/// What a model makes of given tokens, on the host: the cross entropy of each target and the likeliest token, (B*T)
/// each.
struct token_scores {
    std::vector<float> loss;
    std::vector<token> best;
};

/// Scores `targets` (-1: none) after a run under `order`; logits exist only in chunks of rows.
template <class T, class Backend, decoder_model Model>
token_scores score_tokens(const Model& model, tape<T, Backend>& tape, span<const token> ids, span<const token> targets,
                          std::size_t batch, span<const std::size_t> order = {}) {
    Backend& backend = model.backend();
    tape.start(false);
    const auto x = model.residual(tape, ids, batch, nullptr, order).normed.value;
    const std::size_t chunk = std::min(head_rows(backend), x.rows), vocab = model.config().vocab;
    matrix<T> logits(tape.memory().template take<T>(chunk * vocab), chunk, vocab);  // (chunk, V)
    const auto loss = tape.make_wide(x.rows);
    const span<token> best(tape.memory().template take<token>(x.rows), x.rows);
    ops::each_logits<T>(backend, x, model.head().value, logits, [&](std::size_t first, matrix<T> part) {
        backend.template row_argmax<T>(part, best.subspan(first, part.rows));
        backend.template cross_entropy_inplace<T>(part, targets.subspan(first, part.rows), {},
                                                  loss.subspan(first, part.rows), false);
    });
    std::vector<wide_t<T>> wide(x.rows);
    token_scores scores{{}, std::vector<token>(x.rows)};
    backend.template to_host<wide_t<T>>(loss.data(), wide.data(), x.rows);
    backend.template to_host<token>(best.data(), scores.best.data(), x.rows);
    scores.loss.assign(wide.begin(), wide.end());
    return scores;
}

/// Copies of one site for every slot, (B*T, C) each.
template <class T, class Backend> struct site_trace {
    site where;
    std::vector<tensor<T, Backend>> slots;

    void operator()(site s, std::size_t slot, matrix<T> rows) {
        if (s != where) return;
        slots.resize(std::max(slots.size(), slot + 1));
        slots[slot] = tensor<T, Backend>(*backend, {rows.rows, rows.cols});
        backend->template copy<T>(rows.data, slots[slot].data(), rows.size());
    }
    Backend* backend;
};

/// Logits (B*T, V) and the trace of one site: `auto [logits, trace] = run_with_trace(model, tokens, site::resid_pre);`
template <decoder_model Model, class T = typename Model::number, class Backend = typename Model::backend_type>
std::pair<tensor<T, Backend>, site_trace<T, Backend>> run_with_trace(const Model& model, span<const token> ids,
                                                                     site where, std::size_t batch = 1,
                                                                     span<const std::size_t> order = {}) {
    tape<T, Backend> tape(model.backend());
    site_trace<T, Backend> trace{where, {}, &model.backend()};
    const auto out = logits(model, tape, ids, batch, order, trace);
    tensor<T, Backend> kept(model.backend(), {out.rows, out.cols});
    model.backend().template copy<T>(out.data, kept.data(), out.size());
    return {std::move(kept), std::move(trace)};
}

}  // namespace depthgrow
