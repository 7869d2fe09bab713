// What helps where a device has too little memory. Assumes nothing of the backend.
#pragma once

#include <string>

#include "depthgrow/core/error.hpp"
#if DEPTHGROW_USES_CUDA
#include "depthgrow/backend/cuda/memory.hpp"
#endif

namespace tools {

/// body(); where a device has too little memory for it, the error ends with what helps: flags to lower.
template <class Body> auto within_memory([[maybe_unused]] const std::string& what_helps, const Body& body) {
#if DEPTHGROW_USES_CUDA
    try {
        return body();
    } catch (const depthgrow::out_of_device_memory& problem) { depthgrow::fail(problem.what(), "; ", what_helps); }
#else
    return body();
#endif
}

}  // namespace tools
