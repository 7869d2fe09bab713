// Loops of the CPU backends over threads: everything but matrix products and attention.
// Assumes host memory; results are bit-equal from run to run at a given thread count.
// Maths: reference.hpp, which computes what is not hot.
#pragma once

#include <limits>
#include <vector>

#include "depthgrow/backend/loop_threads.hpp"
#include "depthgrow/backend/reference.hpp"
#include "depthgrow/backend/vector_math.hpp"

namespace depthgrow {

class threaded : public reference {
public:
    explicit threaded(int threads) : threads_(threads) { scratch_.resize(thread_count()); }
    int threads() const { return threads_.count(); }
    /// The steps' definitions run on one thread, and there is nothing to record.
    bool decodes_steps() const { return false; }
    /// Runs body(first, last) over equal shares of [0, count), one a thread; counts of `least` at most stay on the
    /// calling thread.
    template <class Body> void ranges(std::size_t count, std::size_t least, const Body& body) const {
        const std::size_t parts = std::min(thread_count(), (count + least - 1) / least);
        if (parts <= 1) return body(0, count);
        threads_.run(parts,
                     [&](std::size_t part, std::size_t) { body(count * part / parts, count * (part + 1) / parts); });
    }

    template <class T> void copy(const T* from, T* to, std::size_t count) {
        ranges(count, 1 << 16, [&](std::size_t first, std::size_t last) {
            std::memcpy(to + first, from + first, (last - first) * sizeof(T));
        });
    }
    template <class T> void fill(T* data, std::size_t count, T value) {
        ranges(count, 1 << 16,
               [&](std::size_t first, std::size_t last) { std::fill(data + first, data + last, value); });
    }

    template <class T> void embedding_forward(span<const token> ids, matrix<const T> table, matrix<T> out) {
        contract::extents("embedding_forward", "out", out, ids.size(), table.cols);
        ranges(out.rows, 64, [&](std::size_t first, std::size_t last) {
            for (std::size_t r = first; r < last; ++r)
                std::memcpy(out.row(r), table.row(static_cast<std::size_t>(ids[r])), out.cols * sizeof(T));
        });
    }
    /// Threads share the columns, so that every sum runs in row order.
    template <class T> void embedding_backward(span<const token> ids, matrix<const T> dout, matrix<T> dtable) {
        contract::extents("embedding_backward", "dout", dout, ids.size(), dtable.cols);
        ranges(dout.cols, 32, [&](std::size_t first, std::size_t last) {
            for (std::size_t r = 0; r < ids.size(); ++r) {
                T* DEPTHGROW_RESTRICT to = dtable.row(static_cast<std::size_t>(ids[r]));
                const T* DEPTHGROW_RESTRICT from = dout.row(r);
#pragma omp simd
                for (std::size_t c = first; c < last; ++c) to[c] += from[c];
            }
        });
    }

