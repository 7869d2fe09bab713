// Kernels of the analyses: changes between runs, distances and divergences of rows, lens comparisons and gradients.
// Assumes rows of any width; a block takes a row of logits, a warp one of residuals.
// Maths: analysis/row_operations.hpp.
#pragma once

#include "depthgrow/backend/cuda/kernels/rows.cuh"

namespace depthgrow::kernels {

constexpr unsigned warps_together = 4;  // of a block whose warps take a row each
/// body(c) for every N columns of this lane.
template <int N, class Body> __device__ inline void each_column_of_lane(std::size_t cols, const Body& body) {
#pragma unroll 2
    for (std::size_t c = threadIdx.x % 32 * N; c < cols; c += std::size_t{32} * N) body(c);
}

/// Rows that repeat, or zeros.
template <class D> struct repeated {
    const D* data;
    std::size_t stride, rows;
    template <int N> __device__ void read(std::size_t r, std::size_t c, float (&to)[N]) const {
        if (data) return load<N>(data + r % rows * stride + c, to);
#pragma unroll
        for (int j = 0; j < N; ++j) to[j] = 0;
    }
};
template <class T> repeated<device_t<T>> repeating(matrix<const T> m) {
    return {device(m.data), m.stride, std::max<std::size_t>(1, m.rows)};
}

template <class D, int N>
static __global__ void __launch_bounds__(32 * warps_together)
    row_changes_kernel(repeated<D> a_run, repeated<D> m_run, repeated<D> a, repeated<D> m, std::size_t rows,
                       std::size_t cols, float* distance, float* norm) {
    const std::size_t r = blockIdx.x * std::size_t{warps_together} + threadIdx.x / 32;
    if (r >= rows) return;
    float difference = 0, clean = 0;
    each_column_of_lane<N>(cols, [&](std::size_t c) {
        float changed[N], more[N], kept[N], also[N];
        a_run.template read<N>(r, c, changed), m_run.template read<N>(r, c, more);
        a.template read<N>(r, c, kept), m.template read<N>(r, c, also);
#pragma unroll
        for (int j = 0; j < N; ++j) {
            const float k = kept[j] + also[j], d = changed[j] + more[j] - k;
            difference += d * d;
            clean += k * k;
        }
    });
    difference = warp_sum(difference), clean = warp_sum(clean);
    if (threadIdx.x % 32 > 0) return;
    distance[r] = sqrtf(difference);
    if (norm) norm[r] = sqrtf(clean);
}
template <class T>
void row_changes(const launch_context& k, matrix<const T> a_run, matrix<const T> m_run, matrix<const T> a,
                 matrix<const T> m, span<float> distance, span<float> norm) {
    if (distance.empty()) return;
    const std::size_t cols = std::max({a.cols, m.cols, a_run.cols, m_run.cols});
    with_width<T>(
        [&](auto n) {
            row_changes_kernel<device_t<T>, decltype(n)::value>
                <<<blocks_for(distance.size(), warps_together), 32 * warps_together, 0, k.stream>>>(
                    repeating(a_run), repeating(m_run), repeating(a), repeating(m), distance.size(), cols,
                    distance.data(), norm.empty() ? nullptr : norm.data());
        },
        a_run, m_run, a, m);
    launched("row_changes");
}

template <class D, int N>
static __global__ void __launch_bounds__(32 * warps_together)
    row_dots_kernel(const D* x, std::size_t x_stride, const float* y, std::size_t y_stride, std::size_t rows,
                    std::size_t cols, float* out) {
    const std::size_t r = blockIdx.x * std::size_t{warps_together} + threadIdx.x / 32;
    if (r >= rows) return;
    float sum = 0;
    each_column_of_lane<N>(cols, [&](std::size_t c) {
        float a[N], b[N];
        load<N>(x + r * x_stride + c, a), load<N>(y + r * y_stride + c, b);
#pragma unroll
        for (int j = 0; j < N; ++j) sum += a[j] * b[j];
    });
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) out[r] = sum;
}
template <class T> void row_dots(const launch_context& k, matrix<const T> x, matrix<const float> y, span<float> out) {
    if (x.rows == 0) return;
    with_width<T>(
        [&](auto n) {
            row_dots_kernel<device_t<T>, decltype(n)::value>
                <<<blocks_for(x.rows, warps_together), 32 * warps_together, 0, k.stream>>>(
                    device(x.data), x.stride, y.data, y.stride, x.rows, x.cols, out.data());
        },
        x, y);
    launched("row_dots");
}

