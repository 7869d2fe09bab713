// Training on the CUDA backend for programs that link depthgrow::compiled_cuda: in float and in bf16, compiled already,
// kernels included.
// Assumes that program and library are compiled with the same processor flags (native.cmake says why): the library has
// none, unless its build was given some. Kernels are those of the build's DEPTHGROW_CUDA_ARCHITECTURE.
#pragma once

#include "depthgrow/backend/cuda/cuda.hpp"
#include "depthgrow/growth.hpp"
#include "depthgrow/tasks/corpus.hpp"
#include "depthgrow/train/instances.hpp"

namespace depthgrow {

DEPTHGROW_TRAINING_INSTANCES(extern, float, cuda, joining_planning)
DEPTHGROW_TRAINING_INSTANCES(extern, bfloat16, cuda, joining_planning)

}  // namespace depthgrow
