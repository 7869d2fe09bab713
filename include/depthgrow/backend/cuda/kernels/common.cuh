// What every kernel uses: number conversion, vector loads, warp sums, launch checks.
// Assumes nvcc, C++17, warps of 32. Arithmetic is in float whatever the storage.
// A kernel is static, so that programs with several instantiating units stay well-formed.
#pragma once

#ifndef __CUDACC__
#error "depthgrow: .cuh files are for nvcc; include cuda.hpp, link kernels by depthgrow_add_cuda_kernels"
#endif

#include <cuda_bf16.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "depthgrow/backend/cuda/launch.hpp"
#include "depthgrow/core/dtype.hpp"

namespace depthgrow::kernels {

template <class T> struct device_type { using type = T; };
template <> struct device_type<bfloat16> { using type = __nv_bfloat16; };
template <class T> using device_t = typename device_type<T>::type;

template <class T> device_t<T>* device(T* p) { return reinterpret_cast<device_t<T>*>(p); }
template <class T> const device_t<T>* device(const T* p) { return reinterpret_cast<const device_t<T>*>(p); }

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }
template <class D> __device__ D from_float(float x);
template <> __device__ inline float from_float<float>(float x) { return x; }
template <> __device__ inline __nv_bfloat16 from_float<__nv_bfloat16>(float x) { return __float2bfloat16_rn(x); }

/// exp(x): to float's precision for float storage, to that of the fast instruction for low-precision ones.
template <class D> __device__ inline float exp_of(float x) {
    if (sizeof(D) == 4) return expf(x);
    return __expf(x);
}

/// N elements of D moved in one access of at most 16 bytes.
template <class D, int N> struct alignas(N * sizeof(D)) pack {
    D value[N];
    __device__ float get(int i) const { return to_float(value[i]); }
    __device__ void put(const float (&from)[N]) {
#pragma unroll
        for (int i = 0; i < N; ++i) value[i] = from_float<D>(from[i]);
    }
};
__device__ inline unsigned pack_bf16(float low, float high) {
    const __nv_bfloat162 both = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<const unsigned*>(&both);
}
/// In words: members of 16 bits would be taken apart where they arrive, and every load waited for there.
template <int N> struct alignas(N * sizeof(__nv_bfloat16)) pack<__nv_bfloat16, N> {
    static_assert(N % 2 == 0);
    unsigned words[N / 2];
    __device__ float get(int i) const {
        return __uint_as_float(i % 2 ? words[i / 2] & 0xffff0000u : words[i / 2] << 16);
    }
    __device__ void put(const float (&from)[N]) {
#pragma unroll
        for (int i = 0; i < N; i += 2) words[i / 2] = pack_bf16(from[i], from[i + 1]);
    }
};
template <> struct pack<__nv_bfloat16, 1> {
    __nv_bfloat16 value;
    __device__ float get(int) const { return to_float(value); }
    __device__ void put(const float (&from)[1]) { value = from_float<__nv_bfloat16>(from[0]); }
};
/// The widest N whose accesses are 16 bytes.
template <class D> constexpr int widest = 16 / static_cast<int>(sizeof(D));

template <int N, class D> __device__ inline void load(const D* from, float (&to)[N]) {
    const auto p = *reinterpret_cast<const pack<D, N>*>(from);
#pragma unroll
    for (int i = 0; i < N; ++i) to[i] = p.get(i);
}
/// Made in registers: a pack that is filled where it lies in global memory becomes a store a word.
template <int N, class D> __device__ inline void store(D* to, const float (&from)[N]) {
    pack<D, N> p;
    p.put(from);
    *reinterpret_cast<pack<D, N>*>(to) = p;
}

// ---- pieces of 16 bytes from global to shared memory, each thread its own, without registers from Ampere on
__device__ inline void copy_piece(unsigned to, const void* from) {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
#else
    const uint4 piece = *static_cast<const uint4*>(from);
    asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(piece.x), "r"(piece.y), "r"(piece.z),
                 "r"(piece.w)
                 : "memory");
#endif
}
__device__ inline void copies_commit() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
/// Until at most that many committed groups are still on their way.
template <int Running> __device__ inline void copies_wait() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(Running) : "memory");
#endif
}

// ---- small kernels in a row, as a decoding step has them: one may start while the one before it still runs
/// Until all that the kernels before have written can be read. What a kernel that was launched early reads
/// before has not been written since the step began: weights, caches of earlier steps.
__device__ inline void wait_for_inputs() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
/// From here on the next kernel may start, if it was launched early.
__device__ inline void let_next_start() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
#endif
}

__device__ inline float warp_sum(float x) {
#pragma unroll
    for (int lane = 16; lane > 0; lane /= 2) x += __shfl_xor_sync(0xffffffffu, x, lane);
    return x;
}
__device__ inline float warp_max(float x) {
#pragma unroll
    for (int lane = 16; lane > 0; lane /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, lane));
    return x;
}
/// The block's sum (or maximum) in every thread; `shared` has room for 33 floats. Order fixed by the block's size.
template <bool Maximum = false> __device__ inline float block_reduce(float x, float* shared) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = (blockDim.x + 31) / 32;
    x = Maximum ? warp_max(x) : warp_sum(x);
    __syncthreads();
    if (lane == 0) shared[warp] = x;
    __syncthreads();
    if (warp == 0) {
        x = lane < warps ? shared[lane] : (Maximum ? -INFINITY : 0.0f);
        x = Maximum ? warp_max(x) : warp_sum(x);
        if (lane == 0) shared[32] = x;
    }
    __syncthreads();
    return shared[32];
}

/// Whether rows can be read N elements at a time.
template <class T> bool aligned(matrix<T> m, std::size_t n) {
    return m.data == nullptr ||
           (reinterpret_cast<std::uintptr_t>(m.data) % (n * sizeof(T)) == 0 && m.stride % n == 0 && m.cols % n == 0);
}
template <class T> bool aligned(span<T> s, std::size_t n) {
    return reinterpret_cast<std::uintptr_t>(s.data()) % (n * sizeof(T)) == 0;
}

inline unsigned blocks_for(std::size_t work, std::size_t each) {
    return static_cast<unsigned>(std::max<std::size_t>(1, (work + each - 1) / each));
}

inline void launched(const char* op) {
    const cudaError_t problem = cudaGetLastError();
    if (problem != cudaSuccess) fail("[", op, "] the kernel was not launched: ", cudaGetErrorString(problem));
}

/// Launches a kernel that calls wait_for_inputs(); where steps overlap, early (programmatic dependent launch: CUDA
/// programming guide).
template <class... Parameters, class... Arguments>
void launch(const launch_context& k, unsigned blocks, unsigned threads, void (*kernel)(Parameters...),
            const Arguments&... arguments) {
    cudaLaunchAttribute early{};
    early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    early.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t how{};
    how.gridDim = dim3(blocks), how.blockDim = dim3(threads), how.stream = k.stream;
#ifdef DEPTHGROW_SM90A  // devices before compute capability 9.0 refuse it
    how.attrs = &early, how.numAttrs = k.overlap;
#endif
    (void)cudaLaunchKernelEx(&how, kernel, static_cast<Parameters>(arguments)...);  // `launched` tells
}

}  // namespace depthgrow::kernels
