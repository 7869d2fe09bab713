// Token embedding y[r] = table[ids[r]], and learned positions added to it.
// Assumes ids in range (the caller checks data once, not every step) that stay alive until the backward pass has run.
// The backward pass adds rows of dy to rows of the table's gradient.
#pragma once

#include "depthgrow/autograd/tape.hpp"

namespace depthgrow {

/// Rows [first, first + count) of a run are the positions from `start` on of a sequence.
struct row_stretch {
    std::size_t first = 0, count = 0, start = 0;
};

namespace ops {

/// ids (B*T), table (V, C) -> factor * table[ids], (B*T, C).
template <class T, class Backend>
variable<T> embedding(tape<T, Backend>& tape, span<const token> ids, parameter<T> table, wide_t<T> factor = 1) {
    auto y = tape.make(ids.size(), table.value.cols);  // (B*T, C)
    tape.backend().template embedding_forward<T>(ids, table.value, y.value);
    tape.record([&tape, ids, table, y] {
        if (const auto dy = tape.gradient(y); dy.data && table.gradient.data)
            tape.backend().template embedding_backward<T>(ids, dy, table.gradient);
        tape.release(y);
    });
    if (factor == wide_t<T>(1)) return y;
    const auto scaled = tape.make(y.value.rows, y.value.cols);
    tape.backend().template add<T>(y.value, factor - 1, y.value, scaled.value);
    tape.record([&tape, y, scaled, factor] {
        if (const auto d = tape.gradient(scaled); d.data)
            tape.backend().template add<T>(d, factor - 1, d, tape.claim(y).out);
        tape.release(scaled);
    });
    tape.drop(y);
    return scaled;
}

/// x (rows, C) + table[position], positions by stretches; `places` (context) holds 0, 1, 2, …. x is dropped.
template <class T, class Backend, class Stretches>
variable<T> add_positions(tape<T, Backend>& tape, variable<T> x, parameter<T> table, span<const token> places,
                          const Stretches& stretches) {
    const auto rows = tape.make(x.value.rows, x.value.cols);
    for (const row_stretch& s : stretches)
        tape.backend().template embedding_forward<T>(places.subspan(s.start, s.count), table.value,
                                                     rows.value.row_range(s.first, s.count));
    const auto y = tape.make(x.value.rows, x.value.cols);
    tape.backend().template add<T>(x.value, wide_t<T>(1), rows.value, y.value);
    tape.record([&tape, x, y] {
        tape.share(x, y);
        tape.release(y);
    });
    tape.drop(x), tape.drop(rows);
    // backward, these run before the sum's own closure
    for (const row_stretch& s : stretches)
        tape.record([&tape, y, table, ids = places.subspan(s.start, s.count), first = s.first] {
            if (const auto dy = tape.gradient(y); dy.data && table.gradient.data)
                tape.backend().template embedding_backward<T>(ids, dy.row_range(first, ids.size()), table.gradient);
        });
    return y;
}

}  // namespace ops
}  // namespace depthgrow
