#include "depthgrow/backend/cuda/cuda.hpp"
#include "support/training_loop.hpp"

namespace tools {

training_summary train_on_cuda(const resolved_run& run) {
    try {
        dg::cuda backend({.deterministic = run.settings.deterministic, .fp8 = run.settings.precision == "fp8"});
        return run.settings.precision == "fp32" ? training_run<float, dg::cuda>(backend, run)() : training_run<dg::bfloat16, dg::cuda>(backend, run)();
    } catch (const dg::out_of_device_memory& problem) {
        dg::fail(problem.what(), "; lower --micro-batch (now ", run.micro_batch, ") or --context");
    }
}

}  // namespace tools
