// The instantiations that depthgrow/compiled_cuda.hpp declares.
#include "depthgrow/compiled_cuda.hpp"

namespace depthgrow {

DEPTHGROW_TRAINING_INSTANCES(, float, cuda, joining_planning)
DEPTHGROW_TRAINING_INSTANCES(, bfloat16, cuda, joining_planning)

}  // namespace depthgrow
