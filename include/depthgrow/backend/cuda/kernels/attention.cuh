// Causal grouped-query attention for any shape and storage: a warp a query (forward, dq) or a key (dk, dv), a block a
// query behind a cache. Assumes head widths of at most 256. No atomics: results repeat bit for bit. Fast path:
// cudnn_attention.hpp. Maths: backend/reference.hpp; online softmax: Milakov & Gimelshein 2018. lse is (rows, heads).
#pragma once

#include "depthgrow/backend/cuda/kernels/common.cuh"

namespace depthgrow::kernels {

constexpr int attention_channels = 8;  // a lane holds channels lane, lane + 32, ...: head widths up to 256

struct attention_places {
    std::size_t batch, length, heads, kv_heads, width, stride, window;  // window 0: all earlier positions

    __device__ std::size_t first_seen(std::size_t t) const { return window > 0 && t + 1 > window ? t + 1 - window : 0; }
    /// One behind the last query that sees position u.
    __device__ std::size_t last_seeing(std::size_t u) const {
        return window > 0 && u + window < length ? u + window : length;
    }

    __device__ std::size_t q(std::size_t b, std::size_t t, std::size_t h) const {
        return (b * length + t) * stride + h * width;
    }
    __device__ std::size_t k(std::size_t b, std::size_t t, std::size_t kv) const {
        return (b * length + t) * stride + (heads + kv) * width;
    }
    __device__ std::size_t v(std::size_t b, std::size_t t, std::size_t kv) const {
        return k(b, t, kv) + kv_heads * width;
    }
};

template <class D, int N> __device__ inline void read_channels(const D* from, std::size_t width, float (&to)[N]) {
#pragma unroll
    for (int i = 0; i < N; ++i) {
        const std::size_t c = threadIdx.x % 32 + 32 * i;
        to[i] = c < width ? to_float(from[c]) : 0.0f;
    }
}
template <class D>
__device__ inline void write_channels(D* to, std::size_t width, const float (&from)[attention_channels], float factor) {
#pragma unroll
    for (int i = 0; i < attention_channels; ++i) {
        const std::size_t c = threadIdx.x % 32 + 32 * i;
        if (c < width) to[c] = from_float<D>(from[i] * factor);
    }
}
template <int N> __device__ inline float channel_dot(const float (&a)[N], const float (&b)[N]) {
    float sum = 0;
#pragma unroll
    for (int i = 0; i < N; ++i) sum += a[i] * b[i];
    return warp_sum(sum);
}

template <class D>
static __global__ void attention_forward_kernel(const D* qkv, attention_places p, float scale, D* out,
                                                std::size_t out_stride, float* lse) {
    const std::size_t task = blockIdx.x * static_cast<std::size_t>(blockDim.x / 32) + threadIdx.x / 32;
    if (task >= p.batch * p.length * p.heads) return;
    const std::size_t h = task % p.heads, t = task / p.heads % p.length, b = task / p.heads / p.length,
                      kv = h / (p.heads / p.kv_heads);
    float q[attention_channels], o[attention_channels] = {}, x[attention_channels];
    read_channels(qkv + p.q(b, t, h), p.width, q);
    float top = -INFINITY, sum = 0;
    for (std::size_t u = p.first_seen(t); u <= t; ++u) {
        read_channels(qkv + p.k(b, u, kv), p.width, x);
        const float score = scale * channel_dot(q, x);
        if (score > top) {
            const float shrink = exp_of<D>(top - score);
            top = score, sum *= shrink;
#pragma unroll
            for (int i = 0; i < attention_channels; ++i) o[i] *= shrink;
        }
        const float weight = exp_of<D>(score - top);
        sum += weight;
        read_channels(qkv + p.v(b, u, kv), p.width, x);
#pragma unroll
        for (int i = 0; i < attention_channels; ++i) o[i] += weight * x[i];
    }
    write_channels(out + (b * p.length + t) * out_stride + h * p.width, p.width, o, 1.0f / sum);
    if (threadIdx.x % 32 == 0) lse[task] = top + logf(sum);
}
template <class D>
static __global__ void attention_dq_kernel(const D* qkv, attention_places p, float scale, const D* out,
                                           std::size_t out_stride, const float* lse, const D* dout,
                                           std::size_t dout_stride, D* dqkv, std::size_t d_stride) {
    const std::size_t task = blockIdx.x * static_cast<std::size_t>(blockDim.x / 32) + threadIdx.x / 32;
    if (task >= p.batch * p.length * p.heads) return;
    const std::size_t h = task % p.heads, t = task / p.heads % p.length, b = task / p.heads / p.length,
                      kv = h / (p.heads / p.kv_heads);
    float q[attention_channels], d[attention_channels], dq[attention_channels] = {}, x[attention_channels],
                                                        y[attention_channels];
    read_channels(qkv + p.q(b, t, h), p.width, q);
    read_channels(dout + (b * p.length + t) * dout_stride + h * p.width, p.width, d);
    read_channels(out + (b * p.length + t) * out_stride + h * p.width, p.width, x);
    const float delta = channel_dot(d, x), shift = lse[task];
    for (std::size_t u = p.first_seen(t); u <= t; ++u) {
        read_channels(qkv + p.k(b, u, kv), p.width, x);
        read_channels(qkv + p.v(b, u, kv), p.width, y);
        const float weight = exp_of<D>(scale * channel_dot(q, x) - shift),
                    dscore = scale * weight * (channel_dot(d, y) - delta);
#pragma unroll
        for (int i = 0; i < attention_channels; ++i) dq[i] += dscore * x[i];
    }
    write_channels(dqkv + (b * p.length + t) * d_stride + h * p.width, p.width, dq, 1.0f);
}
template <class D>
static __global__ void attention_dkv_kernel(const D* qkv, attention_places p, float scale, const D* out,
                                            std::size_t out_stride, const float* lse, const D* dout,
                                            std::size_t dout_stride, D* dqkv, std::size_t d_stride) {
    const std::size_t task = blockIdx.x * static_cast<std::size_t>(blockDim.x / 32) + threadIdx.x / 32;
    if (task >= p.batch * p.length * p.kv_heads) return;
    const std::size_t kv = task % p.kv_heads, u = task / p.kv_heads % p.length, b = task / p.kv_heads / p.length,
                      group = p.heads / p.kv_heads;
    float k[attention_channels], v[attention_channels], dk[attention_channels] = {}, dv[attention_channels] = {},
                                                        q[attention_channels], d[attention_channels],
                                                        o[attention_channels];
    read_channels(qkv + p.k(b, u, kv), p.width, k);
    read_channels(qkv + p.v(b, u, kv), p.width, v);
    for (std::size_t h = kv * group; h < (kv + 1) * group; ++h)
        for (std::size_t t = u; t < p.last_seeing(u); ++t) {
            const std::size_t row = b * p.length + t;
            read_channels(qkv + p.q(b, t, h), p.width, q);
            read_channels(dout + row * dout_stride + h * p.width, p.width, d);
            read_channels(out + row * out_stride + h * p.width, p.width, o);
            const float weight = exp_of<D>(scale * channel_dot(q, k) - lse[row * p.heads + h]);
            const float dscore = scale * weight * (channel_dot(d, v) - channel_dot(d, o));
#pragma unroll
            for (int i = 0; i < attention_channels; ++i) dk[i] += dscore * q[i], dv[i] += weight * d[i];
        }
    D* row = dqkv + (b * p.length + u) * d_stride + (p.heads + kv) * p.width;
    write_channels(row, p.width, dk, 1.0f);
    write_channels(row + p.kv_heads * p.width, p.width, dv, 1.0f);
}

constexpr int cached_warps = 8;    // of a query's block: each takes a share of the keys, then they merge what they have
constexpr int keys_in_flight = 4;  // of a warp

/// Heads of at most 32 N channels. The cache holds positions before `start`; new ones are read where they are.
template <int N, class D>
static __global__ void cached_attention_kernel(const D* qkv, attention_places p, float scale, D* keys, D* values,
                                               std::size_t capacity, std::size_t start, D* out,
                                               std::size_t out_stride) {
    __shared__ float tops[cached_warps], sums[cached_warps], parts[cached_warps][32 * N];
    const std::size_t row = blockIdx.x / p.heads, h = blockIdx.x % p.heads, group = p.heads / p.kv_heads,
                      kv = h / group, count = start + row + 1;
    const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    keys += kv * capacity * p.width, values += kv * capacity * p.width;
    if (h % group == 0)
        for (std::size_t c = threadIdx.x; c < p.width; c += blockDim.x) {
            keys[(count - 1) * p.width + c] = qkv[p.k(0, row, kv) + c];
            values[(count - 1) * p.width + c] = qkv[p.v(0, row, kv) + c];
        }
    float q[N], o[N] = {}, x[keys_in_flight][N], score[keys_in_flight], top = -INFINITY, sum = 0;
    read_channels(qkv + p.q(0, row, h), p.width, q);
    for (std::size_t first = p.first_seen(count - 1) + warp * keys_in_flight; first < count;
         first += cached_warps * keys_in_flight) {
        float largest = top;
#pragma unroll
        for (int j = 0; j < keys_in_flight; ++j) {
            const std::size_t u = min(first + j, count - 1);  // beyond the last: read again, and weighed with zero
            read_channels(u < start ? keys + u * p.width : qkv + p.k(0, u - start, kv), p.width, x[j]);
        }
#pragma unroll
        for (int j = 0; j < keys_in_flight; ++j) {
            const float product = scale * channel_dot(q, x[j]);
            score[j] = first + j < count ? product : -INFINITY;
            largest = fmaxf(largest, score[j]);
        }
#pragma unroll
        for (int j = 0; j < keys_in_flight; ++j) {
            const std::size_t u = min(first + j, count - 1);
            read_channels(u < start ? values + u * p.width : qkv + p.v(0, u - start, kv), p.width, x[j]);
        }
        const float shrink = exp_of<D>(top - largest);  // some key of the first round is seen: largest is finite
        top = largest, sum *= shrink;
#pragma unroll
        for (int i = 0; i < N; ++i) o[i] *= shrink;
#pragma unroll
        for (int j = 0; j < keys_in_flight; ++j) {
            const float weight = exp_of<D>(score[j] - top);
            sum += weight;
#pragma unroll
            for (int i = 0; i < N; ++i) o[i] += weight * x[j][i];
        }
    }
    if (lane == 0) tops[warp] = top, sums[warp] = sum;
#pragma unroll
    for (int i = 0; i < N; ++i) parts[warp][lane + 32 * i] = o[i];
    __syncthreads();
    float highest = -INFINITY, total = 0;
#pragma unroll
    for (int w = 0; w < cached_warps; ++w) highest = fmaxf(highest, tops[w]);
#pragma unroll
    for (int w = 0; w < cached_warps; ++w) total += sums[w] * exp_of<D>(tops[w] - highest);
    for (std::size_t c = threadIdx.x; c < p.width; c += blockDim.x) {
        float mixed = 0;
#pragma unroll
        for (int w = 0; w < cached_warps; ++w) mixed += parts[w][c] * exp_of<D>(tops[w] - highest);
        out[row * out_stride + h * p.width + c] = from_float<D>(mixed / total);
    }
}

template <class T>
void attention_forward(const launch_context& k, matrix<const T> qkv, attention_shape s, matrix<T> out,
                       span<float> lse) {
    if (s.rows() == 0) return;
    if (s.head_width > 32 * attention_channels)
        fail("[attention] expected heads of at most ", 32 * attention_channels, " channels, got ", s.head_width);
    const attention_places p{s.batch, s.length, s.heads, s.kv_heads, s.head_width, qkv.stride, s.window};
    const float scale = s.score_scale<float>();
    attention_forward_kernel<<<blocks_for(s.rows() * s.heads, 4), 128, 0, k.stream>>>(
        device(qkv.data), p, scale, device(out.data), out.stride, lse.data());
    launched("attention_forward");
}
template <class T>
void attention_backward(const launch_context& k, matrix<const T> qkv, attention_shape s, matrix<const T> out,
                        span<const float> lse, matrix<const T> dout, matrix<T> dqkv) {
    if (s.rows() == 0) return;
    const attention_places p{s.batch, s.length, s.heads, s.kv_heads, s.head_width, qkv.stride, s.window};
    const float scale = s.score_scale<float>();
    attention_dq_kernel<<<blocks_for(s.rows() * s.heads, 4), 128, 0, k.stream>>>(
        device(qkv.data), p, scale, device(out.data), out.stride, lse.data(), device(dout.data), dout.stride,
        device(dqkv.data), dqkv.stride);
    attention_dkv_kernel<<<blocks_for(s.rows() * s.kv_heads, 4), 128, 0, k.stream>>>(
        device(qkv.data), p, scale, device(out.data), out.stride, lse.data(), device(dout.data), dout.stride,
        device(dqkv.data), dqkv.stride);
    launched("attention_backward");
}

template <class T>
void cached_attention(const launch_context& k, matrix<const T> qkv, attention_shape s, key_value_cache<T> cache,
                      matrix<T> out) {
    if (s.rows() == 0) return;
    if (s.head_width > 32 * attention_channels)
        fail("[cached_attention] expected heads of at most ", 32 * attention_channels, " channels, got ", s.head_width);
    const attention_places p{1, s.length, s.heads, s.kv_heads, s.head_width, qkv.stride, s.window};
    const float scale = s.score_scale<float>();
    const auto go = [&](auto channels) {
        cached_attention_kernel<decltype(channels)::value>
            <<<blocks_for(s.rows() * s.heads, 1), 32 * cached_warps, 0, k.stream>>>(
                device(qkv.data), p, scale, device(cache.keys.data()), device(cache.values.data()), cache.capacity,
                cache.length, device(out.data), out.stride);
    };
    if (s.head_width <= 64) go(std::integral_constant<int, 2>());
    else if (s.head_width <= 128) go(std::integral_constant<int, 4>());
    else go(std::integral_constant<int, attention_channels>());
    launched("cached_attention");
}

}  // namespace depthgrow::kernels
