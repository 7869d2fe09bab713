// The CPU backend as the tools make it: oneDNN's products when it was found at build time, else the BLAS's.
#pragma once

#include "depthgrow/backend/blas.hpp"
#if DEPTHGROW_USES_ONEDNN
#include "depthgrow/backend/onednn.hpp"
#endif

namespace tools {

inline depthgrow::blas_options cpu_options(int threads) {
#if DEPTHGROW_USES_ONEDNN
    return {threads, &depthgrow::onednn_product};
#else
    return {threads};
#endif
}

}  // namespace tools
