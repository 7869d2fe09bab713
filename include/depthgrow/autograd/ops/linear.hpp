// Linear map without bias: y = x Wᵀ. Assumes W is (out, in), as Hugging Face stores it.
// dx = dy W; dW += dyᵀ x.
// Rows of x are tokens; the product runs on the backend's gemm.
#pragma once

#include "depthgrow/autograd/tape.hpp"

namespace depthgrow::ops {

namespace detail {

/// dW += dyᵀ x, dx += dy W.
template <class T, class Backend>
void linear_backward(tape<T, Backend>& tape, const variable<T>& x, const parameter<T>& weight, matrix<const T> dy) {
    if (weight.gradient.data)
        tape.backend().template gemm<T>(transpose::yes, transpose::no, 1, dy, x.value, weight.fresh ? 0 : 1, weight.gradient);
    const auto dx = tape.claim(x);
    tape.backend().template gemm<T>(transpose::no, transpose::no, 1, dy, weight.value, dx.accumulate() ? 1 : 0, dx.out);
}

}  // namespace detail

/// x (M, in), weight (out, in) -> (M, out).
template <class T, class Backend>
variable<T> linear(tape<T, Backend>& tape, variable<T> x, parameter<T> weight) {
    auto y = tape.make(x.value.rows, weight.value.rows);  // (M, out)
    tape.backend().template gemm<T>(transpose::no, transpose::yes, 1, x.value, weight.value, 0, y.value);
    tape.record([&tape, x, weight, y] {
        const auto dy = tape.gradient(y);
        if (!dy.data) return;
        detail::linear_backward(tape, x, weight, dy);
        tape.release(y);
    });
    return y;
}

/// Whether a backend adds a linear map to the residual stream in one pass.
template <class Backend, class T>
concept adds_linear_maps = requires(Backend b, matrix<const T> in, matrix<T> out) { b.template linear_add<T>(in, in, in, out); };

/// h (M, out) + x Wᵀ. Definition: linear, then add.
template <class T, class Backend>
    requires adds_linear_maps<Backend, T>
variable<T> linear_add(tape<T, Backend>& tape, variable<T> x, parameter<T> weight, variable<T> h) {
    auto y = tape.make(h.value.rows, h.value.cols);  // (M, out)
    tape.backend().template linear_add<T>(x.value, weight.value, h.value, y.value);
    tape.record([&tape, x, weight, h, y] {
        const auto dy = tape.gradient(y);
        if (!dy.data) return;
        detail::linear_backward(tape, x, weight, dy);
        tape.share(h, y);
        tape.release(y);
    });
    return y;
}

}  // namespace depthgrow::ops
