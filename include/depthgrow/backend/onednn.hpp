// oneDNN as the provider of the blas backend's products, dg::blas cpu{{.threads = 2, .product = &dg::onednn_product}}:
// in single precision (1.1 to 2 times OpenBLAS 0.3.21 on training shapes), and with operands rounded to bfloat16 (1.6
// to 2.2 times that, in one run, where the processor has the instructions). Assumes libdnnl 2 or newer linked by the
// user; double-precision products stay with CBLAS.
#pragma once

#include <pthread.h>

#include <compare>
#include <csignal>
#include <cstddef>
#include <dnnl.hpp>
#include <map>
#include <vector>

#include "depthgrow/backend/products.hpp"
#include "depthgrow/core/dtype.hpp"
#include "depthgrow/core/error.hpp"

namespace depthgrow {

namespace detail {

/// While it lives, signals wait. oneDNN's generated kernels use the stack pointer as one more register: a signal that
/// comes meanwhile has its frame written over whatever memory that points at (seen with 2.6.3, as a broken heap).
class signals_wait {
public:
    signals_wait() {
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_BLOCK, &all, &before_);
    }
    ~signals_wait() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
    signals_wait(const signals_wait&) = delete;
    signals_wait& operator=(const signals_wait&) = delete;

private:
    sigset_t before_;
};

}  // namespace detail

/// c = alpha * op(a) op(b) + beta * c by dnnl_sgemm; throws when oneDNN reports an error.
inline void onednn_product(bool ta, bool tb, std::size_t m, std::size_t n, std::size_t k, float alpha, const float* a,
                           std::size_t lda, const float* b, std::size_t ldb, float beta, float* c, std::size_t ldc) {
    const detail::one_thread alone;
    const detail::signals_wait meanwhile;
    const auto whole = [](std::size_t x) { return static_cast<dnnl_dim_t>(x); };
    const auto status = dnnl_sgemm(ta ? 'T' : 'N', tb ? 'T' : 'N', whole(m), whole(n), whole(k), alpha, a, whole(lda),
                                   b, whole(ldb), beta, c, whole(ldc));
    require(status == dnnl_success, "[gemm] oneDNN refused a product of ", m, " x ", n, " x ", k, ", status ",
            static_cast<int>(status));
}

/// Whether this processor multiplies bfloat16 (AVX512-BF16 or AMX).
inline bool has_bf16_products() {
    const int wanted = dnnl_cpu_isa_avx512_core_bf16;
    return (static_cast<int>(dnnl_get_effective_cpu_isa()) & wanted) == wanted;
}

namespace detail {

/// What a product is, but for its numbers: op(a) (m, k), op(b) (k, n), rows of c ldc apart, beta * c added.
struct bf16_shape {
    bool ta, tb;
    std::size_t m, n, k, ldc;
    float beta;
    auto operator<=>(const bf16_shape&) const = default;
};

/// Products of one shape, on one thread.
class bf16_matmul {
public:
    explicit bf16_matmul(const bf16_shape& s)
        : engine_(dnnl::engine::kind::cpu, 0),
          stream_(engine_),
          primitive_(
              dnnl::matmul::primitive_desc(dnnl::matmul::desc(left(s), right(s), result(s)), added(s.beta), engine_)),
          a_(left(s), engine_, nullptr),
          b_(right(s), engine_, nullptr),
          c_(result(s), engine_, nullptr) {}

    void operator()(bfloat16* a, bfloat16* b, float* c) {
        a_.set_data_handle(a), b_.set_data_handle(b), c_.set_data_handle(c);
        primitive_.execute(stream_, {{DNNL_ARG_SRC, a_}, {DNNL_ARG_WEIGHTS, b_}, {DNNL_ARG_DST, c_}});
        stream_.wait();
    }

private:
    using type = dnnl::memory::data_type;
    static dnnl::memory::desc rows(std::size_t m, std::size_t n, type kind, std::size_t down, std::size_t across) {
        const auto whole = [](std::size_t x) { return static_cast<dnnl::memory::dim>(x); };
        return {{whole(m), whole(n)}, kind, dnnl::memory::dims{whole(down), whole(across)}};
    }
    static dnnl::memory::desc left(const bf16_shape& s) {
        return rows(s.m, s.k, type::bf16, s.ta ? 1 : s.k, s.ta ? s.m : 1);
    }
    static dnnl::memory::desc right(const bf16_shape& s) {
        return rows(s.k, s.n, type::bf16, s.tb ? 1 : s.n, s.tb ? s.k : 1);
    }
    static dnnl::memory::desc result(const bf16_shape& s) { return rows(s.m, s.n, type::f32, s.ldc, 1); }
    static dnnl::primitive_attr added(float beta) {
        dnnl::primitive_attr attributes;
        if (beta == 0) return attributes;
        dnnl::post_ops after;
        after.append_sum(beta);
        attributes.set_post_ops(after);
        return attributes;
    }
    dnnl::engine engine_;
    dnnl::stream stream_;
    dnnl::matmul primitive_;
    dnnl::memory a_, b_, c_;
};

/// to = factor * from in bfloat16, row by row without gaps.
inline void round_rows(const float* from, std::size_t stride, std::size_t rows, std::size_t cols, float factor,
                       std::vector<bfloat16>& to) {
    to.resize(rows * cols);
    for (std::size_t r = 0; r < rows; ++r)
        for (std::size_t i = 0; i < cols; ++i) to[r * cols + i] = bfloat16(factor * from[r * stride + i]);
}

}  // namespace detail

/// The same product with alpha * a and b rounded to bfloat16 and sums in float. Throws when oneDNN reports an error.
inline void onednn_bf16_product(bool ta, bool tb, std::size_t m, std::size_t n, std::size_t k, float alpha,
                                const float* a, std::size_t lda, const float* b, std::size_t ldb, float beta, float* c,
                                std::size_t ldc) {
    const detail::one_thread alone;
    thread_local std::vector<bfloat16> left, right;
    thread_local std::map<detail::bf16_shape, detail::bf16_matmul> known;
    detail::round_rows(a, lda, ta ? k : m, ta ? m : k, alpha, left);
    detail::round_rows(b, ldb, tb ? n : k, tb ? k : n, 1, right);
    try {
        const detail::bf16_shape shape{ta, tb, m, n, k, ldc, beta};
        auto found = known.find(shape);
        if (found == known.end()) {
            if (known.size() > 256) known.clear();
            found = known.try_emplace(shape, shape).first;
        }
        const detail::signals_wait meanwhile;
        found->second(left.data(), right.data(), c);
    } catch (const dnnl::error& problem) {
        fail("[gemm] oneDNN refused a bfloat16 product of ", m, " x ", n, " x ", k, ": ", problem.what());
    }
}

}  // namespace depthgrow
