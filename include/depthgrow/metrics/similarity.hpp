// Weight similarity: cosine of concatenated weights, block by block.
// Assumes C++17; weights are spans in the caller's memory and are never copied together.
// Maths: Kapl et al. 2025 (arXiv 2512.08819) section 4.4, figure 7a: gate, up and down weights of a block, layers in
// order.
#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/core/span.hpp"
#include "depthgrow/metrics/reduce.hpp"

namespace depthgrow {

namespace detail {

/// Dot product of two concatenations of spans with pairwise equal lengths.
template <class T> double concatenated_dot(const std::vector<span<const T>>& a, const std::vector<span<const T>>& b) {
    require(a.size() == b.size(), "[similarity] expected lists of equal length, got ", a.size(), " and ", b.size());
    double sum = 0;
    for (std::size_t part = 0; part < a.size(); ++part) {
        require(a[part].size() == b[part].size(), "[similarity] expected weights of ", a[part].size(),
                " elements as part ", part, ", got ", b[part].size());
        sum += dot_product(a[part], b[part]);
    }
    return sum;
}

}  // namespace detail

/// Cosines between units given as lists of weights, (n, n), symmetric.
template <class T>
std::vector<std::vector<double>> similarity_matrix(const std::vector<std::vector<span<const T>>>& units) {
    const std::size_t count = units.size();
    std::vector<double> norms(count);
    for (std::size_t i = 0; i < count; ++i)
        norms[i] = detail::floored(std::sqrt(detail::concatenated_dot(units[i], units[i])), cosine_floor);
    std::vector<std::vector<double>> cosines(count, std::vector<double>(count));
    for (std::size_t i = 0; i < count; ++i)
        for (std::size_t j = i; j < count; ++j)
            cosines[i][j] = cosines[j][i] = detail::concatenated_dot(units[i], units[j]) / (norms[i] * norms[j]);
    return cosines;
}

/// Cosines between blocks of `block` layers, (layers / block)². `weights(layer)` returns std::vector<span<const T>>
/// (gate, up, down), is called once a layer, and its spans stay valid until the function returns.
template <class Weights>
std::vector<std::vector<double>> block_similarity(std::size_t layers, std::size_t block, Weights&& weights) {
    require(block > 0 && layers % block == 0, "[block_similarity] expected a block that divides ", layers,
            " layers, got ", block);
    std::vector<decltype(weights(std::size_t{0}))> units(layers / block);
    for (std::size_t layer = 0; layer < layers; ++layer)
        for (const auto& part : weights(layer)) units[layer / block].push_back(part);
    return similarity_matrix(units);
}

}  // namespace depthgrow
