// What the two kernels of hopper_attention.cuh go through: tasks, which thread blocks take when they are free, and the
// tiles of each, which one thread copies into shared memory ahead of the products. Assumes code for sm_90a, bfloat16
// rows of packed queries, keys and values, heads of 64 channels, sequences of whole 128s.
#pragma once

#include "depthgrow/backend/cuda/kernels/hopper.cuh"

namespace depthgrow::kernels::attention64 {

using number = __nv_bfloat16;
constexpr int width = 64, rows = 128, threads = 384;
constexpr unsigned own_tile = rows * width * 2;

/// What each kernel keeps in shared memory: its own block, of this task and the next, and tiles on their way, as wide
/// as registers allow.
template <bool Keys> struct memory {
    static constexpr int columns = Keys ? 64 : 128, stages = Keys ? 6 : 3;
    static constexpr unsigned tile = columns * width * 2, facts = Keys ? 2 * columns * sizeof(float) : 0;
    static constexpr unsigned own_bytes = (Keys ? 2 : 3) * own_tile, given_bytes = 2 * tile + facts,
                              stage_bytes = 2 * tile + (Keys ? 1024 : 0),
                              barriers = 2 * own_bytes + stages * stage_bytes, all = barriers + 16 * stages + 40;
};

struct arguments {
    int batch, length, heads, kv_heads, heads_together;
    float scale;
    const float* lse;  // (B, H, T)
    float* facts;      // (B, H, T/64, 2, 64): lse in powers of two, and dO O; written for queries, read for keys
    number* dqkv;
    std::size_t stride;
    const float *cosine, *sine;  // (at least T, 32); null: no RoPE to undo
    int* taken;                  // how many tasks of each kernel thread blocks have taken
};

/// A block of 128 rows of one sequence and head, of queries or of keys and values.
struct task {
    int block, batch, head;
};
template <bool Keys> __device__ inline int tasks_of(const arguments& a) {
    return (Keys ? a.kv_heads : a.heads) * a.batch * (a.length / rows);
}
/// Thread blocks take tasks in this order when they are free. Heads go in groups whose tiles the second-level cache
/// holds, a group's long tasks first.
template <bool Keys> __device__ inline task task_of(const arguments& a, int t) {
    const int heads = Keys ? a.kv_heads : a.heads, blocks = a.length / rows, group = t / (a.heads_together * blocks),
              first = group * a.heads_together, count = min(a.heads_together, a.batch * heads - first),
              inside = t - first * blocks, head = first + inside % count;
    return {Keys ? inside / count : blocks - 1 - inside / count, head / heads, head % heads};
}
/// The tiles that a task goes through, one after the other: of every head that shares its keys, or up to its queries.
template <bool Keys> struct tiles {
    int part, head, first, parts, left;
    __device__ tiles(const arguments& a, const task& own) {
        const int group = a.heads / a.kv_heads;
        first = part = Keys ? own.block * (rows / memory<Keys>::columns) : 0;
        parts = Keys ? a.length / memory<Keys>::columns : own.block + 1;
        head = Keys ? own.head * group : own.head / group, left = (parts - first) * (Keys ? group : 1);
    }
    __device__ void advance() {
        --left;
        if (++part == parts) part = first, ++head;
    }
};

/// Copies blocks and tiles in, for as long as there are tasks.
template <bool Keys>
__device__ inline void copy_in(const CUtensorMap& qkv, const CUtensorMap& out, const CUtensorMap& dout,
                               const arguments& a, unsigned start, unsigned filled, unsigned own_filled) {
    using namespace hopper;
    using m = memory<Keys>;
    const unsigned emptied = filled + 8 * m::stages, own_emptied = own_filled + 16;
    const int keys = a.heads * width, values = keys + a.kv_heads * width;
    unsigned stage = 0, phase = 0, which = 0, own_phase = 0;
    for (;;) {
        const int t = atomicAdd(a.taken + Keys, 1);
        const unsigned to = start + which * m::own_bytes, full = own_filled + 8 * which;
        barrier_wait(own_emptied + 8 * which, own_phase ^ 1);
        store_word(own_emptied + 16 + 4 * which, t);
        if (t >= tasks_of<Keys>(a)) return barrier_arrive(full);
        const task own = task_of<Keys>(a, t);
        const int row = own.batch * a.length, column = own.head * width;
        barrier_expect(full, m::own_bytes);
        for (int half = 0; half < rows; half += 64) {
            const int from = row + own.block * rows + half;
            const unsigned at = to + half * width * 2;
            load_tile(at, &qkv, (Keys ? keys : 0) + column, from, full);
            load_tile(at + own_tile, Keys ? &qkv : &dout, (Keys ? values : 0) + column, from, full);
            if (!Keys) load_tile(at + 2 * own_tile, &out, column, from, full);
        }
        for (tiles<Keys> next(a, own); next.left > 0; next.advance()) {
            const unsigned at = start + 2 * m::own_bytes + stage * m::stage_bytes, ready = filled + 8 * stage;
            const int first = next.part * m::columns;
            barrier_wait(emptied + 8 * stage, phase ^ 1);
            barrier_expect(ready, m::given_bytes);
            for (int half = 0; half < m::columns; half += 64) {
                const unsigned place = at + half * width * 2;
                load_tile(place, &qkv, (Keys ? 0 : keys) + next.head * width, row + first + half, ready);
                load_tile(place + m::tile, Keys ? &dout : &qkv, (Keys ? 0 : values) + next.head * width,
                          row + first + half, ready);
            }
            if (Keys)
                load_bytes(
                    at + 2 * m::tile,
                    a.facts + 2 * ((static_cast<std::size_t>(own.batch) * a.heads + next.head) * a.length + first),
                    m::facts, ready);
            if (++stage == m::stages) stage = 0, phase ^= 1;
        }
        if (++which == 2) which = 0, own_phase ^= 1;
    }
}

}  // namespace depthgrow::kernels::attention64
