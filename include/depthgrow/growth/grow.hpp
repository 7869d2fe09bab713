// grow: applies an order, a mixture or a growth to anything with one element per layer (layers, moments, rates, names).
// Assumes C++17. Elements that stay are the same objects, moved; slots that repeat a source are deep copies, slots that
// are sums of layers are new. Maths: new layers are deep copies, Kapl et al. 2025 section 3.1; sums: mixture.hpp.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/growth/layer_init.hpp"
#include "depthgrow/growth/layer_order.hpp"
#include "depthgrow/growth/layer_traits.hpp"
#include "depthgrow/growth/mixture.hpp"
#include "depthgrow/growth/shared_storage.hpp"

namespace depthgrow {

namespace detail {

inline std::size_t kept_source(const layer_order& order, std::size_t slot) { return order[slot]; }
inline std::size_t kept_source(const mixture& rows, std::size_t slot) { return rows[slot][0].source; }

/// The element of a new slot: a clone, or a sum.
template <class Sequence> auto new_element(Sequence& sequence, const layer_order& order, std::size_t slot) {
    using traits = sequence_traits<Sequence>;
    return layer_traits<typename traits::element_type>::clone(traits::at(sequence, order[slot]));
}
template <class Sequence> auto new_element(Sequence& sequence, const mixture& rows, std::size_t slot) {
    using traits = sequence_traits<Sequence>;
    using element = typename traits::element_type;
    if (rows.is_copy(slot)) return layer_traits<element>::clone(traits::at(sequence, rows[slot][0].source));
    layer_terms<element> terms;
    for (const mixture_term& term : rows[slot])
        terms.emplace_back(&traits::at(sequence, term.source), term.coefficient);
    return layer_traits<element>::mix(terms);
}

/// A growth in two halves: the constructor does all that can throw and only reads, finish() moves.
template <class Sequence, class Rows = layer_order> class growth_in_progress {
    using traits = sequence_traits<Sequence>;
    using element = typename traits::element_type;

public:
    template <class OnNew>
    growth_in_progress(Sequence& sequence, const Rows& rows, OnNew&& on_new)
        : sequence_(sequence), rows_(rows), grown_(traits::empty_like(sequence, rows.size())) {
        require(traits::size(sequence) == rows.source_depth(), "[grow] expected ", rows.source_depth(),
                " elements (source depth of the order), got ", traits::size(sequence));
        made_.reserve(rows.size());
        for (std::size_t slot = 0; slot < rows.size(); ++slot) {
            if (!rows.is_new(slot)) continue;
            made_.push_back(new_element(sequence, rows, slot));
            require_independent(slot);
            on_new(made_.back(), slot);
        }
    }

    Sequence finish() {
        std::size_t next = 0;
        for (std::size_t slot = 0; slot < rows_.size(); ++slot)
            traits::append(grown_, std::move(rows_.is_new(slot) ? made_[next++]
                                                                : traits::at(sequence_, kept_source(rows_, slot))));
        return std::move(grown_);
    }

private:
    void require_independent(std::size_t slot) const {
        if constexpr (copies_need_a_look<element>()) {
            const std::size_t source = kept_source(rows_, slot);
            require(!share_numbers(traits::at(sequence_, source), made_.back()),
                    "[grow] expected a clone that is equal and independent, but new layer ", slot, " and layer ",
                    source, ", which it copies, share weights: make clone() or the copy constructor deep");
        }
    }

    Sequence& sequence_;
    const Rows& rows_;
    Sequence grown_;
    std::vector<element> made_;
};

template <class Sequence> constexpr void require_consumed() {
    static_assert(!std::is_reference_v<Sequence> && !std::is_const_v<Sequence>,
                  "depthgrow: grow consumes the sequence, since layers that stay are moved and not copied. "
                  "Write layers = grow(std::move(layers), order).");
}

template <class Layer, class = void> struct has_trait_begin : std::false_type {};
template <class Layer>
struct has_trait_begin<Layer,
                       std::void_t<decltype(layer_traits<Layer>::begin(
                           std::declval<Layer&>(), std::declval<const layer_init&>(), std::uint64_t{}, std::size_t{}))>>
    : std::true_type {};
template <class Layer, class = void> struct has_begin : std::false_type {};
template <class Layer>
struct has_begin<Layer, std::void_t<decltype(std::declval<Layer&>().begin(
                            std::declval<const layer_init&>(), std::uint64_t{}, std::size_t{}))>> : std::true_type {};

/// Whether `Layer` is a number or a flat container of numbers, to which noise can be added without knowing more.
template <class Layer, class = void> struct is_flat : std::is_floating_point<Layer> {};
template <class Layer>
struct is_flat<Layer, std::void_t<typename Layer::value_type, decltype(std::begin(std::declval<Layer&>()))>>
    : std::is_floating_point<typename Layer::value_type> {};

template <class Layer> void add_noise(Layer& layer, double sigma, rng random) {
    if constexpr (std::is_floating_point_v<Layer>) {
        layer += static_cast<Layer>(sigma * std::fabs(static_cast<double>(layer)) * random.normal());
    } else {
        double squares = 0, count = 0;
        for (const auto& x : layer) squares += static_cast<double>(x) * static_cast<double>(x), ++count;
        const double scale = count > 0 ? sigma * std::sqrt(squares / count) : 0;
        for (auto& x : layer)
            x = static_cast<std::decay_t<decltype(x)>>(static_cast<double>(x) + scale * random.normal());
    }
}

[[noreturn]] inline void refuse_beginning(const layer_init& init) {
    fail("[grow] expected layers that know how to begin as ", init.name(),
         " (layer_traits<L>::begin, or a member begin(init, seed, slot)), got a type that does not");
}

/// Makes of a copy what `init` asks for; a type that does not know how is refused at run time, by name.
template <class Layer> void begin_layer(Layer& layer, const layer_init& init, std::uint64_t seed, std::size_t slot) {
    if (init.is_mixture()) return;
    if constexpr (has_trait_begin<Layer>::value) {
        return layer_traits<Layer>::begin(layer, init, seed, slot);
    } else if constexpr (has_begin<Layer>::value) {
        return layer.begin(init, seed, slot);
    } else if constexpr (is_handle<Layer>::value) {
        if constexpr (has_begin<std::remove_pointer_t<decltype(address_of(layer))>>::value)
            return address_of(layer)->begin(init, seed, slot);
    } else if constexpr (is_flat<Layer>::value) {
        if (init.kind == init_kind::noise) return add_noise(layer, init.sigma, begin_stream(seed, slot, ""));
    }
    refuse_beginning(init);
}

/// An order, a mixture or a growth as a growth.
inline growth growth_of(const layer_order& order) { return {order}; }
inline growth growth_of(const mixture& rows) { return {rows}; }
inline const growth& growth_of(const growth& how) { return how; }

}  // namespace detail

/// `layers = grow(std::move(layers), order, on_new)`: as below, and calls `on_new(element&, slot)` for each copy while
/// the sequence is still untouched. This is where "zero-new" happens: set o_proj and down_proj of the copy to zero and
/// the grown model computes what it computed before; not the papers' choice, they copy.
template <class Sequence, class OnNew> Sequence grow(Sequence&& sequence, const layer_order& order, OnNew&& on_new) {
    detail::require_consumed<Sequence>();
    return detail::growth_in_progress<std::remove_reference_t<Sequence>>(sequence, order, on_new).finish();
}

/// `layers = grow(std::move(layers), order)`: slot j of the result is layer order[j]; the first slot that names a layer
/// keeps that very object, later ones get clones, layers that no slot names are left behind. When the size is wrong, a
/// clone throws or a clone shares an array of numbers with its source (as far as shared_storage.hpp sees), `sequence`
/// is as before (for containers with reserve() and elements whose move does not throw).
template <class Sequence> Sequence grow(Sequence&& sequence, const layer_order& order) {
    return grow(std::forward<Sequence>(sequence), order, [](auto&, std::size_t) {});
}

/// `layers = grow(std::move(layers), rows)` for a mixture: slots that are one layer are made as by an order, the
/// others are `layer_traits<L>::mix` of their terms. The same promises when something throws.
template <class Sequence> Sequence grow(Sequence&& sequence, const mixture& rows) {
    detail::require_consumed<Sequence>();
    return detail::growth_in_progress<std::remove_reference_t<Sequence>, mixture>(sequence, rows,
                                                                                  [](auto&, std::size_t) {})
        .finish();
}

/// `layers = grow(std::move(layers), how)`: by `how.rows()`, and copies begin as `how.init` says
/// (`layer_traits<L>::begin` for what is no sum of layers; containers of numbers know noise by themselves).
template <class Sequence> Sequence grow(Sequence&& sequence, const growth& how) {
    detail::require_consumed<Sequence>();
    const mixture rows = how.rows();
    const auto begin = [&](auto& layer, std::size_t slot) {
        if (how.begins(slot)) detail::begin_layer(layer, how.init, how.seed, slot);
    };
    return detail::growth_in_progress<std::remove_reference_t<Sequence>, mixture>(sequence, rows, begin).finish();
}

namespace detail {

/// Growths of several sequences: all are made before the first moves.
template <class Rows> void grow_each(const Rows&) {}
template <class Rows, class Sequence, class... More>
void grow_each(const Rows& rows, Sequence& sequence, More&... more) {
    growth_in_progress<Sequence, Rows> made(sequence, rows, [](auto&, std::size_t) {});
    grow_each(rows, more...);
    sequence = made.finish();
}

}  // namespace detail

/// `grow_all(order, layers, m, v)`: sequences with one element per layer grow by one order or mixture, in place, all or
/// none: when a size is wrong or a clone throws, every one is as before (as for grow). Second moments under a mixture
/// need the squares of its coefficients: use grow_optimizer there.
template <class Rows, class... Sequences> void grow_all(const Rows& rows, Sequences&... sequences) {
    static_assert(sizeof...(Sequences) > 0, "depthgrow: grow_all takes the sequences that grow, in place");
    static_assert((!std::is_const_v<Sequences> && ...), "depthgrow: grow_all grows in place; a sequence is const");
    detail::grow_each(rows, sequences...);
}

}  // namespace depthgrow
