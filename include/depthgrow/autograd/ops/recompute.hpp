// A part of the graph that keeps only what enters it: its activations are computed again in the backward pass.
// Assumes the part reads one variable and frozen places (weights, tables), and gives the same numbers each time it
// runs. Chen et al. 2016 (arXiv 1604.06174): memory of one part at a time for about one more forward pass.
#pragma once

#include "depthgrow/autograd/tape.hpp"

namespace depthgrow::ops {

/// forward(x) -> y, a callable that holds only views and numbers; runs twice when the tape records.
template <class T, class Backend, class Forward>
variable<T> recompute(tape<T, Backend>& tape, variable<T> x, Forward forward) {
    const auto y = tape.only_result([&] { return forward(x); });
    tape.record([&tape, x, y, forward] {
        if (tape.gradient(y).data) tape.backward_again(y, [&] { return forward(x); });
    });
    return y;
}

}  // namespace depthgrow::ops
