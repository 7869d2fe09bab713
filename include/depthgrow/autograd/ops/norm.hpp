// RMSNorm and LayerNorm, alone and fused with the residual add before them.
// Assumes rows of the norm's width. Reciprocal deviations (and means) are saved for the backward pass.
// y = scale * gain * x / sqrt(mean(x²) + eps) (Zhang & Sennrich 2019), or LayerNorm (Ba et al. 2016); scale is 1 or
// 1/sqrt(slot + 1).
#pragma once

#include "depthgrow/autograd/ops/add.hpp"

namespace depthgrow::ops {

/// A norm's parameters; a LayerNorm without bias has an empty one.
template <class T> struct norm_parameters {
    parameter<T> gain, bias;  // (1, C) each
    wide_t<T> eps{};
    bool layer = false;        // LayerNorm, else RMSNorm
    bool gain_offset = false;  // the gain is 1 + the parameter
    explicit operator bool() const { return gain.value.data != nullptr; }
};

namespace detail {

/// Where the gain's gradient goes; memory that nobody reads when the gain is frozen.
template <class T, class Backend> span<wide_t<T>> gain_gradient(tape<T, Backend>& tape, const parameter<T>& gain) {
    if (gain.gradient.data) return gain.flat_gradient();
    const std::size_t width = gain.value.size();
    const auto unread = tape.make_wide(width);
    tape.backend().template fill<wide_t<T>>(unread.data(), width, wide_t<T>(0));
    return unread;
}
/// The gain that multiplies: the parameter, or 1 + the parameter in memory of the tape; the gradient is the same.
template <class T, class Backend> parameter<T> effective_gain(tape<T, Backend>& tape, const norm_parameters<T>& norm) {
    if (!norm.gain_offset) return norm.gain;
    parameter<T> out = norm.gain;
    const auto ones = tape.make(1, norm.gain.value.size()), sum = tape.make(1, norm.gain.value.size());
    tape.backend().template fill<T>(ones.value.data, ones.value.size(), T(1));
    tape.backend().template add<T>(ones.value, wide_t<T>(1),
                                   matrix<const T>(norm.gain.value.data, 1, norm.gain.value.size()), sum.value);
    tape.drop(ones);
    out.value = sum.value;
    return out;
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
        tape.backend().template rms_norm_backward<T>(x.value, gain.flat(), rstd, scale, dy, dx.held, dx.out,
                                                     detail::gain_gradient(tape, gain));
        tape.release(y);
    });
    return y;
}

/// x (M, C), gain (1, C), bias (1, C) or none -> (M, C).
template <class T, class Backend>
variable<T> layer_norm(tape<T, Backend>& tape, variable<T> x, parameter<T> gain, parameter<T> bias, wide_t<T> eps,
                       wide_t<T> scale) {
    auto y = tape.make(x.value.rows, x.value.cols);                                       // (M, C)
    const auto mean = tape.make_wide(x.value.rows), rstd = tape.make_wide(x.value.rows);  // (M)
    tape.backend().template layer_norm_forward<T>(x.value, gain.flat(), bias.value.data ? bias.flat() : span<const T>(),
                                                  eps, scale, y.value, mean, rstd);
    tape.record([&tape, x, gain, bias, scale, y, mean, rstd] {
        const auto dy = tape.gradient(y);
        if (!dy.data) return;
        const auto dx = tape.claim(x);
        const auto dbias = bias.gradient.data ? bias.flat_gradient() : span<wide_t<T>>();
        tape.backend().template layer_norm_backward<T>(x.value, gain.flat(), mean, rstd, scale, dy, dx.held, dx.out,
                                                       detail::gain_gradient(tape, gain), dbias);
        tape.release(y);
    });
    return y;
}

/// The norm that `norm` describes: x (M, C) -> (M, C).
template <class T, class Backend>
variable<T> normalize(tape<T, Backend>& tape, variable<T> x, const norm_parameters<T>& norm, wide_t<T> scale = 1) {
    const auto gain = detail::effective_gain(tape, norm);
    if (norm.layer) return layer_norm(tape, x, gain, norm.bias, norm.eps, scale);
    return rms_norm(tape, x, gain, norm.eps, scale);
}

template <class T> struct residual_norm { variable<T> sum, normed; };

/// sum = h + a and normed = RMSNorm(sum) in one pass; definition: add, then rms_norm.
/// The gradient of the sum reaches h and a alike, so both read one buffer.
template <class T, class Backend>
residual_norm<T> residual_rms_norm(tape<T, Backend>& tape, variable<T> h, variable<T> a, parameter<T> gain,
                                   wide_t<T> eps, wide_t<T> scale) {
    auto sum = tape.make(h.value.rows, h.value.cols);     // (M, C)
    auto normed = tape.make(h.value.rows, h.value.cols);  // (M, C)
    const auto rstd = tape.make_wide(h.value.rows);       // (M)
    tape.backend().template residual_rms_norm_forward<T>(h.value, a.value, gain.flat(), eps, scale, sum.value,
                                                         normed.value, rstd);
    tape.record([&tape, h, a, gain, scale, sum, normed, rstd] {
        if (const auto dy = tape.gradient(normed); dy.data) {
            const auto dsum = tape.claim(sum);
            tape.backend().template rms_norm_backward<T>(sum.value, gain.flat(), rstd, scale, dy, dsum.held, dsum.out,
                                                         detail::gain_gradient(tape, gain));
            tape.release(normed);
        }
        tape.share(h, sum);
        tape.share(a, sum);
        tape.release(sum);
    });
    return {sum, normed};
}

/// sum = h + a and its norm, fused where the norm is RMSNorm.
template <class T, class Backend>
residual_norm<T> add_and_normalize(tape<T, Backend>& tape, variable<T> h, variable<T> a, const norm_parameters<T>& norm,
                                   wide_t<T> scale = 1) {
    if (!norm.layer) return residual_rms_norm(tape, h, a, detail::effective_gain(tape, norm), norm.eps, scale);
    const auto sum = add(tape, h, a);
    return {sum, normalize(tape, sum, norm, scale)};
}

}  // namespace depthgrow::ops
