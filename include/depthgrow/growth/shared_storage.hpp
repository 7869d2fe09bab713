// Whether two layers share arrays of numbers: what grow asks of every copy that a type of others makes.
// Assumes C++17 and looks at addresses alone. Seen: what sharing.hpp sees; not seen, and left to check_layer: private
// members. Constants, and what holds no array of numbers (a configuration, a device), may be shared.
#pragma once

#include <cstddef>
#include <iterator>
#include <tuple>
#include <type_traits>
#include <utility>

#include "depthgrow/growth/members.hpp"
#include "depthgrow/growth/sharing.hpp"

namespace depthgrow::detail {

/// data() and size() of numbers: vectors, views, matrices of Eigen.
template <class T, class = void> struct has_number_data : std::false_type {};
template <class T>
struct has_number_data<
    T, std::void_t<decltype(std::declval<const T&>().size()), decltype(*std::declval<const T&>().data())>>
    : std::is_arithmetic<std::decay_t<decltype(*std::declval<const T&>().data())>> {};

template <class T, class = void> struct is_complete : std::false_type {};
template <class T> struct is_complete<T, std::void_t<decltype(sizeof(T))>> : std::true_type {};

template <class T, class... Outer> constexpr bool holds_numbers();
template <class... Outer, class... Members> constexpr bool any_holds_numbers(member_list<Members...>) {
    return (holds_numbers<Members, Outer...>() || ...);
}
template <class... Outer, class Tuple, std::size_t... I>
constexpr bool any_holds_numbers(const Tuple*, std::index_sequence<I...>) {
    return (holds_numbers<std::tuple_element_t<I, Tuple>, Outer...>() || ...);
}

/// Whether `T` is, holds or points to an array of numbers that can be changed; one number by itself is a setting.
template <class T, class... Outer> constexpr bool holds_numbers() {
    using plain = std::remove_cv_t<T>;
    if constexpr (std::is_const_v<T> || (std::is_same_v<plain, Outer> || ...) || !is_complete<plain>::value) {
        return false;
    } else if constexpr (is_handle<plain>::value) {
        using pointee = pointee_of<plain>;
        return !std::is_const_v<pointee> &&
               (std::is_arithmetic_v<pointee> || holds_numbers<pointee, plain, Outer...>());
    } else if constexpr (std::is_array_v<plain>) {
        using element = std::remove_all_extents_t<plain>;
        return std::is_arithmetic_v<element> || holds_numbers<element, plain, Outer...>();
    } else if constexpr (is_foreign_tensor<plain>::value || has_number_data<plain>::value) {
        return true;
    } else if constexpr (is_tuple<plain>::value) {
        return any_holds_numbers<plain, Outer...>(static_cast<const plain*>(nullptr),
                                                  std::make_index_sequence<std::tuple_size_v<plain>>());
    } else if constexpr (is_optional<plain>::value || is_container<plain>::value) {
        using element = typename plain::value_type;
        return (is_container<plain>::value && std::is_arithmetic_v<element>) ||
               holds_numbers<element, plain, Outer...>();
    } else if constexpr (member_count<plain>() > 0) {
        return any_holds_numbers<plain, Outer...>(
            decltype(visit_members(std::declval<const plain&>(), list_members()))());
    } else {
        return false;
    }
}

template <class... Outer, class T> bool share_numbers(const T& a, const T& b);

template <class... Outer, class Handle> bool share_pointees(const Handle& a, const Handle& b) {
    using pointee = pointee_of<Handle>;
    if constexpr (std::is_function_v<pointee> || !is_complete<pointee>::value || is_foreign_module<pointee>::value) {
        return false;
    } else {
        const auto* x = address_of(a);
        const auto* y = address_of(b);
        if (x == nullptr || y == nullptr) return false;
        if (x == y) return holds_numbers<Handle, Outer...>();
        if constexpr (std::is_pointer_v<Handle>) return false;  // what it points to may be gone
        else return share_numbers<Handle, Outer...>(*x, *y);
    }
}

template <class... Outer, class Range> bool share_elements(const Range& a, const Range& b) {
    auto x = std::begin(a);
    auto y = std::begin(b);
    using element = decltype(*x);
    for (; x != std::end(a) && y != std::end(b); ++x, ++y) {
        if constexpr (std::is_arithmetic_v<std::decay_t<element>>) {
            if constexpr (std::is_lvalue_reference_v<element>) return &*x == &*y;
            else return false;
        } else if (share_numbers<Outer...>(*x, *y)) {
            return true;
        }
    }
    return false;
}

/// Whether an array of numbers of `a` is also one of `b`; `Outer` are the types that both stand in, where a type that
/// holds itself ends.
template <class... Outer, class T> bool share_numbers(const T& a, const T& b) {
    if constexpr (std::is_arithmetic_v<T> || (std::is_same_v<T, Outer> || ...)) {
        return false;
    } else if constexpr (is_handle<T>::value) {
        return share_pointees<Outer...>(a, b);
    } else if constexpr (is_foreign_tensor<T>::value) {
        return a.defined() && b.defined() && a.has_storage() && b.has_storage() && a.is_alias_of(b);
    } else if constexpr (is_reading_view<T>::value) {
        return false;
    } else if constexpr (has_number_data<T>::value) {
        return a.size() > 0 && b.size() > 0 && a.data() == b.data();
    } else if constexpr (is_tuple<T>::value) {
        return std::apply(
            [&](const auto&... x) {
                return std::apply([&](const auto&... y) { return (share_numbers<T, Outer...>(x, y) || ...); }, b);
            },
            a);
    } else if constexpr (is_optional<T>::value) {
        return a.has_value() && b.has_value() && share_numbers<T, Outer...>(*a, *b);
    } else if constexpr (std::is_array_v<T> || is_container<T>::value) {
        return share_elements<T, Outer...>(a, b);
    } else if constexpr (member_count<T>() > 0) {
        return visit_members(a, [&](const auto&... x) {
            return visit_members(b, [&](const auto&... y) { return (share_numbers<T, Outer...>(x, y) || ...); });
        });
    } else {
        return false;
    }
}

/// Whether copies of a layer are made by code of others or of parts, and may share what their type does not show.
template <class Layer> constexpr bool copies_need_a_look() {
    if constexpr (has_own_traits<Layer>::value || has_clone<const Layer>::value || is_handle<Layer>::value) return true;
    else return sharing_of<Layer>() != sharing::none;
}

}  // namespace depthgrow::detail
