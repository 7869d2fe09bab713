// What a layer adds to the residual stream: ratios, cosines, block influence, angular distance, relative change.
// Assumes C++17; h enters the layer, a and m are its attention and MLP outputs before their adds, rows are tokens.
// Maths: Csordás et al. 2025 (arXiv 2505.13898); block influence, Men et al. 2024; angular distance, Gromov et al.
#pragma once

#include <cmath>
#include <cstddef>

#include "depthgrow/core/error.hpp"
#include "depthgrow/core/span.hpp"
#include "depthgrow/metrics/reduce.hpp"

namespace depthgrow {

/// ‖part‖ / max(‖whole‖, 1e-6).
template <class Part, class Whole> double norm_ratio(const Part& part, const Whole& whole) {
    return l2_norm(part) / detail::floored(l2_norm(whole), ratio_floor);
}

/// ‖changed − clean‖ / max(‖clean‖, 1e-6).
template <class Changed, class Clean> double relative_change(const Changed& changed, const Clean& clean) {
    return l2_distance(changed, clean) / detail::floored(l2_norm(clean), ratio_floor);
}

/// arccos(cos(a, b)) / π; 0 for one direction, 1 for opposite ones.
template <class A, class B> double angular_distance(const A& a, const B& b) {
    const double c = cosine(a, b);
    return std::acos(c < -1 ? -1 : c > 1 ? 1 : c) / 3.14159265358979323846;
}

/// 1 − cos(h_l, h_{l+1}).
template <class Before, class After> double block_influence(const Before& before, const After& after) {
    return 1 - cosine(before, after);
}

/// Token means of one layer; no units.
struct layer_contribution {
    double attention_ratio = 0;   ///< ‖a‖/‖h‖
    double mlp_ratio = 0;         ///< ‖m‖/‖h+a‖
    double layer_ratio = 0;       ///< ‖a+m‖/‖h‖
    double attention_cosine = 0;  ///< cos(a, h)
    double mlp_cosine = 0;        ///< cos(m, h+a)
    double layer_cosine = 0;      ///< cos(a+m, h)
    double block_influence = 0;   ///< 1 − cos(h, h+a+m)
    double residual_norm = 0;     ///< ‖h‖
    std::size_t tokens = 0;
};

/// Streams one layer's contribution over tokens and prompts; means of ratios, every token counts once.
class contribution_accumulator {
public:
    /// Takes the rows of one prompt: h, a and m, each (T, d).
    template <class H, class A, class M> void add(const matrix<H>& h, const matrix<A>& a, const matrix<M>& m) {
        require(a.rows == h.rows && a.cols == h.cols && m.rows == h.rows && m.cols == h.cols,
                "[contribution] expected a and m of (", h.rows, ", ", h.cols, ") like h, got (", a.rows, ", ", a.cols,
                ") and (", m.rows, ", ", m.cols, ")");
        for (std::size_t u = 0; u < h.rows; ++u) {
            const auto hu = detail::row_of(h, u);
            const auto au = detail::row_of(a, u);
            const auto mu = detail::row_of(m, u);
            const detail::sum_of middle{hu, au};
            const detail::sum_of added{au, mu};
            const detail::sum_of after{middle, mu};
            sums_.attention_ratio += norm_ratio(au, hu);
            sums_.mlp_ratio += norm_ratio(mu, middle);
            sums_.layer_ratio += norm_ratio(added, hu);
            sums_.attention_cosine += cosine(au, hu);
            sums_.mlp_cosine += cosine(mu, middle);
            sums_.layer_cosine += cosine(added, hu);
            sums_.block_influence += depthgrow::block_influence(hu, after);
            sums_.residual_norm += l2_norm(hu);
        }
        sums_.tokens += h.rows;
    }

    /// Means so far; an error before the first token.
    layer_contribution mean() const {
        require(sums_.tokens > 0, "[contribution] expected at least 1 token, got 0");
        const auto tokens = static_cast<double>(sums_.tokens);
        layer_contribution means = sums_;
        for (double* value : {&means.attention_ratio, &means.mlp_ratio, &means.layer_ratio, &means.attention_cosine,
                              &means.mlp_cosine, &means.layer_cosine, &means.block_influence, &means.residual_norm})
            *value /= tokens;
        return means;
    }

private:
    layer_contribution sums_;
};

}  // namespace depthgrow
