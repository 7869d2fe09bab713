#include "depthgrow/backend/blas.hpp"
#include "support/cpu_backend.hpp"
#include "support/training_loop.hpp"

namespace tools {

training_summary train_on_cpu(const resolved_run& run) {
    dg::blas backend(cpu_options(run.threads));
    return training_run<float, dg::blas>(backend, run)();
}

}  // namespace tools
