// Kernels of a decoding step: one new position each of many sequences, whose places the kernels read in device memory,
// so that a recorded step goes on from wherever the sequences are. Assumes head widths of at most 256. No atomics:
// results repeat bit for bit. Maths: backend/reference.hpp; softmax in parts: Milakov & Gimelshein 2018.
#pragma once

#include "depthgrow/backend/cuda/kernels/attention.cuh"
#include "depthgrow/backend/cuda/kernels/rows.cuh"

namespace depthgrow::kernels {

constexpr int step_keys = 4;  // that a lane asks for at once

/// A block of W warps takes a row and a head. L lanes share a key, each with V vectors of N of its channels; every such
/// group of lanes has a softmax of its own; a warp merges those of its groups, the block those of its warps. Past keys
/// are asked for while the kernel before still runs.
template <int W, int N, int L, int V, class D>
static __global__ void __launch_bounds__(32 * W)
    step_attention_kernel(const D* qkv, attention_places p, float scale, const cached_row<D>* caches,
                          const token* positions, D* out, std::size_t out_stride) {
    constexpr int at_once = 32 / L;
    __shared__ float tops[W], sums[W], parts[W][L * V * N];
    let_next_start();
    const std::size_t row = blockIdx.x / p.heads, h = blockIdx.x % p.heads, group = p.heads / p.kv_heads,
                      kv = h / group, newest = static_cast<std::size_t>(positions[row]);
    const unsigned warp = threadIdx.x / 32, within = threadIdx.x % L, mine = threadIdx.x / L % at_once;
    const cached_row<D> cache = caches[row];
    D *keys = cache.keys + kv * cache.capacity * p.width, *values = cache.values + kv * cache.capacity * p.width;
    const D *own_key = qkv + p.k(0, row, kv), *own_value = qkv + p.v(0, row, kv);
    const auto channel = [&](int v) { return (within + L * v) * std::size_t{N}; };
    pack<D, N> k[step_keys][V], x[step_keys][V];
    const auto ask = [&](int j, const D* key, const D* value) {
#pragma unroll
        for (int v = 0; v < V; ++v)
            if (channel(v) < p.width) {
                k[j][v] = *reinterpret_cast<const pack<D, N>*>(key + channel(v));
                x[j][v] = *reinterpret_cast<const pack<D, N>*>(value + channel(v));
            }
    };
    const auto ask_past = [&](std::size_t first) {
#pragma unroll
        for (int j = 0; j < step_keys; ++j) {
            const std::size_t u = first + j * at_once + mine;
            if (u < newest) ask(j, keys + u * p.width, values + u * p.width);
        }
    };
    std::size_t first = p.first_seen(newest) + warp * at_once * step_keys;
    ask_past(first);
    wait_for_inputs();
    if (h % group == 0)
        for (std::size_t c = threadIdx.x; c < p.width; c += blockDim.x)
            keys[newest * p.width + c] = own_key[c], values[newest * p.width + c] = own_value[c];
    float q[V][N] = {}, o[V][N] = {}, top = -INFINITY, sum = 0;
#pragma unroll
    for (int v = 0; v < V; ++v)
        if (channel(v) < p.width) load<N>(qkv + p.q(0, row, h) + channel(v), q[v]);
    while (first <= newest) {
        float score[step_keys], largest = top;
#pragma unroll
        for (int j = 0; j < step_keys; ++j)  // beyond the newest: the same once more, weighed with zero
            if (first + j * at_once + mine >= newest) ask(j, own_key, own_value);
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
        first += W * at_once * step_keys;
        ask_past(first);
    }
    float highest = top;
#pragma unroll
    for (int lane = 16; lane >= L; lane /= 2) highest = fmaxf(highest, __shfl_xor_sync(0xffffffffu, highest, lane));
    const float share = top == -INFINITY ? 0.0f : exp_of<D>(top - highest);
    const auto merge = [&](float value) {
        value *= share;
#pragma unroll
        for (int lane = 16; lane >= L; lane /= 2) value += __shfl_xor_sync(0xffffffffu, value, lane);
        return value;
    };
    sum = merge(sum);
#pragma unroll
    for (int v = 0; v < V; ++v)
#pragma unroll
        for (int i = 0; i < N; ++i) {
            o[v][i] = merge(o[v][i]);
            if (mine == 0) parts[warp][(within + L * v) * N + i] = o[v][i];
        }
    if (threadIdx.x % 32 == 0) tops[warp] = highest, sums[warp] = sum;
    __syncthreads();
    for (std::size_t c = threadIdx.x; c < p.width; c += blockDim.x) {
        float mixed = 0, total = 0;
        highest = -INFINITY;
        for (int w = 0; w < W; ++w) highest = fmaxf(highest, tops[w]);  // finite: the newest is seen
        for (int w = 0; w < W; ++w) {
            const float factor = exp_of<D>(tops[w] - highest);
            mixed += parts[w][c] * factor, total += sums[w] * factor;
        }
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
    using std::integral_constant;
    const auto blocks = static_cast<unsigned>(qkv.rows * s.heads);
    const auto run = [&](auto warps, auto n, auto lanes, auto vectors) {
        constexpr int w = decltype(warps)::value;
        launch(k, blocks, 32 * w,
               step_attention_kernel<w, decltype(n)::value, decltype(lanes)::value, decltype(vectors)::value, D>,
               device(qkv.data), p, s.score_scale<float>(), reinterpret_cast<const cached_row<D>*>(caches.data()),
               positions.data(), device(out.data), out.stride);
    };
    const auto go = [&](auto... shape) {  // few blocks: more keys on their way in each
        if (blocks > k.multiprocessors) run(integral_constant<int, 8>(), shape...);
        else run(integral_constant<int, 16>(), shape...);
    };
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
    wait_for_inputs();
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
        launch(k, static_cast<unsigned>(logits.rows), 1024, row_best_kernel<decltype(n)::value>, logits.data,
               logits.stride, logits.cols, best.data());
    };
    if (aligned(logits, 4)) go(std::integral_constant<int, 4>());
    else go(std::integral_constant<int, 1>());
    launched("row_best");
}

}  // namespace depthgrow::kernels
