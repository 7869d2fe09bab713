// The number type and the backend that the flags --backend and --precision name, for templates of both.
#pragma once

#include <string>

#include "depthgrow/backend/blas.hpp"
#include "support/cli.hpp"
#include "support/cpu_backend.hpp"
#include "support/device_memory.hpp"
#include "support/measuring_ranks.hpp"
#if DEPTHGROW_USES_CUDA
#include "depthgrow/backend/cuda/cuda.hpp"
#endif

namespace tools {

/// body.template operator()<T, Backend>(options of the backend), T float or bfloat16; `many_shapes`: see cuda_options.
template <class Body>
auto choose_backend(const std::string& name, const std::string& precision, int threads,
                    [[maybe_unused]] bool many_shapes, const Body& body) {
    require_backend(name, precision);
#if DEPTHGROW_USES_CUDA
    if (name == "cuda") {
        const depthgrow::cuda_options options{.device = own_gpu(), .many_shapes = many_shapes};
        if (precision == "bf16") return body.template operator()<depthgrow::bfloat16, depthgrow::cuda>(options);
        return body.template operator()<float, depthgrow::cuda>(options);
    }
#endif
    return body.template operator()<float, depthgrow::blas>(
        depthgrow::blas_options{own_threads(threads), cpu_product_of(precision).run});
}

/// body.template operator()<T>(backend, comm), on all `ranks` (null: on this one alone); all fail when one does.
/// `what_helps` where a device has too little memory: flags to lower.
template <class Body>
void with_backend(const std::string& name, const std::string& precision, int threads, bool many_shapes,
                  const measuring_ranks* ranks, const char* what_helps, const Body& body) {
    choose_backend(name, precision, threads, many_shapes, [&]<class T, class Backend>(const auto& options) {
        Backend backend(options);
        const auto run = [&](depthgrow::communicator& comm) {
            depthgrow::together(
                comm, [&] { within_memory(what_helps, [&] { body.template operator()<T>(backend, comm); }); });
        };
        if (ranks) ranks->with(backend, run);
        else run(depthgrow::no_other_ranks());
    });
}

}  // namespace tools
