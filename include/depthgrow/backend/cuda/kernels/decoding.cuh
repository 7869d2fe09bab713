// Kernels of a decoding step: one new position each of many sequences, whose places the kernels read in device memory,
// so that a recorded step goes on from wherever the sequences are. Assumes head widths of at most 256. No atomics:
// results repeat bit for bit. Maths: backend/reference.hpp; softmax in parts: Milakov & Gimelshein 2018.
#pragma once

#include "depthgrow/backend/cuda/kernels/attention.cuh"
#include "depthgrow/backend/cuda/kernels/rows.cuh"

namespace depthgrow::kernels {

constexpr int step_warps = 8, step_keys = 4;  // warps of a block; keys that a lane asks for at once

/// A block takes a row and a head. L lanes share a key, each with V vectors of N of its channels; every such group of
/// lanes has a softmax of its own, which the block merges.
template <int N, int L, int V, class D>
static __global__ void __launch_bounds__(32 * step_warps)
    step_attention_kernel(const D* qkv, attention_places p, float scale, const cached_row<D>* caches,
                          const token* positions, D* out, std::size_t out_stride) {
    constexpr int at_once = 32 / L, groups = step_warps * at_once;
    __shared__ float tops[groups], sums[groups], factors[groups], parts[groups][L * V * N];
    const std::size_t row = blockIdx.x / p.heads, h = blockIdx.x % p.heads, group = p.heads / p.kv_heads,
                      kv = h / group, newest = static_cast<std::size_t>(positions[row]);
    const unsigned warp = threadIdx.x / 32, within = threadIdx.x % L, mine = threadIdx.x / L % at_once;
    const cached_row<D> cache = caches[row];
    D *keys = cache.keys + kv * cache.capacity * p.width, *values = cache.values + kv * cache.capacity * p.width;
    const D *own_key = qkv + p.k(0, row, kv), *own_value = qkv + p.v(0, row, kv);
    if (h % group == 0)
        for (std::size_t c = threadIdx.x; c < p.width; c += blockDim.x)
            keys[newest * p.width + c] = own_key[c], values[newest * p.width + c] = own_value[c];
    const auto channel = [&](int v) { return (within + L * v) * std::size_t{N}; };
    float q[V][N] = {}, o[V][N] = {}, top = -INFINITY, sum = 0;
#pragma unroll
    for (int v = 0; v < V; ++v)
        if (channel(v) < p.width) load<N>(qkv + p.q(0, row, h) + channel(v), q[v]);
    for (std::size_t first = p.first_seen(newest) + warp * at_once * step_keys; first <= newest;
         first += step_warps * at_once * step_keys) {
        pack<D, N> k[step_keys][V], x[step_keys][V];
        float score[step_keys], largest = top;
#pragma unroll
        for (int j = 0; j < step_keys; ++j) {  // beyond the newest: read again, and weighed with zero
            const std::size_t u = first + j * at_once + mine;
            const D *key = u < newest ? keys + u * p.width : own_key,
                    *value = u < newest ? values + u * p.width : own_value;
#pragma unroll
            for (int v = 0; v < V; ++v)
                if (channel(v) < p.width) {
                    k[j][v] = *reinterpret_cast<const pack<D, N>*>(key + channel(v));
                    x[j][v] = *reinterpret_cast<const pack<D, N>*>(value + channel(v));
                }
        }
#pragma unroll
        for (int j = 0; j < step_keys; ++j) {
            float product = 0;
#pragma unroll
            for (int v = 0; v < V; ++v)
                if (channel(v) < p.width) {
#pragma unroll
                    for (int i = 0; i < N; ++i) product += q[v][i] * k[j][v].get(i);
                }
#pragma unroll
            for (int lane = L / 2; lane > 0; lane /= 2) product += __shfl_xor_sync(0xffffffffu, product, lane);
            score[j] = first + j * at_once + mine <= newest ? scale * product : -INFINITY;
            largest = fmaxf(largest, score[j]);
        }
        const float base = largest == -INFINITY ? 0.0f : largest, shrink = exp_of<D>(top - base);
        top = largest, sum *= shrink;
#pragma unroll
        for (int v = 0; v < V; ++v)
#pragma unroll
            for (int i = 0; i < N; ++i) o[v][i] *= shrink;
#pragma unroll
        for (int j = 0; j < step_keys; ++j) {
            const float weight = exp_of<D>(score[j] - base);
            sum += weight;
#pragma unroll
            for (int v = 0; v < V; ++v)
                if (channel(v) < p.width) {
#pragma unroll
                    for (int i = 0; i < N; ++i) o[v][i] += weight * x[j][v].get(i);
                }
        }
    }
    const unsigned own = warp * at_once + mine;
    if (within == 0) tops[own] = top, sums[own] = sum;
#pragma unroll
    for (int v = 0; v < V; ++v)
#pragma unroll
        for (int i = 0; i < N; ++i) parts[own][(within + L * v) * N + i] = o[v][i];
    __syncthreads();
    if (threadIdx.x < groups) {
        float highest = -INFINITY;
        for (int g = 0; g < groups; ++g) highest = fmaxf(highest, tops[g]);  // finite: the newest is seen
        factors[threadIdx.x] = exp_of<D>(tops[threadIdx.x] - highest);
    }
    __syncthreads();
    for (std::size_t c = threadIdx.x; c < p.width; c += blockDim.x) {
        float mixed = 0, total = 0;
        for (int g = 0; g < groups; ++g) mixed += parts[g][c] * factors[g], total += sums[g] * factors[g];
        out[row * out_stride + h * p.width + c] = from_float<D>(mixed / total);
    }
}
template <class T>
void step_attention(const launch_context& k, matrix<const T> qkv, attention_shape s, span<const cached_row<T>> caches,
                    span<const token> positions, matrix<T> out) {
    if (qkv.rows == 0) return;
    if (s.head_width > 32 * attention_channels)
        fail("[step_attention] expected heads of at most ", 32 * attention_channels, " channels, got ", s.head_width);
    using D = device_t<T>;
    const attention_places p{1, qkv.rows, s.heads, s.kv_heads, s.head_width, qkv.stride, s.window};
    const auto go = [&](auto n, auto lanes, auto vectors) {
        step_attention_kernel<decltype(n)::value, decltype(lanes)::value, decltype(vectors)::value>
            <<<static_cast<unsigned>(qkv.rows * s.heads), 32 * step_warps, 0, k.stream>>>(
                device(qkv.data), p, s.score_scale<float>(), reinterpret_cast<const cached_row<D>*>(caches.data()),
                positions.data(), device(out.data), out.stride);
    };
    using std::integral_constant;
    constexpr int n = widest<D>;
    const std::size_t vectors = (s.head_width + n - 1) / n;
    const bool wide = aligned(qkv, n) && s.head_width % n == 0;  // caches are whole allocations of such heads
    if (!wide) go(integral_constant<int, 1>(), integral_constant<int, 32>(), integral_constant<int, 8>());
    else if (vectors <= 8) go(integral_constant<int, n>(), integral_constant<int, 8>(), integral_constant<int, 1>());
    else if (vectors <= 16) go(integral_constant<int, n>(), integral_constant<int, 16>(), integral_constant<int, 1>());
    else go(integral_constant<int, n>(), integral_constant<int, 32>(), integral_constant<int, 8 / n>());
    launched("step_attention");
}

static __global__ void gather_rows_kernel(const token* rows, const float* table, std::size_t stride, std::size_t cols,
                                          float* out, std::size_t out_stride) {
    const std::size_t from = static_cast<std::size_t>(rows[blockIdx.x]);
    for (std::size_t c = threadIdx.x; c < cols; c += blockDim.x)
        out[blockIdx.x * out_stride + c] = table[from * stride + c];
}
[[gnu::used]] inline void gather_rows(const launch_context& k, span<const token> rows, matrix<const float> table,
                                      matrix<float> out) {
    if (rows.empty()) return;
    gather_rows_kernel<<<static_cast<unsigned>(rows.size()), 64, 0, k.stream>>>(rows.data(), table.data, table.stride,
                                                                                table.cols, out.data, out.stride);
    launched("gather_rows");
}

/// A block a row: the largest number, where it stands first, and log Σ exp above it in one walk. Numbers that are not
/// finite leave a sum that is not.
template <int N>
static __global__ void __launch_bounds__(1024)
    row_best_kernel(const float* logits, std::size_t stride, std::size_t cols, row_choice* best) {
    __shared__ float shared[33], values[32];
    __shared__ int places[32];
    float top = -INFINITY, mass = 0;
    int at = static_cast<int>(cols);
    each_column<N>(logits + blockIdx.x * stride, cols, [&](std::size_t c, float(&x)[N]) {
#pragma unroll
        for (int j = 0; j < N; ++j) {
            if (!isfinite(x[j])) mass = NAN;
            else if (x[j] > top) mass = mass * expf(top - x[j]) + 1.0f, top = x[j], at = static_cast<int>(c) + j;
            else mass += expf(x[j] - top);
        }
    });
    const float own = top, largest = block_reduce<true>(top, shared);
    const float total = block_reduce(own == -INFINITY ? mass : mass * expf(own - largest), shared);
    block_argmax(top, at, values, places);
    if (threadIdx.x == 0) best[blockIdx.x] = {at < static_cast<int>(cols) ? at : 0, -logf(total)};
}
[[gnu::used]] inline void row_best(const launch_context& k, matrix<const float> logits, span<row_choice> best) {
    if (logits.rows == 0) return;
    const auto go = [&](auto n) {
        row_best_kernel<decltype(n)::value><<<static_cast<unsigned>(logits.rows), 1024, 0, k.stream>>>(
            logits.data, logits.stride, logits.cols, best.data());
    };
    if (aligned(logits, 4)) go(std::integral_constant<int, 4>());
    else go(std::integral_constant<int, 1>());
    launched("row_best");
}

}  // namespace depthgrow::kernels