template <class D, int N>
static __global__ void __launch_bounds__(32 * warps_together)
    row_differences_kernel(const float* x, std::size_t x_stride, const float* shares, const float* y,
                           std::size_t y_stride, std::size_t rows, std::size_t cols, float factor, D* out,
                           std::size_t out_stride) {
    const std::size_t r = blockIdx.x * std::size_t{warps_together} + threadIdx.x / 32;
    if (r >= rows) return;
    const float share = shares[r];
    each_column_of_lane<N>(cols, [&](std::size_t c) {
        float a[N], b[N];
        load<N>(x + r * x_stride + c, a), load<N>(y + r * y_stride + c, b);
#pragma unroll
        for (int j = 0; j < N; ++j) a[j] = factor * (share * a[j] - b[j]);
        store<N>(out + r * out_stride + c, a);
    });
}
template <class T>
void row_differences(const launch_context& k, matrix<const float> x, span<const float> shares, matrix<const float> y,
                     float factor, matrix<T> out) {
    if (x.rows == 0) return;
    with_width<T>(
        [&](auto n) {
            row_differences_kernel<device_t<T>, decltype(n)::value>
                <<<blocks_for(x.rows, warps_together), 32 * warps_together, 0, k.stream>>>(
                    x.data, x.stride, shares.data(), y.data, y.stride, x.rows, x.cols, factor, device(out.data),
                    out.stride);
        },
        x, y, out);
    launched("row_differences");
}

template <class D, int N, bool Kept>
static __global__ void __launch_bounds__(row_threads)
    row_softmax_kernel(D* logits, std::size_t stride, std::size_t cols, float* log_sums) {
    __shared__ float shared[33];
    const float log_sum = softmax_in_place<N, Kept>(logits + blockIdx.x * stride, cols, shared);
    if (log_sums && threadIdx.x == 0) log_sums[blockIdx.x] = log_sum;
}
template <class T> void row_softmax_inplace(const launch_context& k, matrix<T> logits, span<float> log_sums) {
    if (logits.rows == 0) return;
    with_kept_rows<T>(
        [](auto n, auto kept) { return &row_softmax_kernel<device_t<T>, decltype(n)::value, decltype(kept)::value>; },
        [&](auto kernel, std::size_t bytes) {
            kernel<<<static_cast<unsigned>(logits.rows), row_threads, bytes, k.stream>>>(
                device(logits.data), logits.stride, logits.cols, log_sums.data());
        },
        logits);
    launched("row_softmax");
}

template <class D, int N, bool Kept>
static __global__ void __launch_bounds__(row_threads)
    row_softmax_distance_kernel(const D* logits, std::size_t stride, const D* probabilities, std::size_t p_stride,
                                std::size_t p_rows, std::size_t cols, float* distance) {
    __shared__ float shared[33];
    const D* row = logits + blockIdx.x * stride;
    const D* other = probabilities + blockIdx.x % p_rows * p_stride;
    float top, sum, squares = 0;
    const D* again = row_softmax_sums_of<N, Kept>(row, cols, shared, top, sum);
    const float share = 1.0f / sum;
    each_column<N>(again, cols, [&](std::size_t c, float(&x)[N]) {
        float p[N];
        load<N>(other + c, p);
#pragma unroll
        for (int j = 0; j < N; ++j) {
            const float d = share * exp_of<D>(x[j] - top) - p[j];
            squares += d * d;
        }
    });
    squares = block_reduce(squares, shared);
    if (threadIdx.x == 0) distance[blockIdx.x] = sqrtf(squares);
}
template <class T>
void row_softmax_distances(const launch_context& k, matrix<T> logits, matrix<const T> probabilities,
                           span<float> distance) {
    if (logits.rows == 0) return;
    with_kept_rows<T>(
        [](auto n, auto kept) {
            return &row_softmax_distance_kernel<device_t<T>, decltype(n)::value, decltype(kept)::value>;
        },
        [&](auto kernel, std::size_t bytes) {
            kernel<<<static_cast<unsigned>(logits.rows), row_threads, bytes, k.stream>>>(
                device(logits.data), logits.stride, device(probabilities.data), probabilities.stride,
                probabilities.rows, logits.cols, distance.data());
        },
        logits, probabilities);
    launched("row_softmax_distances");
}

