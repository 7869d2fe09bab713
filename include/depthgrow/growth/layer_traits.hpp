// How growth reads, copies and mixes what it does not own: layer_traits (one layer), sequence_traits (the list).
// Assumes C++17. Specialise either for a type you cannot change; layers with clone() or a deep copy need nothing.
// A copied handle is a tied weight, so pointers are cloned through what they point to or refused (sharing.hpp).
#pragma once

#include <cmath>
#include <cstddef>
#include <iterator>
#include <type_traits>
#include <utility>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/growth/sharing.hpp"

namespace depthgrow {

namespace detail {

template <class> inline constexpr bool always_false = false;

template <class Handle> Handle clone_pointee(const Handle& handle) {
    using pointee = std::remove_pointer_t<decltype(address_of(handle))>;
    if constexpr (is_foreign_module<pointee>::value) {
        static_assert(always_false<Handle>,
                      "depthgrow: these layers are modules of libtorch, whose clone() forgets "
                      "what is frozen. Include depthgrow/adapt/torch.hpp.");
    } else if constexpr (!has_clone<pointee>::value) {
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

template <class Layer> Layer clone_parts(const Layer& layer);

/// A member or element of a layer, as its own layer_traits clone it.
template <class Part> Part clone_part(const Part& part) {
    static_assert(!std::is_array_v<Part>,
                  "depthgrow: this layer has an array beside members that are cloned one by "
                  "one. Make it a std::array, or give the layer a clone().");
    if constexpr (sharing_of<Part>() == sharing::none) return part;
    else return layer_traits<Part, void>::clone(part);
}

/// Makes anew what is itself no layer with a clone(), but holds some.
template <class Layer> Layer clone_parts(const Layer& layer) {
    if constexpr (is_tuple<Layer>::value) {
        return std::apply([](const auto&... parts) { return Layer{clone_part(parts)...}; }, layer);
    } else if constexpr (is_optional<Layer>::value) {
        return layer.has_value() ? Layer(clone_part(*layer)) : Layer();
    } else if constexpr (is_container<Layer>::value) {
        Layer made;
        for (const auto& part : layer) made.insert(made.end(), clone_part(part));
        return made;
    } else {
        return visit_members(layer, [](const auto&... parts) { return Layer{clone_part(parts)...}; });
    }
}

/// What a layer is mixed from: layers with their coefficients, at least one.
template <class Layer> using layer_terms = std::vector<std::pair<const Layer*, double>>;

template <class Layer, class = void> struct has_mix : std::false_type {};
template <class Layer>
struct has_mix<Layer, std::void_t<decltype(Layer::mix(std::declval<const layer_terms<Layer>&>()))>> : std::true_type {};

/// A container of numbers, or of containers of numbers.
template <class Layer, class = void> struct is_number_range : std::false_type {};
template <class Layer>
struct is_number_range<Layer, std::void_t<typename Layer::value_type, decltype(std::declval<const Layer&>().size()),
                                          decltype(std::begin(std::declval<Layer&>()))>>
    : std::bool_constant<std::is_arithmetic_v<typename Layer::value_type> ||
                         is_number_range<typename Layer::value_type>::value> {};

template <class Number> Number rounded(double value) {
    if constexpr (std::is_integral_v<Number>) return static_cast<Number>(std::llround(value));
    else return static_cast<Number>(value);
}

template <class Handle> Handle mix_pointees(const layer_terms<Handle>& terms) {
    using pointee = std::remove_cv_t<std::remove_pointer_t<decltype(address_of(std::declval<const Handle&>()))>>;
    if constexpr (!has_mix<pointee>::value) {
        static_assert(always_false<Handle>,
                      "depthgrow: these layers are pointers and cannot be added up. Give the type they point to a "
                      "static mix(const std::vector<std::pair<const Layer*, double>>&), or specialise "
                      "depthgrow::layer_traits with such a function.");
    } else {
        layer_terms<pointee> inner;
        for (const auto& [layer, coefficient] : terms) {
            require(address_of(*layer) != nullptr, "[mix] expected a layer, got a null pointer");
            inner.emplace_back(address_of(*layer), coefficient);
        }
        using mixed = decltype(pointee::mix(inner));
        if constexpr (std::is_constructible_v<Handle, mixed>) return Handle(pointee::mix(inner));
        else return Handle(new pointee(pointee::mix(inner)));
    }
}

/// Element by element, sums in double, rounded once.
template <class Range> Range mix_ranges(const layer_terms<Range>& terms) {
    using value = typename Range::value_type;
    Range sum = *terms.front().first;
    std::vector<decltype(std::begin(std::as_const(sum)))> places;
    for (const auto& [range, coefficient] : terms) {
        require(range->size() == sum.size(), "[mix] expected layers of one size, ", sum.size(), ", got ",
                range->size());
        places.push_back(std::begin(*range));
    }
    for (auto& element : sum) {
        if constexpr (std::is_arithmetic_v<value>) {
            double total = 0;
            for (std::size_t i = 0; i < places.size(); ++i)
                total += terms[i].second * static_cast<double>(*places[i]++);
            element = rounded<value>(total);
        } else {
            layer_terms<value> inner;
            for (std::size_t i = 0; i < places.size(); ++i) inner.emplace_back(&*places[i]++, terms[i].second);
            element = mix_ranges<value>(inner);
        }
    }
    return sum;
}

}  // namespace detail

/// Deep copy of one layer, and sums of layers. Specialise it (with `static Layer clone(const Layer&)`) for types you do
/// not own; otherwise a member clone() const is used, then for handles the clone() of the pointee (which may return a
/// value, a raw owning pointer, unique_ptr or shared_ptr), then, for a struct or container that holds what has a clone,
/// the parts one by one, then the copy constructor. The result must share nothing with the original: what the type
/// shows to be shared does not compile (sharing.hpp), `check_layer` tests the rest.
///
/// `mix(terms)` is the layer sum of coefficient * layer, only needed to grow by a mixture: a static member mix of the
/// layer (or of what a handle points to), else numbers and containers of numbers element by element.
///
/// A specialisation may also have `static void begin(Layer&, const layer_init&, std::uint64_t seed, std::size_t slot)`,
/// or the layer a member `begin(init, seed, slot)`, which makes of a copy what zero_residual, random or noise ask for.
template <class Layer, class = void> struct layer_traits {
    using is_general = void;  // says that there is no specialisation

    static Layer clone(const Layer& layer) {
        using detail::sharing;
        if constexpr (detail::is_foreign_tensor<Layer>::value) {
            static_assert(detail::always_false<Layer>,
                          "depthgrow: these layers are tensors of libtorch, whose copies "
                          "share memory. Include depthgrow/adapt/torch.hpp.");
        } else if constexpr (detail::has_clone<const Layer>::value) {
            return layer.clone();
        } else if constexpr (detail::is_handle<Layer>::value) {
            return detail::clone_pointee(layer);
        } else {
            constexpr sharing shared = detail::sharing_of<Layer>();
            static_assert(
                shared != sharing::view && !detail::is_reading_view<Layer>::value,
                "depthgrow: this layer is or holds a view of memory that is not its own, and a copied view "
                "is a tied weight. Grow the owners (one array of all layers: depthgrow/adapt/stacked.hpp), or "
                "specialise depthgrow::layer_traits for it.");
            static_assert(shared != sharing::handle,
                          "depthgrow: this layer holds a pointer to what can be changed, and a copied handle is a tied "
                          "weight. Give the layer a clone() const that returns a deep copy, or the type that is "
                          "pointed to a clone(), or specialise depthgrow::layer_traits for it.");
            static_assert(shared != sharing::foreign,
                          "depthgrow: this layer holds a tensor or a module of libtorch, whose copies share memory. "
                          "Include depthgrow/adapt/torch.hpp.");
            if constexpr (shared == sharing::parts) {
                return detail::clone_parts(layer);
            } else if constexpr (shared == sharing::none) {
                static_assert(std::is_copy_constructible_v<Layer>,
                              "depthgrow: this layer has neither a clone() nor a copy constructor. Add clone() const "
                              "that returns a deep copy, or specialise depthgrow::layer_traits for it.");
                return layer;
            }
        }
    }

    static Layer mix(const std::vector<std::pair<const Layer*, double>>& terms) {
        if constexpr (detail::has_mix<Layer>::value) {
            return Layer::mix(terms);
        } else if constexpr (std::is_arithmetic_v<Layer>) {
            double sum = 0;
            for (const auto& [layer, coefficient] : terms) sum += coefficient * static_cast<double>(*layer);
            return detail::rounded<Layer>(sum);
        } else if constexpr (detail::is_handle<Layer>::value) {
            return detail::mix_pointees<Layer>(terms);
        } else if constexpr (detail::is_number_range<Layer>::value) {
            return detail::mix_ranges<Layer>(terms);
        } else {
            static_assert(detail::always_false<Layer>,
                          "depthgrow: growing by a mixture adds layers up, and this layer cannot be added up. Give it "
                          "a static mix(const std::vector<std::pair<const Layer*, double>>&) that returns the sum of "
                          "coefficient times layer, or specialise depthgrow::layer_traits for it.");
        }
    }
};

/// How growth walks and rebuilds a sequence with one element per layer. The default fits std::vector, std::deque and
/// whatever else has value_type, size(), [], push_back(); specialise the four functions for other containers.
template <class Sequence, class = void> struct sequence_traits {
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
    template <class S> static auto fresh(const S& other, int) -> decltype(S(other.get_allocator())) {
        return S(other.get_allocator());
    }
    template <class S> static S fresh(const S&, long) { return S(); }
    template <class S> static auto make_room(S& made, std::size_t capacity, int) -> decltype(made.reserve(capacity)) {
        made.reserve(capacity);
    }
    template <class S> static void make_room(S&, std::size_t, long) {}
};

}  // namespace depthgrow
