// Linear maps fused with what comes before or after them: SwiGLU, its gradient, RoPE.
// Assumes bfloat16; each returns false, and does nothing, where it does not take the operands or the code is not for
// sm_90a. Definitions: the product, rounded to bfloat16, then the operation of backend/reference.hpp, as one after the
// other.
#pragma once

#include "depthgrow/backend/cuda/kernels/elementwise.cuh"

#ifdef DEPTHGROW_SM90A  // set by cmake/cuda.cmake
#include "depthgrow/backend/cuda/kernels/hopper_product.cuh"
#include "depthgrow/backend/cuda/kernels/rope.cuh"

namespace depthgrow::kernels {

namespace fused {

__device__ inline void spread(const piece& from, float (&to)[8]) {
#pragma unroll
    for (int j = 0; j < 8; ++j) to[j] = from.get(j);
}

/// Columns [0, 128) of a tile are gates, the others the ups: writes out = silu(gate) * up and its slopes by gate and by
/// up.
struct gated {
    number *slopes, *out;
    std::size_t stride, out_stride;
    int cols;
    static constexpr int columns = 128;  // of `out` a tile
    static constexpr bool right_transposed = false, centred = false;
    static constexpr unsigned own_bytes = 0;
    __device__ bool wanted() const { return true; }
    __device__ int right_from(int tile, int column) const {
        return column / columns * cols + tile * columns + column % columns;
    }
    __device__ void begin(finished&, tile_place) const {}
    __device__ void operator()(finished& result, tile_place place, tile_place) const {
        const int at = result.lane % 16, col = place.column * columns + at * 8, step = 2 * finishing_warps;
        for (int half = 0; half < halves; ++half) {
            const int first = 64 * half + result.warp * 2 + result.lane / 16,
                      last = col < cols ? min(64 * (half + 1), result.rows - place.row) : 0;
            number* to = slopes + static_cast<std::size_t>(place.row + first) * stride + col;
            number* gated = out + static_cast<std::size_t>(place.row + first) * out_stride + col;
            result.wait(half);
#pragma unroll 2
            for (int r = first; r < last; r += step, to += step * stride, gated += step * out_stride) {
                const piece g = result.at(r, at), u = result.at(r, 16 + at);
                float gate[8], up[8], y[8];
                spread(g, gate), spread(u, up);
#pragma unroll
                for (int j = 0; j < 8; ++j) y[j] = swiglu_slopes<number>(gate[j], up[j]);
                store<8>(to, gate), store<8>(to + cols, up), store<8>(gated, y);
            }
            result.release(half);
        }
    }
};

/// A tile is the gradient of silu(gate) * up: writes its products with the slopes. They are on their way in shared
/// memory `deep` times `together` rows ahead, past the end of the tile: loads into registers would be waited for one by
/// one.
struct gated_gradient {
    const number* slopes;
    number* d;
    std::size_t stride, d_stride;
    int cols;
    static constexpr int columns = 256, together = 3, deep = 2, rows_together = together * finishing_warps,
                         each = (rows_each + rows_together - 1) / rows_together;
    static constexpr bool right_transposed = true, centred = false;
    static constexpr unsigned row_bytes = finishing * 16, slot_bytes = 2 * together * row_bytes,
                              own_bytes = deep * slot_bytes;
    __device__ bool wanted() const { return true; }
    __device__ int right_from(int tile, int column) const { return tile * columns + column; }
    __device__ int last_of(const finished& result, tile_place place) const {
        return place.column * columns + result.lane * 8 < cols ? min(rows_each, result.rows - place.row) : 0;
    }
    __device__ std::size_t start_of(const finished& result, tile_place place, std::size_t pitch) const {
        return static_cast<std::size_t>(place.row + result.warp) * pitch +
               static_cast<std::size_t>(place.column * columns + result.lane * 8);
    }
    /// Asks for the slopes of rows r, r + 3, ... below `last`, the first of which lie at `from`.
    __device__ void ask(const finished& result, const number* from, int r, int last) const {
#pragma unroll
        for (int j = 0; j < together; ++j, from += finishing_warps * stride)
            if (r + j * finishing_warps < last)
                copy_piece(result.own + 2 * j * row_bytes, from),
                    copy_piece(result.own + (2 * j + 1) * row_bytes, from + cols);
        copies_commit();
    }
    __device__ void advance(finished& result) const {
        result.own += slot_bytes;
        if (++result.slot == deep) result.slot = 0, result.own -= own_bytes;
    }
    __device__ void begin(finished& result, tile_place place) const {
        result.own += (result.warp * 32 + result.lane) * 16;
        for (int i = 0; i < deep; ++i, advance(result))
            ask(result, slopes + start_of(result, place, stride) + i * rows_together * stride,
                result.warp + i * rows_together, last_of(result, place));
    }
    __device__ void operator()(finished& result, tile_place place, tile_place next) const {
        const int last = last_of(result, place);
        number* to = d + start_of(result, place, d_stride);
        const number* ahead = slopes + start_of(result, place, stride) + deep * rows_together * stride;
        int half = 0, r_ahead = result.warp + deep * rows_together, last_ahead = last;
        result.wait(0);
        for (int i = 0, r = result.warp; i < each; ++i, r += rows_together) {
            if (half == 0 && r + rows_together - finishing_warps >= 64) result.wait(half = 1);
            if (half == 1 && r >= 64) result.release(0), half = 2;
            copies_wait<deep - 1>();
            piece by_gate[together], by_up[together], dy[together];
#pragma unroll
            for (int j = 0; j < together; ++j) {
                by_gate[j] = hopper::shared_piece(result.own + 2 * j * row_bytes),
                by_up[j] = hopper::shared_piece(result.own + (2 * j + 1) * row_bytes);
                dy[j] = result.at(min(r + j * finishing_warps, rows_each - 1), result.lane);
            }
            if (i + deep == each)
                ahead = slopes + start_of(result, next, stride), r_ahead = result.warp,
                last_ahead = last_of(result, next);
            ask(result, ahead, r_ahead, last_ahead);
            ahead += rows_together * stride, r_ahead += rows_together;
            advance(result);
#pragma unroll
            for (int j = 0; j < together; ++j, to += finishing_warps * d_stride) {
                float gate[8], up[8];
#pragma unroll
                for (int n = 0; n < 8; ++n)
                    gate[n] = dy[j].get(n) * by_gate[j].get(n), up[n] = dy[j].get(n) * by_up[j].get(n);
                if (r + j * finishing_warps < last) store<8>(to, gate), store<8>(to + cols, up);
            }
        }
        result.release(1);
    }
};

/// Rotates the channels of the first `rotated` columns by their row's position; the rest stays. A thread takes the same
/// channels of every head of a row.
struct rotated_heads {
    number* out;
    const float *cosine, *sine;
    std::size_t stride;
    int cols, rotated, length, half;
    static constexpr int columns = 256;
    static constexpr bool right_transposed = false, centred = false;
    static constexpr unsigned own_bytes = 0;
    __device__ bool wanted() const { return true; }
    __device__ int right_from(int tile, int column) const { return tile * columns + column; }
    __device__ void begin(finished&, tile_place) const {}
    __device__ void operator()(finished& result, tile_place place, tile_place) const {
        const int pieces = half / 8, rows_together = 32 / pieces, within = result.lane % pieces;
        const int start = place.column * columns, heads = min(columns, cols - start) / (2 * half),
                  turned = max(0, min(heads, (rotated - start) / (2 * half)));
        const int last = min(rows_each, result.rows - place.row), step = finishing_warps * rows_together;
        float4 c[2], s[2], c2[2], s2[2];
        const auto fetch = [&](int r) {
            const int at = (place.row + min(r, last - 1)) % length * half + within * 8;
            c2[0] = *reinterpret_cast<const float4*>(cosine + at),
            c2[1] = *reinterpret_cast<const float4*>(cosine + at + 4);
            s2[0] = *reinterpret_cast<const float4*>(sine + at),
            s2[1] = *reinterpret_cast<const float4*>(sine + at + 4);
        };
        // Neighbouring lanes' rows are `pieces` apart, so that eight lanes read from different banks.
        const int row = result.lane / pieces, apart = max(1, 8 / pieces);
        int r = result.warp * rows_together + row / 8 * 8 + row % apart * pieces + row % 8 / apart;
        if (last > 0) fetch(r);
        for (int part = 0; part < halves; ++part) {
            result.wait(part);
            for (; r < min(64 * (part + 1), last); r += step) {
                c[0] = c2[0], c[1] = c2[1], s[0] = s2[0], s[1] = s2[1];
                fetch(r + step);
                number* to = out + static_cast<std::size_t>(place.row + r) * stride + start + within * 8;
                int low = within;
#pragma unroll 2
                for (int h = 0; h < turned; ++h, low += 2 * pieces, to += 2 * half) {
                    float a[8], b[8];
                    spread(result.at(r, low), a), spread(result.at(r, low + pieces), b);
                    const float cs[8] = {c[0].x, c[0].y, c[0].z, c[0].w, c[1].x, c[1].y, c[1].z, c[1].w},
                                sn[8] = {s[0].x, s[0].y, s[0].z, s[0].w, s[1].x, s[1].y, s[1].z, s[1].w};
#pragma unroll
                    for (int j = 0; j < 8; ++j) rotate(a[j], b[j], cs[j], sn[j]);
                    store<8>(to, a), store<8>(to + half, b);
                }
#pragma unroll 2
                for (int h = turned; h < heads; ++h, low += 2 * pieces, to += 2 * half)
                    piece_at(to) = result.at(r, low), piece_at(to + half) = result.at(r, low + pieces);
            }
            result.release(part);
        }
    }
};

}  // namespace fused

[[gnu::used]] inline bool linear_swiglu(const launch_context& k, matrix<const bfloat16> x, matrix<const bfloat16> w,
                                        matrix<bfloat16> slopes, matrix<bfloat16> out) {
    if (!fused::takes(k, x, w, out.cols) || !aligned(slopes, 8) || !aligned(out, 8)) return false;
    fused::run(
        k, x, w, out.cols,
        fused::gated{device(slopes.data), device(out.data), slopes.stride, out.stride, static_cast<int>(out.cols)},
        "linear_swiglu");
    return true;
}
[[gnu::used]] inline bool linear_swiglu_backward(const launch_context& k, matrix<const bfloat16> dy,
                                                 matrix<const bfloat16> w, matrix<const bfloat16> slopes,
                                                 matrix<bfloat16> dgate_up) {
    if (!fused::takes(k, dy, w, w.cols) || !aligned(slopes, 8) || !aligned(dgate_up, 8)) return false;
    fused::run(k, dy, w, w.cols,
               fused::gated_gradient{device(slopes.data), device(dgate_up.data), slopes.stride, dgate_up.stride,
                                     static_cast<int>(w.cols)},
               "linear_swiglu_backward");
    return true;
}
[[gnu::used]] inline bool linear_rope(const launch_context& k, matrix<const bfloat16> x, matrix<const bfloat16> w,
                                      matrix<bfloat16> out, std::size_t length, std::size_t rotated,
                                      matrix<const float> cosine, matrix<const float> sine) {
    const std::size_t half = cosine.cols;
    const bool heads_fit = cosine.stride == half && sine.stride == half && half >= 8 && half <= 128 &&
                           (half & (half - 1)) == 0 && aligned(cosine, 4) && aligned(sine, 4);
    if (!heads_fit || !fused::takes(k, x, w, out.cols) || out.cols % (2 * half) != 0 || !aligned(out, 8)) return false;
    fused::run(k, x, w, out.cols,
               fused::rotated_heads{device(out.data), cosine.data, sine.data, out.stride, static_cast<int>(out.cols),
                                    static_cast<int>(rotated), static_cast<int>(length), static_cast<int>(half)},
               "linear_rope");
    return true;
}

}  // namespace depthgrow::kernels

#else

namespace depthgrow::kernels {
[[gnu::used]] inline bool linear_swiglu(const launch_context&, matrix<const bfloat16>, matrix<const bfloat16>,
                                        matrix<bfloat16>, matrix<bfloat16>) {
    return false;
}
[[gnu::used]] inline bool linear_swiglu_backward(const launch_context&, matrix<const bfloat16>, matrix<const bfloat16>,
                                                 matrix<const bfloat16>, matrix<bfloat16>) {
    return false;
}
[[gnu::used]] inline bool linear_rope(const launch_context&, matrix<const bfloat16>, matrix<const bfloat16>,
                                      matrix<bfloat16>, std::size_t, std::size_t, matrix<const float>,
                                      matrix<const float>) {
    return false;
}
}  // namespace depthgrow::kernels

#endif
