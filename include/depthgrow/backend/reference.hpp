// The reference backend: every operation as plain loops for float and double. Documentation and oracle.
// Assumes host memory, one thread. Other backends override operations and are held against this one.
// Maths: Llama (Touvron et al. 2023), RoPE half-split (Su et al. 2021), RMSNorm (Zhang & Sennrich 2019), AdamW.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>
#include <vector>

#include "depthgrow/backend/contract.hpp"

namespace depthgrow {

class reference {
public:
    // ---- memory: 64-byte aligned host memory; `allocate` throws std::bad_alloc
    template <class T> T* allocate(std::size_t count) {
        return static_cast<T*>(::operator new (std::max<std::size_t>(1, count) * sizeof(T), std::align_val_t{64}));
    }
    template <class T> void deallocate(T* data, std::size_t) { ::operator delete (data, std::align_val_t{64}); }
    template <class T> void copy(const T* from, T* to, std::size_t count) {
        if (count) std::memcpy(to, from, count * sizeof(T));
    }
    template <class T> void from_host(const T* from, T* to, std::size_t count) { copy(from, to, count); }
    template <class T> void to_host(const T* from, T* to, std::size_t count) { copy(from, to, count); }
    template <class T> void fill(T* data, std::size_t count, T value) { std::fill_n(data, count, value); }
    void synchronize() {}

    // ---- products: c = alpha * op(a) op(b) + beta * c
    template <class T>
    void gemm(transpose ta, transpose tb, wide_t<T> alpha, matrix<const T> a, matrix<const T> b, wide_t<T> beta,
              matrix<T> c) {
        contract::gemm(ta, tb, a, b, c);
        const std::size_t inner = ta == transpose::no ? a.cols : a.rows;
        for (std::size_t i = 0; i < c.rows; ++i)
            for (std::size_t j = 0; j < c.cols; ++j) {
                T sum = 0;
                for (std::size_t k = 0; k < inner; ++k)
                    sum += (ta == transpose::no ? a(i, k) : a(k, i)) * (tb == transpose::no ? b(k, j) : b(j, k));
                c(i, j) = alpha * sum + (beta == T(0) ? T(0) : beta * c(i, j));
            }
    }

    // ---- embedding: out[r] = table[ids[r]]
    template <class T> void embedding_forward(span<const token> ids, matrix<const T> table, matrix<T> out) {
        contract::extents("embedding_forward", "out", out, ids.size(), table.cols);
        for (std::size_t r = 0; r < ids.size(); ++r)
            copy(table.row(static_cast<std::size_t>(ids[r])), out.row(r), out.cols);
    }
    /// dtable[ids[r]] += dout[r]
    template <class T> void embedding_backward(span<const token> ids, matrix<const T> dout, matrix<T> dtable) {
        contract::extents("embedding_backward", "dout", dout, ids.size(), dtable.cols);
        for (std::size_t r = 0; r < ids.size(); ++r)
            for (std::size_t c = 0; c < dout.cols; ++c) dtable(static_cast<std::size_t>(ids[r]), c) += dout(r, c);
    }

