// The backward pass of causal grouped-query attention on Hopper for heads of 64 channels, without atomics: results
// repeat bit for bit. Two kernels of one form: a block of queries against all keys up to it gives dq, a block of keys
// and values against all queries from it on gives dk and dv, summed over the heads that share them; RoPE is undone
// before anything is written. Assumes bfloat16, sequences of whole 128s, lse (B, H, T), code for sm_90a. Maths: Dao
// 2023 (arXiv 2307.08691), Algorithm 2, scores and their gradients being made twice: 7 products of T T 64
// operations a head.
#pragma once

#include "depthgrow/backend/cuda/kernels/common.cuh"

#ifdef DEPTHGROW_SM90A  // set by cmake/cuda.cmake
#include "depthgrow/backend/cuda/kernels/hopper_attention_tiles.cuh"
#include "depthgrow/backend/cuda/kernels/hopper_product.cuh"
#include "depthgrow/backend/cuda/kernels/rope.cuh"

namespace depthgrow::kernels {

namespace attention64 {

constexpr float log2_e = 1.4426950408889634f;

/// hopper::matrix_descriptor of a tile of 64 channels, `at` in 16 bytes: rows are summed over, or with `turned`
/// columns. One addition, where that takes four instructions: products are many and small here.
__device__ inline std::uint64_t descriptor(unsigned at, bool turned) {
    return std::uint64_t{0x40000040} << 32 | (at + ((turned ? 64u : 1u) << 16));
}
/// d = a tᵀ and d += a t, of tiles in shared memory and a in registers.
template <int N> __device__ inline void multiply_tile(float (&d)[N], unsigned a, unsigned tile) {
    hopper::multiply<false>(d, descriptor(a, false), descriptor(tile, false));
#pragma unroll
    for (int part = 1; part < 4; ++part)
        hopper::multiply<true>(d, descriptor(a + 2 * part, false), descriptor(tile + 2 * part, false));
}
template <int N> __device__ inline void add_turned_tile(float (&d)[32], const unsigned (&a)[N], unsigned tile) {
#pragma unroll
    for (int part = 0; part < N / 4; ++part)
        hopper::multiply_add_turned(d, a + 4 * part, descriptor(tile + 128 * part, true));
}
/// Zeroes, before the next product begins.
__device__ inline void clear(float (&d)[32]) {
#pragma unroll
    for (int i = 0; i < 32; ++i) d[i] = 0;
    hopper::products_made(d);
}

__device__ inline float power_of_two(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/// dO O of a warp's 16 rows, two lanes a row, from tiles in shared memory.
__device__ inline float dot_of_rows(unsigned a, unsigned b, int row, int lane) {
    float sum = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const unsigned at = row * 128 + fused::place_in(row, lane % 2 * 4 + i);
        const auto x = hopper::shared_piece(a + at), y = hopper::shared_piece(b + at);
#pragma unroll
        for (int j = 0; j < 8; ++j) sum += x.get(j) * y.get(j);
    }
    return sum + __shfl_xor_sync(0xffffffffu, sum, 1);
}

/// Of four neighbouring lanes each has a word for every one of them, and gets the four that are its own.
__device__ inline void exchange(unsigned (&words)[4], int lane) {
#pragma unroll
    for (int step = 1; step < 4; step *= 2)
#pragma unroll
        for (int i = 0; i < 4; ++i)
            if (i % (2 * step) < step) {
                unsigned &low = words[i], &high = words[i + step];
                const bool upper = lane & step;
                const unsigned got = __shfl_xor_sync(0xffffffffu, upper ? low : high, step);
                low = upper ? got : low, high = upper ? high : got;
            }
}
/// Writes 64 rows of 64 channels, scaled; with a table rotated back. A lane holds pairs of neighbours in two rows.
__device__ inline void write(const arguments& a, float (&d)[32], float scale, bool rotated, std::size_t sequence,
                             int position, int column, int lane) {
#pragma unroll
    for (int i = 0; i < 32; ++i) d[i] *= scale;
#pragma unroll
    for (int below = 0; below < 2; ++below) {
        const int at = position + 8 * below, channel = 2 * (lane % 4);
        if (rotated && a.cosine)
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                const std::size_t from = static_cast<std::size_t>(at) * (width / 2) + 8 * j + channel;
                const float2 c = *reinterpret_cast<const float2*>(a.cosine + from),
                             s = *reinterpret_cast<const float2*>(a.sine + from);
                rotate(d[4 * j + 2 * below], d[4 * (j + 4) + 2 * below], c.x, -s.x);
                rotate(d[4 * j + 2 * below + 1], d[4 * (j + 4) + 2 * below + 1], c.y, -s.y);
            }
        number* to = a.dqkv + (sequence * a.length + at) * a.stride + column * width + 8 * (lane % 4);
#pragma unroll
        for (int j = 0; j < 8; j += 4) {
            pack<number, 8> piece;
#pragma unroll
            for (int i = 0; i < 4; ++i)
                piece.words[i] = pack_bf16(d[4 * (j + i) + 2 * below], d[4 * (j + i) + 2 * below + 1]);
            exchange(piece.words, lane);
            *reinterpret_cast<pack<number, 8>*>(to + 8 * j) = piece;
        }
    }
}

template <bool Keys>
static __global__ void __launch_bounds__(threads, 1)
    kernel(const __grid_constant__ CUtensorMap qkv, const __grid_constant__ CUtensorMap out,
           const __grid_constant__ CUtensorMap dout, arguments a) {
    using namespace hopper;
    using m = memory<Keys>;
    constexpr int N = m::columns / 2;  // numbers a thread has of (64, columns)
    extern __shared__ __align__(1024) unsigned char shared[];
    const unsigned start = shared_address(shared), stages = start + 2 * m::own_bytes, filled = start + m::barriers,
                   emptied = filled + 8 * m::stages, own_filled = emptied + 8 * m::stages,
                   own_emptied = own_filled + 16;
    const int warpgroup = threadIdx.x / 128;
    if (threadIdx.x == 0) {
        for (int s = 0; s < m::stages; ++s) barrier_init(filled + 8 * s, 1), barrier_init(emptied + 8 * s, 8);
        for (int o = 0; o < 2; ++o) barrier_init(own_filled + 8 * o, 1), barrier_init(own_emptied + 8 * o, 8);
        barriers_visible();
    }
    __syncthreads();

    // Registers: 40 + 2 * 232 are what three warpgroups start with, 168 each.
    if (warpgroup == 0) {
        fewer_registers<40>();
        if (threadIdx.x == 0) copy_in<Keys>(qkv, out, dout, a, start, filled, own_filled);
        return;
    }
    more_registers<232>();
    const int half = warpgroup - 1, lane = static_cast<int>(threadIdx.x % 32),
              inside = static_cast<int>(threadIdx.x % 128 / 32) * 16, first = half * 64 + inside;
    const bool leads = lane == 0;
    const float log2_scale = a.scale * log2_e;
    unsigned stage = 0, phase = 0, which = 0, own_phase = 0;
    float s[N], dp[N], d[32], dv[32];
    unsigned ds[N / 2], p[N / 2];
    for (;;) {
        const unsigned mine = start + which * m::own_bytes, left = (mine + half * own_tile / 2) / 16;
        barrier_wait(own_filled + 8 * which, own_phase);
        const int t = load_word(own_emptied + 16 + 4 * which);
        if (t >= tasks_of<Keys>(a)) return;
        const task own = task_of<Keys>(a, t);
        float2 above{}, below{};  // facts of this lane's two rows, where rows are queries
        if (!Keys) {
            const int row = first + lane / 2;
            const std::size_t at =
                (static_cast<std::size_t>(own.batch) * a.heads + own.head) * a.length + own.block * rows + row;
            const float dot = dot_of_rows(mine + own_tile, mine + 2 * own_tile, row, lane), power = a.lse[at] * log2_e;
            a.facts[2 * at - row % 64 + lane % 2 * 64] = lane % 2 ? dot : power;
            const int from = lane / 4 * 2;
            above = {__shfl_sync(0xffffffffu, power, from), __shfl_sync(0xffffffffu, dot, from)};
            below = {__shfl_sync(0xffffffffu, power, from + 16), __shfl_sync(0xffffffffu, dot, from + 16)};
        }
        clear(d);
        if constexpr (Keys) clear(dv);
        tiles<Keys> next(a, own);
        const auto begin_products = [&](unsigned at) {  // s and dp, of which s comes first
            multiply_tile(s, left, at);
            products_commit();
            multiply_tile(dp, left + own_tile / 16, at + m::tile / 16);
            products_commit();
        };
        const auto end_products = [&](unsigned at) {
            if constexpr (Keys) add_turned_tile(dv, p, at + m::tile / 16);
            add_turned_tile(d, ds, at);
            products_commit();
        };
        // Which stage has the next tile that this half sees anything of; none: the number of stages.
        int beyond = 0;  // of this half's diagonal
        const auto next_tile = [&] {
            for (; next.left > 0; next.advance()) {
                const unsigned now = stage;
                beyond = next.part * m::columns - (own.block * rows + half * 64);
                barrier_wait(filled + 8 * stage, phase);
                if (++stage == m::stages) stage = 0, phase ^= 1;
                if (!Keys || beyond >= 0) {
                    next.advance();
                    return now;
                }
                __syncwarp();  // all of the warp have seen it filled
                if (leads) barrier_arrive(emptied + 8 * now);
            }
            return static_cast<unsigned>(m::stages);
        };
        const auto place_of = [&](unsigned one) { return (stages + one * m::stage_bytes) / 16; };
        unsigned now = next_tile(), last = m::stages;
        products_begin();
        begin_products(place_of(now));
        for (;;) {
            products_wait<1>();
            products_made(s);
            if (last < m::stages && leads) barrier_arrive(emptied + 8 * last);
            if (beyond > -m::columns && beyond < 64)
#pragma unroll
                for (int i = 0; i < N; ++i) {
                    const int row = inside + lane / 4 + i % 4 / 2 * 8,
                              column = beyond + i / 4 * 8 + lane % 4 * 2 + i % 2;
                    if (Keys ? row > column : column > row) s[i] = -INFINITY;
                }
            const auto* facts =
                reinterpret_cast<const float2*>(shared + (stages - start) + now * m::stage_bytes + 2 * m::tile) +
                lane % 4;
#pragma unroll
            for (int j = 0; j < N / 4; ++j) {
                const float2 top = Keys ? facts[4 * j] : make_float2(above.x, above.x),
                             low = Keys ? top : make_float2(below.x, below.x);
                s[4 * j] = power_of_two(s[4 * j] * log2_scale - top.x);
                s[4 * j + 1] = power_of_two(s[4 * j + 1] * log2_scale - top.y);
                s[4 * j + 2] = power_of_two(s[4 * j + 2] * log2_scale - low.x);
                s[4 * j + 3] = power_of_two(s[4 * j + 3] * log2_scale - low.y);
                if constexpr (Keys)
                    p[2 * j] = pack_bf16(s[4 * j], s[4 * j + 1]), p[2 * j + 1] = pack_bf16(s[4 * j + 2], s[4 * j + 3]);
            }
            products_wait<0>();
            products_made(dp);
#pragma unroll
            for (int j = 0; j < N / 4; ++j) {
                const float2 top = Keys ? facts[m::columns / 2 + 4 * j] : make_float2(above.y, above.y),
                             low = Keys ? top : make_float2(below.y, below.y);
                ds[2 * j] = pack_bf16(s[4 * j] * (dp[4 * j] - top.x), s[4 * j + 1] * (dp[4 * j + 1] - top.y));
                ds[2 * j + 1] =
                    pack_bf16(s[4 * j + 2] * (dp[4 * j + 2] - low.x), s[4 * j + 3] * (dp[4 * j + 3] - low.y));
            }
            last = now;
            now = next_tile();
            if (now == m::stages) break;
            products_begin();
            end_products(place_of(last));
            begin_products(place_of(now));
        }
        products_begin();
        end_products(place_of(last));
        products_wait<0>();
        products_made(d);
        if constexpr (Keys) products_made(dv);
        __syncwarp();
        if (leads) barrier_arrive(emptied + 8 * last), barrier_arrive(own_emptied + 8 * which);
        if (++which == 2) which = 0, own_phase ^= 1;
        const int position = own.block * rows + first + lane / 4, column = own.head + (Keys ? a.heads : 0);
        write(a, d, a.scale, true, own.batch, position, column, lane);
        if constexpr (Keys) write(a, dv, 1, false, own.batch, position, column + a.kv_heads, lane);
    }
}

template <bool Keys>
void run(const launch_context& k, const CUtensorMap& qkv, const CUtensorMap& out, const CUtensorMap& dout,
         arguments a) {
    const cudaError_t prepared = cudaFuncSetAttribute(kernel<Keys>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                      memory<Keys>::all);  // of this device
    require(prepared == cudaSuccess, "[attention_backward] expected ", memory<Keys>::all,
            " bytes of shared memory a block");
    constexpr int cached_rows = 1 << 15;  // of two tiles each: 8 MiB
    a.heads_together = std::max(1, cached_rows / (a.length * (Keys ? a.heads / a.kv_heads : 1)));
    const unsigned tasks = static_cast<unsigned>((Keys ? a.kv_heads : a.heads) * a.batch * (a.length / rows));
    kernel<Keys><<<std::min(tasks, k.multiprocessors), threads, memory<Keys>::all, k.stream>>>(qkv, out, dout, a);
    launched("attention_backward");
}

}  // namespace attention64

}  // namespace depthgrow::kernels
#endif

