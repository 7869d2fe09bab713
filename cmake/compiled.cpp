// The instantiations that depthgrow/compiled.hpp declares.
#include "depthgrow/compiled.hpp"

namespace depthgrow {

DEPTHGROW_TRAINING_INSTANCES(, float, blas, planning)

}  // namespace depthgrow
