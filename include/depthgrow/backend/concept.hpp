// What a backend must offer, one concept an operation, so that a diagnostic names the missing one.
// Assumes C++20.
// Extents and meaning of each operation: reference.hpp.
#pragma once

#include <concepts>

#include "depthgrow/backend/contract.hpp"

namespace depthgrow {

namespace concepts {

template <class B, class T>
concept has_memory = requires(B b, T* p, const T* q, std::size_t n, T x) {
    { b.template allocate<T>(n) } -> std::same_as<T*>;
    b.template deallocate<T>(p, n);
    b.template copy<T>(q, p, n);
    b.template from_host<T>(q, p, n);
    b.template to_host<T>(q, p, n);
    b.template fill<T>(p, n, x);
    b.synchronize();
};
template <class B, class T>
concept has_gemm = requires(B b, transpose t, wide_t<T> x, matrix<const T> in, matrix<T> out, matrix<wide_t<T>> wide) {
    b.template gemm<T>(t, t, x, in, in, x, out);
    b.template gemm<T>(t, t, x, in, in, x, wide);
};
template <class B, class T>
concept has_embedding = requires(B b, span<const token> ids, matrix<const T> in, matrix<T> out,
                                 matrix<wide_t<T>> wide) {
    b.template embedding_forward<T>(ids, in, out);
    b.template embedding_backward<T>(ids, in, wide);
};
template <class B, class T>
concept has_rms_norm = requires(B b, matrix<const T> in, matrix<T> out, span<const T> gain, span<wide_t<T>> dgain,
                                wide_t<T> x, span<wide_t<T>> rstd, span<const wide_t<T>> saved) {
    b.template rms_norm_forward<T>(in, gain, x, x, out, rstd);
    b.template residual_rms_norm_forward<T>(in, in, gain, x, x, out, out, rstd);
    b.template rms_norm_backward<T>(in, gain, saved, x, in, in, out, dgain);
};
template <class B, class T>
concept has_layer_norm = requires(B b, matrix<const T> in, matrix<T> out, span<const T> gain, span<wide_t<T>> sums,
                                  wide_t<T> x, span<const wide_t<T>> saved) {
    b.template layer_norm_forward<T>(in, gain, gain, x, x, out, sums, sums);
    b.template layer_norm_backward<T>(in, gain, saved, saved, x, in, in, out, sums, sums);
};
template <class B, class T>
concept has_bias = requires(B b, span<const T> bias, matrix<T> out, matrix<const T> in, span<wide_t<T>> sums) {
    b.template add_bias_inplace<T>(bias, out);
    b.template bias_backward<T>(in, sums);
};
template <class B, class T>
concept has_rope = requires(B b, matrix<T> out, std::size_t n, matrix<const wide_t<T>> table, wide_t<T> sign) {
    b.template rope_inplace<T>(out, n, n, n, table, table, sign);
};
template <class B, class T>
concept has_attention = requires(B b, matrix<const T> in, attention_shape s, matrix<T> out, span<wide_t<T>> lse,
                                 span<const wide_t<T>> saved) {
    b.template attention_forward<T>(in, s, out, lse);
    b.template attention_backward<T>(in, s, in, saved, in, out);
};
/// For generation token by token and options behind one context; training does without.
template <class B, class T>
concept has_cached_attention = requires(B b, matrix<const T> in, attention_shape s, key_value_cache<T> cache,
                                        matrix<T> out) {
    b.template cached_attention<T>(in, s, cache, out);
};
template <class B, class T>
concept has_activations = requires(B b, activation kind, matrix<const T> in, matrix<T> out) {
    b.template gated_forward<T>(kind, in, out);
    b.template gated_backward<T>(kind, in, in, out);
    b.template activation_forward<T>(kind, in, out);
    b.template activation_backward<T>(kind, in, in, out);
};
template <class B, class T>
concept has_add = requires(B b, matrix<const T> in, matrix<T> out, wide_t<T> x) {
    b.template add<T>(in, x, in, out);
    b.template add_inplace<T>(x, in, out);
};
template <class B, class T>
concept has_cross_entropy = requires(B b, matrix<T> out, span<const token> ids, span<const wide_t<T>> w,
                                     span<wide_t<T>> loss) {
    b.template cross_entropy_inplace<T>(out, ids, w, loss, true);
    b.template row_argmax<T>(out, span<token>());
};
template <class B, class T>
concept has_adamw = requires(B b, span<wide_t<T>> x, span<const wide_t<T>> g, span<T> rounded, const adamw_constants* k,
                             double* sum) {
    b.template accumulate_squares<wide_t<T>>(g, sum);
    b.template adamw<T>(x, g, x, x, rounded, k, sum);
};

}  // namespace concepts

/// B can train and run a model of T.
template <class B, class T>
concept backend_for = concepts::has_memory<B, T> && concepts::has_gemm<B, T> && concepts::has_embedding<B, T> &&
    concepts::has_rms_norm<B, T> && concepts::has_layer_norm<B, T> && concepts::has_bias<B, T> &&
    concepts::has_rope<B, T> && concepts::has_attention<B, T> && concepts::has_activations<B, T> &&
    concepts::has_add<B, T> && concepts::has_cross_entropy<B, T> && concepts::has_adamw<B, T>;

}  // namespace depthgrow
