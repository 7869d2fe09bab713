// Causal grouped-query attention over packed query-key-value rows: projections with their norms and RoPE, then
// attention over the sequence itself or behind a cache. Assumes rows b*T + t. RoPE (Su et al. 2021, half-split) rotates
// queries and keys in place; their gradient is rotated back where attention's backward pass has made it. Softmax
// weights are recomputed from saved log denominators (Dao et al. 2022), never stored.
#pragma once

#include "depthgrow/autograd/ops/linear.hpp"
#include "depthgrow/autograd/ops/norm.hpp"

namespace depthgrow::ops {

/// Cosines and sines of every position and channel pair: (context, pairs) each, in backend memory. Empty: no rotation.
template <class T> struct rope_table {
    matrix<const wide_t<T>> cosine, sine;
    explicit operator bool() const { return cosine.data != nullptr; }
};

/// Weight ((H + 2 H_kv) D, C) and bias of queries, keys and values; norms of queries and keys, a head each or the
/// whole.
template <class T> struct projection_parameters {
    parameter<T> weight, bias;
    norm_parameters<T> q_norm, k_norm;
};

namespace detail {

/// body(norm, first column, columns) for every range of packed queries and keys that is normed on its own.
template <class T, class Body>
void each_normed_range(const attention_shape& s, const norm_parameters<T>& q, const norm_parameters<T>& k,
                       const Body& body) {
    const auto ranges = [&](const norm_parameters<T>& norm, std::size_t first, std::size_t columns) {
        const std::size_t width = norm.gain.value.size();
        require(width > 0 && columns % width == 0, "[projections] expected a norm of ", s.head_width, " or ", columns,
                " channels, got ", width);
        for (std::size_t c = first; c < first + columns; c += width) body(norm, c, width);
    };
    ranges(q, 0, s.width());
    ranges(k, s.width(), s.kv_width());
}

/// Queries and keys go through their norms: linear maps apart for them and for the values.
template <class T, class Backend>
void normed_projections(tape<T, Backend>& tape, variable<T> x, projection_parameters<T> p, attention_shape s,
                        variable<T> qkv) {
    auto& backend = tape.backend();
    const std::size_t normed = s.width() + s.kv_width(), values = s.kv_width(), rows = x.value.rows;
    p.q_norm.gain = effective_gain(tape, p.q_norm), p.k_norm.gain = effective_gain(tape, p.k_norm);
    const auto raw = tape.make(rows, normed);
    const auto weight = rows_of(p.weight, 0, normed), value_weight = rows_of(p.weight, normed, values);
    const auto bias = columns_of(p.bias, 0, normed), value_bias = columns_of(p.bias, normed, values);
    map<T>(backend, x.value, weight, {}, raw.value);
    add_bias(backend, bias, raw.value);
    map<T>(backend, x.value, value_weight, {}, qkv.value.col_range(normed, values));
    add_bias(backend, value_bias, qkv.value.col_range(normed, values));
    const auto rstd = tape.make_wide(rows * (s.heads + s.kv_heads));  // at most: one a row and range
    std::size_t at = 0;
    each_normed_range<T>(
        s, p.q_norm, p.k_norm, [&](const norm_parameters<T>& norm, std::size_t first, std::size_t width) {
            backend.template rms_norm_forward<T>(raw.value.col_range(first, width), norm.gain.flat(), norm.eps,
                                                 wide_t<T>(1), qkv.value.col_range(first, width),
                                                 rstd.subspan(at, rows));
            at += rows;
        });
    tape.drop(raw);
    tape.record([&tape, x, p, s, qkv, raw, rstd, weight, value_weight, bias, value_bias, normed, values, rows] {
        const auto d = tape.gradient(qkv);
        if (!d.data) return;
        const auto draw = tape.claim(raw).out;
        std::size_t place = 0;
        each_normed_range<T>(s, p.q_norm, p.k_norm,
                             [&](const norm_parameters<T>& norm, std::size_t first, std::size_t width) {
                                 tape.backend().template rms_norm_backward<T>(
                                     raw.value.col_range(first, width), norm.gain.flat(), rstd.subspan(place, rows),
                                     wide_t<T>(1), d.col_range(first, width), matrix<const T>(),
                                     draw.col_range(first, width), gain_gradient(tape, norm.gain));
                                 place += rows;
                             });
        const auto dvalues = d.col_range(normed, values);
        bias_backward<T>(tape, value_bias, dvalues);
        linear_backward<T>(tape, x, value_weight, dvalues);
        tape.release(qkv);
        bias_backward<T>(tape, bias, draw);
        linear_backward<T>(tape, x, weight, draw);
        tape.release(raw);
    });
}

}  // namespace detail

/// x (B*T, C) -> queries, keys and values (B*T, (H + 2 H_kv) D), the first two normed and rotated.
/// The gradient that arrives is that of numbers not yet rotated: `attention` with the same table sends it.
template <class T, class Backend>
variable<T> projections(tape<T, Backend>& tape, variable<T> x, const projection_parameters<T>& p, attention_shape s,
                        rope_table<T> table) {
    auto& backend = tape.backend();
    const std::size_t rotated = s.heads + s.kv_heads;
    require(!table || s.length <= table.cosine.rows, "[rope] expected a sequence of at most ", table.cosine.rows,
            " tokens, got ", s.length);
    const auto qkv = tape.make(x.value.rows, p.weight.value.rows);
    const auto rotate = [&] {
        if (table)
            backend.template rope_inplace<T>(qkv.value, s.length, rotated, s.head_width, table.cosine, table.sine,
                                             wide_t<T>(1));
    };
    if (p.q_norm) {
        detail::normed_projections(tape, x, p, s, qkv);
        rotate();
        return qkv;
    }
    bool fused = false;
    if constexpr (fuses_linear_maps<Backend, T>)
        if (table && !p.bias.value.data && 2 * table.cosine.cols == s.head_width)
            fused = backend.template linear_rope<T>(x.value, p.weight.value, qkv.value, s.length, rotated, table.cosine,
                                                    table.sine);
    if (!fused) {
        detail::map<T>(backend, x.value, p.weight, {}, qkv.value);
        detail::add_bias(backend, p.bias, qkv.value);
        rotate();
    }
    tape.record([&tape, x, weight = p.weight, bias = p.bias, qkv] {
        const auto d = tape.gradient(qkv);
        if (!d.data) return;
        detail::bias_backward(tape, bias, d);
        detail::linear_backward(tape, x, weight, d);
        tape.release(qkv);
    });
    return qkv;
}

/// qkv (B*T, (H + 2 H_kv) D), rotated by `table` -> (B*T, H D).
template <class T, class Backend>
variable<T> attention(tape<T, Backend>& tape, variable<T> qkv, attention_shape s, rope_table<T> table) {
    auto y = tape.make(s.rows(), s.width());              // (B*T, H*D)
    const auto lse = tape.make_wide(s.rows() * s.heads);  // (B*T, H)
    tape.backend().template attention_forward<T>(qkv.value, s, y.value, lse);
    tape.record([&tape, qkv, s, y, lse, table] {
        const auto dy = tape.gradient(y);
        if (!dy.data) return;
        const auto dqkv = tape.claim(qkv);
        require(!dqkv.accumulate(), "[attention] expected queries, keys and values to be used once");
        auto& backend = tape.backend();
        if constexpr (rotates_attention_gradients<Backend, T>) {
            backend.template attention_rope_backward<T>(qkv.value, s, y.value, lse, dy, dqkv.out, table.cosine,
                                                        table.sine);
        } else {
            backend.template attention_backward<T>(qkv.value, s, y.value, lse, dy, dqkv.out);
            if (table)
                backend.template rope_inplace<T>(dqkv.out, s.length, s.heads + s.kv_heads, s.head_width, table.cosine,
                                                 table.sine, wide_t<T>(-1));
        }
        tape.release(y);
    });
    return y;
}

}  // namespace depthgrow::ops
