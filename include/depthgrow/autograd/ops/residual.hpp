// The residual stream between sublayers: what waits to be added, and how sums meet the norms that follow them.
// Assumes that a sublayer's output is added once. Whether it is added as it is made or with the next norm is the
// backend's choice: one pass over memory less either way. Definition: h + a, then the norm.
#pragma once

#include "depthgrow/autograd/ops/linear.hpp"
#include "depthgrow/autograd/ops/norm.hpp"

namespace depthgrow {

/// The residual h + pending (h alone when pending is empty): a sublayer's output waits to be added with the next norm.
template <class T> struct residual_stream {
    variable<T> h, pending;  // (B*T, C) each
};

/// The residual with nothing left pending.
template <class T, class Backend> variable<T> add_pending(tape<T, Backend>& tape, residual_stream<T> stream) {
    if (!stream.pending.value.data) return stream.h;
    const auto sum = ops::add(tape, stream.h, stream.pending);
    tape.drop(stream.h), tape.drop(stream.pending);
    return sum;
}

namespace ops {

/// Adds what is pending and norms the sum; without a norm both are the residual.
template <class T, class Backend>
residual_norm<T> enter(tape<T, Backend>& tape, residual_stream<T> in, const norm_parameters<T>& norm,
                       wide_t<T> scale = 1) {
    if (!norm) {
        const auto h = add_pending(tape, in);
        return {h, h};
    }
    if (!in.pending.value.data) return {in.h, normalize(tape, in.h, norm, scale)};
    const auto both = add_and_normalize(tape, in.h, in.pending, norm, scale);
    tape.drop(in.h), tape.drop(in.pending);
    return both;
}

/// h + x Wᵀ + b: one sum where the backend adds linear maps, else with the product pending. x is dropped.
template <class T, class Backend>
residual_stream<T> add_linear(tape<T, Backend>& tape, variable<T> h, variable<T> x, parameter<T> weight,
                              parameter<T> bias = {}) {
    residual_stream<T> out{h, {}};
    if constexpr (adds_linear_maps<Backend, T>) {
        out.h = linear_add(tape, x, weight, h, bias);
        tape.drop(x), tape.drop(h);
    } else {
        out.pending = linear(tape, x, weight, bias);
        tape.drop(x);
    }
    return out;
}

}  // namespace ops
}  // namespace depthgrow
