// Kernels that touch each element once: fill, sums, SwiGLU, embedding.
// Assumes contiguous rows with a leading dimension; rows of full width are walked as one run.
// Maths: backend/reference.hpp. All are bound by memory: 16 bytes an access where alignment allows.
#pragma once

#include "depthgrow/backend/cuda/kernels/fp8.cuh"

namespace depthgrow::kernels {

template <class Word> static __global__ void fill_kernel(Word* to, std::size_t count, Word word) {
    for (std::size_t i = blockIdx.x * static_cast<std::size_t>(blockDim.x) + threadIdx.x; i < count;
         i += static_cast<std::size_t>(gridDim.x) * blockDim.x)
        to[i] = word;
}

[[gnu::used]] inline void fill_words(const launch_context& k, void* to, std::size_t count, std::size_t word_bytes,
                                     std::uint64_t word) {
    if (count == 0) return;
    const unsigned blocks = std::min(blocks_for(count, 1024), 8 * k.multiprocessors);
    if (word_bytes == 1)
        fill_kernel<<<blocks, 256, 0, k.stream>>>(static_cast<std::uint8_t*>(to), count,
                                                  static_cast<std::uint8_t>(word));
    else if (word_bytes == 2)
        fill_kernel<<<blocks, 256, 0, k.stream>>>(static_cast<std::uint16_t*>(to), count,
                                                  static_cast<std::uint16_t>(word));
    else if (word_bytes == 4)
        fill_kernel<<<blocks, 256, 0, k.stream>>>(static_cast<std::uint32_t*>(to), count,
                                                  static_cast<std::uint32_t>(word));
    else fill_kernel<<<blocks, 256, 0, k.stream>>>(static_cast<std::uint64_t*>(to), count, word);
    launched("fill");
}

// ---- sums: out = a + factor * b
template <class D, int N>
static __global__ void add_kernel(const D* a, std::size_t a_stride, float factor, const D* b, std::size_t b_stride,
                                  D* out, std::size_t out_stride, std::size_t cols, std::size_t count) {
    for (std::size_t i = blockIdx.x * static_cast<std::size_t>(blockDim.x) + threadIdx.x; i < count;
         i += static_cast<std::size_t>(gridDim.x) * blockDim.x) {
        const std::size_t row = i * N / cols, col = i * N % cols;
        float x[N], y[N];
        load<N>(a + row * a_stride + col, x);
        load<N>(b + row * b_stride + col, y);
#pragma unroll
        for (int j = 0; j < N; ++j) x[j] += factor * y[j];
        store<N>(out + row * out_stride + col, x);
    }
}
template <class T>
void add(const launch_context& k, matrix<const T> a, float factor, matrix<const T> b, matrix<T> out) {
    if (out.size() == 0) return;
    const auto go = [&](auto width) {
        constexpr int n = decltype(width)::value;
        const std::size_t count = out.size() / n;
        add_kernel<device_t<T>, n><<<std::min(blocks_for(count, 256), 32 * k.multiprocessors), 256, 0, k.stream>>>(
            device(a.data), a.stride, factor, device(b.data), b.stride, device(out.data), out.stride, out.cols, count);
    };
    constexpr int n = widest<device_t<T>>;
    if (aligned(a, n) && aligned(b, n) && aligned(out, n)) go(std::integral_constant<int, n>());
    else go(std::integral_constant<int, 1>());
    launched("add");
}

// ---- SwiGLU
template <class D> __device__ inline float sigmoid(float x) {
    if (sizeof(D) == 4) return 1.0f / (1.0f + expf(-x));
    float power, inverse;  // the plain instructions: results are rounded to bfloat16
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x * -1.4426950408889634f));
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(inverse) : "f"(1.0f + power));
    return inverse;
}
/// silu(gate) * up; gate and up become its slopes by them.
template <class D> __device__ inline float swiglu_slopes(float& gate, float& up) {
    const float s = sigmoid<D>(gate), silu = gate * s, out = silu * up;
    gate = up * (s + silu * (1.0f - s));
    up = silu;
    return out;
}

