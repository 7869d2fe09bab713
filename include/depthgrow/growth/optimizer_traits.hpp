// Optimizer state at growth: moments follow their layers by the same order, the step count carries over.
// Assumes C++17. Specialise optimizer_traits for an optimizer you cannot change.
// Source: Kapl et al. 2025 section 3.1 and appendix A (AdamW moments are copied with their layer).
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "depthgrow/growth/grow.hpp"

namespace depthgrow {

/// What a new layer's moments start as: a copy of its source's (the paper), or zero.
enum class state_policy { copy, zero };

/// Adam's state. `Moment` is either one layer's moments (then keep a sequence of states) or a sequence of them.
template <class Moment>
struct adam_state {
    Moment first_moment;
    Moment second_moment;
    std::uint64_t step = 0;  ///< carried over at growth, whatever the policy
};

namespace detail {

template <class State, class = void>
struct has_set_zero : std::false_type {};
template <class State>
struct has_set_zero<State, std::void_t<decltype(std::declval<State&>().set_zero())>> : std::true_type {};

template <class State, class = void>
struct is_range : std::false_type {};
template <class State>
struct is_range<State, std::void_t<decltype(std::declval<State&>().begin()), decltype(std::declval<State&>().end())>>
    : std::true_type {};

template <class State, class = void>
struct has_moments : std::false_type {};
template <class State>
struct has_moments<State, std::void_t<decltype(std::declval<State&>().first_moment),
                                      decltype(std::declval<State&>().second_moment)>> : std::true_type {};

template <class Optimizer, class = void>
struct has_grow_layers : std::false_type {};
template <class Optimizer>
struct has_grow_layers<Optimizer, std::void_t<decltype(std::declval<Optimizer&>().grow_layers(
                                      std::declval<const layer_order&>(), state_policy::copy))>> : std::true_type {};

}  // namespace detail

/// Sets one layer's state to zero: a member set_zero() if there is one, both moments of an Adam state (its step stays),
/// every element of a range, or a number.
template <class State>
void zero_state(State& state) {
    if constexpr (detail::has_set_zero<State>::value) {
        state.set_zero();
    } else if constexpr (detail::has_moments<State>::value) {
        zero_state(state.first_moment);
        zero_state(state.second_moment);
    } else if constexpr (detail::is_range<State>::value) {
        for (auto& part : state) zero_state(part);
    } else {
        static_assert(std::is_arithmetic_v<State>,
                      "depthgrow: this optimizer state cannot be zeroed. Give it a member set_zero().");
        state = State{};
    }
}

namespace detail {

/// What growth does to a copied state.
struct apply_policy {
    state_policy policy;
    template <class State>
    void operator()(State& state, std::size_t) const {
        if (policy == state_policy::zero) zero_state(state);
    }
};

}  // namespace detail

/// How an optimizer grows. Specialise it with `static void grow(Optimizer&, const layer_order&, state_policy)`, or give
/// the optimizer a member `grow_layers(order, policy)`; a sequence with one state per layer needs neither.
template <class Optimizer, class = void>
struct optimizer_traits {
    static void grow(Optimizer& optimizer, const layer_order& order, state_policy policy) {
        if constexpr (detail::has_grow_layers<Optimizer>::value) {
            optimizer.grow_layers(order, policy);
        } else {
            static_assert(detail::is_range<Optimizer>::value,
                          "depthgrow: growth does not know this optimizer. Give it a member grow_layers(const "
                          "layer_order&, state_policy), or specialise depthgrow::optimizer_traits for it.");
            optimizer = depthgrow::grow(std::move(optimizer), order, detail::apply_policy{policy});
        }
    }
};

/// Two sequences with one moment per layer and a common step count.
template <class Moments>
struct optimizer_traits<adam_state<Moments>> {
    static void grow(adam_state<Moments>& state, const layer_order& order, state_policy policy) {
        const detail::apply_policy on_new{policy};
        detail::growth_in_progress<Moments> first(state.first_moment, order, on_new);
        detail::growth_in_progress<Moments> second(state.second_moment, order, on_new);
        state.first_moment = first.finish();
        state.second_moment = second.finish();
    }
};

/// Grows an optimizer's per-layer state by the order that grew the layers.
template <class Optimizer>
void grow_optimizer(Optimizer& optimizer, const layer_order& order, state_policy policy = state_policy::copy) {
    optimizer_traits<Optimizer>::grow(optimizer, order, policy);
}

}  // namespace depthgrow
