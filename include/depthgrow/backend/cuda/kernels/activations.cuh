// The activations between an MLP's linear maps other than SwiGLU's own: gated and plain, forward and backward.
// Assumes contiguous rows with a leading dimension; one element a thread at a time.
// Maths: Hendrycks & Gimpel 2016 (GELU), Shazeer 2020 (gated); backend/reference.hpp. Bound by memory.
#pragma once

#include "depthgrow/backend/cuda/kernels/common.cuh"

namespace depthgrow::kernels {

/// f(x) and f'(x) in float.
__device__ inline float2 activated(activation kind, float x) {
    if (kind == activation::silu) {
        const float s = 1.0f / (1.0f + expf(-x));
        return {x * s, s * (1.0f + x * (1.0f - s))};
    }
    if (kind == activation::gelu) {
        const float below = 0.5f * (1.0f + erff(x * 0.70710678118654752f));
        return {x * below, below + x * expf(-0.5f * x * x) * 0.39894228040143268f};
    }
    const float root = 0.79788456080286536f, cubic = 0.044715f, t = tanhf(root * (x + cubic * x * x * x));
    return {0.5f * x * (1.0f + t),
            0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * root * (1.0f + 3.0f * cubic * x * x)};
}
template <class D, bool Gated>
static __global__ void activation_forward_kernel(activation kind, const D* x, std::size_t stride, D* out,
                                                 std::size_t out_stride, std::size_t cols, std::size_t count) {
    for (std::size_t i = blockIdx.x * static_cast<std::size_t>(blockDim.x) + threadIdx.x; i < count;
         i += static_cast<std::size_t>(gridDim.x) * blockDim.x) {
        const std::size_t row = i / cols, c = i % cols;
        float y = activated(kind, to_float(x[row * stride + c])).x;
        if (Gated) y *= to_float(x[row * stride + cols + c]);
        out[row * out_stride + c] = from_float<D>(y);
    }
}
template <class D, bool Gated>
static __global__ void activation_backward_kernel(activation kind, const D* x, std::size_t stride, const D* dout,
                                                  std::size_t dout_stride, D* dx, std::size_t dx_stride,
                                                  std::size_t cols, std::size_t count) {
    for (std::size_t i = blockIdx.x * static_cast<std::size_t>(blockDim.x) + threadIdx.x; i < count;
         i += static_cast<std::size_t>(gridDim.x) * blockDim.x) {
        const std::size_t row = i / cols, c = i % cols;
        const float2 f = activated(kind, to_float(x[row * stride + c]));
        const float d = to_float(dout[row * dout_stride + c]);
        dx[row * dx_stride + c] = from_float<D>(d * f.y * (Gated ? to_float(x[row * stride + cols + c]) : 1.0f));
        if (Gated) dx[row * dx_stride + cols + c] = from_float<D>(d * f.x);
    }
}
/// x holds gate and up side by side when `gated`, out one of them.
template <class T>
void activation_forward(const launch_context& k, activation kind, bool gated, matrix<const T> x, matrix<T> out) {
    if (out.size() == 0) return;
    const unsigned blocks = std::min(blocks_for(out.size(), 256), 32 * k.multiprocessors);
    const auto go = [&](auto pair) {
        activation_forward_kernel<device_t<T>, decltype(pair)::value><<<blocks, 256, 0, k.stream>>>(
            kind, device(x.data), x.stride, device(out.data), out.stride, out.cols, out.size());
    };
    if (gated) go(std::true_type());
    else go(std::false_type());
    launched("activation_forward");
}
template <class T>
void activation_backward(const launch_context& k, activation kind, bool gated, matrix<const T> x, matrix<const T> dout,
                         matrix<T> dx) {
    if (dout.size() == 0) return;
    const unsigned blocks = std::min(blocks_for(dout.size(), 256), 32 * k.multiprocessors);
    const auto go = [&](auto pair) {
        activation_backward_kernel<device_t<T>, decltype(pair)::value>
            <<<blocks, 256, 0, k.stream>>>(kind, device(x.data), x.stride, device(dout.data), dout.stride,
                                           device(dx.data), dx.stride, dout.cols, dout.size());
    };
    if (gated) go(std::true_type());
    else go(std::false_type());
    launched("activation_backward");
}

}  // namespace depthgrow::kernels
