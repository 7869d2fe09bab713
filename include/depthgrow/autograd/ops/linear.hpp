// Linear map: y = x Wᵀ + b. Assumes W is (out, in); a bias without numbers is none.
// dx = dy W; dW += dyᵀ x; db += the sum of dy's rows.
// Rows of x are tokens; the matmul runs on the backend's gemm, or fused where the backend can
// (backend/capabilities.hpp).
#pragma once

#include "depthgrow/autograd/tape.hpp"
#include "depthgrow/backend/capabilities.hpp"

namespace depthgrow::ops {

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

/// y += b, unless there is none.
template <class T, class Backend> void add_bias(Backend& backend, const parameter<T>& bias, matrix<T> y) {
    if (bias.value.data) backend.template add_bias_inplace<T>(bias.flat(), y);
}
/// db += the sum of dy's rows.
template <class T, class Backend>
void bias_backward(tape<T, Backend>& tape, const parameter<T>& bias, matrix<const T> dy) {
    if (bias.value.data && bias.gradient.data) tape.backend().template bias_backward<T>(dy, bias.flat_gradient());
}
/// Rows [first, first + count) of a weight, with their gradient.
template <class T> parameter<T> rows_of(parameter<T> weight, std::size_t first, std::size_t count) {
    weight.value = weight.value.row_range(first, count);
    if (weight.gradient.data) weight.gradient = weight.gradient.row_range(first, count);
    return weight;
}
/// Columns [first, first + count) of a bias.
template <class T> parameter<T> columns_of(parameter<T> bias, std::size_t first, std::size_t count) {
    if (bias.value.data) bias.value = bias.value.col_range(first, count);
    if (bias.gradient.data) bias.gradient = bias.gradient.col_range(first, count);
    return bias;
}

/// dW += dyᵀ x.
template <class T, class Backend>
void weight_backward(tape<T, Backend>& tape, const variable<T>& x, const parameter<T>& weight, matrix<const T> dy) {
    if (weight.gradient.data)
        tape.backend().template gemm<T>(transpose::yes, transpose::no, 1, dy, x.value, weight.fresh ? 0 : 1,
                                        weight.gradient);
}
/// dx += dy W, then dW += dyᵀ x.
template <class T, class Backend>
void linear_backward(tape<T, Backend>& tape, const variable<T>& x, const parameter<T>& weight, matrix<const T> dy) {
    auto& backend = tape.backend();
    const auto dx = tape.claim(x);
    const wide_t<T> beta = dx.accumulate() ? 1 : 0;
    bool done = false;
    if constexpr (maps_in_fp8<Backend, T>)
        if ((done = in_fp8<T>(backend, dy, weight, dx.out.cols)))
            backend.linear_fp8_backward(dy, weight.value, beta, dx.out);
    if (!done) backend.template gemm<T>(transpose::no, transpose::no, 1, dy, weight.value, beta, dx.out);
    weight_backward(tape, x, weight, dy);
}

}  // namespace detail

/// x (M, in), weight (out, in), bias (1, out) or none -> (M, out).
template <class T, class Backend>
variable<T> linear(tape<T, Backend>& tape, variable<T> x, parameter<T> weight, parameter<T> bias = {}) {
    auto y = tape.make(x.value.rows, weight.value.rows);  // (M, out)
    detail::map<T>(tape.backend(), x.value, weight, {}, y.value);
    detail::add_bias(tape.backend(), bias, y.value);
    tape.record([&tape, x, weight, bias, y] {
        const auto dy = tape.gradient(y);
        if (!dy.data) return;
        detail::bias_backward(tape, bias, dy);
        detail::linear_backward(tape, x, weight, dy);
        tape.release(y);
    });
    return y;
}

/// h (M, out) + x Wᵀ + b in one pass. Definition: linear, then add.
template <class T, class Backend>
requires adds_linear_maps<Backend, T> variable<T> linear_add(tape<T, Backend>& tape, variable<T> x, parameter<T> weight,
                                                             variable<T> h, parameter<T> bias = {}) {
    auto y = tape.make(h.value.rows, h.value.cols);  // (M, out)
    detail::map<T>(tape.backend(), x.value, weight, h.value, y.value);
    detail::add_bias(tape.backend(), bias, y.value);
    tape.record([&tape, x, weight, bias, h, y] {
        const auto dy = tape.gradient(y);
        if (!dy.data) return;
        detail::bias_backward(tape, bias, dy);
        detail::linear_backward(tape, x, weight, dy);
        tape.share(h, y);
        tape.release(y);
    });
    return y;
}

}  // namespace depthgrow::ops
