// Small matrix products whose sums stay in vector registers, and softmax weights: what attention needs in slices too
// thin for a BLAS. Assumes GCC's vector extensions (g++ 12 and clang 14 have them) and right operands packed by `pack`.
// The blocking is one level of Goto & van de Geijn 2008 (Anatomy of high-performance matrix multiplication).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "depthgrow/backend/contract.hpp"
#include "depthgrow/backend/vector_math.hpp"
#include "depthgrow/core/config.hpp"

namespace depthgrow {
namespace detail {

template <class T> struct tile {
    using integer = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;
    typedef T vector __attribute__((vector_size(DEPTHGROW_VECTOR_BYTES)));
    typedef integer integers __attribute__((vector_size(DEPTHGROW_VECTOR_BYTES)));
    static constexpr std::size_t lanes = DEPTHGROW_VECTOR_BYTES / sizeof(T);
    static constexpr std::size_t width = 2 * lanes;  // columns of a tile
    static constexpr std::size_t height =
        DEPTHGROW_VECTOR_BYTES == 64 ? 8 : 4;  // rows: half of the registers hold sums
    static_assert(width % height == 0 || height % width == 0, "rows and columns of tiles have common borders");

    /// `count` rounded up to whole tiles.
    static constexpr std::size_t padded(std::size_t count) { return (count + width - 1) / width * width; }

    /// Panels of `width` columns of b (K, N), zeros beyond the last: to[panel][k][width], padded(N) * K numbers.
    static void pack(matrix<const T> b, T* to) {
        for (std::size_t n = 0; n < b.cols; n += width) {
            const std::size_t count = n + width < b.cols ? width : b.cols - n;
            for (std::size_t k = 0; k < b.rows; ++k, to += width) {
                if (count == width) {
                    std::memcpy(to, b.row(k) + n, width * sizeof(T));
                } else {
                    for (std::size_t i = 0; i < width; ++i) to[i] = i < count ? b(k, n + i) : T(0);
                }
            }
        }
    }
    /// The same panels of factor * bᵀ, b (N, K).
    static void pack_transposed(matrix<const T> b, T factor, T* to) {
        for (std::size_t n = 0; n < b.rows; n += lanes) {
            T* half = to + n / width * width * b.cols + n % width;
            const std::size_t count = n + lanes < b.rows ? lanes : b.rows - n;
            std::size_t k = 0;
            for (; count == lanes && k + lanes <= b.cols; k += lanes) {
                vector square[lanes];
                for (std::size_t i = 0; i < lanes; ++i) square[i] = factor * load(b.row(n + i) + k);
                transpose(square);
                for (std::size_t i = 0; i < lanes; ++i) store(square[i], half + (k + i) * width);
            }
            for (; k < b.cols; ++k)
                for (std::size_t i = 0; i < lanes; ++i) half[k * width + i] = i < count ? factor * b(n + i, k) : T(0);
        }
        if (padded(b.rows) - b.rows >= lanes)  // the last panel's right half
            for (std::size_t k = 0; k < b.cols; ++k)
                store(vector{}, to + (padded(b.rows) - width) * b.cols + k * width + lanes);
    }

    /// One tile of Rows rows: c (or nothing, unless `add`) + a * panel, of which `columns` are written.
    /// a(r, k) lies at a[r * row_step + k * step].
    template <std::size_t Rows>
    static void multiply(const T* a, std::size_t row_step, std::size_t step, std::size_t inner, const T* panel, T* c,
                         std::size_t ldc, std::size_t columns, bool add) {
        multiply_rows(a, row_step, step, inner, panel, c, ldc, columns, add, std::make_index_sequence<Rows>());
    }
    /// Calls f(integral_constant<Rows>, row) for tiles that cover [first, last): whole ones, then halves down to single
    /// rows.
    template <std::size_t Rows = height, class F> static void rows(std::size_t first, std::size_t last, const F& f) {
        for (; first + Rows <= last; first += Rows) f(std::integral_constant<std::size_t, Rows>(), first);
        if constexpr (Rows > 1) rows<Rows / 2>(first, last, f);
    }

    /// Makes `seen` scores their exponentials, the largest score first taken off, and zeros of what follows up to
    /// padded(seen); gives {largest, sum}.
    static std::pair<T, T> exponentials(T* row, std::size_t seen) {
        const integers place = places();
        const auto past = [&](std::size_t u) { return place >= static_cast<integer>(seen) - static_cast<integer>(u); };
        vector top = vector{} + row[0];
        for (std::size_t u = 0; u < seen; u += lanes) {
            const vector x = past(u) ? top : load(row + u);
            top = x > top ? x : top;
        }
        const T largest = folded(top, [](T a, T b) { return a > b ? a : b; });
        vector sum{};
        for (std::size_t u = 0; u < padded(seen); u += lanes) {
            const vector x = past(u) ? vector{} + largest : load(row + u),
                         e = past(u) ? vector{} : exponential(x - largest);
            store(e, row + u);
            sum += e;
        }
        return {largest, folded(sum, [](T a, T b) { return a + b; })};
    }

    /// From `seen` scores and d(weights): the weights e^(score − lse) and factor * weight * (d(weight) − delta), zeros
    /// behind them up to padded(seen).
    static void softmax_backward(T* scores, T* dscores, std::size_t seen, T lse, T delta, T factor) {
        const integers place = places();
        for (std::size_t u = 0; u < padded(seen); u += lanes) {
            const auto past = place >= static_cast<integer>(seen) - static_cast<integer>(u);
            const vector x = past ? vector{} : load(scores + u) - lse, e = past ? vector{} : exponential(x);
            store(e, scores + u);
            store(past ? vector{} : factor * e * (load(dscores + u) - delta), dscores + u);
        }
    }

private:
    static integers places() {
        integers out;
        for (std::size_t i = 0; i < lanes; ++i) out[i] = static_cast<integer>(i);
        return out;
    }
    static vector load(const T* from) {
        vector v;
        std::memcpy(&v, from, sizeof(v));
        return v;
    }
    static void store(const vector& v, T* to) { std::memcpy(to, &v, sizeof(v)); }
    static void store(const vector& left, const vector& right, T* c, std::size_t columns, bool add) {
        if (columns == width && !add) return store(left, c), store(right, c + lanes);
        T values[width];
        store(left, values), store(right, values + lanes);
        for (std::size_t i = 0; i < columns; ++i) c[i] = add ? c[i] + values[i] : values[i];
    }
    template <class F> static T folded(const vector& v, const F& f) {
        T all[lanes];
        store(v, all);
        for (std::size_t half = lanes / 2; half > 0; half /= 2)
            for (std::size_t i = 0; i < half; ++i) all[i] = f(all[i], all[i + half]);
        return all[0];
    }
    /// e^x for x at most 0.
    static vector exponential(vector x) {
        if constexpr (std::is_same_v<T, float>) {
            const vector e = exp_within<vector, integers>(x < -60.0f ? vector{} - 60.0f : x);
            return x < -60.0f ? vector{} : e;
        } else {
            for (std::size_t i = 0; i < lanes; ++i) x[i] = exp_of(x[i]);
            return x;
        }
    }

    template <std::size_t... R>
    static void multiply_rows(const T* a, std::size_t row_step, std::size_t step, std::size_t inner, const T* panel,
                              T* c, std::size_t ldc, std::size_t columns, bool add, std::index_sequence<R...>) {
        vector left[sizeof...(R)] = {}, right[sizeof...(R)] = {};
        for (std::size_t k = 0; k < inner; ++k, a += step, panel += width) {
            const vector l = load(panel), r = load(panel + lanes);
            ((left[R] += a[R * row_step] * l, right[R] += a[R * row_step] * r), ...);
        }
        (store(left[R], right[R], c + R * ldc, columns, add), ...);
    }

    /// Transposes a square of lanes x lanes: as many perfect shuffles of its halves as `lanes` has bits.
    static void transpose(vector (&square)[lanes]) { transpose(square, std::make_index_sequence<lanes>()); }
    template <std::size_t... I> static void transpose(vector (&square)[lanes], std::index_sequence<I...>) {
        for (std::size_t step = 1; step < lanes; step *= 2) {
            vector next[lanes];
            for (std::size_t i = 0; i < lanes / 2; ++i) {
                next[2 * i] = __builtin_shufflevector(square[i], square[i + lanes / 2], (I / 2 + I % 2 * lanes)...);
                next[2 * i + 1] =
                    __builtin_shufflevector(square[i], square[i + lanes / 2], (I / 2 + I % 2 * lanes + lanes / 2)...);
            }
            std::memcpy(square, next, sizeof(next));
        }
    }
};

}  // namespace detail
}  // namespace depthgrow
