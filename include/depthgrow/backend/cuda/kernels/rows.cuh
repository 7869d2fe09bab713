// What kernels over rows of logits or residuals share, a block a row: walks, softmax sums, the largest value, launch
// choices. Assumes rows of any width; sums in float, one block's order fixed by its size. Source: softmax sums in one
// walk, Milakov & Gimelshein 2018 (arXiv 1805.02867). Users: cross_entropy.cuh, analysis_rows.cuh.
#pragma once

#include "depthgrow/backend/cuda/kernels/common.cuh"

namespace depthgrow::kernels {

constexpr unsigned row_threads = 512;

/// body(c, N values of the row from c on) for the columns of this thread.
template <int N, class D, class Body>
__device__ inline void each_column(const D* row, std::size_t cols, const Body& body) {
    for (std::size_t c = threadIdx.x * std::size_t{N}; c < cols; c += blockDim.x * std::size_t{N}) {
        float x[N];
        load<N>(row + c, x);
        body(c, x);
    }
}
/// Largest value and Σ exp(x - largest) of a row, in every thread.
template <int N, class D>
__device__ inline void row_softmax_sums(const D* row, std::size_t cols, float* shared, float& largest, float& sum) {
    float top = -INFINITY, mass = 0;
    each_column<N>(row, cols, [&](std::size_t, float(&x)[N]) {
        float here = x[0];
#pragma unroll
        for (int j = 1; j < N; ++j) here = fmaxf(here, x[j]);
        if (here > top) mass *= exp_of<D>(top - here), top = here;
#pragma unroll
        for (int j = 0; j < N; ++j) mass += exp_of<D>(x[j] - top);
    });
    largest = block_reduce<true>(top, shared);
    sum = block_reduce(top == -INFINITY ? 0.0f : mass * exp_of<D>(top - largest), shared);
}

/// The same for a row that will be read again, and where to read it: `Kept` puts it in shared memory (cols numbers), so
/// that device memory is read once.
template <int N, bool Kept, class D>
__device__ inline const D* row_softmax_sums_of(const D* row, std::size_t cols, float* shared, float& largest,
                                               float& sum) {
    if constexpr (!Kept) {
        row_softmax_sums<N>(row, cols, shared, largest, sum);
        return row;
    } else {
        extern __shared__ __align__(16) unsigned char kept_bytes[];
        D* kept = reinterpret_cast<D*>(kept_bytes);
        for (std::size_t c = threadIdx.x * std::size_t{N}; c < cols; c += row_threads * std::size_t{N})
            copy_piece(static_cast<unsigned>(__cvta_generic_to_shared(kept + c)), row + c);
        copies_commit();
        copies_wait<0>();  // each thread reads what it has copied
        float top = -INFINITY, mass = 0;
        each_column<N>(kept, cols, [&](std::size_t, float(&x)[N]) {
#pragma unroll
            for (int j = 0; j < N; ++j) top = fmaxf(top, x[j]);
        });
        largest = block_reduce<true>(top, shared);
        each_column<N>(kept, cols, [&](std::size_t, float(&x)[N]) {
#pragma unroll
            for (int j = 0; j < N; ++j) mass += exp_of<D>(x[j] - largest);
        });
        sum = block_reduce(mass, shared);
        return kept;
    }
}

/// Softmax of a row in its place, by the block; returns log Σ exp of what was there, in every thread.
template <int N, bool Kept, class D> __device__ inline float softmax_in_place(D* row, std::size_t cols, float* shared) {
    float top, sum;
    const D* again = row_softmax_sums_of<N, Kept>(row, cols, shared, top, sum);
    const float share = 1.0f / sum;
    each_column<N>(again, cols, [&](std::size_t c, float(&x)[N]) {
#pragma unroll
        for (int j = 0; j < N; ++j) x[j] = share * exp_of<D>(x[j] - top);
        store<N>(row + c, x);
    });
    return top + logf(sum);
}

/// Whether a kernel may have so much shared memory: at most what lets two blocks share a multiprocessor.
template <class Kernel> bool may_keep(Kernel kernel, std::size_t bytes) {
    if (bytes > 112 * 1024) return false;
    if (cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)) ==
        cudaSuccess)
        return true;
    (void)cudaGetLastError();
    return false;
}
/// Calls go(N) with the widest accesses that these rows allow.
template <class T, class Body, class... Rows> void with_width(const Body& go, Rows... rows) {
    constexpr int n = widest<device_t<T>>;
    if ((aligned(rows, n) && ...)) go(std::integral_constant<int, n>());
    else go(std::integral_constant<int, 1>());
}
/// run(kernel, bytes of shared memory) with the widest accesses that these rows allow, of kernel_of(N, Kept): Kept
/// where shared memory holds a row of `z`, which the kernel reads more than once.
template <class T, class KernelOf, class Run, class... Rows>
void with_kept_rows(const KernelOf& kernel_of, const Run& run, matrix<T> z, Rows... others) {
    using std::integral_constant;
    constexpr int wide = widest<device_t<T>>;
    if (!aligned(z, wide) || !(aligned(others, wide) && ...))
        return run(kernel_of(integral_constant<int, 1>(), std::false_type()), 0);
    const auto kept = kernel_of(integral_constant<int, wide>(), std::true_type());
    if (const std::size_t bytes = z.cols * sizeof(T); may_keep(kept, bytes)) return run(kept, bytes);
    run(kernel_of(integral_constant<int, wide>(), std::false_type()), 0);
}
/// The block's largest value and its lowest column, in every thread.
__device__ inline void block_argmax(float& best, int& at, float* values, int* places) {
    const auto better = [](float a, int i, float b, int j) { return a > b || (a == b && i < j); };
    for (int lane = 16; lane > 0; lane /= 2) {
        const float other = __shfl_xor_sync(0xffffffffu, best, lane);
        const int place = __shfl_xor_sync(0xffffffffu, at, lane);
        if (better(other, place, best, at)) best = other, at = place;
    }
    __syncthreads();
    if (threadIdx.x % 32 == 0) values[threadIdx.x / 32] = best, places[threadIdx.x / 32] = at;
    __syncthreads();
    best = values[0], at = places[0];
    for (unsigned w = 1; w < blockDim.x / 32; ++w)
        if (better(values[w], places[w], best, at)) best = values[w], at = places[w];
}

}  // namespace depthgrow::kernels
