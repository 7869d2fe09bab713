// xtensor's arrays as the library's views, so that metrics and operators read them without a copy; as layers they grow
// by orders and by mixtures. Assumes xtensor 0.24 or newer and row-major containers (xarray, xtensor, adapted memory),
// not lazy expressions. Convention: the last axis is the residual's channels, all axes before it together are the
// tokens.
#pragma once

#include <algorithm>
#include <type_traits>
#include <utility>
#include <vector>
#include <xtensor/xarray.hpp>
#include <xtensor/xtensor.hpp>

#include "depthgrow/core/error.hpp"
#include "depthgrow/core/span.hpp"
#include "depthgrow/growth/layer_traits.hpp"

namespace depthgrow {

/// Copies and sums of containers; sums in double, rounded once.
template <class Array> struct layer_traits<Array, std::enable_if_t<xt::is_xexpression<Array>::value>> {
    static Array clone(const Array& layer) {
        static_assert(std::is_same_v<Array, typename Array::temporary_type>,
                      "depthgrow: this layer is a view or an adaptor of memory that is not its own, and a copied view "
                      "is a tied weight. Grow an xarray or xtensor.");
        return layer;
    }
    static Array mix(const std::vector<std::pair<const Array*, double>>& terms) {
        const Array& first = *terms.front().first;
        for (const auto& [layer, coefficient] : terms)
            require(
                std::equal(layer->shape().begin(), layer->shape().end(), first.shape().begin(), first.shape().end()),
                "[mix] expected layers of one shape, got arrays that differ in theirs");
        Array sum = first;
        std::vector<double> totals(first.size(), 0.0);
        for (const auto& [layer, coefficient] : terms) {
            std::size_t i = 0;
            for (auto element = layer->cbegin(); element != layer->cend(); ++element)
                totals[i++] += coefficient * static_cast<double>(*element);
        }
        std::size_t i = 0;
        for (auto element = sum.begin(); element != sum.end(); ++element)
            *element = static_cast<typename Array::value_type>(totals[i++]);
        return sum;
    }
};

/// A view of a container of 1 or more axes, rows over its last axis; it reads the caller's memory and keeps nothing
/// alive.
template <class Array, class = std::enable_if_t<xt::is_xexpression<std::decay_t<Array>>::value>,
          class Pointer = decltype(std::declval<Array&>().data())>
auto matrix_view(Array& array) {
    using scalar = std::remove_pointer_t<Pointer>;
    require(array.dimension() >= 1, "[matrix_view] expected an array of at least 1 axis, got a scalar");
    require(array.layout() == xt::layout_type::row_major,
            "[matrix_view] expected a row-major array, got another layout");
    const auto cols = static_cast<std::size_t>(array.shape()[array.dimension() - 1]);
    return matrix<scalar>(array.data(), cols ? array.size() / cols : 0, cols);
}

/// A run of a one-axis container's elements.
template <class Array, class = std::enable_if_t<xt::is_xexpression<std::decay_t<Array>>::value>,
          class Pointer = decltype(std::declval<Array&>().data())>
auto run_view(Array& array) {
    require(array.dimension() == 1, "[run_view] expected an array of 1 axis, got ",
            static_cast<std::size_t>(array.dimension()));
    return span<std::remove_pointer_t<Pointer>>(array.data(), array.size());
}

/// Results, vectors of rows, as an array (rows, columns), ready for xt::dump_npy.
inline xt::xtensor<double, 2> to_xtensor(const std::vector<std::vector<double>>& rows) {
    xt::xtensor<double, 2> out = xt::zeros<double>({rows.size(), rows.empty() ? std::size_t{0} : rows[0].size()});
    for (std::size_t r = 0; r < rows.size(); ++r)
        for (std::size_t c = 0; c < rows[r].size(); ++c) out(r, c) = rows[r][c];
    return out;
}

}  // namespace depthgrow
