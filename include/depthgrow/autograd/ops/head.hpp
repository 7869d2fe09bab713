// The head: logits, and their cross entropy in chunks of rows, so that all logits never exist at once.
// Assumes the final norm has run. loss[r] = -log softmax(x[r] Wᵀ)[target[r]]; the objective is Σ weight[r] * loss[r].
// Its seed is one, so gradients of x and W are made in the forward pass. Definition: linear, then
// cross_entropy_inplace.
#pragma once

#include <algorithm>

#include "depthgrow/autograd/tape.hpp"
#include "depthgrow/backend/capabilities.hpp"

namespace depthgrow::ops {

/// logits (M, V) = x (M, C) Wᵀ: the one place where logits are made.
template <class T, class Logits, class Backend>
void unembed(Backend& backend, matrix<const T> x, matrix<const T> weight, matrix<Logits> logits) {
    backend.template gemm<T>(transpose::no, transpose::yes, 1, x, weight, 0, logits);
}

/// body(first row, logits) for rows of x in chunks of buffer.rows; the body may change the logits.
template <class T, class Backend, class Body>
void each_logits(Backend& backend, matrix<const T> x, matrix<const T> weight, matrix<T> buffer, const Body& body) {
    for (std::size_t first = 0; first < x.rows; first += buffer.rows) {
        const std::size_t count = std::min(buffer.rows, x.rows - first);
        const auto part = buffer.row_range(0, count);
        unembed<T>(backend, x.row_range(first, count), weight, part);
        body(first, part);
    }
}

/// x (M, C), weight (V, C), targets and weights (M) -> loss (M), in backend memory of the tape. Target -1: no loss.
template <class T, class Backend>
span<wide_t<T>> linear_cross_entropy(tape<T, Backend>& tape, variable<T> x, parameter<T> weight,
                                     span<const token> targets, span<const wide_t<T>> weights,
                                     std::size_t chunk_rows = 0) {
    auto& backend = tape.backend();
    if (chunk_rows == 0) chunk_rows = head_rows(backend);
    const std::size_t rows = x.value.rows, chunk = std::min(rows, chunk_rows);
    const auto loss = tape.make_wide(rows);  // (M)
    matrix<T> logits(tape.memory().template take<T>(chunk * weight.value.rows), chunk,
                     weight.value.rows);                                // (chunk, V)
    matrix<T> dx = tape.recording() ? tape.claim(x).out : matrix<T>{};  // (M, C)
    each_logits<T>(backend, x.value, weight.value, logits, [&](std::size_t first, matrix<T> part) {
        const auto in = x.value.row_range(first, part.rows);
        backend.template cross_entropy_inplace<T>(part, targets.subspan(first, part.rows),
                                                  weights.subspan(first, part.rows), loss.subspan(first, part.rows),
                                                  tape.recording());
        if (!tape.recording()) return;
        backend.template gemm<T>(transpose::no, transpose::no, 1, part, weight.value, 0,
                                 dx.row_range(first, part.rows));
        if (weight.gradient.data)
            backend.template gemm<T>(transpose::yes, transpose::no, 1, part, in, weight.fresh && first == 0 ? 0 : 1,
                                     weight.gradient);
    });
    tape.memory().template give<T>(logits.data, logits.size());
    return loss;
}

}  // namespace depthgrow::ops
