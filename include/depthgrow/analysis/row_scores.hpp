// What rows of a model's answer say of the tokens that follow them: log-likelihoods and the likeliest one.
// Assumes rows as model_run::answer gives them, in tape memory of the same run.
// Maths: the cross-entropy of each row's logits, softmax in the backend's wide numbers.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "depthgrow/analysis/batched_pieces.hpp"
#include "depthgrow/analysis/model_run.hpp"

namespace depthgrow {

/// x (rows, C) and what follows each row, on the host; -1: unknown.
template <class T, class Backend, class Model>
row_scores score_rows(model_run<T, Backend, Model>& run, matrix<const T> x, span<const token> following) {
    auto& backend = run.model().backend();
    auto& tape = run.tape();
    const std::size_t vocab = run.model().config().vocab, chunk = std::min<std::size_t>(x.rows, 256);
    const auto z = tape.make(chunk, vocab).value, again = tape.make(chunk, vocab).value,
               ones = tape.make(vocab, 1).value;
    backend.template fill<T>(ones.data, vocab, T(1));
    const auto targets = tensor<token, Backend>::from_host(backend, {following.size()}, following);
    const auto loss = tape.make_wide(x.rows), best_loss = tape.make_wide(x.rows), sums = tape.make_wide(x.rows);
    const span<token> best(tape.memory().template take<token>(x.rows), x.rows);
    ops::each_logits<T>(backend, x, run.model().head().value, z, [&](std::size_t first, matrix<T> part) {
        const std::size_t count = part.rows;
        const auto copy = again.row_range(0, count);
        backend.template gemm<T>(transpose::no, transpose::no, 1, part, ones, 0,
                                 matrix<wide_t<T>>(sums.subspan(first, count).data(), count, 1));
        backend.template copy<T>(part.data, copy.data, count * vocab);
        backend.template row_argmax<T>(part, best.subspan(first, count));
        backend.template cross_entropy_inplace<T>(part, targets.flat().subspan(first, count), {},
                                                  loss.subspan(first, count), false);
        backend.template cross_entropy_inplace<T>(copy, best.subspan(first, count), {}, best_loss.subspan(first, count),
                                                  false);
    });
    const auto to_host = [&]<class N>(span<N> from) {
        std::vector<N> out(from.size());
        backend.template to_host<N>(from.data(), out.data(), out.size());
        return out;
    };
    const auto losses = to_host(loss), best_losses = to_host(best_loss), totals = to_host(sums);
    row_scores out{std::vector<double>(x.rows), std::vector<double>(x.rows), to_host(best), std::vector<char>(x.rows)};
    for (std::size_t r = 0; r < x.rows; ++r) {
        out.of_following[r] = following[r] < 0 ? 0.0 : -static_cast<double>(losses[r]);
        out.of_best[r] = -static_cast<double>(best_losses[r]);
        out.finite[r] = std::isfinite(totals[r]) && std::isfinite(losses[r]) && std::isfinite(best_losses[r]);
    }
    return out;
}

}  // namespace depthgrow
