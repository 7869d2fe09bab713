// The CPU backend: matrix products by CBLAS, attention in register tiles, the rest as threaded.hpp has it.
// Assumes host memory and a row-major CBLAS; results are bit-equal from run to run at a given thread count.
// Attention works on one (sequence, head) a thread in blocks of queries, with products in register tiles (tiles.hpp).
#pragma once

#include <limits>
#include <tuple>
#include <vector>

#include "depthgrow/backend/products.hpp"
#include "depthgrow/backend/threaded.hpp"
#include "depthgrow/backend/tiles.hpp"
#include "depthgrow/backend/vector_math.hpp"

namespace depthgrow {

struct blas_options {
    int threads = 2;                          // the calling one among them
    sgemm_function product = &cblas_product;  // see onednn.hpp for other providers
};

class blas : public threaded {
public:
    explicit blas(blas_options options = {}) : threaded(options.threads), product_(options.product) {
        detail::products_on_one_thread();
    }

    template <class T>
    void gemm(transpose ta, transpose tb, wide_t<T> alpha, matrix<const T> a, matrix<const T> b, wide_t<T> beta,
              matrix<T> c) {
        contract::gemm(ta, tb, a, b, c);
        if (c.rows == 0 || c.cols == 0) return;
        if (ta == transpose::no && tb == transpose::yes && c.rows <= few_rows)
            return dot_products<T>(alpha, a, b, beta, c);
        product(ta == transpose::yes, tb == transpose::yes, alpha, a, b, beta, c);
    }

    template <class T>
    void attention_forward(matrix<const T> qkv, attention_shape s, matrix<T> out, span<wide_t<T>> lse) {
        contract::attention<T>("attention_forward", qkv, s, out, {lse.data(), lse.size()});
        using tile = detail::tile<T>;
        const std::size_t reach = tile::padded(s.length), keys_size = reach * s.head_width,
                          values_size = s.length * tile::padded(s.head_width);
        reserve<T>(keys_size + values_size + std::min(queries, reach) * reach);
        const T scale = s.score_scale<T>();
        loops().run(s.batch * s.heads, [&](std::size_t task, std::size_t thread) {
            const std::size_t b = task / s.heads, h = task % s.heads;
            const auto head = slice(qkv, s, b, h);
            T *keys = scratch<T>(thread, 0), *values = keys + keys_size, *weights = values + values_size;
            tile::pack_transposed(head.k, scale, keys);
            tile::pack(head.v, values);
            T inverse[queries];
            for (std::size_t first = 0; first < s.length; first += queries) {
                const std::size_t rows = std::min(queries, s.length - first);
                for (std::size_t u = 0; u < first + rows;
                     u += tile::width)  // scores of tiles that reach below the diagonal
                    tile::rows(u > first ? u - first : 0, rows, [&](auto height, std::size_t r) {
                        tile::template multiply<height>(head.q.row(first + r), qkv.stride, 1, s.head_width,
                                                        keys + u * s.head_width, weights + r * reach + u, reach,
                                                        tile::width, false);
                    });
                for (std::size_t r = 0; r < rows; ++r) {
                    hide_before(s.first_seen(first + r), weights + r * reach);
                    const auto [largest, sum] = tile::exponentials(weights + r * reach, first + r + 1);
                    inverse[r] = T(1) / sum;
                    lse[(b * s.length + first + r) * s.heads + h] = largest + std::log(sum);
                }
                matrix<T> to(out.row(b * s.length + first) + h * s.head_width, rows, s.head_width, out.stride);
                for (std::size_t c = 0; c < s.head_width; c += tile::width)
                    tile::rows(0, rows, [&](auto height, std::size_t r) {
                        tile::template multiply<height>(weights + r * reach, reach, 1, first + r + height,
                                                        values + c * s.length, to.row(r) + c, to.stride,
                                                        std::min(tile::width, s.head_width - c), false);
                    });
                for (std::size_t r = 0; r < rows; ++r)
                    for (std::size_t c = 0; c < s.head_width; ++c) to(r, c) *= inverse[r];
            }
        });
    }

