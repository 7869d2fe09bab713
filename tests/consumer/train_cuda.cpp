// A training loop in bf16 that links depthgrow::compiled_cuda; exit code 77: no GPU here.
#include <depthgrow/compiled_cuda.hpp>

#include "train_a_little.hpp"

int main() {
    int devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) return 77;
    dg::cuda backend;
    return train_a_little<dg::bfloat16>(backend);
}
