// Which tokens two distributions rank highest: top-k sets, their overlap, agreement of the first choice.
// Assumes C++17; logits, log-probabilities and probabilities rank alike. Ties go to the lowest id; a NaN is an error.
// Maths: top-5 overlap of Csordás et al. 2025 (arXiv 2505.13898) and Kapl et al. 2025 (arXiv 2512.08819).
#pragma once

#include <cstddef>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/metrics/reduce.hpp"

namespace depthgrow {

/// Ids of the k largest of V values, largest first; 1 <= k <= V.
template <class Values> std::vector<std::size_t> top_k(const Values& values, std::size_t k) {
    const std::size_t count = values.size();
    require(k > 0 && k <= count, "[top_k] expected k from 1 to ", count, " (number of values), got ", k);
    std::vector<std::size_t> ids;
    std::vector<double> kept;
    for (std::size_t id = 0; id < count; ++id) {
        const double value = detail::widen(values[id]);
        require(value == value, "[top_k] expected numbers, got NaN at ", id);
        if (ids.size() == k) {
            if (!(value > kept.back())) continue;
            ids.pop_back();
            kept.pop_back();
        }
        std::size_t place = ids.size();
        while (place > 0 && value > kept[place - 1]) --place;
        const auto at = static_cast<std::ptrdiff_t>(place);
        ids.insert(ids.begin() + at, id);
        kept.insert(kept.begin() + at, value);
    }
    return ids;
}

/// Id of the largest value.
template <class Values> std::size_t argmax(const Values& values) { return top_k(values, 1).front(); }

/// |a ∩ b| / k of two sets of k ids (`top_k` gives them); in [0, 1].
inline double set_overlap(const std::vector<std::size_t>& a, const std::vector<std::size_t>& b) {
    detail::require_same_size("set_overlap", a, b);
    require(!a.empty(), "[set_overlap] expected at least 1 id, got 0");
    std::size_t shared = 0;
    for (std::size_t x : a)
        for (std::size_t y : b) shared += x == y ? 1 : 0;
    return static_cast<double>(shared) / static_cast<double>(a.size());
}

/// |top_k(q) ∩ top_k(y)| / k.
template <class Q, class Y> double top_k_overlap(const Q& q, const Y& y, std::size_t k = 5) {
    detail::require_same_size("top_k_overlap", q, y);
    return set_overlap(top_k(q, k), top_k(y, k));
}

/// Whether both rank the same id first.
template <class Q, class Y> bool agreement(const Q& q, const Y& y) {
    detail::require_same_size("agreement", q, y);
    return argmax(q) == argmax(y);
}

}  // namespace depthgrow
