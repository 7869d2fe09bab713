// Eight-bit copies of tensors: e4m3 with a scale that follows the largest magnitudes of the last uses.
// Assumes bfloat16 operands whose rows are whole vectors of 8. Scales are powers of two, so that scaling itself rounds
// nothing; what lies beyond the largest number is clamped to it. The last block of a launch prepares the next use.
// Maths: Micikevicius et al. 2022 (arXiv 2209.05433); delayed scaling as in the FP8 recipes for training.
#pragma once

#include <cuda_fp8.h>

#include "depthgrow/backend/cuda/kernels/common.cuh"

namespace depthgrow::kernels {

/// The largest power of two that keeps `largest` within e4m3; 1 where there is nothing to go by.
__device__ inline float fp8_scale_of(float largest) {
    if (!(largest > 0) || !isfinite(largest)) return 1.0f;
    return exp2f(fminf(fmaxf(floorf(log2f(448.0f / largest)), -60.0f), 60.0f));
}
/// Ends a use: every thread brings the largest magnitude it has seen. `first` fills the whole history.
__device__ inline void finish_fp8(fp8_scaling* s, float largest, bool first) {
    __shared__ float shared[33];
    largest = block_reduce<true>(largest, shared);
    if (threadIdx.x > 0) return;
    atomicMax(&s->largest, __float_as_uint(largest));
    __threadfence();
    if (atomicAdd(&s->done, 1u) + 1 < gridDim.x * gridDim.y) return;
    const float seen = __uint_as_float(atomicMax(&s->largest, 0u));
    float most = 0;
    for (unsigned i = 0; i < fp8_scaling::remembered; ++i) {
        if (first || i == s->uses % fp8_scaling::remembered) s->history[i] = seen;
        most = fmaxf(most, s->history[i]);
    }
    if (!first) s->inverse = 1.0f / s->scale, ++s->uses;
    s->scale = fp8_scale_of(most);
    s->largest = 0, s->done = 0;
}

/// Whether kernels of these widths can leave eight-bit copies.
template <class D, int N> constexpr bool leaves_fp8 = std::is_same_v<D, __nv_bfloat16>&& N == 8;

/// 8 numbers, scaled, in eight bits each; `largest` grows.
__device__ inline uint2 fp8_of(const pack<__nv_bfloat16, 8>& x, float scale, float& largest) {
    union {
        __nv_fp8x2_storage_t pairs[4];
        uint2 words;
    } out;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
        const float a = x.get(2 * j), b = x.get(2 * j + 1);
        largest = fmaxf(largest, fmaxf(fabsf(a), fabsf(b)));
        out.pairs[j] = __nv_cvt_float2_to_fp8x2(make_float2(a * scale, b * scale), __NV_SATFINITE, __NV_E4M3);
    }
    return out.words;
}

/// Blocks of a kernel that may leave a copy: each takes a part in finishing it, so few enough not to queue there.
inline unsigned copying_blocks(const launch_context& k, unsigned blocks, fp8_copy copy) {
    return copy.out ? std::min(blocks, 16 * k.multiprocessors) : blocks;
}

/// Stores N numbers, and where a kernel leaves copies, the rounded numbers once more at element `at` of the copy.
template <int N, class D>
__device__ inline void store_with_copy(D* to, const float (&from)[N], fp8_copy copy, std::size_t at, float scale,
                                       float& largest) {
    pack<D, N> p;
    p.put(from);
    *reinterpret_cast<pack<D, N>*>(to) = p;
    if constexpr (leaves_fp8<D, N>)
        if (copy.out) *reinterpret_cast<uint2*>(copy.out + at) = fp8_of(p, scale, largest);
}

template <bool Store>
static __global__ void quantize_fp8_kernel(const __nv_bfloat16* x, std::size_t stride, std::size_t cols,
                                           std::size_t count, uint2* out, fp8_scaling* scaling) {
    const float scale = scaling->scale;
    float largest = 0;
    for (std::size_t i = blockIdx.x * static_cast<std::size_t>(blockDim.x) + threadIdx.x; i < count;
         i += static_cast<std::size_t>(gridDim.x) * blockDim.x) {
        const std::size_t row = i * 8 / cols, col = i * 8 % cols;
        const uint2 words =
            fp8_of(*reinterpret_cast<const pack<__nv_bfloat16, 8>*>(x + row * stride + col), scale, largest);
        if (Store) out[i] = words;
    }
    finish_fp8(scaling, largest, !Store);
}

template <bool Store>
void launch_quantize_fp8(const launch_context& k, matrix<const bfloat16> x, e4m3* out, fp8_scaling* scaling) {
    const std::size_t count = x.size() / 8;
    quantize_fp8_kernel<Store><<<std::min(blocks_for(count, 256), 8 * k.multiprocessors), 256, 0, k.stream>>>(
        device(x.data), x.stride, x.cols, count, reinterpret_cast<uint2*>(out), scaling);
    launched("quantize_fp8");
}
[[gnu::used]] inline void start_fp8(const launch_context& k, matrix<const bfloat16> x, fp8_scaling* scaling) {
    launch_quantize_fp8<false>(k, x, nullptr, scaling);
}
[[gnu::used]] inline void quantize_fp8(const launch_context& k, matrix<const bfloat16> x, e4m3* out,
                                       fp8_scaling* scaling) {
    launch_quantize_fp8<true>(k, x, out, scaling);
}

}  // namespace depthgrow::kernels
