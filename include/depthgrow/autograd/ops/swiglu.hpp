// SwiGLU, the gated activation of the MLP.
// Assumes a row holds gate then up, F each.
// y = silu(gate) * up (Shazeer 2020).
#pragma once

#include "depthgrow/autograd/tape.hpp"

namespace depthgrow::ops {

/// gate_up (M, 2F) -> (M, F).
template <class T, class Backend>
variable<T> swiglu(tape<T, Backend>& tape, variable<T> gate_up) {
    auto y = tape.make(gate_up.value.rows, gate_up.value.cols / 2);  // (M, F)
    tape.backend().template swiglu_forward<T>(gate_up.value, y.value);
    tape.record([&tape, gate_up, y] {
        const auto dy = tape.gradient(y);
        if (!dy.data) return;
        const auto d = tape.claim(gate_up);
        require(!d.accumulate(), "[swiglu] expected gate_up to be used once");
        tape.backend().template swiglu_backward<T>(gate_up.value, dy, d.out);
        tape.release(y);
    });
    return y;
}

}  // namespace depthgrow::ops
