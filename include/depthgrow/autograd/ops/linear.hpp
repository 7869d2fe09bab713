// Linear map without bias: y = x Wᵀ. Assumes W is (out, in), as Hugging Face stores it.
// dx = dy W; dW += dyᵀ x.
// Rows of x are tokens; the product runs on the backend's gemm.
#pragma once

#include <concepts>

#include "depthgrow/autograd/tape.hpp"

namespace depthgrow::ops {

/// Whether a backend adds a linear map to the residual stream in one pass.
template <class Backend, class T>
concept adds_linear_maps = requires(Backend b, matrix<const T> in, matrix<T> out) { b.template linear_add<T>(in, in, in, out); };

/// Whether a backend may run linear maps of inner layers in eight bits.
template <class Backend, class T>
concept maps_in_fp8 = requires(Backend b, matrix<const T> in, matrix<T> out) { b.linear_fp8(in, in, in, out); };

/// Whether a backend may join linear maps with SwiGLU and RoPE; each call says whether it has.
template <class Backend, class T>
concept joins_linear_maps = requires(Backend b, matrix<const T> in, matrix<T> out) {
    { b.template linear_swiglu<T>(in, in, out, out) } -> std::same_as<bool>;
};

namespace detail {

template <class T, class Backend>
bool in_fp8(const Backend& backend, matrix<const T> x, const parameter<T>& weight, std::size_t columns) {
    if constexpr (maps_in_fp8<Backend, T>) return weight.inner && backend.takes_fp8(x, weight.value, columns);
    else return false;
}

/// y = addend + x Wᵀ; an empty addend is none.
template <class T, class Backend>
void map(Backend& backend, matrix<const T> x, const parameter<T>& weight, matrix<const T> addend, matrix<T> y) {
    if constexpr (maps_in_fp8<Backend, T>)
        if (in_fp8<T>(backend, x, weight, y.cols)) return backend.linear_fp8(x, weight.value, addend, y);
    if constexpr (adds_linear_maps<Backend, T>)
        if (addend.data) return backend.template linear_add<T>(x, weight.value, addend, y);
    backend.template gemm<T>(transpose::no, transpose::yes, 1, x, weight.value, 0, y);
}

/// dW += dyᵀ x.
template <class T, class Backend>
void weight_backward(tape<T, Backend>& tape, const variable<T>& x, const parameter<T>& weight, matrix<const T> dy) {
    if (weight.gradient.data) tape.backend().template gemm<T>(transpose::yes, transpose::no, 1, dy, x.value, weight.fresh ? 0 : 1, weight.gradient);
}
/// dx += dy W, then dW += dyᵀ x.
template <class T, class Backend>
void linear_backward(tape<T, Backend>& tape, const variable<T>& x, const parameter<T>& weight, matrix<const T> dy) {
    auto& backend = tape.backend();
    const auto dx = tape.claim(x);
    const wide_t<T> beta = dx.accumulate() ? 1 : 0;
    bool done = false;
    if constexpr (maps_in_fp8<Backend, T>)
        if ((done = in_fp8<T>(backend, dy, weight, dx.out.cols))) backend.linear_fp8_backward(dy, weight.value, beta, dx.out);
    if (!done) backend.template gemm<T>(transpose::no, transpose::no, 1, dy, weight.value, beta, dx.out);
    weight_backward(tape, x, weight, dy);
}

}  // namespace detail

/// x (M, in), weight (out, in) -> (M, out).
template <class T, class Backend>
variable<T> linear(tape<T, Backend>& tape, variable<T> x, parameter<T> weight) {
    auto y = tape.make(x.value.rows, weight.value.rows);  // (M, out)
    detail::map<T>(tape.backend(), x.value, weight, {}, y.value);
    tape.record([&tape, x, weight, y] {
        const auto dy = tape.gradient(y);
        if (!dy.data) return;
        detail::linear_backward(tape, x, weight, dy);
        tape.release(y);
    });
    return y;
}

/// h (M, out) + x Wᵀ. Definition: linear, then add.
template <class T, class Backend>
    requires adds_linear_maps<Backend, T>
variable<T> linear_add(tape<T, Backend>& tape, variable<T> x, parameter<T> weight, variable<T> h) {
    auto y = tape.make(h.value.rows, h.value.cols);  // (M, out)
    detail::map<T>(tape.backend(), x.value, weight, h.value, y.value);
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
