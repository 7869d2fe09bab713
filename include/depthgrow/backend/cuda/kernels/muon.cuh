// Muon's kernels around its products, and SGD with Nesterov's momentum.
// Assumes float weights, gradients and buffers; step constants and the sum of squares of all gradients lie in device
// memory, so that a recorded step can be replayed. Sums are deterministic: shares fixed by the grid, added in order.
// Source: Jordan et al. 2024 (kellerjordan.github.io/posts/muon); definitions in backend/reference.hpp.
#pragma once

#include "depthgrow/backend/cuda/kernels/common.cuh"

namespace depthgrow::kernels {

/// contract::clip_scale on the device: 0 when nothing may change.
__device__ inline float clip_scale_of(const momentum_constants& k, double squares) {
    const double norm = sqrt(squares);
    if (!isfinite(norm) || (k.skip_above > 0 && norm > k.skip_above)) return 0;
    return k.clip > 0 && k.clip < norm + 1e-6 ? static_cast<float>(k.clip / (norm + 1e-6)) : 1.0f;
}
/// body(i) for this thread's share of [0, count).
template <class Body> __device__ inline void each_number(std::size_t count, const Body& body) {
    for (std::size_t i = blockIdx.x * static_cast<std::size_t>(blockDim.x) + threadIdx.x; i < count;
         i += static_cast<std::size_t>(gridDim.x) * blockDim.x)
        body(i);
}
inline unsigned grid_for(const launch_context& k, std::size_t count) {
    return std::min(blocks_for(count, 256), 32 * k.multiprocessors);
}

template <class D>
static __global__ void sgd_nesterov_kernel(float* w, const float* g, float* v, D* rounded, std::size_t count,
                                           const momentum_constants* constants, const double* squares) {
    const float scale = clip_scale_of(*constants, *squares);
    if (scale == 0) return;
    const float mu = static_cast<float>(constants->momentum), decay = static_cast<float>(constants->decay),
                rate = static_cast<float>(constants->rate);
    each_number(count, [&](std::size_t i) {
        const float at = w[i], step = g[i] * scale + decay * at, speed = mu * v[i] + step,
                    to = at - rate * (step + mu * speed);
        v[i] = speed;
        w[i] = to;
        if (rounded) rounded[i] = from_float<D>(to);
    });
}
template <class T>
void sgd_nesterov(const launch_context& k, span<float> weight, span<const float> gradient, span<float> momentum,
                  span<T> rounded, const momentum_constants* constants, const double* squares) {
    if (weight.empty()) return;
    sgd_nesterov_kernel<<<grid_for(k, weight.size()), 256, 0, k.stream>>>(
        weight.data(), gradient.data(), momentum.data(), device(rounded.data()), weight.size(), constants, squares);
    launched("sgd_nesterov");
}

template <class D>
static __global__ void muon_direction_kernel(const float* g, float* buffer, D* direction, std::size_t count,
                                             const momentum_constants* constants, const double* squares) {
    const float scale = clip_scale_of(*constants, *squares), mu = static_cast<float>(constants->momentum),
                rest = static_cast<float>(1 - constants->momentum);
    each_number(count, [&](std::size_t i) {
        if (scale == 0) return void(direction[i] = from_float<D>(0));
        const float scaled = g[i] * scale, speed = mu * buffer[i] + rest * scaled;
        buffer[i] = speed;
        direction[i] = from_float<D>(rest * scaled + mu * speed);
    });
}
template <class T>
void muon_direction(const launch_context& k, span<const float> gradient, span<float> buffer, span<T> direction,
                    const momentum_constants* constants, const double* squares) {
    if (gradient.empty()) return;
    muon_direction_kernel<<<grid_for(k, gradient.size()), 256, 0, k.stream>>>(
        gradient.data(), buffer.data(), device(direction.data()), gradient.size(), constants, squares);
    launched("muon_direction");
}

/// Sum over the block of 256 threads, in a fixed order; in thread 0.
__device__ inline double block_total(double total) {
    __shared__ double shared[8];
    for (int lane = 16; lane > 0; lane /= 2) total += __shfl_xor_sync(0xffffffffu, total, lane);
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = total;
    __syncthreads();
    if (threadIdx.x == 0)
        for (unsigned w = 1; w < 8; ++w) total += shared[w];
    return total;
}
/// `parts`: (gridDim.x) doubles.
template <class D> static __global__ void muon_squares_kernel(const D* x, std::size_t count, double* parts) {
    double total = 0;
    each_number(count, [&](std::size_t i) {
        total += static_cast<double>(to_float(x[i])) * static_cast<double>(to_float(x[i]));
    });
    total = block_total(total);
    if (threadIdx.x == 0) parts[blockIdx.x] = total;
}
template <class D>
static __global__ void muon_normalize_kernel(D* x, std::size_t count, const double* parts, unsigned part_count) {
    __shared__ float factor;
    double total = 0;
    for (unsigned i = threadIdx.x; i < part_count; i += 256) total += parts[i];
    total = block_total(total);
    if (threadIdx.x == 0) factor = static_cast<float>(1 / (sqrt(total) + 1e-7));
    __syncthreads();
    const float by = factor;
    each_number(count, [&](std::size_t i) { x[i] = from_float<D>(to_float(x[i]) * by); });
}
template <class T> void muon_normalize(const launch_context& k, span<T> x) {
    if (x.empty()) return;
    auto* parts = reinterpret_cast<double*>(k.scratch);
    const unsigned shares = std::min(blocks_for(x.size(), 1024), 4 * k.multiprocessors);
    muon_squares_kernel<<<shares, 256, 0, k.stream>>>(device(static_cast<const T*>(x.data())), x.size(), parts);
    muon_normalize_kernel<<<grid_for(k, x.size()), 256, 0, k.stream>>>(device(x.data()), x.size(), parts, shares);
    launched("muon_normalize");
}

template <class D>
static __global__ void muon_apply_kernel(float* w, const D* x, D* rounded, std::size_t count, double factor,
                                         const momentum_constants* constants, const double* squares) {
    if (clip_scale_of(*constants, *squares) == 0) return;
    const float keep = static_cast<float>(1 - constants->rate * constants->decay),
                size = static_cast<float>(constants->rate * factor);
    each_number(count, [&](std::size_t i) {
        const float to = w[i] * keep - size * to_float(x[i]);
        w[i] = to;
        if (rounded) rounded[i] = from_float<D>(to);
    });
}
template <class T>
void muon_apply(const launch_context& k, span<float> weight, span<const T> x, span<T> rounded, double factor,
                const momentum_constants* constants, const double* squares) {
    if (weight.empty()) return;
    muon_apply_kernel<<<grid_for(k, weight.size()), 256, 0, k.stream>>>(
        weight.data(), device(x.data()), device(rounded.data()), weight.size(), factor, constants, squares);
    launched("muon_apply");
}

}  // namespace depthgrow::kernels