    template <class T>
    void rms_norm_forward(matrix<const T> x, span<const T> gain, wide_t<T> eps, wide_t<T> scale, matrix<T> y,
                          span<wide_t<T>> rstd) {
        contract::rms_norm<T>("rms_norm", x, gain, y, {rstd.data(), rstd.size()});
        ranges(x.rows, 16, [&](std::size_t first, std::size_t last) {
            for (std::size_t r = first; r < last; ++r)
                normalise(x.row(r), gain.data(), x.cols, eps, scale, y.row(r), rstd[r]);
        });
    }
    template <class T>
    void residual_rms_norm_forward(matrix<const T> h, matrix<const T> a, span<const T> gain, wide_t<T> eps,
                                   wide_t<T> scale, matrix<T> sum, matrix<T> y, span<wide_t<T>> rstd) {
        contract::rms_norm<T>("residual_rms_norm", h, gain, y, {rstd.data(), rstd.size()});
        contract::extents("residual_rms_norm", "sum", sum, h.rows, h.cols);
        contract::extents("residual_rms_norm", "a", a, h.rows, h.cols);
        ranges(h.rows, 16, [&](std::size_t first, std::size_t last) {
            for (std::size_t r = first; r < last; ++r) {
                const T* DEPTHGROW_RESTRICT left = h.row(r);
                const T* DEPTHGROW_RESTRICT right = a.row(r);
                T* DEPTHGROW_RESTRICT to = sum.row(r);
#pragma omp simd
                for (std::size_t c = 0; c < h.cols; ++c) to[c] = left[c] + right[c];
                normalise<T>(to, gain.data(), h.cols, eps, scale, y.row(r), rstd[r]);
            }
        });
    }
    template <class T>
    void rms_norm_backward(matrix<const T> x, span<const T> gain, span<const wide_t<T>> rstd, wide_t<T> scale,
                           matrix<const T> dy, matrix<const T> skip, matrix<T> dx, span<T> dgain) {
        contract::rms_norm<T>("rms_norm_backward", x, gain, dx, rstd);
        const std::size_t width = x.cols, parts = thread_count();
        T* partial = scratch<T>(0, parts * width);
        std::fill_n(partial, parts * width, T(0));
        const std::size_t share = (x.rows + parts - 1) / parts;
        threads_.run(parts, [&](std::size_t part, std::size_t) {
            T* DEPTHGROW_RESTRICT gains = partial + part * width;
            for (std::size_t r = part * share; r < std::min(x.rows, (part + 1) * share); ++r) {
                const T* DEPTHGROW_RESTRICT in = x.row(r);
                const T* DEPTHGROW_RESTRICT up = dy.row(r);
                const T* DEPTHGROW_RESTRICT g = gain.data();
                const T* past = skip.data ? skip.row(r) : nullptr;
                T* out = dx.row(r);
                const T s = rstd[r];
                T dot = 0;
#pragma omp simd reduction(+ : dot)
                for (std::size_t c = 0; c < width; ++c) {
                    const T share_c = up[c] * in[c] * s * scale;
                    dot += share_c * g[c];
                    gains[c] += share_c;
                }
                const T pull = dot * s * s / static_cast<T>(width);
                const T push = s * scale;
                if (past) {
#pragma omp simd
                    for (std::size_t c = 0; c < width; ++c) out[c] = past[c] + push * up[c] * g[c] - pull * in[c];
                } else {
#pragma omp simd
                    for (std::size_t c = 0; c < width; ++c) out[c] = push * up[c] * g[c] - pull * in[c];
                }
            }
        });
        for (std::size_t part = 0; part < parts; ++part)
            for (std::size_t c = 0; c < width; ++c) dgain[c] += partial[part * width + c];
    }

    template <class T>
    void layer_norm_forward(matrix<const T> x, span<const T> gain, span<const T> bias, wide_t<T> eps, wide_t<T> scale,
                            matrix<T> y, span<wide_t<T>> mean, span<wide_t<T>> rstd) {
        ranges(x.rows, 16, [&](std::size_t first, std::size_t last) {
            const auto part = [&](span<wide_t<T>> all) { return all.subspan(first, last - first); };
            reference::layer_norm_forward<T>(x.row_range(first, last - first), gain, bias, eps, scale,
                                             y.row_range(first, last - first), part(mean), part(rstd));
        });
    }
    template <class T>
    void layer_norm_backward(matrix<const T> x, span<const T> gain, span<const wide_t<T>> mean,
                             span<const wide_t<T>> rstd, wide_t<T> scale, matrix<const T> dy, matrix<const T> skip,
                             matrix<T> dx, span<T> dgain, span<T> dbias) {
        contract::layer_norm<T>("layer_norm_backward", x, gain, {}, dx, mean, rstd);
        const std::size_t width = x.cols, parts = thread_count(), share = (x.rows + parts - 1) / parts;
        T* partial = scratch<T>(0, 2 * parts * width);
        std::fill_n(partial, 2 * parts * width, T(0));
        threads_.run(parts, [&](std::size_t part, std::size_t) {
            const std::size_t first = std::min(x.rows, part * share), count = std::min(x.rows, first + share) - first;
            const auto rows = [&](auto m) { return m.data ? m.row_range(first, count) : m; };
            reference::layer_norm_backward<T>(
                rows(x), gain, mean.subspan(first, count), rstd.subspan(first, count), scale, rows(dy), rows(skip),
                rows(dx), {partial + 2 * part * width, width}, {partial + (2 * part + 1) * width, width});
        });
        for (std::size_t part = 0; part < parts; ++part)
            for (std::size_t c = 0; c < width; ++c) {
                dgain[c] += partial[2 * part * width + c];
                if (!dbias.empty()) dbias[c] += partial[(2 * part + 1) * width + c];
            }
    }
    template <class T> void add_bias_inplace(span<const T> bias, matrix<T> y) {
        ranges(y.rows, 64, [&](std::size_t first, std::size_t last) {
            reference::add_bias_inplace<T>(bias, y.row_range(first, last - first));
        });
    }
    /// Threads share the columns, so that every sum runs in row order.
    template <class T> void bias_backward(matrix<const T> dy, span<T> dbias) {
        contract::length("bias_backward", "dbias", dbias, dy.cols);
        ranges(dy.cols, 32, [&](std::size_t first, std::size_t last) {
            reference::bias_backward<T>(dy.col_range(first, last - first), dbias.subspan(first, last - first));
        });
    }

