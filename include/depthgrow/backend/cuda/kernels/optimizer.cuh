// The optimiser's kernels: sums of squares, AdamW with the clip and the narrow copy inside, Nesterov's momentum.
// Assumes float weights, gradients and moments; step constants lie in device memory, so that a recorded step can be
// replayed. Sums are deterministic: partial sums of fixed shares, added in order.
#pragma once

#include "depthgrow/backend/cuda/kernels/common.cuh"

namespace depthgrow::kernels {

/// `scratch`: (gridDim.x) doubles. The sum of squares of each block's share.
static __global__ void square_sums_kernel(const float* x, std::size_t count, double* scratch) {
    double total = 0;
    const std::size_t step = static_cast<std::size_t>(gridDim.x) * blockDim.x, quads = count / 4;
    const auto* four = reinterpret_cast<const float4*>(x);
    const auto squares = [](float4 v) { return static_cast<double>(v.x * v.x + v.y * v.y) + static_cast<double>(v.z * v.z + v.w * v.w); };
    std::size_t i = blockIdx.x * static_cast<std::size_t>(blockDim.x) + threadIdx.x;
    for (; i + 3 * step < quads; i += 4 * step) {  // four loads on their way at a time
        const float4 a = four[i], b = four[i + step], c = four[i + 2 * step], d = four[i + 3 * step];
        total += (squares(a) + squares(b)) + (squares(c) + squares(d));
    }
    for (; i < quads; i += step) total += squares(four[i]);
    if (blockIdx.x == 0 && threadIdx.x < count % 4) total += static_cast<double>(x[quads * 4 + threadIdx.x]) * static_cast<double>(x[quads * 4 + threadIdx.x]);
    __shared__ double shared[32];
    for (int lane = 16; lane > 0; lane /= 2) total += __shfl_xor_sync(0xffffffffu, total, lane);
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = total;
    __syncthreads();
    if (threadIdx.x > 0) return;
    for (unsigned w = 1; w < blockDim.x / 32; ++w) total += shared[w];
    scratch[blockIdx.x] = total;
}
static __global__ void add_in_order_kernel(const double* parts, unsigned count, double* sum) {
    __shared__ double shared[32];
    double total = 0;
    for (unsigned i = threadIdx.x; i < count; i += blockDim.x) total += parts[i];
    for (int lane = 16; lane > 0; lane /= 2) total += __shfl_xor_sync(0xffffffffu, total, lane);
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = total;
    __syncthreads();
    if (threadIdx.x > 0) return;
    for (unsigned w = 1; w < blockDim.x / 32; ++w) total += shared[w];
    *sum += total;
}
[[gnu::used]] inline void accumulate_squares(const launch_context& k, span<const float> x, double* sum) {
    if (x.empty()) return;
    const bool wide = reinterpret_cast<std::uintptr_t>(x.data()) % 16 == 0;
    if (!wide) fail("[accumulate_squares] expected numbers aligned to 16 bytes, got others");
    const unsigned blocks = std::min(blocks_for(x.size(), 4096), 4 * k.multiprocessors);
    auto* parts = reinterpret_cast<double*>(k.scratch);
    square_sums_kernel<<<blocks, 256, 0, k.stream>>>(x.data(), x.size(), parts);
    add_in_order_kernel<<<1, 256, 0, k.stream>>>(parts, blocks, sum);
    launched("accumulate_squares");
}

struct adamw_scalars {
    float scale, b1, b2, c1, c2, keep, rate, root, eps;
};
__device__ inline bool adamw_scalars_of(const adamw_constants& k, double squares, adamw_scalars& s) {
    const double norm = sqrt(squares);
    if (!isfinite(norm)) return false;
    s.scale = static_cast<float>(k.clip > 0 ? fmin(1.0, k.clip / (norm + 1e-6)) : 1.0);
    s.b1 = static_cast<float>(k.beta1), s.b2 = static_cast<float>(k.beta2), s.c1 = static_cast<float>(1 - k.beta1), s.c2 = static_cast<float>(1 - k.beta2);
    s.keep = static_cast<float>(1 - k.rate * k.decay), s.eps = static_cast<float>(k.eps);
    const auto step = static_cast<double>(k.step);
    s.rate = static_cast<float>(k.rate / (1 - pow(k.beta1, step)));
    s.root = static_cast<float>(1 / (1 - pow(k.beta2, step)));
    return true;
}
template <class D, int N>
static __global__ void adamw_kernel(float* weight, const float* gradient, float* first, float* second, D* narrow, std::size_t count, const adamw_constants* constants, const double* squares) {
    __shared__ adamw_scalars shared;
    __shared__ bool finite;
    if (threadIdx.x == 0) finite = adamw_scalars_of(*constants, *squares, shared);
    __syncthreads();
    if (!finite) return;
    const adamw_scalars s = shared;
    for (std::size_t i = blockIdx.x * static_cast<std::size_t>(blockDim.x) + threadIdx.x; i < count; i += static_cast<std::size_t>(gridDim.x) * blockDim.x) {
        float w[N], g[N], m[N], v[N];
        load<N>(weight + i * N, w);
        load<N>(gradient + i * N, g);
        load<N>(first + i * N, m);
        load<N>(second + i * N, v);
#pragma unroll
        for (int j = 0; j < N; ++j) {
            const float scaled = g[j] * s.scale;
            m[j] = s.b1 * m[j] + s.c1 * scaled;
            v[j] = s.b2 * v[j] + s.c2 * scaled * scaled;
            w[j] = w[j] * s.keep - s.rate * m[j] / (sqrtf(v[j] * s.root) + s.eps);
        }
        store<N>(weight + i * N, w);
        store<N>(first + i * N, m);
        store<N>(second + i * N, v);
        if (narrow) store<N>(narrow + i * N, w);
    }
}
template <class T>
void adamw(const launch_context& k, span<float> weight, span<const float> gradient, span<float> first, span<float> second, span<T> narrow, const adamw_constants* constants, const double* squares) {
    if (weight.empty()) return;
    const auto go = [&](auto width) {
        constexpr int n = decltype(width)::value;
        const std::size_t count = weight.size() / n;
        adamw_kernel<device_t<T>, n><<<std::min(blocks_for(count, 256), 16 * k.multiprocessors), 256, 0, k.stream>>>(
            weight.data(), gradient.data(), first.data(), second.data(), device(narrow.data()), count, constants, squares);
    };
    const bool wide = weight.size() % 4 == 0 && aligned(weight, 4) && aligned(gradient, 4) && aligned(first, 4) && aligned(second, 4) && (narrow.empty() || aligned(narrow, 4));
    if (wide) go(std::integral_constant<int, 4>());
    else go(std::integral_constant<int, 1>());
    launched("adamw");
}

template <class D>
static __global__ void nesterov_kernel(float* x, const float* g, float* v, D* narrow, std::size_t count, float scale, float rate, float momentum, float decay) {
    for (std::size_t i = blockIdx.x * static_cast<std::size_t>(blockDim.x) + threadIdx.x; i < count; i += static_cast<std::size_t>(gridDim.x) * blockDim.x) {
        const float at = x[i], step = g[i] * scale + decay * at, speed = momentum * v[i] + step, to = at - rate * (step + momentum * speed);
        v[i] = speed;
        x[i] = to;
        if (narrow) narrow[i] = from_float<D>(to);
    }
}
template <class T>
void nesterov_step(const launch_context& k, span<float> x, span<const float> g, span<float> v, span<T> narrow, float scale, float rate, float momentum, float decay) {
    if (x.empty()) return;
    nesterov_kernel<<<std::min(blocks_for(x.size(), 256), 32 * k.multiprocessors), 256, 0, k.stream>>>(x.data(), g.data(), v.data(), device(narrow.data()), x.size(), scale, rate, momentum, decay);
    launched("nesterov_step");
}

}  // namespace depthgrow::kernels
