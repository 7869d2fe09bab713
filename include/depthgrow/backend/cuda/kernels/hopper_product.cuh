// A matrix product on Hopper whose tiles are worked on before they leave the chip: left (M, K) times right, (N, K) or
// (K, N), in bfloat16 with float sums. Assumes rows of whole 16 bytes and code for sm_90a. A block makes tiles of 128 x
// 256; the two of a cluster share the right operand. One warp copies tiles in, two warpgroups multiply and leave their
// results in shared memory, less a number of the row where `Finish` is `centred`, rounded to bfloat16, and three warps
// make of them what is written (`Finish`, fused_products.cuh), while the next tile is being multiplied. No order of
// sums depends on timing.
#pragma once

#include "depthgrow/backend/cuda/kernels/hopper.cuh"

namespace depthgrow::kernels::fused {

using number = __nv_bfloat16;
using piece = pack<number, 8>;
__device__ inline piece& piece_at(number* p) { return *reinterpret_cast<piece*>(p); }
constexpr int rows_each = 128, columns_each = 256, depth_each = 64, halves = 2, stages = 3, cluster = 2;
constexpr int threads = 384, finishing_warps = 3, finishing = 32 * finishing_warps;
constexpr int row_tiles_together =
    8;  // that many clusters' rows go through all columns together: both operands come from the cache
constexpr unsigned left_bytes = rows_each * depth_each * 2, right_bytes = columns_each * depth_each * 2,
                   stage_bytes = left_bytes + right_bytes;
constexpr unsigned result_pitch = columns_each * 2, half_bytes = rows_each / halves * result_pitch;
template <class Finish>
constexpr unsigned shared_bytes = stages* stage_bytes + halves* half_bytes + Finish::own_bytes + 128;

struct tile_place {
    int row, column;  // the first row, and which of the tiles of columns
};
__device__ inline tile_place place_of(int t, int row_tiles, int column_tiles, unsigned rank) {
    const int before = t / (row_tiles_together * column_tiles) * row_tiles_together,
              count = min(row_tiles_together, row_tiles - before), inside = t - before * column_tiles;
    return {((before + inside % count) * cluster + static_cast<int>(rank)) * rows_each, inside / count};
}
/// Where a row keeps its piece of 16 bytes: such that eight rows' same pieces lie in different banks.
__device__ inline unsigned place_in(unsigned row, unsigned piece) { return (piece ^ (row & 7)) * 16; }

/// The results of a tile, (128, 256), as one of the threads that finish it sees them: half by half of 64 rows.
struct finished {
    unsigned results, made, taken, phase;
    int rows, warp, lane;  // rows: of the whole result
    unsigned own;          // shared memory for what the finishing threads fetch
    int slot;              // where in it
    __device__ void wait(int half) const { hopper::barrier_wait(made + 8 * half, phase); }
    __device__ void release(int half) const { hopper::barrier_arrive(taken + 8 * half); }
    /// Eight numbers of a row.
    __device__ piece at(int row, int which) const {
        return hopper::shared_piece(results + row * result_pitch + place_in(row, which));
    }
};

template <class Finish>
static __global__ void __cluster_dims__(cluster, 1, 1) __launch_bounds__(threads, 1)
    product_kernel(const __grid_constant__ CUtensorMap left, const __grid_constant__ CUtensorMap right, int rows,
                   int row_tiles, int column_tiles, int depth_tiles, Finish finish) {
    using namespace hopper;
    if (!finish.wanted()) return;
    extern __shared__ __align__(1024) unsigned char shared[];
    const unsigned start = shared_address(shared), results = start + stages * stage_bytes,
                   own = results + halves * half_bytes, filled = own + Finish::own_bytes;
    const unsigned emptied = filled + 8 * stages, made = emptied + 8 * stages, taken = made + 8 * halves;
    const int warpgroup = threadIdx.x / 128, thread = threadIdx.x % 128, tiles = row_tiles * column_tiles;
    const int first = static_cast<int>(blockIdx.x) / cluster, step = static_cast<int>(gridDim.x) / cluster;
    const unsigned rank = cluster_rank();
    if (threadIdx.x == 0) {
        for (int s = 0; s < stages; ++s)
            barrier_init(filled + 8 * s, 1), barrier_init(emptied + 8 * s, halves * cluster);
        for (int h = 0; h < halves; ++h) barrier_init(made + 8 * h, 128), barrier_init(taken + 8 * h, finishing);
        barriers_visible();
    }
    cluster_sync();

    // Registers: 104 + 2 * 200 are what three warpgroups start with, 168 each.
    if (warpgroup == 0) {
        fewer_registers<104>();
        if (threadIdx.x == 0) {  // copies tiles in
            unsigned stage = 0, phase = 0;
            for (int t = first; t < tiles; t += step) {
                const tile_place place = place_of(t, row_tiles, column_tiles, rank);
                for (int k = 0; k < depth_tiles; ++k) {
                    const unsigned to = start + stage * stage_bytes, full = filled + 8 * stage;
                    barrier_wait(emptied + 8 * stage, phase ^ 1);
                    barrier_expect(full, stage_bytes);
                    load_tile(to, &left, k * depth_each, place.row, full);
                    constexpr int share = columns_each / cluster;
                    for (int column = static_cast<int>(rank) * share; column < static_cast<int>(rank + 1) * share;
                         column += 64) {
                        const unsigned at = to + left_bytes + column * depth_each * 2;
                        const int from = finish.right_from(place.column, column);
                        if (Finish::right_transposed)
                            load_tile_to_all(at, &right, from, k * depth_each, full, (1 << cluster) - 1);
                        else load_tile_to_all(at, &right, k * depth_each, from, full, (1 << cluster) - 1);
                    }
                    if (++stage == stages) stage = 0, phase ^= 1;
                }
            }
        } else if (threadIdx.x >= 32) {  // finishes
            const int mine = static_cast<int>(threadIdx.x) - 32;
            finished result{results, made, taken, 0, rows, mine / 32, mine % 32, own, 0};
            tile_place place = place_of(first, row_tiles, column_tiles, rank);
            finish.begin(result, place);
            for (int t = first; t < tiles; t += step, result.phase ^= 1) {
                const tile_place next =
                    t + step < tiles ? place_of(t + step, row_tiles, column_tiles, rank) : tile_place{rows, 0};
                finish(result, place, next);
                place = next;
            }
        }
    } else {  // multiplies
        more_registers<200>();
        const unsigned half = static_cast<unsigned>(warpgroup) - 1, lane = threadIdx.x % 32,
                       warp = static_cast<unsigned>(thread) / 32;
        const unsigned to = results + half * half_bytes + (warp * 16 + lane % 16) * result_pitch;
        unsigned stage = 0, phase = 0, round = 0, last = 0;
        float d[128], centre[2] = {0, 0};  // of rows lane / 4 and 8 more of the warp's 16
        for (int t = first; t < tiles; t += step, round ^= 1) {
            if constexpr (Finish::centred) {
                const int row = place_of(t, row_tiles, column_tiles, rank).row + static_cast<int>(half) * 64 +
                                static_cast<int>(warp * 16 + lane / 4);
                centre[0] = finish.centre(min(row, rows - 1)), centre[1] = finish.centre(min(row + 8, rows - 1));
            }
            for (int k = 0; k < depth_tiles; ++k) {
                const unsigned from = start + stage * stage_bytes;
                barrier_wait(filled + 8 * stage, phase);
                products_begin();
#pragma unroll
                for (int part = 0; part < depth_each / 16; ++part) {
                    const std::uint64_t a = matrix_descriptor(from + half * (left_bytes / 2) + part * 32, 16, 1024);
                    const std::uint64_t b =
                        Finish::right_transposed
                            ? matrix_descriptor(from + left_bytes + part * 2048, right_bytes / 4, 1024)
                            : matrix_descriptor(from + left_bytes + part * 32, 16, 1024);
                    multiply_64x256x16<Finish::right_transposed>(d, a, b, k > 0 || part > 0);
                }
                products_commit();
                products_wait<1>();
                if (k > 0 && thread < cluster) barrier_arrive_at(emptied + 8 * last, static_cast<unsigned>(thread));
                last = stage;
                if (++stage == stages) stage = 0, phase ^= 1;
            }
            products_wait<0>();
            products_made(d);
            if (thread < cluster) barrier_arrive_at(emptied + 8 * last, static_cast<unsigned>(thread));
            if constexpr (Finish::centred) {
#pragma unroll
                for (int i = 0; i < 128; ++i) d[i] -= centre[i / 2 % 2];
            }
            barrier_wait(taken + 8 * half, round ^ 1);
#pragma unroll
            for (int j = 0; j < 16; ++j)
                store_fragments(to + place_in(lane, 2 * j + lane / 16), pack_bf16(d[8 * j], d[8 * j + 1]),
                                pack_bf16(d[8 * j + 2], d[8 * j + 3]), pack_bf16(d[8 * j + 4], d[8 * j + 5]),
                                pack_bf16(d[8 * j + 6], d[8 * j + 7]));
            barrier_arrive(made + 8 * half);
        }
    }
    cluster_sync();  // a block stays until nobody copies to it or arrives at its barriers
}

/// (rows, cols) in boxes of box_rows x 64 columns.
inline CUtensorMap map_of(matrix<const bfloat16> m, unsigned box_rows) {
    static const auto encode = [] {
        void* found = nullptr;
        cudaDriverEntryPointQueryResult result{};
        const cudaError_t status =
            cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000, cudaEnableDefault, &result);
        require(status == cudaSuccess && result == cudaDriverEntryPointSuccess,
                "[cuda] expected a driver with cuTensorMapEncodeTiled (12.0 or newer)");
        return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(found);
    }();
    CUtensorMap map;
    const cuuint64_t extents[] = {m.cols, m.rows}, strides[] = {m.stride * sizeof(bfloat16)};
    const cuuint32_t box[] = {64, box_rows}, steps[] = {1, 1};
    const CUresult status = encode(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, const_cast<bfloat16*>(m.data), extents,
                                   strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                   CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    require(status == CUDA_SUCCESS, "[cuda] expected a matrix that can be copied in tiles, got ", m.rows, " x ", m.cols,
            " with leading dimension ", m.stride);
    return map;
}

/// Whether these operands are fit for it, and a result of `cols` columns is enough work for the device.
inline bool takes(const launch_context& k, matrix<const bfloat16> left, matrix<const bfloat16> right,
                  std::size_t cols) {
    const auto whole = [](matrix<const bfloat16> m) { return aligned(m, 8) && m.rows < (1u << 30); };
    return whole(left) && whole(right) && left.rows > 0 && left.cols > 0 && cols > 0 && cols % 8 == 0 &&
           blocks_for(left.rows, rows_each) * std::size_t{blocks_for(cols, columns_each)} >= k.multiprocessors;
}
/// The product of a left operand of `left.cols` numbers deep, finished by `finish`.
template <class Finish>
void run(const launch_context& k, matrix<const bfloat16> left, matrix<const bfloat16> right, std::size_t cols,
         const Finish& finish, const char* op) {
    const cudaError_t prepared = cudaFuncSetAttribute(
        product_kernel<Finish>, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes<Finish>);  // of this device
    require(prepared == cudaSuccess, "[", op, "] expected ", shared_bytes<Finish>, " bytes of shared memory a block");
    const int row_tiles = static_cast<int>(blocks_for(left.rows, cluster * rows_each)),
              column_tiles = static_cast<int>(blocks_for(cols, Finish::columns));
    const unsigned clusters = std::min(static_cast<unsigned>(row_tiles * column_tiles), k.multiprocessors / cluster);
    product_kernel<Finish><<<cluster * clusters, threads, shared_bytes<Finish>, k.stream>>>(
        map_of(left, rows_each), map_of(right, 64), static_cast<int>(left.rows), row_tiles, column_tiles,
        static_cast<int>(blocks_for(left.cols, depth_each)), finish);
    launched(op);
}

}  // namespace depthgrow::kernels::fused
