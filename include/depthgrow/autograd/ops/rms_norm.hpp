// RMSNorm, alone and fused with the residual add before it. Assumes rows of the model's width.
// The reciprocal root is saved for the way back.
// y = scale * gain * x / sqrt(mean(x²) + eps) (Zhang & Sennrich 2019); scale is 1 or 1/sqrt(slot + 1).
#pragma once

#include "depthgrow/autograd/tape.hpp"

namespace depthgrow::ops {

namespace detail {

/// Where the gain's gradient goes; memory that nobody reads when the gain is frozen.
template <class T, class Backend>
span<wide_t<T>> gain_gradient(tape<T, Backend>& tape, const parameter<T>& gain) {
    if (gain.gradient.data) return gain.flat_gradient();
    const std::size_t width = gain.value.size();
    const auto unread = tape.make_wide(width);
    tape.backend().template fill<wide_t<T>>(unread.data(), width, wide_t<T>(0));
    return unread;
}

}  // namespace detail

/// x (M, C), gain (1, C) -> (M, C).
template <class T, class Backend>
variable<T> rms_norm(tape<T, Backend>& tape, variable<T> x, parameter<T> gain, wide_t<T> eps, wide_t<T> scale) {
    auto y = tape.make(x.value.rows, x.value.cols);  // (M, C)
    const auto rstd = tape.make_wide(x.value.rows);  // (M)
    tape.backend().template rms_norm_forward<T>(x.value, gain.flat(), eps, scale, y.value, rstd);
    tape.record([&tape, x, gain, scale, y, rstd] {
        const auto dy = tape.gradient(y);
        if (!dy.data) return;
        const auto dx = tape.claim(x);
        tape.backend().template rms_norm_backward<T>(x.value, gain.flat(), rstd, scale, dy, dx.held,
                                                     dx.out, detail::gain_gradient(tape, gain));
        tape.release(y);
    });
    return y;
}

template <class T>
struct residual_norm {
    variable<T> sum, normed;
};

/// sum = h + a and normed = RMSNorm(sum) in one pass; definition: add, then rms_norm.
/// The gradient of the sum reaches h and a alike, so both read one buffer.
template <class T, class Backend>
residual_norm<T> residual_rms_norm(tape<T, Backend>& tape, variable<T> h, variable<T> a, parameter<T> gain,
                                   wide_t<T> eps, wide_t<T> scale) {
    auto sum = tape.make(h.value.rows, h.value.cols);     // (M, C)
    auto normed = tape.make(h.value.rows, h.value.cols);  // (M, C)
    const auto rstd = tape.make_wide(h.value.rows);       // (M)
    tape.backend().template residual_rms_norm_forward<T>(h.value, a.value, gain.flat(), eps, scale, sum.value, normed.value, rstd);
    tape.record([&tape, h, a, gain, scale, sum, normed, rstd] {
        if (const auto dy = tape.gradient(normed); dy.data) {
            const auto dsum = tape.claim(sum);
            tape.backend().template rms_norm_backward<T>(sum.value, gain.flat(), rstd, scale, dy,
                                                         dsum.held, dsum.out, detail::gain_gradient(tape, gain));
            tape.release(normed);
        }
        tape.share(h, sum);
        tape.share(a, sum);
        tape.release(sum);
    });
    return {sum, normed};
}

}  // namespace depthgrow::ops
