// The MLP of a layer: two linear maps with an activation between them, gated or plain.
// Assumes that a gated MLP's first map gives gate then up, F columns each: f(gate) * up (Shazeer 2020); plain: f(up).
// A backend may fuse SwiGLU into the maps around it, forward and backward, or run it all in eight bits.
#pragma once

#include "depthgrow/autograd/ops/residual.hpp"

namespace depthgrow::ops {

/// in (2F or F, C), out (C, F); biases without numbers are none.
template <class T> struct mlp_parameters {
    parameter<T> in, in_bias, out, out_bias;
    activation act = activation::silu;
    bool gated = true;
};

/// Of a layer whose MLP runs in eight bits: the factors of two pairs, a piece of an arena each.
constexpr std::size_t mlp_scales_bytes = 512;

namespace detail {

/// Memory of a tensor in bfloat16 for a pair of eight-bit copies of one.
template <class T, class Backend> fp8_pair pair_in(tape<T, Backend>& tape, matrix<T> memory) {
    static_assert(sizeof(T) == 2);
    auto* first = reinterpret_cast<std::uint8_t*>(memory.data);
    return {first, first + memory.size(), tape.make_wide(1).data(), memory.rows, memory.cols};
}

/// The MLP in eight bits: SwiGLU's result and its gradients by gate and up are pairs, in the memory that they would
/// have taken in bfloat16.
template <class T, class Backend>
requires runs_fp8_mlps<Backend, T> variable<T> mlp_in_fp8(tape<T, Backend>& tape, variable<T> x, mlp_parameters<T> p,
                                                          variable<T> h) {
    auto& backend = tape.backend();
    const auto gate_up = tape.make(x.value.rows, p.in.value.rows);  // (M, 2F)
    const auto memory = tape.make(x.value.rows, p.out.value.cols);  // (M, F)
    map<T>(backend, x.value, p.in, {}, gate_up.value);
    const auto acted = pair_in(tape, memory.value);
    backend.fp8().gated(gate_up.value, p.out.value, acted);
    tape.drop(x), tape.drop(gate_up);
    const auto y = tape.make(x.value.rows, p.out.value.rows);
    backend.fp8().forward(acted, p.out.value, h.value, y.value);
    add_bias(backend, p.out_bias, y.value);
    tape.drop(memory);
    tape.record([&tape, x, p, h, gate_up, memory, acted, y] {
        const auto dy = tape.gradient(y);
        if (!dy.data) return;
        auto& fp8 = tape.backend().fp8();
        bias_backward(tape, p.out_bias, dy);
        const auto dacted = tape.claim(memory).out;
        tape.backend().linear_fp8_backward(dy, p.out.value, 0, dacted);
        fp8.weight_gradient(dy, acted, p.out.value, p.out.fresh ? 0.0f : 1.0f, p.out.gradient);
        if (h.value.data) tape.share(h, y);
        tape.release(y);
        const auto d = pair_in(tape, tape.claim(gate_up).out);
        fp8.gated_gradient(gate_up.value, dacted, p.in.value, d);
        tape.release(memory);
        const auto dx = tape.claim(x);
        fp8.backward(d, p.in.value, dx.accumulate() ? 1.0f : 0.0f, dx.out);
        fp8.weight_gradient(d, x.value, p.in.value, p.in.fresh ? 0.0f : 1.0f, p.in.gradient);
        tape.release(gate_up);
    });
    return y;
}

/// The MLP's output, added to h unless that is empty.
template <class T, class Backend>
variable<T> mlp_onto(tape<T, Backend>& tape, variable<T> x, mlp_parameters<T> p, variable<T> h) {
    auto& backend = tape.backend();
    const bool plain_swiglu = p.gated && p.act == activation::silu && !p.in_bias.value.data;
    if constexpr (runs_fp8_mlps<Backend, T>)
        if (plain_swiglu && p.in.inner && p.in.gradient.data && p.out.gradient.data &&
            backend.template takes_fp8_mlp<T>(x.value, p.in.value, p.out.value))
            return mlp_in_fp8(tape, x, p, h);
    const std::size_t hidden = p.gated ? p.in.value.rows / 2 : p.in.value.rows;
    const auto inner = tape.make(
        x.value.rows, p.in.value.rows);  // what enters the activation, or where fused the slopes of `acted` by it
    const auto acted = tape.make(x.value.rows, hidden);  // (M, F)
    bool fused = false;
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