    template <class T>
    void rope_inplace(matrix<T> x, std::size_t length, std::size_t heads, std::size_t head_width,
                      matrix<const wide_t<T>> cosine, matrix<const wide_t<T>> sine, wide_t<T> sign) {
        contract::rope<T>(x, heads, head_width, cosine, sine);
        const std::size_t half = cosine.cols;
        ranges(x.rows, 16, [&](std::size_t first, std::size_t last) {
            for (std::size_t r = first; r < last; ++r) {
                const T* DEPTHGROW_RESTRICT c = cosine.row(r % length);
                const T* DEPTHGROW_RESTRICT s = sine.row(r % length);
                for (std::size_t h = 0; h < heads; ++h) {
                    T* DEPTHGROW_RESTRICT low = x.row(r) + h * head_width;
                    T* DEPTHGROW_RESTRICT high = low + half;
#pragma omp simd
                    for (std::size_t i = 0; i < half; ++i) {
                        const T a = low[i], b = high[i], rotation = sign * s[i];
                        low[i] = a * c[i] - b * rotation;
                        high[i] = b * c[i] + a * rotation;
                    }
                }
            }
        });
    }

    template <class T> void gated_forward(activation kind, matrix<const T> gate_up, matrix<T> out) {
        contract::extents("gated_forward", "gate_up", gate_up, out.rows, 2 * out.cols);
        ranges(out.rows, 8, [&](std::size_t first, std::size_t last) {
            if (kind != activation::silu)
                return reference::gated_forward<T>(kind, gate_up.row_range(first, last - first),
                                                   out.row_range(first, last - first));
            for (std::size_t r = first; r < last; ++r) {
                const T* DEPTHGROW_RESTRICT gate = gate_up.row(r);
                const T* DEPTHGROW_RESTRICT up = gate + out.cols;
                T* DEPTHGROW_RESTRICT to = out.row(r);
#pragma omp simd
                for (std::size_t c = 0; c < out.cols; ++c) to[c] = gate[c] * detail::sigmoid_of(gate[c]) * up[c];
            }
        });
    }
    template <class T>
    void gated_backward(activation kind, matrix<const T> gate_up, matrix<const T> dout, matrix<T> dgate_up) {
        contract::extents("gated_backward", "gate_up", gate_up, dout.rows, 2 * dout.cols);
        ranges(dout.rows, 8, [&](std::size_t first, std::size_t last) {
            const auto part = [&](auto m) { return m.row_range(first, last - first); };
            if (kind != activation::silu)
                return reference::gated_backward<T>(kind, part(gate_up), part(dout), part(dgate_up));
            for (std::size_t r = first; r < last; ++r) {
                const T* DEPTHGROW_RESTRICT gate = gate_up.row(r);
                const T* DEPTHGROW_RESTRICT up = gate + dout.cols;
                const T* DEPTHGROW_RESTRICT d = dout.row(r);
                T* DEPTHGROW_RESTRICT dgate = dgate_up.row(r);
                T* DEPTHGROW_RESTRICT dup = dgate + dout.cols;
#pragma omp simd
                for (std::size_t c = 0; c < dout.cols; ++c) {
                    const T sigmoid = detail::sigmoid_of(gate[c]);
                    dgate[c] = d[c] * up[c] * sigmoid * (T(1) + gate[c] * (T(1) - sigmoid));
                    dup[c] = d[c] * gate[c] * sigmoid;
                }
            }
        });
    }
    template <class T> void activation_forward(activation kind, matrix<const T> x, matrix<T> out) {
        contract::extents("activation_forward", "x", x, out.rows, out.cols);
        ranges(out.rows, 8, [&](std::size_t first, std::size_t last) {
            reference::activation_forward<T>(kind, x.row_range(first, last - first),
                                             out.row_range(first, last - first));
        });
    }
    template <class T>
    void activation_backward(activation kind, matrix<const T> x, matrix<const T> dout, matrix<T> dx) {
        contract::extents("activation_backward", "x", x, dout.rows, dout.cols);
        ranges(dout.rows, 8, [&](std::size_t first, std::size_t last) {
            const auto part = [&](auto m) { return m.row_range(first, last - first); };
            reference::activation_backward<T>(kind, part(x), part(dout), part(dx));
        });
    }

