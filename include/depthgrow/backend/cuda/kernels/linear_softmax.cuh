// Softmax of a linear map's rows, up to a factor a row, in one pass over the result: no row is read again to be
// divided, the factor goes where the row is used. Assumes bfloat16 and code for sm_90a, else returns false. Needs an
// average of each row's logits beforehand: the largest is not below it, so that exp(logit - average - 50) does not
// vanish, nor overflow while the largest is less than some 115 above. Where rows are further off, or an average is
// none, the product is made once more and those rows' softmax from it: right for every average, fast for good ones.
#pragma once

#include "depthgrow/backend/cuda/kernels/rows.cuh"

#ifdef DEPTHGROW_SM90A  // set by cmake/cuda.cmake
#include "depthgrow/backend/cuda/kernels/hopper_product.cuh"

namespace depthgrow::kernels {

namespace fused {

constexpr float headroom = 50, least_sum = 1e-25f, largest_sum = 1e30f;

/// exp(x - 50) in one multiplication and addition, and the fast instruction.
__device__ inline float exp_below_headroom(float x) {
    constexpr float log2_e = 1.44269504f;
    float e;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(e) : "f"(fmaf(x, log2_e, -headroom * log2_e)));
    return e;
}
/// The warp's sum of sums[lane / 4]: each exchange halves how many are left, since the exchanges wait for shared memory
/// that the products read.
__device__ inline float sum_of_row_of_lane(float (&sums)[8], int lane) {
#pragma unroll
    for (int left = 4; left > 0; left /= 2) {
        const bool upper = lane & (4 * left);
#pragma unroll
        for (int i = 0; i < left; ++i) {
            const float given = upper ? sums[i] : sums[i + left], kept = upper ? sums[i + left] : sums[i];
            sums[i] = kept + __shfl_xor_sync(0xffffffffu, given, 4 * left);
        }
    }
    sums[0] += __shfl_xor_sync(0xffffffffu, sums[0], 2);
    return sums[0] + __shfl_xor_sync(0xffffffffu, sums[0], 1);
}

/// Writes exp(result - 50) of results less their row's average, and every tile's sum of what was written in a row.
struct exponentials {
    number* out;
    float* sums;  // (rows, column_tiles)
    const float* averages;
    std::size_t stride;
    int cols, column_tiles;
    static constexpr int columns = 256, together = 8;
    static constexpr bool right_transposed = false, centred = true;
    static constexpr unsigned own_bytes = 0;
    __device__ bool wanted() const { return true; }
    __device__ int right_from(int tile, int column) const { return tile * columns + column; }
    __device__ float centre(int row) const { return averages[row]; }
    __device__ void begin(finished&, tile_place) const {}
    __device__ void operator()(finished& result, tile_place place, tile_place) const {
        const int col = place.column * columns + result.lane * 8, last = min(rows_each, result.rows - place.row);
        int half = 0;
        result.wait(0);
        for (int r = result.warp * together; r < rows_each; r += finishing_warps * together) {
            if (half == 0 && r >= rows_each / halves) result.release(0), result.wait(half = 1);
            piece x[together];
            float sum[together];
#pragma unroll
            for (int i = 0; i < together; ++i) x[i] = result.at(r + i, result.lane);
#pragma unroll
            for (int i = 0; i < together; ++i) {
                float e[8];
#pragma unroll
                for (int j = 0; j < 8; ++j) e[j] = exp_below_headroom(x[i].get(j));
                x[i].put(e);
                sum[i] = 0;
#pragma unroll
                for (int j = 0; j < 8; ++j) sum[i] += x[i].get(j);
                if (col >= cols) sum[i] = 0;
            }
            number* to = out + static_cast<std::size_t>(place.row + r) * stride + col;
#pragma unroll
            for (int i = 0; i < together; ++i, to += stride)
                if (r + i < last && col < cols) piece_at(to) = x[i];
            const float total = sum_of_row_of_lane(sum, result.lane);
            const int row = r + result.lane / 4;
            if (result.lane % 4 == 0 && row < last)
                sums[static_cast<std::size_t>(place.row + row) * column_tiles + place.column] = total;
        }
        result.release(1);
    }
};

/// Writes results, as they are, of rows without a share alone.
struct lost_logits {
    number* out;
    const float* shares;
    std::size_t stride;
    int rows, cols;
    static constexpr int columns = 256;
    static constexpr bool right_transposed = false, centred = false;
    static constexpr unsigned own_bytes = 0;
    /// For all threads of a block together: whether there is anything to do. The same in all blocks.
    __device__ bool wanted() const {
        bool lost = false;
        for (int r = static_cast<int>(threadIdx.x); r < rows; r += threads) lost |= shares[r] == 0;
        return __syncthreads_or(lost);
    }
    __device__ int right_from(int tile, int column) const { return tile * columns + column; }
    __device__ void begin(finished&, tile_place) const {}
    __device__ void operator()(finished& result, tile_place place, tile_place) const {
        const int col = place.column * columns + result.lane * 8,
                  last = col < cols ? min(rows_each, rows - place.row) : 0;
        for (int half = 0; half < halves; ++half) {
            result.wait(half);
            for (int r = 64 * half + result.warp; r < min(64 * (half + 1), last); r += finishing_warps)
                if (shares[place.row + r] == 0)
                    piece_at(out + static_cast<std::size_t>(place.row + r) * stride + col) = result.at(r, result.lane);
            result.release(half);
        }
    }
};

constexpr std::size_t rows_a_block = 64;

/// Adds up a row's sums; a row whose sum is out of bounds gets no share: 0.
static __global__ void __launch_bounds__(row_threads)
    shares_kernel(exponentials e, std::size_t rows, float* shares, float* log_sums) {
    const std::size_t first = blockIdx.x * rows_a_block, last = min(first + rows_a_block, rows);
    const std::size_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    for (std::size_t r = first + warp; r < last; r += row_threads / 32) {
        float sum = 0;
        for (int t = static_cast<int>(lane); t < e.column_tiles; t += 32) sum += e.sums[r * e.column_tiles + t];
        sum = warp_sum(sum);
        const bool good = sum > least_sum && sum < largest_sum;
        if (lane == 0) shares[r] = good ? 1.0f / sum : 0.0f, log_sums[r] = e.averages[r] + headroom + logf(sum);
    }
}
/// Softmax in place of rows without a share, which then is 1.
static __global__ void __launch_bounds__(row_threads)
    lost_softmax_kernel(lost_logits lost, float* shares, float* log_sums) {
    __shared__ float shared[33];
    const std::size_t first = blockIdx.x * rows_a_block, rows = static_cast<std::size_t>(lost.rows),
                      last = min(first + rows_a_block, rows), cols = static_cast<std::size_t>(lost.cols);
    const bool here = threadIdx.x < last - first && shares[first + threadIdx.x] == 0;
    if (!__syncthreads_or(here)) return;
    for (std::size_t r = first; r < last; ++r) {
        if (shares[r] != 0) continue;  // the same for all threads
        const float log_sum = softmax_in_place<8, false>(lost.out + r * lost.stride, cols, shared);
        __syncthreads();
        if (threadIdx.x == 0) shares[r] = 1, log_sums[r] = log_sum;
    }
}

}  // namespace fused

