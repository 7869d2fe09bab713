// Every check of the CUDA backend as one table; exit code 1 when one fails, 77 when there is no device.
// Usage: test_gpu [--small] [FIXTURES]     --small: what a sanitizer gets through in minutes
#include <cstring>

#include "depthgrow/backend/capabilities.hpp"
#include "table.hpp"

// A drifted signature fails to build instead of losing the fast path.
template <class T>
constexpr bool keeps_the_contract =
    depthgrow::backend_for<depthgrow::cuda, T>&& depthgrow::concepts::has_cached_attention<depthgrow::cuda, T>&&
        depthgrow::adds_linear_maps<depthgrow::cuda, T>&& depthgrow::fuses_linear_maps<depthgrow::cuda, T>&&
            depthgrow::rotates_attention_gradients<depthgrow::cuda, T>&& depthgrow::gates_few_rows<depthgrow::cuda, T>&&
                depthgrow::decodes_steps<depthgrow::cuda, T>&& depthgrow::updates_together<depthgrow::cuda, T>&&
                    depthgrow::steps_with_momentum<depthgrow::cuda, T>&& depthgrow::steps_with_muon<depthgrow::cuda, T>;
static_assert(keeps_the_contract<float> && keeps_the_contract<depthgrow::bfloat16> &&
              depthgrow::runs_fp8_mlps<depthgrow::cuda, depthgrow::bfloat16> &&
              depthgrow::repeats_scales<depthgrow::cuda> && depthgrow::keeps_scales<depthgrow::cuda> &&
              depthgrow::rows_at_a_time<depthgrow::cuda>(0, 1, 2) == 2);

int main(int argc, char** argv) {
    bool small = false;
    std::string fixtures = DEPTHGROW_FIXTURES;
    for (int i = 1; i < argc; ++i) {
        if (!std::strcmp(argv[i], "--small")) small = true;
        else fixtures = argv[i];
    }
    int devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0)
        return std::printf("no CUDA device here: nothing was checked\n"), 77;
    cudaDeviceProp device{};
    if (cudaGetDeviceProperties(&device, 0) != cudaSuccess) return 1;
    std::printf("%s, compute capability %d.%d, cuDNN %zu, cuBLASLt %zu\n\n", device.name, device.major, device.minor,
                cudnnGetVersion(), cublasLtGetVersion());
    std::printf("%-34s %-6s %-34s %10s %10s\n", "check", "type", "extents", "error", "bound");
    try {
        {
            depthgrow::cuda gpu;
            gpu_test::check_operations<float>(gpu, small);
            gpu_test::check_operations<depthgrow::bfloat16>(gpu, small);
            if (device.major == 9) gpu_test::check_fused_maps(gpu, small);  // Hopper alone has them
        }
        gpu_test::check_fp8_mlps();
        {
            depthgrow::cuda gpu({.decode_steps = true});
            gpu_test::check_decoding<float>(gpu);
            gpu_test::check_decoding<depthgrow::bfloat16>(gpu);
        }
        {
            depthgrow::cuda gpu({.deterministic = true});
            std::printf("deterministic:\n");
            gpu_test::check_operations<depthgrow::bfloat16>(gpu, true);
        }
        if (!small) gpu_test::check_models(fixtures), gpu_test::check_resumed_runs();
    } catch (const std::exception& problem) {
        std::printf("stopped: %s\n", problem.what());
        return 1;
    }
    std::printf("\n%d checks, %d failed\n", gpu_test::results.checks, gpu_test::results.failures);
    return gpu_test::results.failures > 0;
}
