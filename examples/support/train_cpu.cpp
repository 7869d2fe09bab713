#include "depthgrow/backend/blas.hpp"
#include "support/any_optimizer.hpp"
#include "support/cpu_backend.hpp"
#include "support/training_loop.hpp"

namespace tools {

training_summary train_on_cpu(const resolved_run& run) {
    dg::blas backend(cpu_options(run.threads));
    return with_optimizer<float, dg::blas>(run.settings.optimizer, [&]<class Optimizer>() {
        return training_run<float, dg::blas, Optimizer>(backend, run)();
    });
}

}  // namespace tools