    // ---- RMSNorm: y = scale * gain * x / sqrt(mean(x^2) + eps); rstd is saved for the backward pass
    template <class T>
    void rms_norm_forward(matrix<const T> x, span<const T> gain, wide_t<T> eps, wide_t<T> scale, matrix<T> y,
                          span<wide_t<T>> rstd) {
        contract::rms_norm<T>("rms_norm", x, gain, y, {rstd.data(), rstd.size()});
        for (std::size_t r = 0; r < x.rows; ++r) {
            T squares = 0;
            for (std::size_t c = 0; c < x.cols; ++c) squares += x(r, c) * x(r, c);
            rstd[r] = T(1) / std::sqrt(squares / static_cast<T>(x.cols) + eps);
            for (std::size_t c = 0; c < x.cols; ++c) y(r, c) = x(r, c) * rstd[r] * gain[c] * scale;
        }
    }
    /// sum = h + a; y = RMSNorm(sum). The residual add and the norm that follows it, in one pass.
    template <class T>
    void residual_rms_norm_forward(matrix<const T> h, matrix<const T> a, span<const T> gain, wide_t<T> eps,
                                   wide_t<T> scale, matrix<T> sum, matrix<T> y, span<wide_t<T>> rstd) {
        add<T>(h, T(1), a, sum);
        rms_norm_forward<T>(sum, gain, eps, scale, y, rstd);
    }
    /// dx = skip + d(RMSNorm); `skip` is empty or the gradient that reaches x past the norm, and may be dx itself.
    /// dgain += …
    template <class T>
    void rms_norm_backward(matrix<const T> x, span<const T> gain, span<const wide_t<T>> rstd, wide_t<T> scale,
                           matrix<const T> dy, matrix<const T> skip, matrix<T> dx, span<T> dgain) {
        contract::rms_norm<T>("rms_norm_backward", x, gain, dx, rstd);
        const auto width = static_cast<T>(x.cols);
        for (std::size_t r = 0; r < x.rows; ++r) {
            T dot = 0;
            for (std::size_t c = 0; c < x.cols; ++c) {
                const T normed = x(r, c) * rstd[r];
                dot += dy(r, c) * gain[c] * scale * normed;
                dgain[c] += dy(r, c) * scale * normed;
            }
            for (std::size_t c = 0; c < x.cols; ++c) {
                const T through = rstd[r] * (dy(r, c) * gain[c] * scale - x(r, c) * rstd[r] * dot / width);
                dx(r, c) = through + (skip.data ? skip(r, c) : T(0));
            }
        }
    }

    // ---- LayerNorm: y = scale * (gain * (x - mean) / sqrt(var + eps) + bias) (Ba et al. 2016); an empty bias is none
    template <class T>
    void layer_norm_forward(matrix<const T> x, span<const T> gain, span<const T> bias, wide_t<T> eps, wide_t<T> scale,
                            matrix<T> y, span<wide_t<T>> mean, span<wide_t<T>> rstd) {
        contract::layer_norm<T>("layer_norm", x, gain, bias, y, {mean.data(), mean.size()}, {rstd.data(), rstd.size()});
        const auto width = static_cast<T>(x.cols);
        for (std::size_t r = 0; r < x.rows; ++r) {
            T sum = 0, squares = 0;
            for (std::size_t c = 0; c < x.cols; ++c) sum += x(r, c);
            mean[r] = sum / width;
            for (std::size_t c = 0; c < x.cols; ++c) squares += (x(r, c) - mean[r]) * (x(r, c) - mean[r]);
            rstd[r] = T(1) / std::sqrt(squares / width + eps);
            for (std::size_t c = 0; c < x.cols; ++c)
                y(r, c) = ((x(r, c) - mean[r]) * rstd[r] * gain[c] + (bias.empty() ? T(0) : bias[c])) * scale;
        }
    }
    /// dx = skip + d(LayerNorm), as of rms_norm_backward; dgain and dbias (empty: not wanted) += ...
    template <class T>
    void layer_norm_backward(matrix<const T> x, span<const T> gain, span<const wide_t<T>> mean,
                             span<const wide_t<T>> rstd, wide_t<T> scale, matrix<const T> dy, matrix<const T> skip,
                             matrix<T> dx, span<T> dgain, span<T> dbias) {
        contract::layer_norm<T>("layer_norm_backward", x, gain, {}, dx, mean, rstd);
        const auto width = static_cast<T>(x.cols);
        for (std::size_t r = 0; r < x.rows; ++r) {
            T sum = 0, dot = 0;
            for (std::size_t c = 0; c < x.cols; ++c) {
                const T up = dy(r, c) * scale, normed = (x(r, c) - mean[r]) * rstd[r];
                sum += up * gain[c];
                dot += up * gain[c] * normed;
                dgain[c] += up * normed;
                if (!dbias.empty()) dbias[c] += up;
            }
            for (std::size_t c = 0; c < x.cols; ++c) {
                const T normed = (x(r, c) - mean[r]) * rstd[r];
                const T through = rstd[r] * (dy(r, c) * scale * gain[c] - sum / width - normed * dot / width);
                dx(r, c) = through + (skip.data ? skip(r, c) : T(0));
            }
        }
    }