namespace depthgrow::kernels {

[[gnu::used]] inline bool takes_attention_backward(const attention_shape& s, matrix<const bfloat16> qkv,
                                                   matrix<const bfloat16> out, matrix<const bfloat16> dout,
                                                   matrix<bfloat16> dqkv, matrix<const float> cosine,
                                                   matrix<const float> sine) {
#ifdef DEPTHGROW_SM90A
    constexpr bool has_code = true;
#else
    constexpr bool has_code = false;
#endif
    const bool table_fits = !cosine.data || (cosine.cols == 32 && cosine.stride == 32 && sine.stride == 32 &&
                                             aligned(cosine, 2) && aligned(sine, 2));
    return has_code && s.head_width == 64 && s.length % 128 == 0 && s.length > 0 &&
           (s.window == 0 || s.window >= s.length) && s.rows() * s.packed_width() < (std::size_t{1} << 31) &&
           aligned(qkv, 8) && aligned(out, 8) && aligned(dout, 8) && aligned(dqkv, 8) && table_fits;
}
[[gnu::used]] inline void attention_backward_64(const launch_context& k, const attention_shape& s,
                                                matrix<const bfloat16> qkv, matrix<const bfloat16> out,
                                                const float* lse, matrix<const bfloat16> dout, matrix<bfloat16> dqkv,
                                                matrix<const float> cosine, matrix<const float> sine, void* facts) {
#ifdef DEPTHGROW_SM90A
    const auto count = [](std::size_t n) { return static_cast<int>(n); };
    attention64::arguments a{};
    a.batch = count(s.batch), a.length = count(s.length), a.heads = count(s.heads), a.kv_heads = count(s.kv_heads);
    a.scale = s.score_scale<float>(), a.lse = lse, a.facts = static_cast<float*>(facts);
    a.dqkv = device(dqkv.data), a.stride = dqkv.stride, a.cosine = cosine.data, a.sine = sine.data;
    const CUtensorMap all = fused::map_of(qkv, 64), given = fused::map_of(out, 64), back = fused::map_of(dout, 64);
    a.taken = static_cast<int*>(facts) + 2 * s.rows() * s.heads;
    const cudaError_t cleared = cudaMemsetAsync(a.taken, 0, 2 * sizeof(int), k.stream);
    require(cleared == cudaSuccess,
            "[attention_backward] expected to clear two numbers, found: ", cudaGetErrorString(cleared));
    attention64::run<false>(k, all, given, back, a);
    attention64::run<true>(k, all, given, back, a);
#else
    (void)k, (void)s, (void)qkv, (void)out, (void)lse, (void)dout, (void)dqkv, (void)cosine, (void)sine, (void)facts;
#endif
}

}  // namespace depthgrow::kernels
