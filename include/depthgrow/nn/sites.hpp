// Where in a layer the residual stream and its contributions can be read, and who reads them.
// Assumes slots (places in the executed order), not source layers. Names: TransformerLens' hook points.
// resid_post = resid_mid + mlp_out, resid_mid = resid_pre + attn_out; also under post-norm, where the outs are changes.
#pragma once

#include <cstddef>
#include <vector>

#include "depthgrow/core/span.hpp"

namespace depthgrow {

enum class site { resid_pre, attn_out, resid_mid, mlp_out, resid_post };

/// Reads nothing: the default observer of a forward pass.
struct no_observer {
    template <class T> void operator()(site, std::size_t, matrix<T>) const {}
};
/// Reads nothing and needs no sublayer's output apart from the residual stream: a backend may add it as it is made.
struct residual_only : no_observer {};

}  // namespace depthgrow
