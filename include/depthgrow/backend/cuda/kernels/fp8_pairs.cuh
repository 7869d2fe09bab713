// Tensors in eight bits twice, as they are and transposed, from one read of what they are made of: numbers in bfloat16,
// SwiGLU, its gradient. Products of eight bits sum over neighbours in memory, so a map and its gradients need both.
// Assumes extents of whole 16s and rows that can be read 16 bytes at a time; numbers are rounded to bfloat16 first.
// Bound by memory: a byte a copy, beside 2 for each number that is read.
#pragma once

#include "depthgrow/backend/cuda/kernels/elementwise.cuh"

namespace depthgrow::kernels {

namespace pairs {

using number = __nv_bfloat16;
using piece = pack<number, 8>;
constexpr unsigned tile_rows = 128, tile_columns = 64, pitch = tile_rows / 4 + 4;  // words; no two lanes share a bank

__device__ inline piece piece_of(const number* p) { return *reinterpret_cast<const piece*>(p); }

/// Numbers as they are.
struct plain {
    static constexpr int outputs = 1;
    const number* x;
    std::size_t stride;
    struct loaded {
        piece x;
    };
    __device__ loaded load(std::size_t row, std::size_t col) const { return {piece_of(x + row * stride + col)}; }
    __device__ void make(const loaded& in, piece (&out)[1]) const { out[0] = in.x; }
};
/// silu(gate) * up.
struct gated {
    static constexpr int outputs = 1;
    const number* gate_up;
    std::size_t stride, cols;
    struct loaded {
        piece gate, up;
    };
    __device__ loaded load(std::size_t row, std::size_t col) const {
        const number* from = gate_up + row * stride + col;
        return {piece_of(from), piece_of(from + cols)};
    }
    __device__ void make(const loaded& in, piece (&out)[1]) const {
        float y[8];
#pragma unroll
        for (int j = 0; j < 8; ++j) y[j] = in.up.get(j) * (in.gate.get(j) * sigmoid<number>(in.gate.get(j)));
        out[0].put(y);
    }
};
/// Gradients by gate, in the first half of the columns, and by up.
struct gated_gradient {
    static constexpr int outputs = 2;
    const number *gate_up, *dout;
    std::size_t stride, dout_stride, cols;
    struct loaded {
        piece gate, up, dy;
    };
    __device__ loaded load(std::size_t row, std::size_t col) const {
        const number* from = gate_up + row * stride + col;
        return {piece_of(from), piece_of(from + cols), piece_of(dout + row * dout_stride + col)};
    }
    __device__ void make(const loaded& in, piece (&out)[2]) const {
        float by_gate[8], by_up[8];
#pragma unroll
        for (int j = 0; j < 8; ++j) {
            float gate = in.gate.get(j), up = in.up.get(j);
            (void)swiglu_slopes<number>(gate, up);
            by_gate[j] = gate * in.dy.get(j), by_up[j] = up * in.dy.get(j);
        }
        out[0].put(by_gate), out[1].put(by_up);
    }
};

/// Byte j of four words in a row, for every j.
__device__ inline void transpose_bytes(unsigned a, unsigned b, unsigned c, unsigned d, unsigned* out) {
    const unsigned ab = __byte_perm(a, b, 0x5140), cd = __byte_perm(c, d, 0x5140), ab2 = __byte_perm(a, b, 0x7362),
                   cd2 = __byte_perm(c, d, 0x7362);
    out[0] = __byte_perm(ab, cd, 0x5410), out[1] = __byte_perm(ab, cd, 0x7632);
    out[2] = __byte_perm(ab2, cd2, 0x5410), out[3] = __byte_perm(ab2, cd2, 0x7632);
}

/// Blocks walk over tiles; a thread makes 4 rows of 8 columns. Without Store, looks at the magnitudes alone.
template <bool Store, class Values>
static __global__ void __launch_bounds__(256)
    kernel(Values values, std::size_t rows, std::size_t cols, fp8_pair out, fp8_scaling* scaling) {
    constexpr int outputs = Values::outputs;
    __shared__ alignas(16) unsigned words[outputs][tile_columns][pitch];  // (8 * column % 8 + column / 8, four rows)
    const float scale = scaling->scale;
    if (Store && blockIdx.x == 0 && threadIdx.x == 0) *out.inverse = 1.0f / scale;
    const std::size_t across = (cols + tile_columns - 1) / tile_columns,
                      tiles = across * ((rows + tile_rows - 1) / tile_rows), chunk = threadIdx.x % 8,
                      four = threadIdx.x / 8;
    float largest = 0;
    for (std::size_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const std::size_t first_row = tile / across * tile_rows, first_col = tile % across * tile_columns,
                          row = first_row + 4 * four, col = first_col + 8 * chunk;
        if (row < rows && col < cols) {
            typename Values::loaded in[4];
#pragma unroll
            for (int r = 0; r < 4; ++r) in[r] = values.load(row + r, col);
            uint2 bytes[outputs][4];
#pragma unroll
            for (int r = 0; r < 4; ++r) {
                piece made[outputs];
                values.make(in[r], made);
#pragma unroll
                for (int o = 0; o < outputs; ++o) {
                    bytes[o][r] = fp8_of(made[o], scale, largest);
                    if (Store && out.as_is)
                        *reinterpret_cast<uint2*>(out.as_is + ((row + r) * outputs + o) * cols + col) = bytes[o][r];
                }
            }
            if (Store)
#pragma unroll
                for (int o = 0; o < outputs; ++o) {
                    unsigned columns[8];
                    transpose_bytes(bytes[o][0].x, bytes[o][1].x, bytes[o][2].x, bytes[o][3].x, columns);
                    transpose_bytes(bytes[o][0].y, bytes[o][1].y, bytes[o][2].y, bytes[o][3].y, columns + 4);
#pragma unroll
                    for (int i = 0; i < 8; ++i) words[o][i * 8 + chunk][four] = columns[i];
                }
        }
        if (!Store) continue;
        __syncthreads();
        const std::size_t sixteen = first_row + 16 * chunk;
#pragma unroll
        for (int o = 0; o < outputs; ++o)
#pragma unroll
            for (std::size_t p = four; p < tile_columns; p += 32) {
                const std::size_t column = first_col + p % 8 * 8 + p / 8;
                if (column < cols && sixteen < rows)
                    *reinterpret_cast<uint4*>(out.transposed + (o * cols + column) * rows + sixteen) =
                        *reinterpret_cast<const uint4*>(&words[o][p][4 * chunk]);
            }
        __syncthreads();
    }
    finish_fp8(scaling, largest, !Store);
}
template <class Values>
void run(const launch_context& k, const Values& values, std::size_t rows, std::size_t cols, fp8_pair out,
         fp8_scaling* scaling, bool first) {
    const std::size_t tiles = static_cast<std::size_t>(blocks_for(rows, tile_rows)) * blocks_for(cols, tile_columns);
    const unsigned blocks = std::min(blocks_for(tiles, 1), 4 * k.multiprocessors);
    if (first) kernel<false><<<blocks, 256, 0, k.stream>>>(values, rows, cols, out, scaling);
    kernel<true><<<blocks, 256, 0, k.stream>>>(values, rows, cols, out, scaling);
    launched("fp8_pair");
}

}  // namespace pairs

[[gnu::used]] inline void fp8_pair_of(const launch_context& k, matrix<const bfloat16> x, fp8_pair out,
                                      fp8_scaling* scaling, bool first) {
    pairs::run(k, pairs::plain{device(x.data), x.stride}, x.rows, x.cols, out, scaling, first);
}
[[gnu::used]] inline void fp8_swiglu(const launch_context& k, matrix<const bfloat16> gate_up, fp8_pair out,
                                     fp8_scaling* scaling, bool first) {
    pairs::run(k, pairs::gated{device(gate_up.data), gate_up.stride, out.cols}, out.rows, out.cols, out, scaling,
               first);
}
[[gnu::used]] inline void fp8_swiglu_backward(const launch_context& k, matrix<const bfloat16> gate_up,
                                              matrix<const bfloat16> dout, fp8_pair out, fp8_scaling* scaling,
                                              bool first) {
    pairs::run(k,
               pairs::gated_gradient{device(gate_up.data), device(dout.data), gate_up.stride, dout.stride, dout.cols},
               dout.rows, dout.cols, out, scaling, first);
}

}  // namespace depthgrow::kernels
