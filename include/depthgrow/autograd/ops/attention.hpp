// Causal grouped-query attention with rotary positions, over packed query-key-value rows.
// Assumes rows b*T + t. RoPE (Su et al. 2021, half-split) turns queries and keys in place; the gradient is turned back
// where attention's way back has made it. Softmax weights are recomputed from saved log denominators (Dao et al. 2022), never stored.
#pragma once

#include "depthgrow/autograd/ops/linear.hpp"

namespace depthgrow::ops {

/// Cosines and sines of every position and channel pair: (context, head_width / 2) each, in backend memory.
template <class T>
struct rope_table {
    matrix<const wide_t<T>> cosine, sine;
};

/// Whether a backend turns the gradient back within attention's way back.
template <class Backend, class T>
concept turns_attention_gradients = requires(Backend b, matrix<const T> in, matrix<T> out, attention_shape s, span<const wide_t<T>> lse, matrix<const wide_t<T>> table) {
    b.template attention_rope_backward<T>(in, s, in, lse, in, out, table, table);
};

/// x (B*T, C), weight ((H + 2 H_kv) D, C) -> queries, keys and values (B*T, (H + 2 H_kv) D), the first two turned.
/// The gradient that arrives is that of numbers not yet turned: `attention` with the same table sends it.
template <class T, class Backend>
variable<T> projections(tape<T, Backend>& tape, variable<T> x, parameter<T> weight, attention_shape s, rope_table<T> table) {
    auto& backend = tape.backend();
    const std::size_t turned = s.heads + s.kv_heads;
    require(s.length <= table.cosine.rows, "[rope] expected a sequence of at most ", table.cosine.rows, " tokens, got ", s.length);
    const auto qkv = tape.make(x.value.rows, weight.value.rows);
    bool joined = false;
    if constexpr (joins_linear_maps<Backend, T>) joined = backend.template linear_rope<T>(x.value, weight.value, qkv.value, s.length, turned, table.cosine, table.sine);
    if (!joined) {
        detail::map<T>(backend, x.value, weight, {}, qkv.value);
        backend.template rope_inplace<T>(qkv.value, s.length, turned, s.head_width, table.cosine, table.sine, wide_t<T>(1));
    }
    tape.record([&tape, x, weight, qkv] {
        const auto d = tape.gradient(qkv);
        if (!d.data) return;
        detail::linear_backward(tape, x, weight, d);
        tape.release(qkv);
    });
    return qkv;
}

/// qkv (B*T, (H + 2 H_kv) D), turned by `table` -> (B*T, H D).
template <class T, class Backend>
variable<T> attention(tape<T, Backend>& tape, variable<T> qkv, attention_shape s, rope_table<T> table) {
    auto y = tape.make(s.rows(), s.width());               // (B*T, H*D)
    const auto lse = tape.make_wide(s.rows() * s.heads);   // (B*T, H)
    tape.backend().template attention_forward<T>(qkv.value, s, y.value, lse);
    tape.record([&tape, qkv, s, y, lse, table] {
        const auto dy = tape.gradient(y);
        if (!dy.data) return;
        const auto dqkv = tape.claim(qkv);
        require(!dqkv.accumulate(), "[attention] expected queries, keys and values to be used once");
        auto& backend = tape.backend();
        if constexpr (turns_attention_gradients<Backend, T>) {
            backend.template attention_rope_backward<T>(qkv.value, s, y.value, lse, dy, dqkv.out, table.cosine, table.sine);
        } else {
            backend.template attention_backward<T>(qkv.value, s, y.value, lse, dy, dqkv.out);
            backend.template rope_inplace<T>(dqkv.out, s.length, s.heads + s.kv_heads, s.head_width, table.cosine, table.sine, wide_t<T>(-1));
        }
        tape.release(y);
    });
    return y;
}

}  // namespace depthgrow::ops