    // ---- biases: y[r] += bias; dbias += the sum of dy's rows
    template <class T> void add_bias_inplace(span<const T> bias, matrix<T> y) {
        contract::length("add_bias", "bias", bias, y.cols);
        for (std::size_t r = 0; r < y.rows; ++r)
            for (std::size_t c = 0; c < y.cols; ++c) y(r, c) += bias[c];
    }
    template <class T> void bias_backward(matrix<const T> dy, span<T> dbias) {
        contract::length("bias_backward", "dbias", dbias, dy.cols);
        for (std::size_t r = 0; r < dy.rows; ++r)
            for (std::size_t c = 0; c < dy.cols; ++c) dbias[c] += dy(r, c);
    }

    // ---- RoPE on the first `heads` heads of each row, position r % length; of each head's first 2 * half channels,
    // channel i pairs with i + half
    /// cosine and sine are (length, half), half at most head_width / 2; `sign` is 1 forward and -1 in the backward
    /// pass.
    template <class T>
    void rope_inplace(matrix<T> x, std::size_t length, std::size_t heads, std::size_t head_width,
                      matrix<const wide_t<T>> cosine, matrix<const wide_t<T>> sine, wide_t<T> sign) {
        contract::rope<T>(x, heads, head_width, cosine, sine);
        const std::size_t half = cosine.cols;
        for (std::size_t r = 0; r < x.rows; ++r)
            for (std::size_t h = 0; h < heads; ++h)
                for (std::size_t i = 0; i < half; ++i) {
                    T& low = x(r, h * head_width + i);
                    T& high = x(r, h * head_width + half + i);
                    const T c = cosine(r % length, i), s = sign * sine(r % length, i);
                    const T a = low, b = high;
                    low = a * c - b * s;
                    high = b * c + a * s;
                }
    }

    // ---- causal grouped-query attention; lse (rows, heads) = log of the softmax denominators
    template <class T>
    void attention_forward(matrix<const T> qkv, attention_shape s, matrix<T> out, span<wide_t<T>> lse) {
        contract::attention<T>("attention_forward", qkv, s, out, {lse.data(), lse.size()});
        for_each_query(s, [&](std::size_t row, std::size_t t, std::size_t h) {
            const auto k = [&](std::size_t u) { return key(qkv, s, row - t + u, h); };
            const auto v = [&](std::size_t u) { return value(qkv, s, row - t + u, h); };
            lse[row * s.heads + h] = attend(qkv.row(row) + h * s.head_width, s, s.first_seen(t), t + 1, k, v,
                                            out.row(row) + h * s.head_width);
        });
    }
    /// dqkv is overwritten; weights are recomputed from lse.
    template <class T>
    void attention_backward(matrix<const T> qkv, attention_shape s, matrix<const T> out, span<const wide_t<T>> lse,
                            matrix<const T> dout, matrix<T> dqkv) {
        contract::attention_backward<T>(qkv, s, out, lse, dout, dqkv);
        const T scale = s.score_scale<T>();
        for (std::size_t r = 0; r < dqkv.rows; ++r) std::fill_n(dqkv.row(r), dqkv.cols, T(0));
        for_each_query(s, [&](std::size_t row, std::size_t t, std::size_t h) {
            const std::size_t column = h * s.head_width;
            const T* q = qkv.row(row) + column;
            const T* d = dout.row(row) + column;
            const T delta = dot(d, out.row(row) + column, s.head_width);
            for (std::size_t u = s.first_seen(t); u <= t; ++u) {
                const std::size_t other = row - t + u;
                const T* k = key(qkv, s, other, h);
                const T weight = std::exp(scale * dot(q, k, s.head_width) - lse[row * s.heads + h]);
                const T dscore = scale * weight * (dot(d, value(qkv, s, other, h), s.head_width) - delta);
                T* dq = dqkv.row(row) + column;
                T* dk = dqkv.row(other) + (k - qkv.row(other));
                T* dv = dk + s.kv_width();
                for (std::size_t c = 0; c < s.head_width; ++c) {
                    dq[c] += dscore * k[c];
                    dk[c] += dscore * q[c];
                    dv[c] += weight * d[c];
                }
            }
        });
    }

