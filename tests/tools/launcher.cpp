// Ranks that --ranks starts, one a GPU, without GPUs: processes of this program that sleep, and one that is killed or
// fails. Usage: launcher killed|failed|left
#undef DEPTHGROW_USES_CUDA
#undef DEPTHGROW_USES_MPI
#define DEPTHGROW_USES_CUDA 1
#define DEPTHGROW_USES_MPI 0
#include "support/ranks.cpp"

namespace tools {
int gpu_count() { return 2; }
int resolve_threads(int threads) { return threads; }
}  // namespace tools

int main(int, char** words) {
    tools::launch_ranks("2", "cuda");
    if (tools::launched().rank == 1 && words[1] != std::string("left")) {
        if (words[1] == std::string("killed")) (void)::raise(SIGKILL);
        return 3;
    }
    for (int i = 0; i < 600; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(100));
    return 0;
}
