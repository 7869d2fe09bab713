// Matrix products by cuBLASLt: row-major operands, fp32 accumulation, one cached plan a shape.
// Assumes one stream. A plan is the heuristics' first choice, or with `tuned` the fastest of its first choices, timed
// once when a shape is first met (never while a graph is being recorded).
// c = alpha * op(a) op(b) + beta * c; the column-major library computes cᵀ = op(b)ᵀ op(a)ᵀ on the same memory.
#pragma once

#include <cublasLt.h>

#include <algorithm>
#include <array>
#include <map>
#include <vector>

#include "depthgrow/backend/cuda/launch.hpp"
#include "depthgrow/backend/cuda/memory.hpp"
#include "depthgrow/core/dtype.hpp"

namespace depthgrow::cuda_detail {

inline void check(cublasStatus_t status, const char* what) {
    if (status != CUBLAS_STATUS_SUCCESS) fail("[cuda] ", what, " failed: ", cublasLtGetStatusString(status));
}

template <class T>
constexpr cudaDataType_t blas_type = std::is_same_v<T, kernels::e4m3> ? CUDA_R_8F_E4M3
                                     : std::is_same_v<T, bfloat16>    ? CUDA_R_16BF
                                                                      : CUDA_R_32F;

/// What a product may take besides its operands.
template <class C> struct product_extras {
    span<const C> bias{};                                // a number a column; empty: none
    const float *scale_a = nullptr, *scale_b = nullptr;  // on the device; of operands in eight bits
    bool fast_sums = false;                              // of eight-bit products: fewer bits between partial sums
};

class products {
public:
    products(std::size_t workspace_bytes, bool tuned) : workspace_(workspace_bytes), tuned_(tuned) {
        check(cublasLtCreate(&handle_), "cublasLtCreate");
    }
    products(const products&) = delete;
    products& operator=(const products&) = delete;
    ~products() {
        for (auto& [key, made] : plans_) destroy(made);
        cublasLtDestroy(handle_);
    }

    /// c = alpha * op(a) op(b) + beta * addend + bias, where addend may be c or lie in other memory with c's leading
    /// dimension.
    template <class T, class C>
    void operator()(cudaStream_t stream, bool ta, bool tb, float alpha, matrix<const T> a, matrix<const T> b,
                    float beta, matrix<const C> addend, matrix<C> c, const product_extras<C>& extras = {}) {
        const std::size_t inner = ta ? a.rows : a.cols;
        const plan& p = plan_for<T, C>(
            stream,
            {c.rows, c.cols, inner, a.stride, b.stride, c.stride,
             ta * 1u + tb * 2u + (beta != 0) * 4u + (blas_type<T> == CUDA_R_16BF) * 8u +
                 (blas_type<C> == CUDA_R_16BF) * 16u + !extras.bias.empty() * 32u +
                 (blas_type<T> == CUDA_R_8F_E4M3) * 64u + extras.fast_sums * 128u,
             alignment(a.data, a.stride) + 32 * alignment(b.data, b.stride) + 1024 * alignment(c.data, c.stride)},
            a.data, b.data, c.data, extras);
        point<T>(p, extras);
        run(p, stream, alpha, b.data, a.data, beta, addend.data, c.data);
    }

private:
    using shape_key = std::array<std::size_t, 8>;
    struct plan {
        cublasLtMatmulDesc_t operation = nullptr;
        cublasLtMatrixLayout_t first = nullptr, second = nullptr, out = nullptr;
        cublasLtMatmulAlgo_t algorithm{};
    };
    /// The largest power of two up to 16 that divides the address and the leading dimension in bytes.
    template <class T> static std::size_t alignment(const T* data, std::size_t stride) {
        const std::size_t bits = reinterpret_cast<std::uintptr_t>(data) | (stride * sizeof(T)) | 16;
        return bits & (~bits + 1);
    }
    static void set(const plan& p, cublasLtMatmulDescAttributes_t attribute, const auto& value) {
        check(cublasLtMatmulDescSetAttribute(p.operation, attribute, &value, sizeof(value)),
              "cublasLtMatmulDescSetAttribute");
    }
    /// Where this product's bias and scales lie.
    template <class T, class C> static void point(const plan& p, const product_extras<C>& extras) {
        if (!extras.bias.empty()) set(p, CUBLASLT_MATMUL_DESC_BIAS_POINTER, extras.bias.data());
        if constexpr (std::is_same_v<T, kernels::e4m3>)
            set(p, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, extras.scale_b),
                set(p, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, extras.scale_a);
    }
    void run(const plan& p, cudaStream_t stream, float alpha, const void* first, const void* second, float beta,
             const void* c, void* out) const {
        check(cublasLtMatmul(handle_, p.operation, &alpha, first, p.first, second, p.second, &beta, c, p.out, out,
                             p.out, &p.algorithm, workspace_.data(), workspace_.size(), stream),
              "cublasLtMatmul");
    }