    template <class T> void add(matrix<const T> a, wide_t<T> factor, matrix<const T> b, matrix<T> out) {
        contract::extents("add", "a", a, out.rows, out.cols);
        contract::extents("add", "b", b, out.rows, out.cols);
        ranges(out.rows, 64, [&](std::size_t first, std::size_t last) {
            for (std::size_t r = first; r < last; ++r) {
                const T* left = a.row(r);
                const T* right = b.row(r);
                T* to = out.row(r);
#pragma omp simd
                for (std::size_t c = 0; c < out.cols; ++c) to[c] = left[c] + factor * right[c];
            }
        });
    }
    template <class T> void add_inplace(wide_t<T> factor, matrix<const T> x, matrix<T> y) { add<T>(y, factor, x, y); }

    template <class T>
    void cross_entropy_inplace(matrix<T> logits, span<const token> targets, span<const wide_t<T>> weights,
                               span<wide_t<T>> loss, bool gradient) {
        contract::length("cross_entropy", "targets", targets, logits.rows);
        contract::length("cross_entropy", "loss", loss, logits.rows);
        ranges(logits.rows, 4, [&](std::size_t first, std::size_t last) {
            for (std::size_t r = first; r < last; ++r) {
                T* DEPTHGROW_RESTRICT row = logits.row(r);
                const bool counts = targets[r] >= 0;
                const T gold = counts ? row[targets[r]] : T(0), largest = maximum(row, logits.cols);
                T sum = 0;
#pragma omp simd reduction(+ : sum)
                for (std::size_t c = 0; c < logits.cols; ++c) {
                    row[c] = detail::exp_of(row[c] - largest);
                    sum += row[c];
                }
                loss[r] = counts ? largest + std::log(sum) - gold : T(0);
                if (!gradient) continue;
                const T factor = counts ? weights[r] : T(0), share = factor / sum;
#pragma omp simd
                for (std::size_t c = 0; c < logits.cols; ++c) row[c] *= share;
                if (counts) row[targets[r]] -= factor;
            }
        });
    }

    template <class T> void accumulate_squares(span<const T> x, double* sum) {
        const std::size_t parts = x.size() > 1 << 14 ? thread_count() : 1;
        double* totals = scratch<double>(0, parts);
        threads_.run(parts, [&](std::size_t part, std::size_t) {
            const T* DEPTHGROW_RESTRICT data = x.data();
            double total = 0;
#pragma omp simd reduction(+ : total)
            for (std::size_t i = x.size() * part / parts; i < x.size() * (part + 1) / parts; ++i)
                total += static_cast<double>(data[i]) * static_cast<double>(data[i]);
            totals[part] = total;
        });
        for (std::size_t part = 0; part < parts; ++part) *sum += totals[part];
    }
    template <class T>
    void adamw(span<T> weight, span<const T> gradient, span<T> first, span<T> second, span<T> rounded,
               const adamw_constants* constants, const double* squares) {
        if (!rounded.empty()) return reference::adamw<T>(weight, gradient, first, second, rounded, constants, squares);
        const adamw_constants& k = *constants;
        const double clipped = contract::clip_scale(k, *squares);
        if (clipped == 0) return;
        const T scale = static_cast<T>(clipped);
        const auto step = static_cast<double>(k.step);
        const T b1 = static_cast<T>(k.beta1), b2 = static_cast<T>(k.beta2), keep = static_cast<T>(1 - k.rate * k.decay);
        const T c1 = static_cast<T>(1 - k.beta1), c2 = static_cast<T>(1 - k.beta2), eps = static_cast<T>(k.eps);
        const T rate = static_cast<T>(k.rate / (1 - std::pow(k.beta1, step))),
                root = static_cast<T>(1 / (1 - std::pow(k.beta2, step)));
        ranges(weight.size(), 1 << 12, [&](std::size_t from, std::size_t to) {
            T* DEPTHGROW_RESTRICT w = weight.data();
            const T* DEPTHGROW_RESTRICT g0 = gradient.data();
            T* DEPTHGROW_RESTRICT m = first.data();
            T* DEPTHGROW_RESTRICT v = second.data();
#pragma omp simd
            for (std::size_t i = from; i < to; ++i) {
                const T g = g0[i] * scale;
                m[i] = b1 * m[i] + c1 * g;
                v[i] = b2 * v[i] + c2 * g * g;
                w[i] = w[i] * keep - rate * m[i] / (std::sqrt(v[i] * root) + eps);
            }
        });
    }