    /// The same for the next rows of one sequence: their keys and values go behind those that the cache holds (the
    /// caller counts them in), and each row sees what was there and the new rows up to its own.
    template <class T>
    void cached_attention(matrix<const T> qkv, attention_shape s, key_value_cache<T> cache, matrix<T> out) {
        contract::cached_attention<T>(qkv, s, cache, out);
        remember(qkv, s, cache);
        for_each_query(s, [&](std::size_t row, std::size_t t, std::size_t h) {
            const auto place = [&](std::size_t u) { return (h / s.group() * cache.capacity + u) * s.head_width; };
            const auto k = [&](std::size_t u) { return cache.keys.data() + place(u); };
            const auto v = [&](std::size_t u) { return cache.values.data() + place(u); };
            const std::size_t at = cache.length + t;
            attend(qkv.row(row) + h * s.head_width, s, s.first_seen(at), at + 1, k, v, out.row(row) + h * s.head_width);
        });
    }

    // ---- a decoding step: one new position each of many sequences, places in the backend's memory (capabilities.hpp)
    bool decodes_steps() const { return true; }
    void overlap(bool) {}
    /// cached_attention of row r alone behind caches[r], at positions[r].
    template <class T>
    void step_attention(matrix<const T> qkv, attention_shape s, span<const cached_row<T>> caches,
                        span<const token> positions, matrix<T> out) {
        contract::step_attention<T>(qkv, s, caches, positions, out);
        attention_shape one = s;
        one.batch = one.length = 1;
        for (std::size_t r = 0; r < qkv.rows; ++r) {
            const std::size_t size = s.kv_width() * caches[r].capacity;
            cached_attention<T>(qkv.row_range(r, 1), one,
                                {{caches[r].keys, size},
                                 {caches[r].values, size},
                                 caches[r].capacity,
                                 static_cast<std::size_t>(positions[r])},
                                out.row_range(r, 1));
        }
    }
    /// out[r] = table[rows[r]].
    template <class U> void gather_rows(span<const token> rows, matrix<const U> table, matrix<U> out) {
        contract::extents("gather_rows", "out", out, rows.size(), table.cols);
        for (std::size_t r = 0; r < rows.size(); ++r)
            std::copy_n(table.row(static_cast<std::size_t>(rows[r])), table.cols, out.row(r));
    }
    /// The first of the likeliest tokens of each row, z[best] - log Σ exp z.
    template <class U> void row_best(matrix<const U> logits, span<row_choice> best) {
        contract::length("row_best", "best", best, logits.rows);
        for (std::size_t r = 0; r < logits.rows; ++r) {
            std::size_t at = 0;
            bool finite = true;
            for (std::size_t c = 0; c < logits.cols; ++c) {
                finite = finite && std::isfinite(logits(r, c));
                if (logits(r, c) > logits(r, at)) at = c;
            }
            U sum = 0;
            for (std::size_t c = 0; c < logits.cols; ++c) sum += std::exp(logits(r, c) - logits(r, at));
            best[r] = {static_cast<token>(at), finite ? static_cast<float>(-std::log(sum)) : NAN};
        }
    }

    // ---- gated MLPs (Shazeer 2020): out = f(gate) * up, where a row of gate_up is gate then up (F each)
    template <class T> void gated_forward(activation kind, matrix<const T> gate_up, matrix<T> out) {
        contract::extents("gated_forward", "gate_up", gate_up, out.rows, 2 * out.cols);
        for (std::size_t r = 0; r < out.rows; ++r)
            for (std::size_t c = 0; c < out.cols; ++c)
                out(r, c) = activated(kind, gate_up(r, c)).value * gate_up(r, out.cols + c);
    }
    template <class T>
    void gated_backward(activation kind, matrix<const T> gate_up, matrix<const T> dout, matrix<T> dgate_up) {
        contract::extents("gated_backward", "gate_up", gate_up, dout.rows, 2 * dout.cols);
        const std::size_t width = dout.cols;
        for (std::size_t r = 0; r < dout.rows; ++r)
            for (std::size_t c = 0; c < width; ++c) {
                const auto [value, slope] = activated(kind, gate_up(r, c));
                dgate_up(r, c) = dout(r, c) * gate_up(r, width + c) * slope;
                dgate_up(r, width + c) = dout(r, c) * value;
            }
    }
    // ---- plain MLPs: out = f(x); dx is overwritten
    template <class T> void activation_forward(activation kind, matrix<const T> x, matrix<T> out) {
        contract::extents("activation_forward", "x", x, out.rows, out.cols);
        for (std::size_t r = 0; r < out.rows; ++r)
            for (std::size_t c = 0; c < out.cols; ++c) out(r, c) = activated(kind, x(r, c)).value;
    }
    template <class T>
    void activation_backward(activation kind, matrix<const T> x, matrix<const T> dout, matrix<T> dx) {
        contract::extents("activation_backward", "x", x, dout.rows, dout.cols);
        for (std::size_t r = 0; r < dout.rows; ++r)
            for (std::size_t c = 0; c < dout.cols; ++c) dx(r, c) = dout(r, c) * activated(kind, x(r, c)).slope;
    }

