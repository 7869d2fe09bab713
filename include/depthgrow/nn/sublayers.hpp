// The two sublayers of a layer, composed from operations: what a description chooses is in the parameters they are
// given. Assumes that parameters which a model lacks have no numbers. What enters is dropped from the tape. Under a
// parallel block both sublayers read what enters the layer; resid_mid = resid_pre + attn_out all the same.
#pragma once

#include <type_traits>

#include "depthgrow/autograd/ops/attention.hpp"
#include "depthgrow/autograd/ops/mlp.hpp"
#include "depthgrow/nn/sites.hpp"

namespace depthgrow {

/// What belongs to the slot that a layer runs in.
template <class T> struct slot_rules {
    std::size_t slot = 0;
    wide_t<T> scale = 1;  // of the norms before the sublayers
    bool post = false;    // post-norm: Norm(h + out), by the norm that otherwise stands before
    bool parallel = false;
};

template <class T> struct attention_weights {
    ops::norm_parameters<T> before, after;
    ops::projection_parameters<T> qkv;
    parameter<T> out, out_bias;
};
template <class T> struct mlp_weights {
    ops::norm_parameters<T> before, after;
    ops::mlp_parameters<T> maps;
};

namespace detail {

/// What a sublayer adds, from its last linear map: as it is, after its own norm, or Norm(h + out) - h under post-norm.
template <class T, class Backend>
variable<T> added(tape<T, Backend>& tape, variable<T> h, variable<T> out, const ops::norm_parameters<T>& after,
                  const ops::norm_parameters<T>* post) {
    if (after) {
        const auto normed = ops::normalize(tape, out, after);
        tape.drop(out);
        return normed;
    }
    if (!post) return out;
    const auto both = ops::add_and_normalize(tape, h, out, *post);
    const auto difference = ops::add(tape, both.normed, h, wide_t<T>(-1));
    tape.drop(out), tape.drop(both.sum), tape.drop(both.normed);
    return difference;
}
/// Whether a sublayer's output may go into the residual stream unseen.
template <class Observer, class Weights, class T> bool unseen(const Weights& weights, const slot_rules<T>& rules) {
    return std::is_same_v<std::remove_cvref_t<Observer>, residual_only> && !rules.post && !rules.parallel &&
           !weights.after;
}

}  // namespace detail

/// The residual entering a slot, with the attention's output pending. `keys`: own_keys or cached_keys
/// (nn/key_values.hpp).
template <class T, class Backend, class Keys, class Observer>
residual_stream<T> run_attention(tape<T, Backend>& tape, residual_stream<T> in, const attention_weights<T>& weights,
                                 const Keys& keys, const slot_rules<T>& rules, Observer&& observe) {
    auto [h, x] = ops::enter(tape, in, rules.post ? ops::norm_parameters<T>{} : weights.before, rules.scale);
    const bool own = x.value.data != h.value.data;  // else x is the residual, which is read once more
    if (rules.slot > 0) observe(site::resid_post, rules.slot - 1, h.value);
    observe(site::resid_pre, rules.slot, h.value);
    const auto qkv = ops::projections(tape, x, weights.qkv, keys.rows(), keys.table);  // (B*T, (H + 2 H_kv) D)
    if (own) tape.drop(x);
    const auto mixed = keys.attend(tape, qkv);  // (B*T, H*D)
    tape.drop(qkv);
    if (detail::unseen<Observer>(weights, rules)) return ops::add_linear(tape, h, mixed, weights.out, weights.out_bias);
    auto a = ops::linear(tape, mixed, weights.out, weights.out_bias);  // (B*T, C)
    tape.drop(mixed);
    a = detail::added(tape, h, a, weights.after, rules.post ? &weights.before : nullptr);
    observe(site::attn_out, rules.slot, a.value);
    return {h, a};
}

/// The residual between the sublayers, with the MLP's output pending.
template <class T, class Backend, class Observer>
residual_stream<T> run_mlp(tape<T, Backend>& tape, residual_stream<T> in, const mlp_weights<T>& weights,
                           const slot_rules<T>& rules, Observer&& observe) {
    variable<T> h, x;
    if (rules.parallel) {
        x = ops::normalize(tape, in.h, weights.before);
        h = add_pending(tape, in);
    } else {
        const auto entered = ops::enter(tape, in, rules.post ? ops::norm_parameters<T>{} : weights.before, rules.scale);
        h = entered.sum, x = entered.normed;
    }
    observe(site::resid_mid, rules.slot, h.value);
    if (x.value.data == h.value.data) x.kept = true;  // the residual, which is read once more
    if (detail::unseen<Observer>(weights, rules)) return ops::add_mlp(tape, h, x, weights.maps);
    auto m = ops::mlp(tape, x, weights.maps);  // (B*T, C)
    m = detail::added(tape, h, m, weights.after, rules.post ? &weights.before : nullptr);
    observe(site::mlp_out, rules.slot, m.value);
    return {h, m};
}

}  // namespace depthgrow
