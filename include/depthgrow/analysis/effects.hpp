// Results of skip effects: the strongest change of every later layer and of the output, streamed over prompts.
// Assumes values that somebody measured; no model here. Rows are the skipped layer, columns the affected one.
// Maths: Csordás et al. 2025 (arXiv 2505.13898) section 3, Kapl et al. 2025 (arXiv 2512.08819) appendix B: maxima
// within a prompt, over positions and boundaries; over prompts both the maximum (their heat maps) and the mean (the
// depth score).
#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "depthgrow/analysis/samples.hpp"
#include "depthgrow/metrics/depth_score.hpp"

namespace depthgrow {

/// One prompt's maxima over boundaries and measured positions.
struct prompt_effects {
    std::size_t layers = 0;
    std::vector<double> change;  // (L, L), ‖c' − c‖/‖c‖
    std::vector<double> output;  // (L), ‖softmax z' − softmax z‖₂

    explicit prompt_effects(std::size_t depth) : layers(depth), change(depth * depth), output(depth) {}
    void raise_change(std::size_t skipped, std::size_t affected, double value) {
        double& held = change[skipped * layers + affected];
        held = std::max(held, value);
    }
    void raise_output(std::size_t skipped, double value) { output[skipped] = std::max(output[skipped], value); }

    /// All of it as one run of numbers, `size_of(layers)` of them, and back.
    static std::size_t size_of(std::size_t layers) { return layers * (layers + 1); }
    void write(span<double> to) const {
        std::copy(output.begin(), output.end(), std::copy(change.begin(), change.end(), to.begin()));
    }
    prompt_effects(std::size_t depth, span<const double> from) : prompt_effects(depth) {
        std::copy(from.begin(), from.begin() + change.size(), change.begin());
        std::copy(from.begin() + change.size(), from.end(), output.begin());
    }
};

/// Effects over prompts. Matrices are (L, L) row-major; the tables hold the means' intervals.
struct effects {
    std::size_t layers = 0, prompts = 0;
    std::vector<double> change_max, change_mean;  // (L, L)
    std::vector<double> output_max, output_mean;  // (L)
    sample_table change, output, layer_effects;   // columns (L, L), (L), (L): mean change of later layers

    matrix<const double> mean_changes() const { return {change_mean.data(), layers, layers}; }
    matrix<const double> max_changes() const { return {change_max.data(), layers, layers}; }
};

/// Streams prompts into `effects`; memory does not grow with their number.
class effects_accumulator {
public:
    effects_accumulator(std::size_t layers, std::size_t prompts, const bootstrap_options& options = {})
        : held_{layers,
                prompts,
                std::vector<double>(layers * layers),
                {},
                std::vector<double>(layers),
                {},
                sample_table(layers * layers, prompts, options),
                sample_table(layers, prompts, options),
                sample_table(layers, prompts, options)} {}

    void add(const prompt_effects& one) {
        require(one.layers == held_.layers, "[effects] expected a prompt's effects of ", held_.layers, " layers, got ",
                one.layers);
        for (std::size_t i = 0; i < one.change.size(); ++i)
            held_.change_max[i] = std::max(held_.change_max[i], one.change[i]);
        for (std::size_t l = 0; l < one.layers; ++l) held_.output_max[l] = std::max(held_.output_max[l], one.output[l]);
        held_.change.add(one.change, 1);
        held_.output.add(one.output, 1);
        held_.layer_effects.add(
            depthgrow::layer_effects(matrix<const double>(one.change.data(), one.layers, one.layers)), 1);
    }

    /// After the last prompt.
    effects result() && {
        held_.change_mean = held_.change.means();
        held_.output_mean = held_.output.means();
        return std::move(held_);
    }

private:
    effects held_;
};

/// The paper's depth score (Kapl et al. 2025, appendix B, figure 1A): Σ l e_l / Σ e_l with e_l the mean output effect
/// of skipping layer l, from future effects; layers from 0. An error when nothing has an effect.
inline double depth_score(const effects& future) { return output_depth_score(future.output_mean); }

/// The four flavours of the depth score: from means or maxima over prompts, of effects on the output or on later
/// layers.
struct depth_scores {
    double mean_output = 0, mean_layer = 0, max_output = 0, max_layer = 0;
};

inline depth_scores all_depth_scores(const effects& future) {
    return {output_depth_score(future.output_mean), layer_depth_score(future.mean_changes()),
            output_depth_score(future.output_max), layer_depth_score(future.max_changes())};
}

/// The depth score (output flavour) with its bootstrap interval over prompts, in layers.
inline mean_interval depth_score_interval(const effects& future) {
    return future.output.interval_of(depth_score(future),
                                     [&](std::size_t s) { return centre_of_mass(future.output.drawn(s)); });
}
/// The same for the layer flavour.
inline mean_interval layer_depth_score_interval(const effects& future) {
    return future.layer_effects.interval_of(layer_depth_score(future.mean_changes()), [&](std::size_t s) {
        return centre_of_mass(future.layer_effects.drawn(s));
    });
}

/// Depth score of `a` minus that of `b` on the same prompts, resampled together; an interval without 0 is a difference.
/// With `relative`, each score is first divided by its L − 1.
inline mean_interval paired_depth_score_difference(const effects& a, const effects& b, bool relative = false) {
    a.output.require_same_draws(b.output);
    const auto scaled = [&](double score, const effects& e) {
        return relative ? relative_depth(score, e.layers) : score;
    };
    return a.output.interval_of(scaled(depth_score(a), a) - scaled(depth_score(b), b), [&](std::size_t s) {
        return scaled(centre_of_mass(a.output.drawn(s)), a) - scaled(centre_of_mass(b.output.drawn(s)), b);
    });
}

}  // namespace depthgrow