    // ---- sums: out = a + factor * b
    template <class T> void add(matrix<const T> a, wide_t<T> factor, matrix<const T> b, matrix<T> out) {
        contract::extents("add", "a", a, out.rows, out.cols);
        contract::extents("add", "b", b, out.rows, out.cols);
        for (std::size_t r = 0; r < out.rows; ++r)
            for (std::size_t c = 0; c < out.cols; ++c) out(r, c) = a(r, c) + factor * b(r, c);
    }
    /// y += factor * x
    template <class T> void add_inplace(wide_t<T> factor, matrix<const T> x, matrix<T> y) {
        contract::extents("add_inplace", "x", x, y.rows, y.cols);
        for (std::size_t r = 0; r < y.rows; ++r)
            for (std::size_t c = 0; c < y.cols; ++c) y(r, c) += factor * x(r, c);
    }

    // ---- cross entropy: loss[r] = -log softmax(logits[r])[target[r]]
    /// With `gradient`, each logits row becomes weight[r] * (softmax - onehot). A target below 0 has loss 0.
    template <class T>
    void cross_entropy_inplace(matrix<T> logits, span<const token> targets, span<const wide_t<T>> weights,
                               span<wide_t<T>> loss, bool gradient) {
        contract::length("cross_entropy", "targets", targets, logits.rows);
        contract::length("cross_entropy", "loss", loss, logits.rows);
        for (std::size_t r = 0; r < logits.rows; ++r) {
            T* row = logits.row(r);
            const T largest = *std::max_element(row, row + logits.cols);
            T sum = 0;
            for (std::size_t c = 0; c < logits.cols; ++c) sum += std::exp(row[c] - largest);
            const bool counts = targets[r] >= 0;
            loss[r] = counts ? largest + std::log(sum) - row[targets[r]] : T(0);
            if (!gradient) continue;
            const T factor = counts ? weights[r] : T(0);
            for (std::size_t c = 0; c < logits.cols; ++c) row[c] = factor * std::exp(row[c] - largest) / sum;
            if (counts) row[targets[r]] -= factor;
        }
    }

    // ---- best[r] = column of the largest logit of row r, the lowest on a tie
    template <class T> void row_argmax(matrix<const T> logits, span<token> best) {
        contract::length("row_argmax", "best", best, logits.rows);
        for (std::size_t r = 0; r < logits.rows; ++r)
            best[r] = static_cast<token>(std::max_element(logits.row(r), logits.row(r) + logits.cols) - logits.row(r));
    }

