// RoPE kernels: in place, and in the backward pass together with the sums of keys' and values' gradients over their
// groups. Assumes rows of packed queries, keys and values, sequences of `length` rows, tables of (context, half): the
// first 2 half channels of a head rotate. Maths: Su et al. 2021, half-split; backend/reference.hpp. Bound by memory.
#pragma once

#include "depthgrow/backend/cuda/kernels/common.cuh"

namespace depthgrow::kernels {

/// Channel i of a head rotates with channel i + half.
__device__ inline void rotate(float& low, float& high, float cosine, float sine) {
    const float kept = low;
    low = kept * cosine - high * sine;
    high = high * cosine + kept * sine;
}
template <class D, int N>
static __global__ void rope_kernel(D* x, std::size_t stride, std::size_t length, std::size_t heads,
                                   std::size_t head_width, std::size_t half, const float* cosine, const float* sine,
                                   float sign, std::size_t count) {
    const std::size_t pieces = half / N;
    for (std::size_t i = blockIdx.x * static_cast<std::size_t>(blockDim.x) + threadIdx.x; i < count;
         i += static_cast<std::size_t>(gridDim.x) * blockDim.x) {
        const std::size_t piece = i % pieces, head = i / pieces % heads, row = i / pieces / heads,
                          at = row % length * half + piece * N;
        D* low = x + row * stride + head * head_width + piece * N;
        float a[N], b[N];
        load<N>(low, a);
        load<N>(low + half, b);
#pragma unroll
        for (int j = 0; j < N; ++j) rotate(a[j], b[j], cosine[at + j], sign * sine[at + j]);
        store<N>(low, a);
        store<N>(low + half, b);
    }
}
template <class T>
void rope_inplace(const launch_context& k, matrix<T> x, std::size_t length, std::size_t heads, std::size_t head_width,
                  matrix<const float> cosine, matrix<const float> sine, float sign) {
    const std::size_t half = cosine.cols;
    if (x.rows * heads * half == 0) return;
    const auto go = [&](auto width) {
        constexpr int n = decltype(width)::value;
        const std::size_t count = x.rows * heads * (half / n);
        rope_kernel<device_t<T>, n><<<std::min(blocks_for(count, 256), 32 * k.multiprocessors), 256, 0, k.stream>>>(
            device(x.data), x.stride, length, heads, head_width, half, cosine.data, sine.data, sign, count);
    };
    constexpr int n = widest<device_t<T>>;
    if (half % n == 0 && head_width % n == 0 && x.stride % n == 0 && reinterpret_cast<std::uintptr_t>(x.data) % 16 == 0)
        go(std::integral_constant<int, n>());
    else go(std::integral_constant<int, 1>());
    launched("rope");
}

/// N channels of both halves of a head that rotates whole: queries are rotated back, keys summed over their group and
/// rotated back, values summed.
template <int N>
static __global__ void finish_attention_gradients_kernel(attention_shape s, const __nv_bfloat16* dk,
                                                         const __nv_bfloat16* dv, __nv_bfloat16* dqkv,
                                                         std::size_t stride, const float* cosine, const float* sine,
                                                         std::size_t count) {
    const unsigned half = static_cast<unsigned>(s.head_width / 2), pieces = half / N,
                   heads = static_cast<unsigned>(s.heads), kv_heads = static_cast<unsigned>(s.kv_heads),
                   group = heads / kv_heads;
    const unsigned skipped = cosine ? 0 : heads, slots = heads + 2 * kv_heads - skipped;
    for (std::size_t i = blockIdx.x * static_cast<std::size_t>(blockDim.x) + threadIdx.x; i < count;
         i += static_cast<std::size_t>(gridDim.x) * blockDim.x) {
        const std::size_t row = i / (slots * pieces);
        const unsigned rest = static_cast<unsigned>(i - row * (slots * pieces)), slot = rest / pieces + skipped,
                       channel = rest % pieces * N;
        __nv_bfloat16* to = dqkv + row * stride + slot * 2 * half + channel;
        float low[N], high[N];
        if (slot < heads) {
            load<N>(to, low);
            load<N>(to + half, high);
        } else {
            const bool key = slot < heads + kv_heads;
            const unsigned shared = slot - heads - (key ? 0 : kv_heads);
            const __nv_bfloat16* from = (key ? dk : dv) + (row * heads + shared * group) * 2 * half + channel;
            load<N>(from, low);
            load<N>(from + half, high);
#pragma unroll 2
            for (unsigned g = 1; g < group; ++g) {
                float more_low[N], more_high[N];
                load<N>(from + g * 2 * half, more_low);
                load<N>(from + g * 2 * half + half, more_high);
#pragma unroll
                for (int j = 0; j < N; ++j) low[j] += more_low[j], high[j] += more_high[j];
            }
        }
        if (cosine && slot < heads + kv_heads) {
            const std::size_t at = row % s.length * half + channel;
            float c[N], negated[N];
#pragma unroll
            for (int j = 0; j < N; ++j) c[j] = cosine[at + j], negated[j] = -sine[at + j];
#pragma unroll
            for (int j = 0; j < N; ++j) rotate(low[j], high[j], c[j], negated[j]);
        }
        store<N>(to, low);
        store<N>(to + half, high);
    }
}
[[gnu::used]] inline void finish_attention_gradients(const launch_context& k, attention_shape s, const bfloat16* dk,
                                                     const bfloat16* dv, matrix<bfloat16> dqkv,
                                                     matrix<const float> cosine, matrix<const float> sine) {
    const auto go = [&](auto width) {
        constexpr int n = decltype(width)::value;
        const std::size_t count = dqkv.rows * ((cosine.data ? s.heads : 0) + 2 * s.kv_heads) * (s.head_width / 2 / n);
        finish_attention_gradients_kernel<n>
            <<<std::min(blocks_for(count, 256), 32 * k.multiprocessors), 256, 0, k.stream>>>(
                s, device(dk), device(dv), device(dqkv.data), dqkv.stride, cosine.data, sine.data, count);
    };
    if (s.head_width % 16 == 0) go(std::integral_constant<int, 8>());
    else go(std::integral_constant<int, 4>());
    launched("attention_backward");
}

}  // namespace depthgrow::kernels
