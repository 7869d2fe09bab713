// Sum and difference of two activations of the same extents.
// Assumes contiguous rows in the tape's arena. With factor 1 both gradients share one buffer.
// d(a) += dy; d(b) += factor * dy.
#pragma once

#include "depthgrow/autograd/tape.hpp"

namespace depthgrow::ops {

/// a, b (M, C) -> a + factor * b.
template <class T, class Backend>
variable<T> add(tape<T, Backend>& tape, variable<T> a, variable<T> b, wide_t<T> factor = 1) {
    auto y = tape.make(a.value.rows, a.value.cols);  // (M, C)
    tape.backend().template add<T>(a.value, factor, b.value, y.value);
    tape.record([&tape, a, b, y, factor] {
        const auto dy = tape.gradient(y);
        if (!dy.data) return;
        tape.share(a, y);
        if (factor == wide_t<T>(1)) {
            tape.share(b, y);
        } else {
            const auto db = tape.claim(b);
            if (!db.accumulate()) tape.backend().template fill<T>(db.out.data, db.out.size(), T(0));
            tape.backend().template add_inplace<T>(factor, dy, db.out);
        }
        tape.release(y);
    });
    return y;
}

}  // namespace depthgrow::ops
