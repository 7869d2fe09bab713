// Hopper's own instructions, a function each: barriers in shared memory, tiles copied by the tensor memory accelerator,
// products of a warpgroup. Assumes code for sm_90a; a warpgroup is 128 threads of which every one takes part.
// Semantics: PTX ISA 8.0, sections mbarrier, cp.async.bulk.tensor, wgmma and setmaxnreg.
#pragma once

#include <cuda.h>

#include "depthgrow/backend/cuda/kernels/common.cuh"

namespace depthgrow::kernels::hopper {

__device__ inline unsigned shared_address(const void* p) { return static_cast<unsigned>(__cvta_generic_to_shared(p)); }

// ---- barriers: a phase ends when `count` have arrived and the expected bytes are there
__device__ inline void barrier_init(unsigned barrier, unsigned count) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(count) : "memory");
}
__device__ inline void barrier_arrive(unsigned barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
/// Arrives at the same barrier of block `rank` of the cluster.
__device__ inline void barrier_arrive_at(unsigned barrier, unsigned rank) {
    asm volatile(
        "{\n.reg .b32 there;\nmapa.shared::cluster.u32 there, %0, %1;\nmbarrier.arrive.shared::cluster.b64 _, "
        "[there];\n}" ::"r"(barrier),
        "r"(rank)
        : "memory");
}
__device__ inline void barrier_expect(unsigned barrier, unsigned bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
/// Waits for the end of the phase of that parity; of a new barrier the phase before the first counts as over.
__device__ inline void barrier_wait(unsigned barrier, unsigned parity) {
    asm volatile(
        "{\n.reg .pred done;\nagain:\nmbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n@done bra over;\nbra "
        "again;\nover:\n}" ::"r"(barrier),
        "r"(parity)
        : "memory");
}
__device__ inline void barriers_visible() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
__device__ inline void cluster_sync() {
    asm volatile("barrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;" ::: "memory");
}
__device__ inline unsigned cluster_rank() {
    unsigned rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}

// ---- tiles from global to shared memory: the map's box at (column, row)
__device__ inline void load_tile(unsigned to, const CUtensorMap* map, int column, int row, unsigned barrier) {
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];" ::"r"(
            to),
        "l"(map), "r"(barrier), "r"(column), "r"(row)
        : "memory");
}
/// To the same place of every block of the cluster in `mask`, where each one's barrier counts it.
__device__ inline void load_tile_to_all(unsigned to, const CUtensorMap* map, int column, int row, unsigned barrier,
                                        unsigned short mask) {
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, "
        "{%3, %4}], [%2], %5;" ::"r"(to),
        "l"(map), "r"(barrier), "r"(column), "r"(row), "h"(mask)
        : "memory");
}
/// Neighbouring bytes, whole 16s.
__device__ inline void load_bytes(unsigned to, const void* from, unsigned bytes, unsigned barrier) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to),
                 "l"(from), "r"(bytes), "r"(barrier)
                 : "memory");
}
// ---- a word to and from shared memory, and a piece of 16 bytes
__device__ inline void store_word(unsigned to, int word) {
    asm volatile("st.shared.s32 [%0], %1;" ::"r"(to), "r"(word) : "memory");
}
__device__ inline int load_word(unsigned from) {
    int word;
    asm volatile("ld.shared.s32 %0, [%1];" : "=r"(word) : "r"(from) : "memory");
    return word;
}
__device__ inline pack<__nv_bfloat16, 8> shared_piece(unsigned from) {
    pack<__nv_bfloat16, 8> piece;
    asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(piece.words[0]), "=r"(piece.words[1]), "=r"(piece.words[2]), "=r"(piece.words[3])
                 : "r"(from)
                 : "memory");
    return piece;
}

// ---- products of a warpgroup
/// The matrix descriptor of a tile in shared memory in 128-byte rows, swizzled; `repeat` is the distance of 8 rows and
/// `across` that of the next 128 bytes of a row.
__device__ inline std::uint64_t matrix_descriptor(unsigned address, unsigned across, unsigned repeat) {
    return static_cast<std::uint64_t>((address & 0x3ffffu) >> 4) | static_cast<std::uint64_t>(across >> 4) << 16 |
           static_cast<std::uint64_t>(repeat >> 4) << 32 | std::uint64_t{1} << 62;
}
__device__ inline void products_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void products_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
/// Until at most that many committed groups are still running.
template <int Running> __device__ inline void products_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Running) : "memory");
}

