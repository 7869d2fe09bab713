#include "depthgrow/backend/cuda/cuda.hpp"
#include "support/any_optimizer.hpp"
#include "support/device_memory.hpp"
#include "support/made_by.hpp"
#include "support/ranks.hpp"
#include "support/training_loop.hpp"

namespace tools {

namespace {

template <class T>
training_summary run_in(dg::cuda& backend, const resolved_run& run, dg::communicator& comm,
                        const training_watch& watch) {
    return with_optimizer<T, dg::cuda>(run.settings.optimizer, [&]<class Optimizer>() {
        return training_run<T, dg::cuda, Optimizer>(backend, run, comm, watch)();
    });
}

}  // namespace

std::string cuda_device_name() {
    int device = 0;
    cudaDeviceProp facts;
    if (cudaGetDevice(&device) != cudaSuccess) device = 0;
    return cudaGetDeviceProperties(&facts, device) == cudaSuccess ? facts.name : "a GPU that does not tell its name";
}

std::string cuda_device_bus_id() {
    int device = 0;
    char id[32] = "";
    if (cudaGetDevice(&device) != cudaSuccess || cudaDeviceGetPCIBusId(id, sizeof id, device) != cudaSuccess) return {};
    return id;
}

training_summary train_on_cuda(const resolved_run& given, const training_watch& watch) {
    const auto smaller = dg::text("lower --micro-batch (now ", given.micro_batch, ") or --context");
    return within_memory(smaller, [&] {
        auto run = given;
        dg::cuda backend(
            {.device = own_gpu(), .deterministic = run.settings.deterministic, .fp8 = run.settings.precision == "fp8"});
        const auto several = gpu_ranks(backend, run.settings.out, run.settings.rank_timeout);
        dg::communicator& comm = several ? *several : dg::no_other_ranks();
        run.settings.quiet = run.settings.quiet || !comm.first();
        run.from = run_folder(run.settings, comm.first()).checkpoint_to_resume(comm);
        return run.settings.precision == "fp32" ? run_in<float>(backend, run, comm, watch)
                                                : run_in<dg::bfloat16>(backend, run, comm, watch);
    });
}

}  // namespace tools