    template <class T, class C>
    const plan& plan_for(cudaStream_t stream, const shape_key& key, const T* a, const T* b, C* c,
                         const product_extras<C>& extras) {
        if (const auto found = plans_.find(key); found != plans_.end()) return found->second;
        const auto [m, n, k, lda, ldb, ldc, kind, align] = key;
        const bool ta = kind & 1, tb = kind & 2;
        plan p;
        check(cublasLtMatmulDescCreate(&p.operation, CUBLAS_COMPUTE_32F, CUDA_R_32F), "cublasLtMatmulDescCreate");
        const cublasOperation_t op_first = tb ? CUBLAS_OP_T : CUBLAS_OP_N, op_second = ta ? CUBLAS_OP_T : CUBLAS_OP_N;
        set(p, CUBLASLT_MATMUL_DESC_TRANSA, op_first), set(p, CUBLASLT_MATMUL_DESC_TRANSB, op_second);
        if (!extras.bias.empty()) set(p, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
        if (extras.fast_sums) set(p, CUBLASLT_MATMUL_DESC_FAST_ACCUM, std::int8_t{1});
        point<T>(p, extras);
        check(
            cublasLtMatrixLayoutCreate(&p.first, blas_type<T>, tb ? k : n, tb ? n : k, static_cast<std::int64_t>(ldb)),
            "layout of b");
        check(
            cublasLtMatrixLayoutCreate(&p.second, blas_type<T>, ta ? m : k, ta ? k : m, static_cast<std::int64_t>(lda)),
            "layout of a");
        check(cublasLtMatrixLayoutCreate(&p.out, blas_type<C>, n, m, static_cast<std::int64_t>(ldc)), "layout of c");
        cublasLtMatmulPreference_t preference;
        check(cublasLtMatmulPreferenceCreate(&preference), "preference");
        const std::size_t bytes = workspace_.size();
        check(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &bytes,
                                                   sizeof(bytes)),
              "workspace");
        const std::uint32_t of_a = static_cast<std::uint32_t>(align % 32),
                            of_b = static_cast<std::uint32_t>(align / 32 % 32),
                            of_c = static_cast<std::uint32_t>(align / 1024);
        for (const auto& [attribute, value] : {std::pair{CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, of_b},
                                               std::pair{CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, of_a},
                                               std::pair{CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, of_c},
                                               std::pair{CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, of_c}})
            check(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof(value)), "alignment");
        constexpr int wanted = 16;
        std::array<cublasLtMatmulHeuristicResult_t, wanted> choices{};
        int found = 0;
        const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(handle_, p.operation, p.first, p.second, p.out,
                                                                     p.out, preference, wanted, choices.data(), &found);
        cublasLtMatmulPreferenceDestroy(preference);
        if (status != CUBLAS_STATUS_SUCCESS || found == 0) {
            destroy(p);
            fail("[gemm] cuBLASLt has no product of ", m, " x ", n, " x ", k, " (leading dimensions ", lda, ", ", ldb,
                 ", ", ldc, ")");
        }
        p.algorithm = choices[0].algo;
        const double operations = 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
        if (tuned_ && operations > 1e9)
            p.algorithm =
                choices[fastest(p, stream, choices.data(), found, a, b, c, m * ldc * sizeof(C), kind & 4)].algo;
        return plans_.emplace(key, p).first->second;
    }
    /// Times each choice on the operands at hand, into memory of its own so that c keeps its numbers.
    template <class T, class C>
    std::size_t fastest(plan& p, cudaStream_t stream, const cublasLtMatmulHeuristicResult_t* choices, int count,
                        const T* a, const T* b, C*, std::size_t out_bytes, bool accumulates) const {
        cudaStreamCaptureStatus capturing = cudaStreamCaptureStatusNone;
        check(cudaStreamIsCapturing(stream, &capturing), "cudaStreamIsCapturing");
        void* out = nullptr;
        if (capturing != cudaStreamCaptureStatusNone || cudaMalloc(&out, out_bytes) != cudaSuccess) {
            (void)cudaGetLastError();
            return 0;
        }
        check(cudaMemsetAsync(out, 0, out_bytes, stream), "cudaMemsetAsync");
        cudaEvent_t begin, end;
        check(cudaEventCreate(&begin), "cudaEventCreate");
        check(cudaEventCreate(&end), "cudaEventCreate");
        // Rounds over all choices, each run for a while: what is fastest cold need not be at the card's power limit.
        constexpr int rounds = 3, together = 6;
        std::vector<float> least(static_cast<std::size_t>(count), 1e30f);
        const float one = 1, beta = accumulates ? 1.0f : 0.0f;
        for (int round = 0; round < rounds; ++round)
            for (int i = 0; i < count; ++i) {
                p.algorithm = choices[i].algo;
                bool works = true;
                for (int repeat = 0; repeat <= together && works; ++repeat) {
                    if (repeat == 1) (void)cudaEventRecord(begin, stream);  // the first only warms up
                    works = cublasLtMatmul(handle_, p.operation, &one, b, p.first, a, p.second, &beta, out, p.out, out,
                                           p.out, &p.algorithm, workspace_.data(), workspace_.size(),
                                           stream) == CUBLAS_STATUS_SUCCESS;
                }
                if (!works) continue;
                (void)cudaEventRecord(end, stream);
                check(cudaEventSynchronize(end), "cudaEventSynchronize");
                float milliseconds = 1e30f;
                (void)cudaEventElapsedTime(&milliseconds, begin, end);
                least[static_cast<std::size_t>(i)] = std::min(least[static_cast<std::size_t>(i)], milliseconds);
            }
        const auto best = static_cast<std::size_t>(std::min_element(least.begin(), least.end()) - least.begin());
        (void)cudaEventDestroy(begin);
        (void)cudaEventDestroy(end);
        (void)cudaFree(out);
        return best;
    }
    static void destroy(plan& p) {
        if (p.first) cublasLtMatrixLayoutDestroy(p.first);
        if (p.second) cublasLtMatrixLayoutDestroy(p.second);
        if (p.out) cublasLtMatrixLayoutDestroy(p.out);
        if (p.operation) cublasLtMatmulDescDestroy(p.operation);
    }

    cublasLtHandle_t handle_ = nullptr;
    device_bytes workspace_;
    bool tuned_;
    std::map<shape_key, plan> plans_;
};

}  // namespace depthgrow::cuda_detail
