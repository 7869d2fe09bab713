// How growth reads and copies what it does not own: layer_traits (deep copy of one layer), sequence_traits (the list).
// Assumes C++17. Specialise either for a type you cannot change; layers with clone() or a deep copy need nothing.
// A copied handle is a tied weight, so pointers are cloned through what they point to or refused.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

#include "depthgrow/core/error.hpp"

namespace depthgrow {

namespace detail {

template <class Layer, class = void>
struct has_clone : std::false_type {};
template <class Layer>
struct has_clone<Layer, std::void_t<decltype(std::declval<Layer&>().clone())>> : std::true_type {};

/// A raw pointer, or a class whose get() gives one (unique_ptr, shared_ptr, module holders).
template <class Layer, class = void>
struct is_handle : std::is_pointer<Layer> {};
template <class Layer>
struct is_handle<Layer, std::void_t<decltype(std::declval<const Layer&>().get())>>
    : std::is_pointer<std::decay_t<decltype(std::declval<const Layer&>().get())>> {};

template <class Handle>
auto address_of(const Handle& handle) {
    if constexpr (std::is_pointer_v<Handle>) return handle;
    else return handle.get();
}

template <class>
inline constexpr bool always_false = false;

template <class Handle>
Handle clone_pointee(const Handle& handle) {
    using pointee = std::remove_pointer_t<decltype(address_of(handle))>;
    if constexpr (!has_clone<pointee>::value) {
        static_assert(always_false<Handle>,
                      "depthgrow: this layer is a pointer and a copied handle is a tied weight. Give the type it "
                      "points to a clone() that returns a deep copy, or specialise depthgrow::layer_traits for it.");
    } else {
        require(address_of(handle) != nullptr, "[clone] expected a layer, got a null pointer");
        using cloned = decltype(address_of(handle)->clone());
        if constexpr (std::is_constructible_v<Handle, cloned>) {
            return Handle(address_of(handle)->clone());
        } else {
            static_assert(std::is_same_v<std::remove_cv_t<cloned>, std::remove_cv_t<pointee>>,
                          "depthgrow: clone() of this layer returns something that its pointer cannot be made from. "
                          "Return the layer by value, or a pointer that converts to the one in the sequence.");
            static_assert(!std::is_polymorphic_v<pointee> || std::is_final_v<pointee>,
                          "depthgrow: clone() of a polymorphic layer returns a value, which cuts off derived members. "
                          "Make it a virtual function that returns a std::unique_ptr or std::shared_ptr.");
            return Handle(new std::remove_cv_t<pointee>(address_of(handle)->clone()));
        }
    }
}

}  // namespace detail

/// Deep copy of one layer. Specialise it (with `static Layer clone(const Layer&)`) for types you do not own; otherwise
/// a member clone() const is used, then for handles the clone() of the pointee (which may return a value, a raw owning
/// pointer, unique_ptr or shared_ptr), then the copy constructor. The result must share nothing with the original;
/// `check_layer` tests that.
template <class Layer, class = void>
struct layer_traits {
    static Layer clone(const Layer& layer) {
        if constexpr (detail::has_clone<const Layer>::value) {
            return layer.clone();
        } else if constexpr (detail::is_handle<Layer>::value) {
            return detail::clone_pointee(layer);
        } else {
            static_assert(std::is_copy_constructible_v<Layer>,
                          "depthgrow: this layer has neither a clone() nor a copy constructor. Add clone() const that "
                          "returns a deep copy, or specialise depthgrow::layer_traits for it.");
            return layer;
        }
    }
};

/// How growth walks and rebuilds a sequence with one element per layer. The default fits std::vector, std::deque and
/// whatever else has value_type, size(), [], push_back(); specialise the four functions for other containers.
template <class Sequence, class = void>
struct sequence_traits {
    using element_type = typename Sequence::value_type;

    static std::size_t size(const Sequence& sequence) { return static_cast<std::size_t>(sequence.size()); }
    static element_type& at(Sequence& sequence, std::size_t index) {
        return sequence[static_cast<typename Sequence::size_type>(index)];
    }
    /// An empty sequence like `other` (same allocator) with room for `capacity` elements.
    static Sequence empty_like(const Sequence& other, std::size_t capacity) {
        Sequence made = fresh(other, 0);
        make_room(made, capacity, 0);
        return made;
    }
    static void append(Sequence& sequence, element_type&& element) { sequence.push_back(std::move(element)); }

private:
    template <class S>
    static auto fresh(const S& other, int) -> decltype(S(other.get_allocator())) {
        return S(other.get_allocator());
    }
    template <class S>
    static S fresh(const S&, long) {
        return S();
    }
    template <class S>
    static auto make_room(S& made, std::size_t capacity, int) -> decltype(made.reserve(capacity)) {
        made.reserve(capacity);
    }
    template <class S>
    static void make_room(S&, std::size_t, long) {}
};

}  // namespace depthgrow