    template <class T>
    void sgd_nesterov(span<T> weight, span<const T> gradient, span<T> momentum, span<T> rounded,
                      const momentum_constants* constants, const double* squares) {
        ranges(weight.size(), 1 << 12, [&](std::size_t first, std::size_t last) {
            const auto part = [&](auto all) { return all.empty() ? all : all.subspan(first, last - first); };
            reference::sgd_nesterov<T>(part(weight), part(gradient), part(momentum), part(rounded), constants, squares);
        });
    }
    template <class T>
    void muon_direction(span<const T> gradient, span<T> buffer, span<T> direction, const momentum_constants* constants,
                        const double* squares) {
        ranges(gradient.size(), 1 << 12, [&](std::size_t first, std::size_t last) {
            const auto part = [&](auto all) { return all.subspan(first, last - first); };
            reference::muon_direction<T>(part(gradient), part(buffer), part(direction), constants, squares);
        });
    }
    template <class T>
    void muon_apply(span<T> weight, span<const T> x, span<T> rounded, double factor,
                    const momentum_constants* constants, const double* squares) {
        ranges(weight.size(), 1 << 12, [&](std::size_t first, std::size_t last) {
            const auto part = [&](auto all) { return all.empty() ? all : all.subspan(first, last - first); };
            reference::muon_apply<T>(part(weight), part(x), part(rounded), factor, constants, squares);
        });
    }

protected:
    std::size_t thread_count() const { return static_cast<std::size_t>(threads_.count()); }
    const loop_threads& loops() const { return threads_; }
    /// Memory of one thread; grows outside parallel regions only.
    template <class T> T* scratch(std::size_t thread, std::size_t count) {
        auto& bytes = scratch_[thread];
        if (bytes.size() < count * sizeof(T)) bytes.resize(count * sizeof(T));
        return reinterpret_cast<T*>(bytes.data());
    }
    template <class T> void reserve(std::size_t count) {
        for (std::size_t thread = 0; thread < scratch_.size(); ++thread) scratch<T>(thread, count);
    }

private:
    template <class T> static T maximum(const T* values, std::size_t count) {
        T largest = values[0];
#pragma omp simd reduction(max : largest)
        for (std::size_t i = 0; i < count; ++i) largest = values[i] > largest ? values[i] : largest;
        return largest;
    }
    template <class T>
    static void normalise(const T* DEPTHGROW_RESTRICT x, const T* DEPTHGROW_RESTRICT gain, std::size_t width, T eps,
                          T scale, T* DEPTHGROW_RESTRICT y, T& rstd) {
        T squares = 0;
#pragma omp simd reduction(+ : squares)
        for (std::size_t c = 0; c < width; ++c) squares += x[c] * x[c];
        rstd = T(1) / std::sqrt(squares / static_cast<T>(width) + eps);
        const T factor = rstd * scale;
#pragma omp simd
        for (std::size_t c = 0; c < width; ++c) y[c] = x[c] * factor * gain[c];
    }

    loop_threads threads_;
    std::vector<std::vector<std::byte>> scratch_;
};

}  // namespace depthgrow
