// Token embedding: y[r] = table[ids[r]]. Assumes ids in range (the caller checks data once, not every step).
// Rows of the output are copies of rows of the table.
// The way back adds rows of dy to rows of the table's gradient.
#pragma once

#include "depthgrow/autograd/tape.hpp"

namespace depthgrow::ops {

/// ids (B*T), table (V, C) -> (B*T, C). `ids` stays alive until the way back has run.
template <class T, class Backend>
variable<T> embedding(tape<T, Backend>& tape, span<const token> ids, parameter<T> table) {
    auto y = tape.make(ids.size(), table.value.cols);  // (B*T, C)
    tape.backend().template embedding_forward<T>(ids, table.value, y.value);
    tape.record([&tape, ids, table, y] {
        if (const auto dy = tape.gradient(y); dy.data && table.gradient.data)
            tape.backend().template embedding_backward<T>(ids, dy, table.gradient);
        tape.release(y);
    });
    return y;
}

}  // namespace depthgrow::ops
