// A part of the graph that keeps only what enters it: its activations are computed again in the backward pass.
// Assumes the part reads one variable and frozen places (weights, tables), and gives the same numbers each time it
// runs: a backend whose scales move from use to use repeats those of the first time. Chen et al. 2016 (arXiv
// 1604.06174): memory of one part at a time for about one more forward pass.
#pragma once

#include "depthgrow/autograd/tape.hpp"
#include "depthgrow/backend/capabilities.hpp"

namespace depthgrow::ops {

namespace detail {

/// Runs a part that will run once more, and returns what a backend that repeats scales knows it by.
template <class Backend, class Body> std::size_t first_time(Backend& backend, const Body& body) {
    if constexpr (repeats_scales<Backend>) return backend.fp8().first_time(body);
    else return body(), 0;
}
template <class Backend, class Body>
auto once_more(Backend& backend, [[maybe_unused]] std::size_t part, const Body& body) {
    if constexpr (repeats_scales<Backend>) return backend.fp8().again(part, body);
    else return body();
}

}  // namespace detail

/// forward(x) -> y, a callable that holds only views and numbers; runs twice when the tape records.
template <class T, class Backend, class Forward>
variable<T> recompute(tape<T, Backend>& tape, variable<T> x, Forward forward) {
    variable<T> y;
    const auto part = detail::first_time(tape.backend(), [&] { y = tape.only_result([&] { return forward(x); }); });
    tape.record([&tape, x, y, forward, part] {
        if (!tape.gradient(y).data) return;
        tape.backward_again(y, [&] { return detail::once_more(tape.backend(), part, [&] { return forward(x); }); });
    });
    return y;
}

}  // namespace depthgrow::ops
