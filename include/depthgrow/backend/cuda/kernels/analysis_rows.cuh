// Kernels of the analyses: changes between runs, distances and divergences of rows, lens comparisons and gradients.
// Assumes rows of any width, a block a row.
// Maths: analysis/row_operations.hpp.
#pragma once

#include "depthgrow/backend/cuda/kernels/rows.cuh"

namespace depthgrow::kernels {

template <class D>
static __global__ void row_changes_kernel(const D* a_run, std::size_t a_run_stride, const D* m_run,
                                          std::size_t m_run_stride, const D* a, std::size_t a_stride,
                                          std::size_t a_rows, const D* m, std::size_t m_stride, std::size_t m_rows,
                                          std::size_t a_run_rows, std::size_t m_run_rows, std::size_t cols,
                                          float* distance, float* norm) {
    __shared__ float shared[33];
    const std::size_t r = blockIdx.x;
    const auto at = [&](const D* x, std::size_t stride, std::size_t rows, std::size_t c) {
        return x ? to_float(x[r % rows * stride + c]) : 0.0f;
    };
    float difference = 0, clean = 0;
    for (std::size_t c = threadIdx.x; c < cols; c += blockDim.x) {
        const float kept = at(a, a_stride, a_rows, c) + at(m, m_stride, m_rows, c);
        const float d = at(a_run, a_run_stride, a_run_rows, c) + at(m_run, m_run_stride, m_run_rows, c) - kept;
        difference += d * d;
        clean += kept * kept;
    }
    difference = block_reduce(difference, shared);
    clean = block_reduce(clean, shared);
    if (threadIdx.x > 0) return;
    distance[r] = sqrtf(difference);
    if (norm) norm[r] = sqrtf(clean);
}
template <class T>
void row_changes(const launch_context& k, matrix<const T> a_run, matrix<const T> m_run, matrix<const T> a,
                 matrix<const T> m, span<float> distance, span<float> norm) {
    if (distance.empty()) return;
    const std::size_t cols = std::max({a.cols, m.cols, a_run.cols, m_run.cols});
    row_changes_kernel<<<static_cast<unsigned>(distance.size()), 128, 0, k.stream>>>(
        device(a_run.data), a_run.stride, device(m_run.data), m_run.stride, device(a.data), a.stride,
        std::max<std::size_t>(1, a.rows), device(m.data), m.stride, std::max<std::size_t>(1, m.rows),
        std::max<std::size_t>(1, a_run.rows), std::max<std::size_t>(1, m_run.rows), cols, distance.data(),
        norm.empty() ? nullptr : norm.data());
    launched("row_changes");
}

template <class D, int N>
static __global__ void __launch_bounds__(row_threads)
    row_softmax_kernel(D* logits, std::size_t stride, std::size_t cols) {
    __shared__ float shared[33];
    D* row = logits + blockIdx.x * stride;
    float top, sum;
    row_softmax_sums<N>(row, cols, shared, top, sum);
    const float share = 1.0f / sum;
    each_column<N>(row, cols, [&](std::size_t c, float(&x)[N]) {
#pragma unroll
        for (int j = 0; j < N; ++j) x[j] = share * exp_of<D>(x[j] - top);
        store<N>(row + c, x);
    });
}
template <class T> void row_softmax_inplace(const launch_context& k, matrix<T> logits) {
    if (logits.rows == 0) return;
    with_width<T>(
        [&](auto n) {
            row_softmax_kernel<device_t<T>, decltype(n)::value>
                <<<static_cast<unsigned>(logits.rows), row_threads, 0, k.stream>>>(device(logits.data), logits.stride,
                                                                                   logits.cols);
        },
        logits);
    launched("row_softmax");
}

template <class D, int N>
static __global__ void __launch_bounds__(row_threads)
    row_softmax_distance_kernel(const D* logits, std::size_t stride, const D* probabilities, std::size_t p_stride,
                                std::size_t p_rows, std::size_t cols, float* distance) {
    __shared__ float shared[33];
    const D* row = logits + blockIdx.x * stride;
    const D* other = probabilities + blockIdx.x % p_rows * p_stride;
    float top, sum, squares = 0;
    row_softmax_sums<N>(row, cols, shared, top, sum);
    const float share = 1.0f / sum;
    each_column<N>(row, cols, [&](std::size_t c, float(&x)[N]) {
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
    with_width<T>(
        [&](auto n) {
            row_softmax_distance_kernel<device_t<T>, decltype(n)::value>
                <<<static_cast<unsigned>(logits.rows), row_threads, 0, k.stream>>>(
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
    row_negative_entropy_kernel(const D* y, std::size_t stride, std::size_t cols, float* entropy) {
    __shared__ float shared[33];
    float sum = 0;
    for (std::size_t c = threadIdx.x; c < cols; c += blockDim.x)
        if (const float p = to_float(y[blockIdx.x * stride + c]); p > 0) sum += p * logf(p);
    sum = block_reduce(sum, shared);
    if (threadIdx.x == 0) entropy[blockIdx.x] = sum;
}
template <class T> void row_negative_entropies(const launch_context& k, matrix<const T> y, span<float> entropy) {
    if (y.rows == 0) return;
    row_negative_entropy_kernel<<<static_cast<unsigned>(y.rows), row_threads, 0, k.stream>>>(device(y.data), y.stride,
                                                                                             y.cols, entropy.data());
    launched("row_negative_entropies");
}

template <class D, int N, bool Kept>
static __global__ void __launch_bounds__(row_threads)
    row_kl_gradient_kernel(D* z, std::size_t stride, const D* y, std::size_t y_stride, std::size_t cols,
                           const float* entropy, float scale, float* loss) {
    __shared__ float shared[33];
    D* row = z + blockIdx.x * stride;
    const D* p = y + blockIdx.x * y_stride;
    float top, sum, cross = 0, mass = 0;
    const D* again = row_softmax_sums_of<N, Kept>(row, cols, shared, top, sum);
    const float share = 1.0f / sum;
    each_column<N>(again, cols, [&](std::size_t c, float(&x)[N]) {
        float want[N];
        load<N>(p + c, want);
#pragma unroll
        for (int j = 0; j < N; ++j) {
            cross += want[j] * (x[j] - top);
            mass += want[j];
            x[j] = scale * (share * exp_of<D>(x[j] - top) - want[j]);
        }
        store<N>(row + c, x);
    });
    cross = block_reduce(cross, shared);
    mass = block_reduce(mass, shared);
    if (threadIdx.x == 0) loss[blockIdx.x] = entropy[blockIdx.x] - cross + mass * logf(sum);
}
template <class T>
void row_kl_gradient_inplace(const launch_context& k, matrix<T> z, matrix<const T> y, span<const float> entropy,
                             float scale, span<float> loss) {
    if (z.rows == 0) return;
    constexpr int wide = widest<device_t<T>>;
    const auto kernel = row_kl_gradient_kernel<device_t<T>, wide, true>;
    if (const std::size_t bytes = z.cols * sizeof(T); aligned(z, wide) && aligned(y, wide) && may_keep(kernel, bytes)) {
        kernel<<<static_cast<unsigned>(z.rows), row_threads, bytes, k.stream>>>(
            device(z.data), z.stride, device(y.data), y.stride, z.cols, entropy.data(), scale, loss.data());
        return launched("row_kl_gradient");
    }
    with_width<T>(
        [&](auto n) {
            row_kl_gradient_kernel<device_t<T>, decltype(n)::value, false>
                <<<static_cast<unsigned>(z.rows), row_threads, 0, k.stream>>>(
                    device(z.data), z.stride, device(y.data), y.stride, z.cols, entropy.data(), scale, loss.data());
        },
        z, y);
    launched("row_kl_gradient");
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
