// Depth score: the effect-weighted mean layer index, from the effects of skipping each layer on the future.
// Assumes C++17; layers are 0-based, effects are norms (not negative), change is row-major with the source as row.
// Maths: Csordás et al. 2025 (arXiv 2505.13898), sum(l e_l) / sum(e_l); layer flavour as in their public code.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/core/span.hpp"
#include "depthgrow/metrics/divergence.hpp"
#include "depthgrow/metrics/reduce.hpp"

namespace depthgrow {

/// Σ l·e_l / Σ e_l in layers; an error when Σ e_l is not above 0.
template <class Effects> double centre_of_mass(const Effects& effects) {
    double moment = 0, mass = 0;
    for (std::size_t l = 0; l < effects.size(); ++l) {
        const double effect = detail::widen(effects[l]);
        require(effect >= 0, "[centre_of_mass] expected effects of at least 0, got ", effect, " at layer ", l);
        moment += static_cast<double>(l) * effect;
        mass += effect;
    }
    require(mass > 0 && std::isfinite(mass), "[centre_of_mass] expected effects with a finite sum above 0, got ", mass);
    return moment / mass;
}

/// The future effect of one skip on the output: the largest ‖softmax clean − softmax skipped‖₂ over positions from
/// `boundary` on, of logits (T, V) of a clean run and of one without a layer's output at positions 1 … boundary − 1.
/// Over several boundaries the largest counts, over prompts the mean: that is e_l of the depth score.
template <class A, class B>
double future_output_effect(const matrix<A>& clean, const matrix<B>& skipped, std::size_t boundary) {
    require(clean.rows == skipped.rows && clean.cols == skipped.cols, "[future_output_effect] expected logits of (",
            clean.rows, ", ", clean.cols, "), got (", skipped.rows, ", ", skipped.cols, ")");
    const std::size_t last = clean.rows > 0 ? clean.rows - 1 : 0;
    require(boundary > 1 && boundary <= last, "[future_output_effect] expected a boundary from 2 to ", last,
            " (the last position), got ", boundary);
    double largest = 0;
    for (std::size_t u = boundary; u < clean.rows; ++u)
        largest = std::max(largest, softmax_distance(span<const A>(clean.row(u), clean.cols),
                                                     span<const B>(skipped.row(u), skipped.cols)));
    return largest;
}

/// Depth score from output effects (the paper's figure): e_l = effect of skipping layer l on the softmax.
template <class Effects> double output_depth_score(const Effects& output) { return centre_of_mass(output); }

/// e_l = Σ_{s>l} change[l][s] / max(L−1−l, 1), from the relative changes (L, L) of later layers.
template <class T> std::vector<double> layer_effects(const matrix<T>& change) {
    require(change.rows == change.cols, "[layer_effects] expected a square matrix, got (", change.rows, ", ",
            change.cols, ")");
    const std::size_t layers = change.rows;
    std::vector<double> effects(layers);
    for (std::size_t l = 0; l < layers; ++l) {
        for (std::size_t s = l + 1; s < layers; ++s) effects[l] += detail::widen(change(l, s));
        const std::size_t later = layers - 1 - l;
        effects[l] /= static_cast<double>(later > 0 ? later : 1);
    }
    return effects;
}

/// Depth score from the relative changes (L, L) of later layers.
template <class T> double layer_depth_score(const matrix<T>& change) { return centre_of_mass(layer_effects(change)); }

/// score / (L−1), for comparing depths; 0 is the first layer, 1 the last. Needs at least 2 layers.
inline double relative_depth(double score, std::size_t layers) {
    require(layers > 1, "[relative_depth] expected at least 2 layers, got ", layers);
    return score / static_cast<double>(layers - 1);
}

}  // namespace depthgrow