    /// Numbers that a thread of attention_backward works in; forward takes fewer.
    template <class T> static std::size_t attention_backward_numbers(const attention_shape& s) {
        using tile = detail::tile<T>;
        const std::size_t reach = tile::padded(s.length), wide = tile::padded(s.head_width),
                          rows = std::min(block, reach);
        return 2 * reach * s.head_width + s.length * wide + 2 * rows * (reach + wide);
    }
    template <class T>
    void attention_backward(matrix<const T> qkv, attention_shape s, matrix<const T> out, span<const wide_t<T>> lse,
                            matrix<const T> dout, matrix<T> dqkv) {
        contract::attention_backward<T>(qkv, s, out, lse, dout, dqkv);
        using tile = detail::tile<T>;
        const std::size_t reach = tile::padded(s.length), wide = tile::padded(s.head_width),
                          rows_most = std::min(block, reach), scores = rows_most * reach;
        reserve<T>(attention_backward_numbers<T>(s));
        const T scale = s.score_scale<T>();
        loops().run(s.batch * s.kv_heads, [&](std::size_t task, std::size_t thread) {
            const std::size_t b = task / s.kv_heads, kv = task % s.kv_heads;
            T *keys_transposed = scratch<T>(thread, 0), *values_transposed = keys_transposed + reach * s.head_width,
              *keys = values_transposed + reach * s.head_width;
            T *weights = keys + s.length * wide, *dscores = weights + scores, *queries_packed = dscores + scores,
              *dout_packed = queries_packed + rows_most * wide;
            const auto shared = slice(qkv, s, b, kv * s.group());
            tile::pack_transposed(shared.k, scale, keys_transposed);
            tile::pack_transposed(shared.v, T(1), values_transposed);
            tile::pack(shared.k, keys);
            for (std::size_t member = 0; member < s.group(); ++member) {
                const std::size_t h = kv * s.group() + member;
                const auto head = slice(qkv, s, b, h);
                const auto grad = slice(dqkv, s, b, h);
                for (std::size_t next = s.length;
                     next > 0;) {  // from the last block, whose products set every row of dk, dv
                    const std::size_t rows = next % block ? next % block : block, first = next - rows;
                    const bool add = member > 0 || next < s.length;
                    matrix<const T> d(dout.row(b * s.length + first) + h * s.head_width, rows, s.head_width,
                                      dout.stride);
                    matrix<const T> o(out.row(b * s.length + first) + h * s.head_width, rows, s.head_width, out.stride);
                    tile::pack(head.q.row_range(first, rows), queries_packed);
                    tile::pack(d, dout_packed);
                    for (std::size_t u = 0; u < next; u += tile::width)
                        tile::rows(u > first ? u - first : 0, rows, [&](auto height, std::size_t r) {
                            tile::template multiply<height>(head.q.row(first + r), qkv.stride, 1, s.head_width,
                                                            keys_transposed + u * s.head_width, weights + r * reach + u,
                                                            reach, tile::width, false);
                            tile::template multiply<height>(d.row(r), d.stride, 1, s.head_width,
                                                            values_transposed + u * s.head_width,
                                                            dscores + r * reach + u, reach, tile::width, false);
                        });
                    for (std::size_t r = 0; r < rows; ++r) {
                        hide_before(s.first_seen(first + r), weights + r * reach);
                        T delta = 0;
                        for (std::size_t c = 0; c < s.head_width; ++c) delta += d(r, c) * o(r, c);
                        tile::softmax_backward(weights + r * reach, dscores + r * reach, first + r + 1,
                                               lse[(b * s.length + first + r) * s.heads + h], delta, scale);
                    }
                    for (std::size_t c = 0; c < s.head_width; c += tile::width) {
                        const std::size_t columns = std::min(tile::width, s.head_width - c);
                        tile::rows(0, rows, [&](auto height, std::size_t r) {
                            tile::template multiply<height>(dscores + r * reach, reach, 1, first + r + height,
                                                            keys + c * s.length, grad.q.row(first + r) + c, dqkv.stride,
                                                            columns, false);
                        });
                        tile::rows(0, next, [&](auto height, std::size_t u) {
                            const std::size_t r = u > first ? u - first : 0;  // earlier queries do not see key u
                            tile::template multiply<height>(dscores + r * reach + u, 1, reach, rows - r,
                                                            queries_packed + c * rows + r * tile::width,
                                                            grad.k.row(u) + c, dqkv.stride, columns, add);
                            tile::template multiply<height>(weights + r * reach + u, 1, reach, rows - r,
                                                            dout_packed + c * rows + r * tile::width, grad.v.row(u) + c,
                                                            dqkv.stride, columns, add);
                        });
                    }
                    next = first;
                }
            }
        });
    }

    template <class T>
    void cached_attention(matrix<const T> qkv, attention_shape s, key_value_cache<T> cache, matrix<T> out) {
        contract::cached_attention<T>(qkv, s, cache, out);
        remember(qkv, s, cache);
        if (cache.length == 0) {
            std::vector<T> lse(s.rows() * s.heads);
            return attention_forward<T>(qkv, s, out, lse);
        }
        const std::size_t D = s.head_width, reach = cache.length + s.length;
        const T scale = s.score_scale<T>();
        T* scores = scratch<T>(0, s.heads * reach);
        ranges(s.heads, (1 << 16) / (s.length * reach * D + 1) + 1, [&](std::size_t first, std::size_t last) {
            for (std::size_t h = first; h < last; ++h)
                for (std::size_t r = 0; r < s.length; ++r) {
                    const std::size_t unseen = s.first_seen(cache.length + r),
                                      place = (h / s.group() * cache.capacity + unseen) * D;
                    detail::attend(qkv.row(r) + h * D, cache.keys.data() + place, cache.values.data() + place,
                                   cache.length + r + 1 - unseen, D, scale, scores + h * reach, out.row(r) + h * D);
                }
        });
    }

private:
    static constexpr std::size_t few_rows = 32;            // multiplied as a stream of the other matrix's memory
    static constexpr std::size_t border = 16;              // of the blocks of a product that is shared out
    static constexpr std::size_t worth_sharing = 1 << 17;  // multiplications
    static constexpr std::size_t block = 64;               // queries at a time in attention's backward pass
    static constexpr std::size_t queries = 32;  // and forward, where their scores stay in the first-level cache

