// What counting operations needs of a description.
// Assumes sequences of `context` tokens; windows of attention are counted as if they reached all of them.
// Formula: growth/flops.hpp.
#pragma once

#include "depthgrow/growth/flops.hpp"
#include "depthgrow/nn/description.hpp"

namespace depthgrow {

/// Extents for growth/flops.hpp of a model over sequences of `context` tokens (0: the model's own context).
inline model_shape shape_of(const decoder_config& c, std::size_t context = 0) {
    return {c.layers,    c.width,          c.kv_width(), c.ffn, c.vocab, context > 0 ? context : c.context,
            c.q_width(), c.gated ? 3u : 2u};
}

}  // namespace depthgrow
