// The gated MLP: two linear maps with SwiGLU between them.
// Assumes that the first map gives gate then up, F columns each. gated = silu(gate) * up (Shazeer 2020); y = gated Wᵀ.
// A backend may join the first map with the activation, and the way back through the second with the activation's.
#pragma once

#include "depthgrow/autograd/ops/linear.hpp"

namespace depthgrow::ops {

/// x (M, C), in (2F, C), out (C, F) -> (M, C), added to h (M, C) unless that is empty. x is dropped.
template <class T, class Backend>
variable<T> swiglu_mlp(tape<T, Backend>& tape, variable<T> x, parameter<T> in, parameter<T> out, variable<T> h = {}) {
    auto& backend = tape.backend();
    const auto inner = tape.make(x.value.rows, in.value.rows);  // (M, 2F): gate and up, or where joined the slopes of `gated` by them
    const auto gated = tape.make(x.value.rows, in.value.rows / 2);
    bool joined = false;
    if constexpr (joins_linear_maps<Backend, T>) joined = backend.template linear_swiglu<T>(x.value, in.value, inner.value, gated.value);
    if (!joined) {
        detail::map<T>(backend, x.value, in, {}, inner.value);
        backend.template swiglu_forward<T>(inner.value, gated.value);
    }
    tape.drop(x), tape.drop(inner);
    const auto y = tape.make(x.value.rows, out.value.rows);
    detail::map<T>(backend, gated.value, out, h.value, y.value);
    tape.drop(gated);
    tape.record([&tape, x, in, out, h, inner, gated, y, joined] {
        const auto dy = tape.gradient(y);
        if (!dy.data) return;
        if constexpr (joins_linear_maps<Backend, T>)
            if (joined) {
                tape.backend().template linear_swiglu_backward<T>(dy, out.value, inner.value, tape.claim(inner).out);
                detail::weight_backward(tape, gated, out, dy);
            }
        if (!joined) detail::linear_backward(tape, gated, out, dy);
        if (h.value.data) tape.share(h, y);
        tape.release(y);
        if (!joined) {
            tape.backend().template swiglu_backward<T>(inner.value, tape.gradient(gated), tape.claim(inner).out);
            tape.release(gated);
        }
        detail::linear_backward(tape, x, in, tape.gradient(inner));
        tape.release(inner);
    });
    return y;
}

}  // namespace depthgrow::ops
