#include <filesystem>

#include "depthgrow/backend/cuda/cuda.hpp"
#include "depthgrow/comm/communicator.hpp"
#include "support/cli.hpp"
#include "support/ranks.hpp"
#if DEPTHGROW_USES_NCCL
#include "depthgrow/comm/nccl.hpp"
#endif

namespace tools {

namespace dg = depthgrow;

int gpu_count() {
    int count = 0;
    return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

std::unique_ptr<dg::communicator> gpu_ranks([[maybe_unused]] dg::cuda& backend,
                                            [[maybe_unused]] const std::string& otherwise,
                                            [[maybe_unused]] double patience) {
    const auto& self = launched();
    if (self.size < 2) return nullptr;
#if DEPTHGROW_USES_NCCL
    const std::chrono::duration<double> seconds(patience);
    const auto file = rendezvous_file(otherwise);
    if (self.rank == 0 && file.has_parent_path()) std::filesystem::create_directories(file.parent_path());
    const auto id = dg::pass_on(file, self, dg::nccl_ranks::make_id,
                                std::min<std::chrono::duration<double>>(seconds, std::chrono::minutes(10)));
    const struct removal {
        std::filesystem::path file;
        ~removal() {
            std::error_code ignored;
            if (!file.empty()) std::filesystem::remove(file, ignored);
        }
    } once_joined{self.rank == 0 ? file : std::filesystem::path()};
    return std::make_unique<dg::nccl_ranks>(id, self.rank, self.size, backend.stream(), self.size > self.local_size,
                                            seconds, leave);
#else
    dg::fail("expected a build with NCCL (CUDA's, or Debian: libnccl-dev) for ", self.size,
             " ranks, found one without");
#endif
}

}  // namespace tools
