// The head and its loss in chunks of rows, so that all logits never exist at once.
// loss[r] = -log softmax(x[r] Wᵀ)[target[r]]; the objective is Σ weight[r] * loss[r].
// Its seed is one, so gradients of x and W are made on the way forward. Definition: linear, then cross_entropy_inplace.
#pragma once

#include <algorithm>

#include "depthgrow/autograd/tape.hpp"

namespace depthgrow::ops {

/// Rows of logits at a time: what the backend asks for, else few enough to stay in a CPU's cache.
template <class Backend>
std::size_t head_rows(const Backend& backend) {
    if constexpr (requires { backend.head_rows(); }) return backend.head_rows();
    else return 512;
}

/// x (M, C), weight (V, C), targets and weights (M) -> loss (M), in backend memory of the tape. Target -1: no loss.
template <class T, class Backend>
span<wide_t<T>> linear_cross_entropy(tape<T, Backend>& tape, variable<T> x, parameter<T> weight, span<const token> targets,
                                     span<const wide_t<T>> weights, std::size_t chunk_rows = 0) {
    auto& backend = tape.backend();
    if (chunk_rows == 0) chunk_rows = head_rows(backend);
    const std::size_t rows = x.value.rows, chunk = std::min(rows, chunk_rows);
    const auto loss = tape.make_wide(rows);                                             // (M)
    matrix<T> logits(tape.memory().template take<T>(chunk * weight.value.rows), chunk, weight.value.rows);  // (chunk, V)
    matrix<T> dx = tape.recording() ? tape.claim(x).out : matrix<T>{};                  // (M, C)
    for (std::size_t first = 0; first < rows; first += chunk) {
        const std::size_t count = std::min(chunk, rows - first);
        const auto part = logits.row_range(0, count);
        const auto in = x.value.row_range(first, count);
        backend.template gemm<T>(transpose::no, transpose::yes, 1, in, weight.value, 0, part);
        backend.template cross_entropy_inplace<T>(part, targets.subspan(first, count), weights.subspan(first, count),
                                                  loss.subspan(first, count), tape.recording());
        if (!tape.recording()) continue;
        backend.template gemm<T>(transpose::no, transpose::no, 1, part, weight.value, 0, dx.row_range(first, count));
        if (weight.gradient.data)
            backend.template gemm<T>(transpose::yes, transpose::no, 1, part, in, weight.fresh && first == 0 ? 0 : 1, weight.gradient);
    }
    tape.memory().template give<T>(logits.data, logits.size());
    return loss;
}

}  // namespace depthgrow::ops
