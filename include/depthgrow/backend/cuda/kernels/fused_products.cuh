// Linear maps joined with what comes before or after them: SwiGLU, its gradient, RoPE.
// Assumes bfloat16 and Hopper; each returns false, and does nothing, where it does not take the operands.
// Definitions: the product, rounded to bfloat16, then the operation of backend/reference.hpp, as one after the other.
#pragma once

#include "depthgrow/backend/cuda/kernels/elementwise.cuh"
#include "depthgrow/backend/cuda/kernels/hopper_product.cuh"

namespace depthgrow::kernels {

namespace fused {

using piece = pack<number, 8>;
__device__ inline piece& piece_at(number* p) { return *reinterpret_cast<piece*>(p); }
__device__ inline void spread(const piece& from, float (&to)[8]) {
#pragma unroll
    for (int j = 0; j < 8; ++j) to[j] = from.get(j);
}

/// Columns [0, 128) of a tile are gates, the others the ups: writes both, and out = silu(gate) * up.
struct gated {
    number *gate_up, *out;
    std::size_t stride, out_stride;
    int cols;
    static constexpr int columns = 128;  // of `out` a tile
    static constexpr bool right_turned = false;
    static constexpr unsigned own_bytes = 0;
    __device__ int right_from(int tile, int column) const { return column / columns * cols + tile * columns + column % columns; }
    __device__ void begin(finished&, tile_place) const {}
    __device__ void operator()(finished& result, tile_place place, tile_place) const {
        const int place_of_lane = result.lane % 16, col = place.column * columns + place_of_lane * 8;
        for (int half = 0; half < halves; ++half) {
            const int last = col < cols ? min(64 * (half + 1), result.rows - place.row) : 0;
            result.wait(half);
#pragma unroll 2
            for (int r = 64 * half + result.warp * 2 + result.lane / 16; r < last; r += 2 * finishing_warps) {
                const piece g = result.at(r, place_of_lane), u = result.at(r, 16 + place_of_lane);
                float gate[8], up[8];
                spread(g, gate), spread(u, up);
#pragma unroll
                for (int j = 0; j < 8; ++j) up[j] *= gate[j] * sigmoid<number>(gate[j]);
                number* to = gate_up + static_cast<std::size_t>(place.row + r) * stride + col;
                piece_at(to) = g, piece_at(to + cols) = u;
                piece_at(out + static_cast<std::size_t>(place.row + r) * out_stride + col).put(up);
            }
            result.release(half);
        }
    }
};

/// A tile is the gradient of silu(gate) * up: writes the gradients of gate and up. What it reads is on its way `deep` rows
/// ahead, past the end of the tile, in shared memory: loads into registers would be waited for one by one.
struct gated_gradient {
    const number* gate_up;
    number* d;
    std::size_t stride, d_stride;
    int cols;
    static constexpr int columns = 256, together = 2, deep = 3, each = (rows_each + together * finishing_warps - 1) / (together * finishing_warps);
    static constexpr bool right_turned = true;
    static constexpr unsigned own_bytes = deep * together * 2 * finishing * 16;
    __device__ int right_from(int tile, int column) const { return tile * columns + column; }
    __device__ static unsigned kept(const finished& result, int row) { return result.own + ((result.slot * together + row) * 2 * finishing + result.warp * 32 + result.lane) * 16; }
    /// Asks for the gates and ups of a warp's i-th rows.
    __device__ void fetch(const finished& result, tile_place place, int i) const {
        const int col = place.column * columns + result.lane * 8, r = result.warp + i * together * finishing_warps, last = col < cols ? min(rows_each, result.rows - place.row) : 0;
        const number* from = gate_up + static_cast<std::size_t>(place.row + r) * stride + col;
#pragma unroll
        for (int j = 0; j < together; ++j, from += finishing_warps * stride)
            if (r + j * finishing_warps < last) hopper::copy_piece(kept(result, j), from), hopper::copy_piece(kept(result, j) + finishing * 16, from + cols);
        hopper::copies_commit();
    }
    __device__ static void advance(finished& result) { result.slot = result.slot + 1 == deep ? 0 : result.slot + 1; }
    __device__ void begin(finished& result, tile_place place) const {
        for (int i = 0; i < deep; ++i, advance(result)) fetch(result, place, i);
    }
    __device__ void operator()(finished& result, tile_place place, tile_place next) const {
        const int col = place.column * columns + result.lane * 8, last = col < cols ? min(rows_each, result.rows - place.row) : 0;
        int half = 0;
        result.wait(0);
        for (int i = 0; i < each; ++i) {
            const int r = result.warp + i * together * finishing_warps;
            if (half == 0 && r + (together - 1) * finishing_warps >= 64) result.wait(half = 1);
            if (half == 1 && r >= 64) result.release(0), half = 2;
            hopper::copies_wait<deep - 1>();
            piece g[together], u[together], y[together];
#pragma unroll
            for (int j = 0; j < together; ++j) {
                g[j] = hopper::shared_piece(kept(result, j)), u[j] = hopper::shared_piece(kept(result, j) + finishing * 16);
                y[j] = result.at(min(r + j * finishing_warps, rows_each - 1), result.lane);
            }
            if (i + deep < each) fetch(result, place, i + deep);
            else fetch(result, next, i + deep - each);
            advance(result);
            float gate[together][8], up[together][8], dy[together][8];
#pragma unroll
            for (int j = 0; j < together; ++j) spread(g[j], gate[j]), spread(u[j], up[j]), spread(y[j], dy[j]);
#pragma unroll
            for (int n = 0; n < 8; ++n)
#pragma unroll
                for (int j = 0; j < together; ++j) swiglu_gradient<number>(dy[j][n], gate[j][n], up[j][n]);
            number* to = d + static_cast<std::size_t>(place.row + r) * d_stride + col;
#pragma unroll
            for (int j = 0; j < together; ++j, to += finishing_warps * d_stride)
                if (r + j * finishing_warps < last) piece_at(to).put(gate[j]), piece_at(to + cols).put(up[j]);
        }
        result.release(1);
    }
};

/// Turns the channels of the first `turned` columns by their row's position; the rest stays. A thread takes the same
/// channels of every head of a row.
struct turned_heads {
    number* out;
    const float *cosine, *sine;
    std::size_t stride;
    int cols, turned, length, half;
    static constexpr int columns = 256;
    static constexpr bool right_turned = false;
    static constexpr unsigned own_bytes = 0;
    __device__ int right_from(int tile, int column) const { return tile * columns + column; }
    __device__ void begin(finished&, tile_place) const {}
    __device__ void operator()(finished& result, tile_place place, tile_place) const {
        const int pieces = half / 8, rows_together = 32 / pieces, within = result.lane % pieces, heads = columns / 8 / (2 * pieces);
        const int last = min(rows_each, result.rows - place.row), step = finishing_warps * rows_together;
        float4 c[2], s[2], c2[2], s2[2];
        const auto fetch = [&](int r) {
            const int at = (place.row + min(r, last - 1)) % length * half + within * 8;
            c2[0] = *reinterpret_cast<const float4*>(cosine + at), c2[1] = *reinterpret_cast<const float4*>(cosine + at + 4);
            s2[0] = *reinterpret_cast<const float4*>(sine + at), s2[1] = *reinterpret_cast<const float4*>(sine + at + 4);
        };
        int r = result.warp * rows_together + result.lane / pieces;
        if (last > 0) fetch(r);
        for (int part = 0; part < halves; ++part) {
            result.wait(part);
            for (; r < min(64 * (part + 1), last); r += step) {
                c[0] = c2[0], c[1] = c2[1], s[0] = s2[0], s[1] = s2[1];
                fetch(r + step);
                number* row = out + static_cast<std::size_t>(place.row + r) * stride;
                for (int h = 0; h < heads; ++h) {
                    const int low = h * 2 * pieces + within, col = place.column * columns + low * 8;
                    if (col >= cols) break;
                    const piece x = result.at(r, low), y = result.at(r, low + pieces);
                    if (col >= turned) {
                        piece_at(row + col) = x, piece_at(row + col + half) = y;
                        continue;
                    }
                    float a[8], b[8];
                    spread(x, a), spread(y, b);
                    const float cs[8] = {c[0].x, c[0].y, c[0].z, c[0].w, c[1].x, c[1].y, c[1].z, c[1].w}, sn[8] = {s[0].x, s[0].y, s[0].z, s[0].w, s[1].x, s[1].y, s[1].z, s[1].w};
#pragma unroll
                    for (int j = 0; j < 8; ++j) turn(a[j], b[j], cs[j], sn[j]);
                    piece_at(row + col).put(a), piece_at(row + col + half).put(b);
                }
            }
            result.release(part);
        }
    }
};

}  // namespace fused

[[gnu::used]] inline bool linear_swiglu(const launch_context& k, matrix<const bfloat16> x, matrix<const bfloat16> w, matrix<bfloat16> gate_up, matrix<bfloat16> out) {
    if (!fused::takes<fused::gated>(k, x, w, out.cols) || !aligned(gate_up, 8) || !aligned(out, 8)) return false;
    fused::run(k, x, w, out.cols, fused::gated{device(gate_up.data), device(out.data), gate_up.stride, out.stride, static_cast<int>(out.cols)}, "linear_swiglu");
    return true;
}
[[gnu::used]] inline bool linear_swiglu_backward(const launch_context& k, matrix<const bfloat16> dy, matrix<const bfloat16> w, matrix<const bfloat16> gate_up, matrix<bfloat16> dgate_up) {
    if (!fused::takes<fused::gated_gradient>(k, dy, w, w.cols) || !aligned(gate_up, 8) || !aligned(dgate_up, 8)) return false;
    fused::run(k, dy, w, w.cols, fused::gated_gradient{device(gate_up.data), device(dgate_up.data), gate_up.stride, dgate_up.stride, static_cast<int>(w.cols)}, "linear_swiglu_backward");
    return true;
}
[[gnu::used]] inline bool linear_rope(const launch_context& k, matrix<const bfloat16> x, matrix<const bfloat16> w, matrix<bfloat16> out, std::size_t length, std::size_t turned, matrix<const float> cosine, matrix<const float> sine) {
    const std::size_t half = cosine.cols;
    const bool heads_fit = cosine.stride == half && sine.stride == half && half >= 8 && half <= 128 && (half & (half - 1)) == 0 && aligned(cosine, 4) && aligned(sine, 4);
    if (!heads_fit || !fused::takes<fused::turned_heads>(k, x, w, out.cols) || out.cols % (2 * half) != 0 || !aligned(out, 8)) return false;
    fused::run(k, x, w, out.cols, fused::turned_heads{device(out.data), cosine.data, sine.data, out.stride, static_cast<int>(out.cols), static_cast<int>(turned), static_cast<int>(length), static_cast<int>(half)}, "linear_rope");
    return true;
}

}  // namespace depthgrow::kernels
