// Optimizer state at growth: moments follow their layers by the same order or mixture, the step count carries over.
// Assumes C++17. Specialise optimizer_traits for an optimizer you cannot change.
// Source: Kapl et al. 2025 section 3.1 and appendix A (AdamW moments are copied with their layer). In a sum of layers
// first moments add up with the coefficients, second moments with their squares, as means and variances do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

#include "depthgrow/growth/grow.hpp"

namespace depthgrow {

/// Adam's state. `Moment` is either one layer's moments (then keep a sequence of states) or a sequence of them.
template <class Moment> struct adam_state {
    Moment first_moment;
    Moment second_moment;
    std::uint64_t step = 0;  ///< carried over at growth, whatever the policy
};

namespace detail {

template <class State, class = void> struct has_set_zero : std::false_type {};
template <class State>
struct has_set_zero<State, std::void_t<decltype(std::declval<State&>().set_zero())>> : std::true_type {};

template <class State, class = void> struct is_range : std::false_type {};
template <class State>
struct is_range<State, std::void_t<decltype(std::declval<State&>().begin()), decltype(std::declval<State&>().end())>>
    : std::true_type {};

template <class State, class = void> struct has_moments : std::false_type {};
template <class State>
struct has_moments<
    State, std::void_t<decltype(std::declval<State&>().first_moment), decltype(std::declval<State&>().second_moment)>>
    : std::true_type {};

template <class Optimizer, class = void> struct has_grow_layers : std::false_type {};
template <class Optimizer>
struct has_grow_layers<Optimizer, std::void_t<decltype(std::declval<Optimizer&>().grow_layers(
                                      std::declval<const layer_order&>(), state_policy::copy))>> : std::true_type {};

template <class Optimizer, class = void> struct grows_by_growth : std::false_type {};
template <class Optimizer>
struct grows_by_growth<Optimizer,
                       std::void_t<decltype(std::declval<Optimizer&>().grow_layers(std::declval<const growth&>()))>>
    : std::true_type {};

}  // namespace detail

/// Sets one layer's state to zero: a member set_zero() if there is one, both moments of an Adam state (its step stays),
/// every element of a range, or a number.
template <class State> void zero_state(State& state) {
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

/// Adam's state of one layer: first moments with the coefficients, second with their squares, the largest step count.
template <class Moment> struct layer_traits<adam_state<Moment>> {
    static adam_state<Moment> clone(const adam_state<Moment>& state) {
        return {layer_traits<Moment>::clone(state.first_moment), layer_traits<Moment>::clone(state.second_moment),
                state.step};
    }
    static adam_state<Moment> mix(const std::vector<std::pair<const adam_state<Moment>*, double>>& terms) {
        detail::layer_terms<Moment> first, second;
        std::uint64_t step = 0;
        for (const auto& [state, coefficient] : terms) {
            first.emplace_back(&state->first_moment, coefficient);
            second.emplace_back(&state->second_moment, coefficient * coefficient);
            if (state->step > step) step = state->step;
        }
        return {layer_traits<Moment>::mix(first), layer_traits<Moment>::mix(second), step};
    }
};

namespace detail {

/// What growth does to a new state.
struct apply_policy {
    state_policy policy;
    template <class State> void operator()(State& state, std::size_t) const {
        if (policy != state_policy::copy) zero_state(state);
    }
};

/// Zeroes the states of all layers where the policy says so.
template <class Sequence> void reset_all(Sequence& states, state_policy policy) {
    if (policy != state_policy::all) return;
    for (std::size_t layer = 0; layer < sequence_traits<Sequence>::size(states); ++layer)
        zero_state(sequence_traits<Sequence>::at(states, layer));
}

/// Grows a sequence of states by an order or a mixture.
template <class Sequence, class Rows> void grow_states(Sequence& states, const Rows& rows, state_policy policy) {
    states = growth_in_progress<Sequence, Rows>(states, rows, apply_policy{policy}).finish();
    reset_all(states, policy);
}

template <class Moments, class Rows>
void grow_moments(adam_state<Moments>& state, const Rows& rows, const Rows& squares, state_policy policy) {
    const apply_policy on_new{policy};
    growth_in_progress<Moments, Rows> first(state.first_moment, rows, on_new);
    growth_in_progress<Moments, Rows> second(state.second_moment, squares, on_new);
    state.first_moment = first.finish();
    state.second_moment = second.finish();
    reset_all(state.first_moment, policy);
    reset_all(state.second_moment, policy);
}

}  // namespace detail

/// How an optimizer grows. Specialise it with `static void grow(Optimizer&, const layer_order&, state_policy)`, or give
/// the optimizer a member `grow_layers(order, policy)`; a sequence with one state per layer needs neither. For mixtures
/// the function or member takes a `const growth&` instead; a plain sequence adds up with the coefficients.
template <class Optimizer, class = void> struct optimizer_traits {
    static void grow(Optimizer& optimizer, const layer_order& order, state_policy policy) {
        if constexpr (detail::has_grow_layers<Optimizer>::value) {
            optimizer.grow_layers(order, policy);
        } else if constexpr (detail::grows_by_growth<Optimizer>::value) {
            optimizer.grow_layers(growth{order, {}, policy});
        } else {
            static_assert(detail::is_range<Optimizer>::value,
                          "depthgrow: growth does not know this optimizer. Give it a member grow_layers(const "
                          "layer_order&, state_policy), or specialise depthgrow::optimizer_traits for it.");
            detail::grow_states(optimizer, order, policy);
        }
    }
    static void grow(Optimizer& optimizer, const growth& how) {
        if constexpr (detail::grows_by_growth<Optimizer>::value) {
            optimizer.grow_layers(how);
        } else if constexpr (detail::has_grow_layers<Optimizer>::value) {
            optimizer.grow_layers(how.rows().order(), how.state);
        } else {
            static_assert(detail::is_range<Optimizer>::value,
                          "depthgrow: growth does not know this optimizer. Give it a member grow_layers(const "
                          "growth&), or specialise depthgrow::optimizer_traits for it.");
            detail::grow_states(optimizer, how.rows(), how.state);
        }
    }
};

/// Two sequences with one moment per layer and a common step count.
template <class Moments> struct optimizer_traits<adam_state<Moments>> {
    static void grow(adam_state<Moments>& state, const layer_order& order, state_policy policy) {
        detail::grow_moments(state, order, order, policy);
    }
    static void grow(adam_state<Moments>& state, const growth& how) {
        const mixture rows = how.rows();
        detail::grow_moments(state, rows, squared(rows), how.state);
    }
};

namespace detail {

template <class Optimizer, class = void> struct has_trait_growth : std::false_type {};
template <class Optimizer>
struct has_trait_growth<Optimizer, std::void_t<decltype(optimizer_traits<Optimizer>::grow(
                                       std::declval<Optimizer&>(), std::declval<const growth&>()))>> : std::true_type {
};

}  // namespace detail

/// Grows an optimizer's per-layer state by the order that grew the layers.
template <class Optimizer>
void grow_optimizer(Optimizer& optimizer, const layer_order& order, state_policy policy = state_policy::copy) {
    optimizer_traits<Optimizer>::grow(optimizer, order, policy);
}

/// Grows an optimizer's per-layer state with the layers. An optimizer that knows orders only refuses a mixture.
template <class Optimizer> void grow_optimizer(Optimizer& optimizer, const growth& how) {
    if constexpr (detail::has_trait_growth<Optimizer>::value) optimizer_traits<Optimizer>::grow(optimizer, how);
    else optimizer_traits<Optimizer>::grow(optimizer, how.rows().order(), how.state);
}

}  // namespace depthgrow