template <class D, int N>
static __global__ void swiglu_forward_kernel(const D* gate_up, std::size_t stride, D* out, std::size_t out_stride,
                                             std::size_t cols, std::size_t count, fp8_copy copy) {
    const float scale = copy.out ? copy.scaling->scale : 0.0f;
    float largest = 0;
    for (std::size_t i = blockIdx.x * static_cast<std::size_t>(blockDim.x) + threadIdx.x; i < count;
         i += static_cast<std::size_t>(gridDim.x) * blockDim.x) {
        const std::size_t at = i * N, row = at / cols, col = at % cols;
        float gate[N], up[N];
        load<N>(gate_up + row * stride + col, gate);
        load<N>(gate_up + row * stride + cols + col, up);
#pragma unroll
        for (int j = 0; j < N; ++j) up[j] *= gate[j] * sigmoid<D>(gate[j]);
        store_with_copy<N>(out + row * out_stride + col, up, copy, at, scale, largest);
    }
    if (copy.out) finish_fp8(copy.scaling, largest, false);
}
template <class D, int N>
static __global__ void swiglu_backward_kernel(const D* gate_up, std::size_t stride, const D* dout,
                                              std::size_t dout_stride, D* d, std::size_t d_stride, std::size_t cols,
                                              std::size_t count, fp8_copy copy) {
    const float scale = copy.out ? copy.scaling->scale : 0.0f;
    float largest = 0;
    for (std::size_t i = blockIdx.x * static_cast<std::size_t>(blockDim.x) + threadIdx.x; i < count;
         i += static_cast<std::size_t>(gridDim.x) * blockDim.x) {
        const std::size_t at = i * N, row = at / cols, col = at % cols;
        float gate[N], up[N], dy[N];
        load<N>(gate_up + row * stride + col, gate);
        load<N>(gate_up + row * stride + cols + col, up);
        load<N>(dout + row * dout_stride + col, dy);
#pragma unroll
        for (int j = 0; j < N; ++j) {
            (void)swiglu_slopes<D>(gate[j], up[j]);
            gate[j] *= dy[j], up[j] *= dy[j];
        }
        store_with_copy<N>(d + row * d_stride + col, gate, copy, 2 * row * cols + col, scale, largest);
        store_with_copy<N>(d + row * d_stride + cols + col, up, copy, (2 * row + 1) * cols + col, scale, largest);
    }
    if (copy.out) finish_fp8(copy.scaling, largest, false);
}
template <class T> bool swiglu_forward(const launch_context& k, matrix<const T> gate_up, matrix<T> out, fp8_copy copy) {
    if (out.size() == 0) return false;
    const auto go = [&](auto width) {
        constexpr int n = decltype(width)::value;
        const std::size_t count = out.size() / n;
        if (!leaves_fp8<device_t<T>, n>) copy = {};
        swiglu_forward_kernel<device_t<T>, n>
            <<<copying_blocks(k, std::min(blocks_for(count, 256), 32 * k.multiprocessors), copy), 256, 0, k.stream>>>(
                device(gate_up.data), gate_up.stride, device(out.data), out.stride, out.cols, count, copy);
    };
    constexpr int n = widest<device_t<T>>;
    if (aligned(gate_up, n) && aligned(out, n)) go(std::integral_constant<int, n>());
    else go(std::integral_constant<int, 1>());
    launched("swiglu_forward");
    return copy.out;
}
template <class T>
bool swiglu_backward(const launch_context& k, matrix<const T> gate_up, matrix<const T> dout, matrix<T> d,
                     fp8_copy copy) {
    if (dout.size() == 0) return false;
    const auto go = [&](auto width) {
        constexpr int n = decltype(width)::value;
        const std::size_t count = dout.size() / n;
        if (!leaves_fp8<device_t<T>, n>) copy = {};
        swiglu_backward_kernel<device_t<T>, n>
            <<<copying_blocks(k, std::min(blocks_for(count, 256), 32 * k.multiprocessors), copy), 256, 0, k.stream>>>(
                device(gate_up.data), gate_up.stride, device(dout.data), dout.stride, device(d.data), d.stride,
                dout.cols, count, copy);
    };
    constexpr int n = widest<device_t<T>>;
    if (aligned(gate_up, n) && aligned(dout, n) && aligned(d, n)) go(std::integral_constant<int, n>());
    else go(std::integral_constant<int, 1>());
    launched("swiglu_backward");
    return copy.out;
}

