// grow: applies a layer order to anything with one element per layer (layers, moments, rates, names, translators).
// Assumes C++17. Elements that stay are the same objects, moved; only slots that repeat a source are deep copies.
// Maths: new layers are deep copies of existing ones, Kapl et al. 2025 section 3.1.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/growth/layer_order.hpp"
#include "depthgrow/growth/layer_traits.hpp"

namespace depthgrow {

namespace detail {

/// A growth in two halves: the constructor does all that can throw and only reads, finish() moves.
template <class Sequence>
class growth_in_progress {
    using traits = sequence_traits<Sequence>;
    using element = typename traits::element_type;

public:
    template <class OnNew>
    growth_in_progress(Sequence& sequence, const layer_order& order, OnNew&& on_new)
        : sequence_(sequence), order_(order), grown_(traits::empty_like(sequence, order.size())) {
        require(traits::size(sequence) == order.source_depth(), "[grow] expected ", order.source_depth(),
                " elements (source depth of the order), got ", traits::size(sequence));
        copies_.reserve(order.size());
        for (std::size_t slot = 0; slot < order.size(); ++slot) {
            if (!order.is_new(slot)) continue;
            copies_.push_back(layer_traits<element>::clone(traits::at(sequence, order[slot])));
            on_new(copies_.back(), slot);
        }
    }

    Sequence finish() {
        std::size_t next = 0;
        for (std::size_t slot = 0; slot < order_.size(); ++slot)
            traits::append(grown_, std::move(order_.is_new(slot) ? copies_[next++]
                                                                 : traits::at(sequence_, order_[slot])));
        return std::move(grown_);
    }

private:
    Sequence& sequence_;
    const layer_order& order_;
    Sequence grown_;
    std::vector<element> copies_;
};

}  // namespace detail

/// `layers = grow(std::move(layers), order, on_new)`: as below, and calls `on_new(element&, slot)` for each copy while
/// the sequence is still untouched. This is where "zero-new" happens: set o_proj and down_proj of the copy to zero and
/// the grown model computes what it computed before; not the papers' choice, they copy.
template <class Sequence, class OnNew>
Sequence grow(Sequence&& sequence, const layer_order& order, OnNew&& on_new) {
    static_assert(!std::is_reference_v<Sequence> && !std::is_const_v<Sequence>,
                  "depthgrow: grow consumes the sequence, since layers that stay are moved and not copied. "
                  "Write layers = grow(std::move(layers), order).");
    return detail::growth_in_progress<std::remove_reference_t<Sequence>>(sequence, order, on_new).finish();
}

/// `layers = grow(std::move(layers), order)`: slot j of the result is layer order[j]; the first slot that names a layer
/// keeps that very object, later ones get clones, layers that no slot names are left behind. When the size is wrong or
/// a clone throws, `sequence` is as before (for containers with reserve() and elements whose move does not throw).
template <class Sequence>
Sequence grow(Sequence&& sequence, const layer_order& order) {
    return grow(std::forward<Sequence>(sequence), order, [](auto&, std::size_t) {});
}

}  // namespace depthgrow
