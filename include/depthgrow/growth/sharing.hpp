// What a copy of a layer would share with its original, as far as its type tells: pointers, views, tensors of others.
// Assumes C++17. Seen: elements of containers, pairs, tuples and optionals, and members of aggregates (members.hpp);
// not seen, and left to check_layer: private members, and classes that hide what they hold (std::function, std::any).
#pragma once

#include <cstddef>
#include <iterator>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "depthgrow/core/span.hpp"
#include "depthgrow/growth/members.hpp"

namespace depthgrow {

template <class Layer, class Enable> struct layer_traits;

namespace detail {

/// How a type is copied, from the harmless to what is refused: as it is; part by part, since a part has a clone of its
/// own; not at all, since it is or holds a handle, a view, or a tensor or module whose adapter is not included.
enum class sharing { none, parts, handle, view, foreign };

constexpr sharing worse(sharing a, sharing b) { return a < b ? b : a; }

template <class Layer, class = void> struct has_clone : std::false_type {};
template <class Layer>
struct has_clone<Layer, std::void_t<decltype(std::declval<Layer&>().clone())>> : std::true_type {};

/// Whether a type's clone() makes one of it, and not a pointer, as those of polymorphic types do.
template <class T, class = void> struct clones_to_itself : std::false_type {};
template <class T>
struct clones_to_itself<T, std::enable_if_t<std::is_convertible_v<decltype(std::declval<const T&>().clone()), T>>>
    : std::true_type {};

/// Whether layer_traits is specialised for the type; the general one says `is_general`.
template <class Layer, class = void> struct has_own_traits : std::true_type {};
template <class Layer>
struct has_own_traits<Layer, std::void_t<typename layer_traits<Layer, void>::is_general>> : std::false_type {};

/// A raw pointer, or a class whose get() gives one (unique_ptr, shared_ptr, module holders).
template <class Layer, class = void> struct is_handle : std::is_pointer<Layer> {};
template <class Layer>
struct is_handle<Layer, std::void_t<decltype(std::declval<const Layer&>().get())>>
    : std::is_pointer<std::decay_t<decltype(std::declval<const Layer&>().get())>> {};

template <class Handle> auto address_of(const Handle& handle) {
    if constexpr (std::is_pointer_v<Handle>) return handle;
    else return handle.get();
}
template <class Handle> using pointee_of = std::remove_pointer_t<decltype(address_of(std::declval<const Handle&>()))>;

/// A handle to an object that another handle keeps alive (weak_ptr), or a reference in a class (reference_wrapper).
template <class T, class = void> struct is_loose_reference : std::false_type {};
template <class T>
struct is_loose_reference<T, std::void_t<decltype(std::declval<const T&>().expired())>> : std::true_type {};
template <class T>
struct is_loose_reference<T, std::enable_if_t<std::is_lvalue_reference_v<decltype(std::declval<const T&>().get())> &&
                                              std::is_convertible_v<const T&, typename T::type&>>> : std::true_type {};

/// A constant object through which elements can be changed owns none of them.
template <class T, class = void> struct writes_through_data : std::false_type {};
template <class T>
struct writes_through_data<
    T, std::void_t<decltype(std::declval<const T&>().size()), decltype(*std::declval<const T&>().data())>>
    : std::bool_constant<!std::is_const_v<std::remove_reference_t<decltype(*std::declval<const T&>().data())>>> {};
template <class T, class = void> struct writes_through_begin : std::false_type {};
template <class T>
struct writes_through_begin<T, std::void_t<decltype(*std::begin(std::declval<const T&>()))>>
    : std::bool_constant<std::is_lvalue_reference_v<decltype(*std::begin(std::declval<const T&>()))> &&
                         !std::is_const_v<std::remove_reference_t<decltype(*std::begin(std::declval<const T&>()))>>> {};
/// Eigen's maps, references and blocks: expressions name the owning type that they evaluate to.
template <class T, class = void> struct is_expression : std::false_type {};
template <class T>
struct is_expression<T, std::void_t<typename T::PlainObject>>
    : std::bool_constant<!std::is_same_v<T, typename T::PlainObject>> {};

template <class T>
inline constexpr bool is_changing_view =
    !std::is_array_v<T> && (writes_through_data<T>::value || writes_through_begin<T>::value || is_expression<T>::value);
template <class T> inline constexpr bool is_changing_view<matrix<T>> = !std::is_const_v<T>;
template <class Allocator> inline constexpr bool is_changing_view<std::vector<bool, Allocator>> = false;

/// Views that only read; as a member they are like a constant that layers have in common, as a layer they own nothing.
template <class T, class = void> struct is_reading_view : std::false_type {};
template <class T> struct is_reading_view<span<const T>> : std::true_type {};
template <class T> struct is_reading_view<matrix<const T>> : std::true_type {};
template <class Char, class Traits> struct is_reading_view<std::basic_string_view<Char, Traits>> : std::true_type {};
template <class T>  // std::span
struct is_reading_view<T, std::void_t<typename T::element_type, decltype(std::declval<const T&>().size_bytes())>>
    : std::is_const<typename T::element_type> {};

/// libtorch's tensors and modules, known by their members.
template <class T, class = void> struct is_foreign_tensor : std::false_type {};
template <class T>
struct is_foreign_tensor<
    T, std::void_t<decltype(std::declval<const T&>().detach()), decltype(std::declval<const T&>().is_leaf()),
                   decltype(std::declval<const T&>().requires_grad())>> : std::true_type {};
template <class T, class = void> struct is_foreign_module : std::false_type {};
template <class T>
struct is_foreign_module<T, std::void_t<decltype(std::declval<const T&>().named_parameters()),
                                        decltype(std::declval<const T&>().is_training())>> : std::true_type {};

template <class T, class = void> struct is_tuple : std::false_type {};
template <class T> struct is_tuple<T, std::void_t<decltype(std::tuple_size<T>::value)>> : std::true_type {};
template <class T, class = void> struct is_optional : std::false_type {};
template <class T>
struct is_optional<T, std::void_t<typename T::value_type, decltype(std::declval<const T&>().has_value())>>
    : std::true_type {};
template <class T, class = void> struct is_container : std::false_type {};
template <class T>
struct is_container<T, std::void_t<typename T::value_type, decltype(std::begin(std::declval<const T&>()))>>
    : std::true_type {};

template <class... Members> struct member_list {};
struct list_members {
    template <class... Members> member_list<Members...> operator()(const Members&...) const { return {}; }
};

template <class T, class... Outer> constexpr sharing sharing_of();
template <class... Outer, class... Members> constexpr sharing worst_of(member_list<Members...>) {
    sharing worst = sharing::none;
    ((worst = worse(worst, sharing_of<Members, Outer...>())), ...);
    return worst;
}
template <class... Outer, class Tuple, std::size_t... I>
constexpr sharing worst_of_tuple(const Tuple*, std::index_sequence<I...>) {
    return worst_of<Outer...>(member_list<std::tuple_element_t<I, Tuple>...>());
}

template <class Handle> constexpr sharing sharing_of_handle() {
    using pointee = pointee_of<Handle>;
    if constexpr (std::is_function_v<pointee>) return sharing::none;
    else if constexpr (is_foreign_module<pointee>::value) return sharing::foreign;
    else if constexpr (has_clone<pointee>::value) return sharing::parts;
    else return std::is_const_v<pointee> ? sharing::none : sharing::handle;
}

/// What a copy of a `T` shares, as a member of a layer: what only reads (a pointer to a constant, a string_view) counts
/// as nothing. `Outer` are the types that it stands in, where a type that holds itself ends.
template <class T, class... Outer> constexpr sharing sharing_of() {
    using plain = std::remove_cv_t<T>;
    if constexpr ((std::is_same_v<plain, Outer> || ...) || std::is_scalar_v<plain>) {
        if constexpr (std::is_pointer_v<plain>) return sharing_of_handle<plain>();
        else return sharing::none;
    } else if constexpr (std::is_array_v<plain>) {
        return sharing_of<std::remove_all_extents_t<plain>, Outer...>();
    } else if constexpr (has_own_traits<plain>::value) {
        return sharing::parts;
    } else if constexpr (is_foreign_tensor<plain>::value || is_foreign_module<plain>::value) {
        return sharing::foreign;
    } else if constexpr (clones_to_itself<plain>::value) {
        return sharing::parts;
    } else if constexpr (is_handle<plain>::value) {
        return sharing_of_handle<plain>();
    } else if constexpr (is_loose_reference<plain>::value) {
        return sharing::handle;
    } else if constexpr (is_reading_view<plain>::value) {
        return sharing::none;
    } else if constexpr (is_changing_view<plain>) {
        return sharing::view;
    } else if constexpr (is_tuple<plain>::value) {
        return worst_of_tuple<plain, Outer...>(static_cast<const plain*>(nullptr),
                                               std::make_index_sequence<std::tuple_size_v<plain>>());
    } else if constexpr (is_optional<plain>::value || is_container<plain>::value) {
        return sharing_of<typename plain::value_type, plain, Outer...>();
    } else if constexpr (member_count<plain>() > 0) {
        return worst_of<plain, Outer...>(decltype(visit_members(std::declval<const plain&>(), list_members()))());
    } else {
        return sharing::none;
    }
}

/// Whether growth refuses a layer that is no pointer, since it holds what a copy would share.
template <class Layer> constexpr bool copies_are_tied() {
    if constexpr (has_own_traits<Layer>::value || has_clone<const Layer>::value || is_handle<Layer>::value)
        return false;
    else return sharing_of<Layer>() > sharing::parts || is_reading_view<Layer>::value;
}

}  // namespace detail

}  // namespace depthgrow