    // ---- optimiser
    /// *sum += Σ x²; `sum` is backend memory.
    template <class T> void accumulate_squares(span<const T> x, double* sum) {
        for (T value : x) *sum += static_cast<double>(value) * static_cast<double>(value);
    }
    /// One AdamW step; gradients are first scaled by min(1, clip / (sqrt(*squares) + 1e-6)). Nothing changes when
    /// *squares is not finite, so that a run that diverges keeps its last good weights. All but `rounded` are in the
    /// wide type; `rounded` is empty or receives the weights rounded to T. `constants` and `squares` are backend
    /// memory.
    template <class T>
    void adamw(span<T> weight, span<const T> gradient, span<T> first, span<T> second, span<T> rounded,
               const adamw_constants* constants, const double* squares) {
        contract::length("adamw", "rounded", rounded, rounded.empty() ? 0 : weight.size());
        const adamw_constants& k = *constants;
        const double clipped = contract::clip_scale(k, *squares);
        if (clipped == 0) return;
        const T scale = static_cast<T>(clipped);
        const double correct1 = 1 - std::pow(k.beta1, static_cast<double>(k.step));
        const double correct2 = 1 - std::pow(k.beta2, static_cast<double>(k.step));
        const T b1 = static_cast<T>(k.beta1), b2 = static_cast<T>(k.beta2), keep = static_cast<T>(1 - k.rate * k.decay);
        const T c1 = static_cast<T>(1 - k.beta1), c2 = static_cast<T>(1 - k.beta2);
        const T rate = static_cast<T>(k.rate / correct1), root = static_cast<T>(1 / correct2),
                eps = static_cast<T>(k.eps);
        for (std::size_t i = 0; i < weight.size(); ++i) {
            const T g = gradient[i] * scale;
            first[i] = b1 * first[i] + c1 * g;
            second[i] = b2 * second[i] + c2 * g * g;
            weight[i] = weight[i] * keep - rate * first[i] / (std::sqrt(second[i] * root) + eps);
            if (!rounded.empty()) rounded[i] = weight[i];
        }
    }
    /// One step of torch.optim.SGD(nesterov=True): g' = scale g + decay w, v = momentum v + g', w -= rate (g' +
    /// momentum v). Clip, numbers that are not finite, `rounded` and where things lie: as adamw.
    template <class T>
    void sgd_nesterov(span<T> weight, span<const T> gradient, span<T> momentum, span<T> rounded,
                      const momentum_constants* constants, const double* squares) {
        contract::length("sgd_nesterov", "rounded", rounded, rounded.empty() ? 0 : weight.size());
        const double clipped = contract::clip_scale(*constants, *squares);
        if (clipped == 0) return;
        const T scale = static_cast<T>(clipped), mu = static_cast<T>(constants->momentum),
                decay = static_cast<T>(constants->decay), rate = static_cast<T>(constants->rate);
        for (std::size_t i = 0; i < weight.size(); ++i) {
            const T g = gradient[i] * scale + decay * weight[i];
            momentum[i] = mu * momentum[i] + g;
            weight[i] -= rate * (g + mu * momentum[i]);
            if (!rounded.empty()) rounded[i] = weight[i];
        }
    }

