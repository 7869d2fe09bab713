#include "depthgrow/backend/cuda/cuda.hpp"
#include "support/any_optimizer.hpp"
#include "support/made_by.hpp"
#include "support/ranks.hpp"
#include "support/training_loop.hpp"
#if DEPTHGROW_USES_NCCL
#include "depthgrow/comm/nccl.hpp"
#endif

namespace tools {

namespace {

template <class T>
training_summary run_in(dg::cuda& backend, const resolved_run& run, dg::communicator& comm,
                        const training_watch& watch) {
    return with_optimizer<T, dg::cuda>(run.settings.optimizer, [&]<class Optimizer>() {
        return training_run<T, dg::cuda, Optimizer>(backend, run, comm, watch)();
    });
}

/// The ranks of this run, joined; null: this is the only one.
std::unique_ptr<dg::communicator> gpu_ranks([[maybe_unused]] dg::cuda& backend, const resolved_run& run) {
    const auto& self = launched();
    if (self.size < 2) return nullptr;
#if DEPTHGROW_USES_NCCL
    const std::chrono::duration<double> patience(run.settings.rank_timeout);
    const auto file = rendezvous_file(run.settings.out);
    if (self.rank == 0 && file.has_parent_path()) std::filesystem::create_directories(file.parent_path());
    const auto id = dg::pass_on(file, self, dg::nccl_ranks::make_id, patience);
    const struct removal {
        std::filesystem::path file;
        ~removal() {
            std::error_code ignored;
            if (!file.empty()) std::filesystem::remove(file, ignored);
        }
    } once_joined{self.rank == 0 ? file : std::filesystem::path()};
    return std::make_unique<dg::nccl_ranks>(id, self.rank, self.size, backend.stream(), self.size > self.local_size,
                                            patience);
#else
    dg::fail("expected a build with NCCL (CUDA's, or Debian: libnccl-dev) for ", self.size,
             " ranks, found one without");
#endif
}

}  // namespace

int gpu_count() {
    int count = 0;
    return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

std::string cuda_device_name() {
    cudaDeviceProp facts;
    return cudaGetDeviceProperties(&facts, 0) == cudaSuccess ? facts.name : "a GPU that does not tell its name";
}

training_summary train_on_cuda(const resolved_run& given, const training_watch& watch) {
    auto run = given;
    try {
        dg::cuda backend({.device = gpu_count() == 1 ? 0 : static_cast<int>(launched().local_rank),
                          .deterministic = run.settings.deterministic,
                          .fp8 = run.settings.precision == "fp8"});
        const auto several = gpu_ranks(backend, run);
        dg::communicator& comm = several ? *several : dg::no_other_ranks();
        run.settings.quiet = run.settings.quiet || !comm.first();
        run.from = run_folder(run.settings, comm.first()).checkpoint_to_resume(comm);
        return run.settings.precision == "fp32" ? run_in<float>(backend, run, comm, watch)
                                                : run_in<dg::bfloat16>(backend, run, comm, watch);
    } catch (const dg::out_of_device_memory& problem) {
        dg::fail(problem.what(), "; lower --micro-batch (now ", run.micro_batch, ") or --context");
    }
}

}  // namespace tools
