// The MLP of a layer: two linear maps with an activation between them, gated or plain.
// Assumes that a gated MLP's first map gives gate then up, F columns each: f(gate) * up (Shazeer 2020); plain: f(up).
// A backend may fuse SwiGLU into the maps around it, forward and backward.
#pragma once

#include "depthgrow/autograd/ops/residual.hpp"

namespace depthgrow::ops {

/// in (2F or F, C), out (C, F); biases without numbers are none.
template <class T> struct mlp_parameters {
    parameter<T> in, in_bias, out, out_bias;
    activation act = activation::silu;
    bool gated = true;
};

namespace detail {

/// The MLP's output, added to h unless that is empty.
template <class T, class Backend>
variable<T> mlp_onto(tape<T, Backend>& tape, variable<T> x, mlp_parameters<T> p, variable<T> h) {
    auto& backend = tape.backend();
    const std::size_t hidden = p.gated ? p.in.value.rows / 2 : p.in.value.rows;
    const auto inner = tape.make(
        x.value.rows, p.in.value.rows);  // what enters the activation, or where fused the slopes of `acted` by it
    const auto acted = tape.make(x.value.rows, hidden);  // (M, F)
    bool fused = false;
    const bool plain_swiglu = p.gated && p.act == activation::silu && !p.in_bias.value.data;
    if constexpr (gates_few_rows<Backend, T>)
        if (plain_swiglu && !tape.recording())
            fused = backend.template few_rows_swiglu<T>(x.value, p.in.value, acted.value);
    if constexpr (fuses_linear_maps<Backend, T>)
        if (plain_swiglu && !fused)
            fused = backend.template linear_swiglu<T>(x.value, p.in.value, inner.value, acted.value);
    if (!fused) {
        map<T>(backend, x.value, p.in, {}, inner.value);
        add_bias(backend, p.in_bias, inner.value);
        if (p.gated) backend.template gated_forward<T>(p.act, inner.value, acted.value);
        else backend.template activation_forward<T>(p.act, inner.value, acted.value);
    }
    tape.drop(x), tape.drop(inner);
    const auto y = tape.make(x.value.rows, p.out.value.rows);
    map<T>(backend, acted.value, p.out, h.value, y.value);
    add_bias(backend, p.out_bias, y.value);
    tape.drop(acted);
    tape.record([&tape, x, p, h, inner, acted, y, fused] {
        const auto dy = tape.gradient(y);
        if (!dy.data) return;
        bias_backward(tape, p.out_bias, dy);
        if constexpr (fuses_linear_maps<Backend, T>)
            if (fused) {
                tape.backend().template linear_swiglu_backward<T>(dy, p.out.value, inner.value, tape.claim(inner).out);
                weight_backward(tape, acted, p.out, dy);
            }
        if (!fused) linear_backward(tape, acted, p.out, dy);
        if (h.value.data) tape.share(h, y);
        tape.release(y);
        if (!fused) {
            const auto d = tape.claim(inner).out;
            if (p.gated) tape.backend().template gated_backward<T>(p.act, inner.value, tape.gradient(acted), d);
            else tape.backend().template activation_backward<T>(p.act, inner.value, tape.gradient(acted), d);
            tape.release(acted);
        }
        bias_backward(tape, p.in_bias, tape.gradient(inner));
        linear_backward(tape, x, p.in, tape.gradient(inner));
        tape.release(inner);
    });
    return y;
}

}  // namespace detail

/// x (M, C) -> (M, C). x is dropped.
template <class T, class Backend>
variable<T> mlp(tape<T, Backend>& tape, variable<T> x, const mlp_parameters<T>& parameters) {
    return detail::mlp_onto(tape, x, parameters, {});
}

/// h plus the MLP of x: one sum where the backend adds linear maps, else with the MLP pending. x is dropped.
template <class T, class Backend>
residual_stream<T> add_mlp(tape<T, Backend>& tape, variable<T> h, variable<T> x, const mlp_parameters<T>& parameters) {
    if constexpr (adds_linear_maps<Backend, T>) {
        const auto sum = detail::mlp_onto(tape, x, parameters, h);
        tape.drop(h);
        return {sum, {}};
    } else {
        return {h, detail::mlp_onto(tape, x, parameters, {})};
    }
}

}  // namespace depthgrow::ops
