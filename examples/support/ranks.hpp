// The processes of a run that several devices or machines share: who this one is, and how they talk.
// Assumes mpirun, torchrun, srun or this program's own --ranks started them (comm/rendezvous.hpp).
// The first rank prints and writes; the others are silent unless they fail.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "depthgrow/comm/rendezvous.hpp"

namespace depthgrow {
class communicator;
class cuda;
}  // namespace depthgrow

namespace tools {

/// This process among those started together.
const depthgrow::launched_process& launched();

/// With `count` ("all", or a number above 1): starts as many processes of this program, each with the same flags, waits
/// for them, and ends with their status. Returns at once in those, and where `count` asks for one.
void launch_ranks(const std::string& count, const std::string& backend);

/// The file by which the ranks of this start find each other: the launcher's, or one whose name begins with
/// `otherwise`.
std::filesystem::path rendezvous_file(const std::string& otherwise);

/// How ranks that compute on CPUs talk: MPI where mpirun started them; null: this is the only one.
std::unique_ptr<depthgrow::communicator> cpu_ranks(double patience);

/// How ranks with a GPU each talk: NCCL; null: this is the only one. They find each other by
/// rendezvous_file(otherwise). In builds with CUDA only.
std::unique_ptr<depthgrow::communicator> gpu_ranks(depthgrow::cuda& backend, const std::string& otherwise,
                                                   double patience);

/// GPUs of this machine; 0 in a build without CUDA.
int gpu_count();
/// The GPU of this rank.
int own_gpu();
/// CPU threads of this rank: the flag's, or its part of all, which ranks of one machine share.
int own_threads(int threads);

}  // namespace tools