/// Ids of the k largest values of a row, into `ids`, by k passes of the block over what is below the last one found.
template <class D>
__device__ inline void top_k(const D* row, std::size_t cols, int k, int* ids, float* values, int* places) {
    float last = INFINITY;
    int last_at = -1;
    for (int i = 0; i < k; ++i) {
        float top = -INFINITY;
        int at = static_cast<int>(cols);
        for (std::size_t c = threadIdx.x; c < cols; c += blockDim.x) {
            const float x = to_float(row[c]);
            const bool below = x < last || (x == last && static_cast<int>(c) > last_at);
            if (below && x > top) top = x, at = static_cast<int>(c);
        }
        block_argmax(top, at, values, places);
        last = top, last_at = at;
        if (threadIdx.x == 0) ids[i] = at;
        __syncthreads();
    }
}
template <class D, int N>
static __global__ void __launch_bounds__(row_threads)
    row_compare_kernel(const D* q_all, std::size_t q_stride, const D* y_all, std::size_t y_stride, std::size_t cols,
                       const token* targets, int k, row_comparison* out) {
    __shared__ float shared[33], values[32];
    __shared__ int places[32], q_ids[16], y_ids[16];
    const D* q = q_all + blockIdx.x * q_stride;
    const D* y = y_all + blockIdx.x * y_stride;
    float q_top, q_sum, y_top, y_sum, q_pull = 0, y_pull = 0;
    row_softmax_sums<N>(q, cols, shared, q_top, q_sum);
    row_softmax_sums<N>(y, cols, shared, y_top, y_sum);
    each_column<N>(q, cols, [&](std::size_t c, float(&x)[N]) {
        float other[N];
        load<N>(y + c, other);
#pragma unroll
        for (int j = 0; j < N; ++j) {
            const float qs = x[j] - q_top, ys = other[j] - y_top, gap = qs - ys;
            q_pull += exp_of<D>(qs) * gap;
            y_pull -= exp_of<D>(ys) * gap;
        }
    });
    q_pull = block_reduce(q_pull, shared);
    y_pull = block_reduce(y_pull, shared);
    top_k(q, cols, k, q_ids, values, places);
    top_k(y, cols, k, y_ids, values, places);
    if (threadIdx.x > 0) return;
    const float shift = logf(q_sum) - logf(y_sum);
    int common = 0;
    for (int i = 0; i < k; ++i)
        for (int j = 0; j < k; ++j) common += q_ids[i] == y_ids[j];
    const token target = targets[blockIdx.x];
    out[blockIdx.x] = {q_pull / q_sum - shift,
                       y_pull / y_sum + shift,
                       target >= 0 ? logf(q_sum) + q_top - to_float(q[target]) : 0.0f,
                       static_cast<float>(common) / static_cast<float>(k),
                       q_ids[0] == y_ids[0] ? 1.0f : 0.0f,
                       target >= 0 && q_ids[0] == target ? 1.0f : 0.0f};
}
template <class T>
void row_compare(const launch_context& k, matrix<const T> q, matrix<const T> y, span<const token> targets,
                 std::size_t top, span<row_comparison> out) {
    if (q.rows == 0) return;
    with_width<T>(
        [&](auto n) {
            row_compare_kernel<device_t<T>, decltype(n)::value>
                <<<static_cast<unsigned>(q.rows), row_threads, 0, k.stream>>>(device(q.data), q.stride, device(y.data),
                                                                              y.stride, q.cols, targets.data(),
                                                                              static_cast<int>(top), out.data());
        },
        q, y);
    launched("row_compare");
}

template <class D>
static __global__ void __launch_bounds__(row_threads)
    row_probability_gradient_kernel(D* z, std::size_t stride, std::size_t cols, const token* gold, float* value) {
    __shared__ float shared[33];
    D* row = z + blockIdx.x * stride;
    const token wanted = gold[blockIdx.x];
    float top, sum;
    row_softmax_sums<1>(row, cols, shared, top, sum);
    const float p = wanted >= 0 ? exp_of<D>(to_float(row[wanted]) - top) / sum : 0.0f;
    __syncthreads();
    for (std::size_t c = threadIdx.x; c < cols; c += blockDim.x)
        row[c] = from_float<D>(
            p * ((static_cast<token>(c) == wanted ? 1.0f : 0.0f) - exp_of<D>(to_float(row[c]) - top) / sum));
    if (threadIdx.x == 0) value[blockIdx.x] = p;
}
template <class T>
void row_probability_gradient_inplace(const launch_context& k, matrix<T> z, span<const token> gold, span<float> value) {
    if (z.rows == 0) return;
    row_probability_gradient_kernel<<<static_cast<unsigned>(z.rows), row_threads, 0, k.stream>>>(
        device(z.data), z.stride, z.cols, gold.data(), value.data());
    launched("row_probability_gradient");
}

}  // namespace depthgrow::kernels