[[gnu::used]] inline bool linear_softmax(const launch_context& k, matrix<const bfloat16> x, matrix<const bfloat16> w,
                                         span<const float> averages, matrix<bfloat16> e, span<float> shares,
                                         span<float> log_sums) {
    using fused::exponentials, fused::rows_a_block;
    const std::size_t tiles = blocks_for(e.cols, exponentials::columns),
                      together = k.scratch_floats / tiles / rows_a_block * rows_a_block;
    if (!fused::takes(k, x, w, e.cols) || !aligned(e, 8) || together == 0) return false;
    for (std::size_t first = 0; first < e.rows; first += together) {
        const std::size_t count = std::min(together, e.rows - first);
        const auto from = x.row_range(first, count);
        const auto share = shares.subspan(first, count), log_sum = log_sums.subspan(first, count);
        const int cols = static_cast<int>(e.cols);
        const exponentials finish{device(e.row(first)),   k.scratch, averages.data() + first, e.stride, cols,
                                  static_cast<int>(tiles)};
        const fused::lost_logits lost{finish.out, share.data(), e.stride, static_cast<int>(count), cols};
        const unsigned blocks = blocks_for(count, rows_a_block);
        fused::run(k, from, w, e.cols, finish, "linear_softmax");
        fused::shares_kernel<<<blocks, row_threads, 0, k.stream>>>(finish, count, share.data(), log_sum.data());
        launched("linear_softmax");
        fused::run(k, from, w, e.cols, lost, "linear_softmax");
        fused::lost_softmax_kernel<<<blocks, row_threads, 0, k.stream>>>(lost, share.data(), log_sum.data());
        launched("linear_softmax");
    }
    return true;
}

}  // namespace depthgrow::kernels

#else

namespace depthgrow::kernels {
[[gnu::used]] inline bool linear_softmax(const launch_context&, matrix<const bfloat16>, matrix<const bfloat16>,
                                         span<const float>, matrix<bfloat16>, span<float>, span<float>) {
    return false;
}
}  // namespace depthgrow::kernels

#endif
