// Probabilities of the head's logits, up to a factor a row: what a gradient by the head's input is made of.
// Assumes a backend of row_operations.hpp; one that has `linear_softmax` as a member may fuse it with the product and
// says whether it has.
#pragma once

#include "depthgrow/analysis/row_operations.hpp"
#include "depthgrow/autograd/ops/head.hpp"

namespace depthgrow::rows {

/// shares[r] e[r] = softmax(x[r] Wᵀ) and log_sums[r] = log Σ exp(x[r] Wᵀ), in nats, for x (M, C), W (V, C), e (M, V).
/// averages[r] is an average of the row's logits under any distribution, for speed alone: on backends that fuse it is
/// fast where the largest logit is less than some 115 above. Without averages the shares are 1.
template <class T, class Backend>
void linear_softmax(Backend& backend, matrix<const T> x, matrix<const T> weight, span<const wide_t<T>> averages,
                    matrix<T> e, span<wide_t<T>> shares, span<wide_t<T>> log_sums) {
    if constexpr (requires { backend.template linear_softmax<T>(x, weight, averages, e, shares, log_sums); })
        if (!averages.empty() && backend.template linear_softmax<T>(x, weight, averages, e, shares, log_sums)) return;
    ops::unembed<T>(backend, x, weight, e);
    softmax_inplace<T>(backend, e, log_sums);
    backend.template fill<wide_t<T>>(shares.data(), shares.size(), wide_t<T>(1));
}

}  // namespace depthgrow::rows
