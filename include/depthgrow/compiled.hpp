// depthgrow.hpp for programs that link depthgrow::compiled: training in float on the BLAS backend is compiled already.
// Assumes that program and library are compiled with the same processor flags (native.cmake says why): the library has
// none, unless its build was given some. Other number formats and backends compile as ever.
#pragma once

#include "depthgrow/depthgrow.hpp"
#include "depthgrow/train/instances.hpp"

namespace depthgrow {

DEPTHGROW_TRAINING_INSTANCES(extern, float, blas, planning)

}  // namespace depthgrow