/// Keeps reads of d behind what was waited for; no instruction.
template <int N> __device__ inline void products_made(float (&d)[N]) {
#pragma unroll
    for (int i = 0; i < N; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

#define DEPTHGROW_R8(i)                                                                                         \
    "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), \
        "+f"(d[i + 7])
#define DEPTHGROW_R32(i) DEPTHGROW_R8(i), DEPTHGROW_R8(i + 8), DEPTHGROW_R8(i + 16), DEPTHGROW_R8(i + 24)
/// d (64, 256) = a (64, 16) b (16, 256) + d, or without d. `BTurned`: b's tile has rows of columns, else columns of
/// rows.
template <bool BTurned>
__device__ inline void multiply_64x256x16(float (&d)[128], std::uint64_t a, std::uint64_t b, bool add) {
    asm volatile(
        "{\n.reg .pred add;\nsetp.ne.b32 add, %130, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 "
        "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, "
        "%23, %24, %25, "
        "%26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, "
        "%50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, %64, %65, %66, %67, %68, %69, %70, %71, "
        "%72, %73, "
        "%74, %75, %76, %77, %78, %79, %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "
        "%96, %97, "
        "%98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, %112, %113, %114, %115, "
        "%116, %117, "
        "%118, %119, %120, %121, %122, %123, %124, %125, %126, %127}, %128, %129, add, 1, 1, 0, %131;\n}"
        : DEPTHGROW_R32(0), DEPTHGROW_R32(32), DEPTHGROW_R32(64), DEPTHGROW_R32(96)
        : "l"(a), "l"(b), "r"(static_cast<int>(add)), "n"(BTurned ? 1 : 0));
}
/// d (64, N) = a (64, 16) b (16, N), N = 128 or 64, or added to d; both tiles have rows of what is summed over.
template <bool Add> __device__ inline void multiply(float (&d)[64], std::uint64_t a, std::uint64_t b) {
    asm volatile(
        "{\n.reg .pred add;\nsetp.ne.b32 add, %66, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
        "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, "
        "%19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, "
        "%36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, "
        "%53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, %64, %65, add, 1, 1, 0, 0;\n}"
        : DEPTHGROW_R32(0), DEPTHGROW_R32(32)
        : "l"(a), "l"(b), "n"(Add ? 1 : 0));
}
template <bool Add> __device__ inline void multiply(float (&d)[32], std::uint64_t a, std::uint64_t b) {
    asm volatile(
        "{\n.reg .pred add;\nsetp.ne.b32 add, %34, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
        "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, "
        "%19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, %32, %33, add, 1, 1, 0, 0;\n}"
        : DEPTHGROW_R32(0)
        : "l"(a), "l"(b), "n"(Add ? 1 : 0));
}
/// d (64, 64) += a (64, 16) b (16, 64): a in registers, as pairs of a product's neighbouring results lie; b's tile has
/// rows of columns.
__device__ inline void multiply_add_turned(float (&d)[32], const unsigned* a, std::uint64_t b) {
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
        "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, "
        "%19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, {%32, %33, %34, %35}, %36, 1, 1, 1, 1;"
        : DEPTHGROW_R32(0)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
#undef DEPTHGROW_R8
#undef DEPTHGROW_R32

/// Stores four 8 x 8 tiles of a warp's fragments, each lane giving the address of one row of 16 bytes.
__device__ inline void store_fragments(unsigned row, unsigned a, unsigned b, unsigned c, unsigned d) {
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(row), "r"(a), "r"(b), "r"(c),
                 "r"(d)
                 : "memory");
}
template <int Registers> __device__ inline void fewer_registers() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(Registers));
}
template <int Registers> __device__ inline void more_registers() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(Registers));
}

}  // namespace depthgrow::kernels::hopper
