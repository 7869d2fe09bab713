// Single-precision matrix products by a CBLAS, each on the calling thread alone: the backend shares them out itself.
// Assumes a row-major CBLAS of 32-bit integers: OpenBLAS, MKL, BLIS, Accelerate, the reference one.
// A library's own threads would wait for each other at barriers, where one that lost its core holds up all.
#pragma once

#include <cblas.h>
#include <dlfcn.h>

#include <cstddef>
#include <cstdint>

#include "depthgrow/core/config.hpp"

namespace depthgrow {

/// A product c = alpha * op(a) op(b) + beta * c, row-major, op(a) (m, k), op(b) (k, n), c (m, n), with the distances of
/// rows in numbers. Runs on the calling thread and may be called by several at once. With beta = 0 c is not read.
using sgemm_function = void (*)(bool ta, bool tb, std::size_t m, std::size_t n, std::size_t k, float alpha,
                                const float* a, std::size_t lda, const float* b, std::size_t ldb, float beta, float* c,
                                std::size_t ldc);

namespace detail {

/// The function of that name, when a library of this process has it.
template <class Function> Function* find_function(const char* name) {
    return reinterpret_cast<Function*>(dlsym(RTLD_DEFAULT, name));
}

/// While it lives, OpenMP and MKL start no threads for the calling thread.
class one_thread {
public:
    one_thread() {
        if (known().set_openmp && known().openmp) openmp_ = known().openmp();
        if (openmp_ > 1) known().set_openmp(1);
        if (known().set_mkl) mkl_ = known().set_mkl(1);
    }
    ~one_thread() {
        if (openmp_ > 1) known().set_openmp(openmp_);
        if (known().set_mkl) known().set_mkl(mkl_);
    }
    one_thread(const one_thread&) = delete;
    one_thread& operator=(const one_thread&) = delete;

private:
    struct functions {
        int (*openmp)() = find_function<int()>("omp_get_max_threads");
        void (*set_openmp)(int) = find_function<void(int)>("omp_set_num_threads");
        int (*set_mkl)(int) = find_function<int(int)>("MKL_Set_Num_Threads_Local");
    };
    static const functions& known() {
        static const functions found;
        return found;
    }
    int openmp_ = 1, mkl_ = 0;
};

// Where it is linked statically, which dlsym does not see; null where it is not there.
DEPTHGROW_OPTIONAL_FUNCTION(openblas_set_num_threads, int);

/// OpenBLAS and BLIS keep one number of threads for the whole process.
inline void products_on_one_thread() {
    const auto openblas = find_function<void(int)>("openblas_set_num_threads");
    if (openblas) openblas(1);
    else if (openblas_set_num_threads) openblas_set_num_threads(1);
    if (const auto set = find_function<void(std::int64_t)>("bli_thread_set_num_threads")) set(1);
}

}  // namespace detail

inline void cblas_product(bool ta, bool tb, std::size_t m, std::size_t n, std::size_t k, float alpha, const float* a,
                          std::size_t lda, const float* b, std::size_t ldb, float beta, float* c, std::size_t ldc) {
    const detail::one_thread alone;
    cblas_sgemm(CblasRowMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans, static_cast<int>(m),
                static_cast<int>(n), static_cast<int>(k), alpha, a, static_cast<int>(lda), b, static_cast<int>(ldb),
                beta, c, static_cast<int>(ldc));
}
/// The same in double.
inline void cblas_product(bool ta, bool tb, std::size_t m, std::size_t n, std::size_t k, double alpha, const double* a,
                          std::size_t lda, const double* b, std::size_t ldb, double beta, double* c, std::size_t ldc) {
    const detail::one_thread alone;
    cblas_dgemm(CblasRowMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans, static_cast<int>(m),
                static_cast<int>(n), static_cast<int>(k), alpha, a, static_cast<int>(lda), b, static_cast<int>(ldb),
                beta, c, static_cast<int>(ldc));
}

}  // namespace depthgrow