    /// Scores of positions before `first` weigh nothing.
    template <class T> static void hide_before(std::size_t first, T* scores) {
        std::fill_n(scores, first, -std::numeric_limits<T>::infinity());
    }
    template <class T> struct head_views { matrix<T> q, k, v; };
    template <class T>
    static head_views<T> slice(matrix<T> qkv, const attention_shape& s, std::size_t b, std::size_t h) {
        const matrix<T> rows = qkv.row_range(b * s.length, s.length);
        const std::size_t kv = h / s.group() * s.head_width;
        return {rows.col_range(h * s.head_width, s.head_width), rows.col_range(s.width() + kv, s.head_width),
                rows.col_range(s.width() + s.kv_width() + kv, s.head_width)};
    }

    /// Blocks of c, a grid of as many as there are threads with the least to read, each a product on one thread.
    template <class T>
    void product(bool ta, bool tb, T alpha, matrix<const T> a, matrix<const T> b, T beta, matrix<T> c) const {
        const std::size_t inner = ta ? a.rows : a.cols;
        std::size_t down = 1, across = 1;
        if (c.rows * c.cols * inner >= worth_sharing) std::tie(down, across) = grid(c.rows, c.cols);
        loops().run(down * across, [&](std::size_t part, std::size_t) {
            const auto [top, rows] = share(c.rows, part / across, down);
            const auto [left, cols] = share(c.cols, part % across, across);
            if (rows == 0 || cols == 0) return;
            const T* from_a = a.data + top * (ta ? 1 : a.stride);
            const T* from_b = b.data + left * (tb ? b.stride : 1);
            multiply(ta, tb, rows, cols, inner, alpha, from_a, a.stride, from_b, b.stride, beta, c.row(top) + left,
                     c.stride);
        });
    }
    void multiply(bool ta, bool tb, std::size_t m, std::size_t n, std::size_t k, float alpha, const float* a,
                  std::size_t lda, const float* b, std::size_t ldb, float beta, float* c, std::size_t ldc) const {
        product_(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
    }
    void multiply(bool ta, bool tb, std::size_t m, std::size_t n, std::size_t k, double alpha, const double* a,
                  std::size_t lda, const double* b, std::size_t ldb, double beta, double* c, std::size_t ldc) const {
        cblas_product(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
    }
    /// {parts down, parts across} for a matrix of that size: a block reads its rows of a and its columns of b.
    std::pair<std::size_t, std::size_t> grid(std::size_t rows, std::size_t cols) const {
        std::pair<std::size_t, std::size_t> best{1, thread_count()};
        std::size_t least = std::numeric_limits<std::size_t>::max();
        for (std::size_t down = 1; down <= thread_count(); ++down) {
            if (thread_count() % down != 0) continue;
            const std::size_t across = thread_count() / down;
            const std::size_t reads = share(rows, 0, down).second + share(cols, 0, across).second;
            if (reads < least) least = reads, best = {down, across};
        }
        return best;
    }
    /// {first, count} of part `part` of `parts`, on borders of whole vectors.
    static std::pair<std::size_t, std::size_t> share(std::size_t count, std::size_t part, std::size_t parts) {
        const std::size_t vectors = (count + border - 1) / border;
        const std::size_t first = std::min(count, vectors * part / parts * border);
        return {first, std::min(count, vectors * (part + 1) / parts * border) - first};
    }

    /// c = alpha * a b^T + beta * c for a few rows of a, a stream of b's memory (for one row a tenth above oneDNN's and
    /// OpenBLAS's). A row's numbers do not depend on how many rows there are.
    template <class T> void dot_products(T alpha, matrix<const T> a, matrix<const T> b, T beta, matrix<T> c) const {
        const auto put = [&](T& to, T sum) { to = alpha * sum + (beta == T(0) ? T(0) : beta * to); };
        const std::size_t fours = (b.rows + 3) / 4;  // cut between them, so that the cuts change no number
        ranges(fours, (1 << 13) / (a.rows * a.cols + 1) + 1, [&](std::size_t first, std::size_t last) {
            for (std::size_t n = 4 * first; n < 4 * last; n += 4)
                for (std::size_t r = 0; r < a.rows; ++r) {
                    if (n + 4 <= b.rows) {
                        T sums[4];
                        detail::four_dots(a.row(r), b.row(n), b.stride, a.cols, sums);
                        for (std::size_t i = 0; i < 4; ++i) put(c(r, n + i), sums[i]);
                    } else {
                        for (std::size_t i = n; i < b.rows; ++i) put(c(r, i), detail::dot(a.row(r), b.row(i), a.cols));
                    }
                }
        });
    }

    sgemm_function product_;
};

}  // namespace depthgrow
