// check_layer: the test a user runs once on a layer type of theirs, to know that growing it is safe.
// Assumes C++17; it finds at run time the ties that no compiler sees, such as a shared pointer inside a layer.
// A clone must equal its original and share nothing with it.
#pragma once

#include <string>

#include "depthgrow/core/error.hpp"
#include "depthgrow/growth/layer_traits.hpp"

namespace depthgrow {

/// The first way in which `Layer` fails, or "" when it passes. `make()` returns a layer, the same each time;
/// `mutate(Layer&)` changes every parameter of it; `equal(const Layer&, const Layer&)` compares all parameters.
template <class Layer, class Make, class Mutate, class Equal>
std::string layer_fault(Make&& make, Mutate&& mutate, Equal&& equal) {
    const auto clone = [](const Layer& layer) -> Layer {
        if constexpr (detail::copies_are_tied<Layer>()) return layer;  // grow refuses it, here it is told in words
        else return layer_traits<Layer>::clone(layer);
    };
    const Layer reference = make();
    Layer original = make();
    if (!equal(reference, original)) return "make() gave two layers that differ; fix its seed";
    Layer copy = clone(original);
    if (!equal(copy, reference)) return "the clone differs from its original";
    mutate(copy);
    if (!equal(original, reference))
        return "changing the clone changed the original: they share weights, make clone() or the copy constructor deep";
    if (equal(copy, reference)) return "mutate() changed nothing that equal() sees, so that nothing was tested";
    Layer second = clone(original);
    mutate(original);
    if (!equal(second, reference))
        return "changing the original changed its clone: they share weights, make clone() or the copy constructor deep";
    Layer survivor = [&] {
        Layer temporary = make();
        return clone(temporary);
    }();
    if (!equal(survivor, reference)) return "the clone changed when its original was destroyed";
    return {};
}

/// Throws with the first fault, if there is one.
template <class Layer, class Make, class Mutate, class Equal>
void check_layer(Make&& make, Mutate&& mutate, Equal&& equal) {
    const std::string fault = layer_fault<Layer>(make, mutate, equal);
    require(fault.empty(), "[check_layer] expected a clone that is equal and independent, but ", fault);
}

/// The same with == as the comparison.
template <class Layer, class Make, class Mutate> void check_layer(Make&& make, Mutate&& mutate) {
    check_layer<Layer>(make, mutate, [](const Layer& a, const Layer& b) { return a == b; });
}

}  // namespace depthgrow