    // ---- Muon (Jordan 2024), for one matrix: these around five steps of Newton-Schulz by gemm
    /// With g scaled by the clip: buffer = mu buffer + (1 - mu) g; direction = (1 - mu) g + mu buffer, rounded to T.
    /// When *squares is not finite the buffer stays and the direction is zero.
    template <class T>
    void muon_direction(span<const T> gradient, span<T> buffer, span<T> direction, const momentum_constants* constants,
                        const double* squares) {
        contract::length("muon_direction", "buffer", buffer, gradient.size());
        contract::length("muon_direction", "direction", direction, gradient.size());
        const double clipped = contract::clip_scale(*constants, *squares);
        if (clipped == 0) return std::fill_n(direction.data(), direction.size(), T(0)), void();
        const T scale = static_cast<T>(clipped), mu = static_cast<T>(constants->momentum),
                rest = static_cast<T>(1 - constants->momentum);
        for (std::size_t i = 0; i < gradient.size(); ++i) {
            const T g = gradient[i] * scale;
            buffer[i] = mu * buffer[i] + rest * g;
            direction[i] = rest * g + mu * buffer[i];
        }
    }
    /// x /= ||x|| + 1e-7, the Euclidean norm of all numbers.
    template <class T> void muon_normalize(span<T> x) {
        double squares = 0;
        for (T value : x) squares += static_cast<double>(value) * static_cast<double>(value);
        const T factor = static_cast<T>(1 / (std::sqrt(squares) + 1e-7));
        for (T& value : x) value *= factor;
    }
    /// weight = weight (1 - rate decay) - rate factor x. `rounded` and numbers that are not finite: as adamw.
    template <class T>
    void muon_apply(span<T> weight, span<const T> x, span<T> rounded, double factor,
                    const momentum_constants* constants, const double* squares) {
        contract::length("muon_apply", "x", x, weight.size());
        contract::length("muon_apply", "rounded", rounded, rounded.empty() ? 0 : weight.size());
        if (contract::clip_scale(*constants, *squares) == 0) return;
        const T keep = static_cast<T>(1 - constants->rate * constants->decay),
                size = static_cast<T>(constants->rate * factor);
        for (std::size_t i = 0; i < weight.size(); ++i) {
            weight[i] = weight[i] * keep - size * x[i];
            if (!rounded.empty()) rounded[i] = weight[i];
        }
    }

protected:
    template <class T> struct value_and_slope { T value, slope; };
    /// f(x) and f'(x).
    template <class T> static value_and_slope<T> activated(activation kind, T x) {
        if (kind == activation::silu) {
            const T sigmoid = T(1) / (T(1) + std::exp(-x));
            return {x / (T(1) + std::exp(-x)), sigmoid * (T(1) + x * (T(1) - sigmoid))};
        }
        if (kind == activation::gelu) {
            const T below = T(0.5) * (T(1) + std::erf(x * T(0.70710678118654752440)));
            return {x * below, below + x * std::exp(T(-0.5) * x * x) * T(0.39894228040143267794)};
        }
        const T root = T(0.79788456080286535588), cubic = T(0.044715);  // sqrt(2 / π)
        const T t = std::tanh(root * (x + cubic * x * x * x));
        return {T(0.5) * x * (T(1) + t),
                T(0.5) * (T(1) + t) + T(0.5) * x * (T(1) - t * t) * root * (T(1) + 3 * cubic * x * x)};
    }
    /// Puts the keys and values of new rows behind those that a cache holds.
    template <class T>
    static void remember(matrix<const T> qkv, const attention_shape& s, const key_value_cache<T>& cache) {
        for (std::size_t h = 0; h < s.kv_heads; ++h)
            for (std::size_t r = 0; r < qkv.rows; ++r) {
                const std::size_t to = (h * cache.capacity + cache.length + r) * s.head_width;
                std::copy_n(key(qkv, s, r, h * s.group()), s.head_width, cache.keys.data() + to);
                std::copy_n(value(qkv, s, r, h * s.group()), s.head_width, cache.values.data() + to);
            }
    }

private:
    /// out = Σ softmax(scale q · k(u)) v(u) over u in [first, last); returns the log of the softmax's denominator.
    template <class T, class Key, class Value>
    static T attend(const T* q, const attention_shape& s, std::size_t first, std::size_t last, const Key& k,
                    const Value& v, T* out) {
        const T scale = s.score_scale<T>();
        const std::size_t width = s.head_width;
        std::vector<T> weight(last);
        T largest = -INFINITY;
        for (std::size_t u = first; u < last; ++u) {
            weight[u] = scale * dot(q, k(u), width);
            largest = std::max(largest, weight[u]);
        }
        T sum = 0;
        for (std::size_t u = first; u < last; ++u) sum += weight[u] = std::exp(weight[u] - largest);
        std::fill_n(out, width, T(0));
        for (std::size_t u = first; u < last; ++u)
            for (std::size_t c = 0; c < width; ++c) out[c] += weight[u] / sum * v(u)[c];
        return largest + std::log(sum);
    }
    template <class T> static T dot(const T* a, const T* b, std::size_t count) {
        T sum = 0;
        for (std::size_t i = 0; i < count; ++i) sum += a[i] * b[i];
        return sum;
    }
    template <class T>
    static const T* key(matrix<const T> qkv, const attention_shape& s, std::size_t row, std::size_t h) {
        return qkv.row(row) + s.width() + h / s.group() * s.head_width;
    }
    template <class T>
    static const T* value(matrix<const T> qkv, const attention_shape& s, std::size_t row, std::size_t h) {
        return key(qkv, s, row, h) + s.kv_width();
    }
    template <class Body> static void for_each_query(const attention_shape& s, Body body) {
        for (std::size_t b = 0; b < s.batch; ++b)
            for (std::size_t h = 0; h < s.heads; ++h)
                for (std::size_t t = 0; t < s.length; ++t) body(b * s.length + t, t, h);
    }
};

}  // namespace depthgrow
