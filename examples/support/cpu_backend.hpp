// The CPU backend as the tools make it: oneDNN's products when it was found at build time, else the BLAS's.
#pragma once

#include <omp.h>

#include "depthgrow/backend/blas.hpp"
#if DEPTHGROW_USES_ONEDNN
#include "depthgrow/backend/onednn.hpp"
#endif

namespace tools {

/// oneDNN takes its threads from OpenMP's default, which a program may set: else --threads 1 runs its products on all.
inline depthgrow::blas_options cpu_options(int threads) {
    if (threads > 0) omp_set_num_threads(threads);
#if DEPTHGROW_USES_ONEDNN
    return {threads, &depthgrow::onednn_product};
#else
    return {threads};
#endif
}

}  // namespace tools