// ---- embedding
template <class D, int N>
static __global__ void embedding_kernel(const token* ids, const D* table, std::size_t table_stride, D* out,
                                        std::size_t out_stride, std::size_t cols, std::size_t count) {
    for (std::size_t i = blockIdx.x * static_cast<std::size_t>(blockDim.x) + threadIdx.x; i < count;
         i += static_cast<std::size_t>(gridDim.x) * blockDim.x) {
        const std::size_t row = i * N / cols, col = i * N % cols;
        *reinterpret_cast<pack<D, N>*>(out + row * out_stride + col) =
            *reinterpret_cast<const pack<D, N>*>(table + static_cast<std::size_t>(ids[row]) * table_stride + col);
    }
}
template <class T>
void embedding_forward(const launch_context& k, span<const token> ids, matrix<const T> table, matrix<T> out) {
    if (out.size() == 0) return;
    const auto go = [&](auto width) {
        constexpr int n = decltype(width)::value;
        const std::size_t count = out.size() / n;
        embedding_kernel<device_t<T>, n>
            <<<std::min(blocks_for(count, 256), 32 * k.multiprocessors), 256, 0, k.stream>>>(
                ids.data(), device(table.data), table.stride, device(out.data), out.stride, out.cols, count);
    };
    constexpr int n = widest<device_t<T>>;
    if (aligned(table, n) && aligned(out, n)) go(std::integral_constant<int, n>());
    else go(std::integral_constant<int, 1>());
    launched("embedding_forward");
}
/// dtable[ids[r]] += dout[r] by atomic additions: the order of a row's sum is the hardware's.
template <class D>
static __global__ void embedding_backward_kernel(const token* ids, const D* dout, std::size_t dout_stride,
                                                 float* dtable, std::size_t stride, std::size_t cols,
                                                 std::size_t count) {
    for (std::size_t i = blockIdx.x * static_cast<std::size_t>(blockDim.x) + threadIdx.x; i < count;
         i += static_cast<std::size_t>(gridDim.x) * blockDim.x) {
        const std::size_t row = i / cols, col = i % cols;
        atomicAdd(dtable + static_cast<std::size_t>(ids[row]) * stride + col, to_float(dout[row * dout_stride + col]));
    }
}
/// The same in row order: a warp owns a range of ids and walks all rows for them.
template <class D>
static __global__ void embedding_backward_in_order_kernel(const token* ids, std::size_t rows, const D* dout,
                                                          std::size_t dout_stride, float* dtable, std::size_t stride,
                                                          std::size_t cols, token ids_each) {
    const unsigned lane = threadIdx.x % 32;
    const token first = static_cast<token>(blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32) * ids_each,
                last = first + ids_each;
    for (std::size_t base = 0; base < rows; base += 32) {
        const token mine = base + lane < rows ? ids[base + lane] : -1;
        unsigned matches = __ballot_sync(0xffffffffu, mine >= first && mine < last);
        while (matches) {
            const int who = __ffs(static_cast<int>(matches)) - 1;
            matches &= matches - 1;
            const auto id = static_cast<std::size_t>(__shfl_sync(0xffffffffu, mine, who));
            for (std::size_t c = lane; c < cols; c += 32)
                dtable[id * stride + c] += to_float(dout[(base + static_cast<std::size_t>(who)) * dout_stride + c]);
        }
    }
}
template <class T>
void embedding_backward(const launch_context& k, span<const token> ids, matrix<const T> dout, matrix<float> dtable) {
    if (dout.size() == 0) return;
    if (k.deterministic) {
        const std::size_t each = 32, warps = (dtable.rows + each - 1) / each;
        embedding_backward_in_order_kernel<<<blocks_for(warps, 4), 128, 0, k.stream>>>(
            ids.data(), ids.size(), device(dout.data), dout.stride, dtable.data, dtable.stride, dtable.cols,
            static_cast<token>(each));
    } else {
        embedding_backward_kernel<<<std::min(blocks_for(dout.size(), 256), 32 * k.multiprocessors), 256, 0, k.stream>>>(
            ids.data(), device(dout.data), dout.stride, dtable.data, dtable.stride, dout.cols, dout.size());
    }
    launched("embedding_backward");
}

}  // namespace depthgrow::kernels
