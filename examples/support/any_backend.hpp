// Runs a template of number type and backend on what the flags --backend and --precision name.
#pragma once

#include <string>

#include "support/cli.hpp"
#include "support/cpu_backend.hpp"
#if DEPTHGROW_USES_CUDA
#include "depthgrow/backend/cuda/cuda.hpp"
#endif

namespace tools {

/// body.template operator()<T>(backend), T float or bfloat16; `many_shapes`: see cuda_options.
template <class Body>
void with_backend(const std::string& name, const std::string& precision, int threads, [[maybe_unused]] bool many_shapes, const Body& body) {
    require_backend(name, precision);
#if DEPTHGROW_USES_CUDA
    if (name == "cuda") {
        depthgrow::cuda backend({.many_shapes = many_shapes});
        if (precision == "bf16") return body.template operator()<depthgrow::bfloat16>(backend);
        return body.template operator()<float>(backend);
    }
#endif
    depthgrow::blas backend(cpu_options(resolve_threads(threads)));
    body.template operator()<float>(backend);
}

}  // namespace tools
