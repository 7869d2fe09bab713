// Kernels of AdamW: sums of squares, the step with the clip and the low-precision copy inside.
// Assumes float weights, gradients and moments; step constants lie in device memory, so that a recorded step can be
// replayed. Sums are deterministic: partial sums of fixed shares, added in a fixed order.
#pragma once

#include "depthgrow/backend/cuda/kernels/common.cuh"

namespace depthgrow::kernels {

/// Up to `most` operands of a kernel that walks all of them in pieces: block b has pieces [ends[b - 1], ends[b]).
template <class Operand> struct work_list {
    static constexpr unsigned most = 64;
    Operand operands[most];
    unsigned ends[most];
    unsigned count = 0;

    void add(const Operand& operand, std::size_t pieces) {
        operands[count] = operand;
        ends[count] = (count ? ends[count - 1] : 0) + static_cast<unsigned>(pieces);
        ++count;
    }
    unsigned pieces() const { return count ? ends[count - 1] : 0; }
    /// body(operand, piece within it) for this block's share of the pieces.
    template <class Body> __device__ void each_piece(const Body& body) const {
        for (unsigned piece = blockIdx.x, at = 0; piece < ends[count - 1]; piece += gridDim.x) {
            while (piece >= ends[at]) ++at;
            body(operands[at], piece - (at ? ends[at - 1] : 0));
        }
    }
};
/// Calls body with lists of the blocks' operands, in order, none empty.
template <class Operand, class Blocks, class Body>
void each_list(const Blocks& blocks, std::size_t piece, const Body& body) {
    work_list<Operand> list;
    const auto hand_over = [&] {
        if (list.pieces() > 0) body(list);
        list.count = 0;
    };
    for (const auto& block : blocks) {
        const Operand operand(block);
        if (operand.count > 0) list.add(operand, (operand.count + piece - 1) / piece);
        if (list.count == list.most) hand_over();
    }
    hand_over();
}

struct squares_operand {
    const float* x;
    std::size_t count;
    explicit squares_operand(span<const float> block) : x(block.data()), count(block.size()) {}
    squares_operand() = default;
};
constexpr std::size_t squares_piece = 8192;
/// `scratch`: (gridDim.x) doubles. The sum of squares of each block's pieces.
static __global__ void __launch_bounds__(256, 4)
    square_sums_kernel(const __grid_constant__ work_list<squares_operand> list, double* scratch) {
    double total = 0;
    list.each_piece([&](const squares_operand& o, unsigned piece) {
        constexpr unsigned quads = squares_piece / 4, each = quads / 256;
        const std::size_t first = static_cast<std::size_t>(piece) * squares_piece;
        const float* x = o.x + first;
        float4 values[each];
        if (first + squares_piece <= o.count) {  // all loads on their way at a time
#pragma unroll
            for (unsigned i = 0; i < each; ++i) values[i] = reinterpret_cast<const float4*>(x)[i * 256 + threadIdx.x];
#pragma unroll
            for (unsigned i = 0; i < each; ++i)
                total += static_cast<double>(values[i].x * values[i].x + values[i].y * values[i].y) +
                         static_cast<double>(values[i].z * values[i].z + values[i].w * values[i].w);
        } else {
            for (std::size_t i = threadIdx.x; i < o.count - first; i += 256)
                total += static_cast<double>(x[i]) * static_cast<double>(x[i]);
        }
    });
    __shared__ double shared[32];
    for (int lane = 16; lane > 0; lane /= 2) total += __shfl_xor_sync(0xffffffffu, total, lane);
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = total;
    __syncthreads();
    if (threadIdx.x > 0) return;
    for (unsigned w = 1; w < blockDim.x / 32; ++w) total += shared[w];
    scratch[blockIdx.x] = total;
}
static __global__ void add_parts_kernel(const double* parts, unsigned count, double* sum) {
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
[[gnu::used]] inline void accumulate_squares(const launch_context& k, span<const span<const float>> blocks,
                                             double* sum) {
    for (const auto& block : blocks)
        if (!aligned(block, 4)) fail("[accumulate_squares] expected numbers aligned to 16 bytes, got others");
    auto* parts = reinterpret_cast<double*>(k.scratch);
    each_list<squares_operand>(blocks, squares_piece, [&](const work_list<squares_operand>& list) {
        const unsigned grid = std::min(list.pieces(), 4 * k.multiprocessors);
        square_sums_kernel<<<grid, 256, 0, k.stream>>>(list, parts);
        add_parts_kernel<<<1, 256, 0, k.stream>>>(parts, grid, sum);
    });
    launched("accumulate_squares");
}

/// Whole numbers add up to the same in any order, so that atomics are deterministic here.
static __global__ void word_sum_kernel(const std::uint32_t* words, std::size_t count, unsigned long long* sum) {
    unsigned long long own = 0;
    for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; i < count;
         i += std::size_t{gridDim.x} * blockDim.x)
        own += (static_cast<unsigned long long>(words[i]) + 1) * (2 * static_cast<unsigned long long>(i) + 1);
    for (int lane = 16; lane > 0; lane /= 2) own += __shfl_xor_sync(0xffffffffu, own, lane);
    if (threadIdx.x % 32 == 0) atomicAdd(sum, own);
}
[[gnu::used]] inline void word_sum(const launch_context& k, const void* data, std::size_t bytes, std::uint64_t* sum) {
    word_sum_kernel<<<8 * k.multiprocessors, 256, 0, k.stream>>>(static_cast<const std::uint32_t*>(data), bytes / 4,
                                                                 reinterpret_cast<unsigned long long*>(sum));
    launched("word_sum");
}

struct adamw_scalars {
    float scale, b1, b2, c1, c2, keep, rate, root, eps;
};
__device__ inline bool adamw_scalars_of(const adamw_constants& k, double squares, adamw_scalars& s) {
    const double norm = sqrt(squares);
    if (!isfinite(norm) || (k.skip_above > 0 && norm > k.skip_above)) return false;
    s.scale = static_cast<float>(k.clip > 0 ? fmin(1.0, k.clip / (norm + 1e-6)) : 1.0);
    s.b1 = static_cast<float>(k.beta1), s.b2 = static_cast<float>(k.beta2), s.c1 = static_cast<float>(1 - k.beta1),
    s.c2 = static_cast<float>(1 - k.beta2);
    s.keep = static_cast<float>(1 - k.rate * k.decay), s.eps = static_cast<float>(k.eps);
    const auto step = static_cast<double>(k.step);
    s.rate = static_cast<float>(k.rate / (1 - pow(k.beta1, step)));
    s.root = static_cast<float>(1 / (1 - pow(k.beta2, step)));
    return true;
}
template <class D> struct adamw_operand {
    float* weight;
    const float* gradient;
    float *first, *second;
    D* rounded;
    std::size_t count;
    template <class T>
    explicit adamw_operand(const adamw_operands<T>& o)
        : weight(o.weight.data()),
          gradient(o.gradient.data()),
          first(o.first.data()),
          second(o.second.data()),
          rounded(device(o.rounded.data())),
          count(o.weight.size()) {}
    adamw_operand() = default;
};
constexpr std::size_t adamw_piece = 1024;
template <class D, int N>
static __global__ void __launch_bounds__(256, 5) adamw_kernel(const __grid_constant__ work_list<adamw_operand<D>> list,
                                                              const adamw_constants* constants, const double* squares) {
    __shared__ adamw_scalars shared;
    __shared__ bool finite;
    if (threadIdx.x == 0) finite = adamw_scalars_of(*constants, *squares, shared);
    __syncthreads();
    if (!finite) return;
    const adamw_scalars s = shared;
    list.each_piece([&](const adamw_operand<D>& o, unsigned piece) {
        const std::size_t first = static_cast<std::size_t>(piece) * adamw_piece;
#pragma unroll
        for (unsigned part = 0; part < adamw_piece / 256 / N; ++part) {
            const std::size_t i = first + (part * 256 + threadIdx.x) * N;
            if (i >= o.count) return;
            float w[N], g[N], m[N], v[N];
            load<N>(o.weight + i, w);
            load<N>(o.gradient + i, g);
            load<N>(o.first + i, m);
            load<N>(o.second + i, v);
#pragma unroll
            for (int j = 0; j < N; ++j) {
                const float scaled = g[j] * s.scale;
                m[j] = s.b1 * m[j] + s.c1 * scaled;
                v[j] = s.b2 * v[j] + s.c2 * scaled * scaled;
                w[j] = w[j] * s.keep - s.rate * m[j] / (sqrtf(v[j] * s.root) + s.eps);
            }
            store<N>(o.weight + i, w);
            store<N>(o.first + i, m);
            store<N>(o.second + i, v);
            if (o.rounded) store<N>(o.rounded + i, w);
        }
    });
}
template <class T>
void adamw(const launch_context& k, span<const adamw_operands<T>> blocks, const adamw_constants* constants,
           const double* squares) {
    bool wide = true;
    for (const auto& o : blocks)
        wide = wide && o.weight.size() % 4 == 0 && aligned(o.weight, 4) && aligned(o.gradient, 4) &&
               aligned(o.first, 4) && aligned(o.second, 4) && (o.rounded.empty() || aligned(o.rounded, 4));
    each_list<adamw_operand<device_t<T>>>(blocks, adamw_piece, [&](const work_list<adamw_operand<device_t<T>>>& list) {
        const unsigned grid = std::min(list.pieces(), 5 * k.multiprocessors);  // all at a time
        if (wide) adamw_kernel<device_t<T>, 4><<<grid, 256, 0, k.stream>>>(list, constants, squares);
        else adamw_kernel<device_t<T>, 1><<<grid, 256, 0, k.stream>>>(list, constants, squares);
    });
    launched("adamw");
}

}  // namespace depthgrow::kernels
