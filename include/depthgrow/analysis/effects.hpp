// Results of skip effects: the strongest change of every later layer and of the output, streamed over prompts.
// Assumes values that somebody measured; no model here. Rows are the skipped layer, columns the affected one.
// Maths: Csordás et al. 2025 (arXiv 2505.13898), Kapl et al. 2025 (arXiv 2512.08819) appendix B: maxima within a
// prompt; over prompts both the maximum and (what the depth score uses) the mean.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>
#include <vector>

#include "depthgrow/metrics/depth_score.hpp"
#include "depthgrow/metrics/statistics.hpp"

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
};

/// Effects over prompts. Matrices are (L, L) row-major; `change_error` is the standard error of `change_mean`.
struct effects {
    std::size_t layers = 0, prompts = 0;
    std::vector<double> change_max, change_mean, change_error;
    std::vector<double> output_max, output_mean;
    std::vector<std::vector<double>> outputs;        // (prompts, L): what `output_mean` is the mean of
    std::vector<std::vector<double>> layer_effects;  // (prompts, L): mean change of later layers, of each prompt

    matrix<const double> mean_changes() const { return {change_mean.data(), layers, layers}; }
    matrix<const double> max_changes() const { return {change_max.data(), layers, layers}; }
};

/// Streams prompts into `effects`: memory grows by 2 L numbers a prompt, for the bootstrap.
class effects_accumulator {
public:
    explicit effects_accumulator(std::size_t layers) : change_(layers * layers), layers_(layers) {}

    void add(const prompt_effects& one) {
        require(one.layers == layers_, "[effects] expected a prompt's effects of ", layers_, " layers, got ", one.layers);
        for (std::size_t i = 0; i < change_.size(); ++i) change_[i].add(one.change[i]);
        outputs_.push_back(one.output);
        layer_effects_.push_back(depthgrow::layer_effects(matrix<const double>(one.change.data(), layers_, layers_)));
    }

    effects result() const {
        require(!outputs_.empty(), "[effects] expected at least 1 prompt, got 0");
        effects out{layers_, outputs_.size(), {}, {}, {}, std::vector<double>(layers_), std::vector<double>(layers_), outputs_, layer_effects_};
        for (const auto& cell : change_) {
            out.change_max.push_back(cell.maximum());
            out.change_mean.push_back(cell.mean());
            out.change_error.push_back(cell.count() > 1 ? cell.standard_error() : 0);
        }
        for (const auto& one : outputs_)
            for (std::size_t l = 0; l < layers_; ++l) {
                out.output_max[l] = std::max(out.output_max[l], one[l]);
                out.output_mean[l] += one[l] / static_cast<double>(outputs_.size());
            }
        return out;
    }

private:
    std::vector<running_statistics> change_;
    std::vector<std::vector<double>> outputs_, layer_effects_;
    std::size_t layers_;
};

/// The paper's depth score: Σ l e_l / Σ e_l with e_l the mean output effect of skipping layer l, from future effects.
inline double depth_score(const effects& future) { return output_depth_score(future.output_mean); }

/// The four flavours of metrics.md 4.
struct depth_scores {
    double mean_output = 0, mean_layer = 0, max_output = 0, max_layer = 0;
};

inline depth_scores all_depth_scores(const effects& future) {
    return {output_depth_score(future.output_mean), layer_depth_score(future.mean_changes()), output_depth_score(future.output_max),
            layer_depth_score(future.max_changes())};
}

namespace detail {

/// Centre of mass of the summed rows that `picks` names.
inline double resampled_score(const std::vector<std::vector<double>>& rows, const std::vector<std::size_t>& picks) {
    std::vector<double> sum(rows[0].size());
    for (std::size_t p : picks)
        for (std::size_t l = 0; l < sum.size(); ++l) sum[l] += rows[p][l];
    return centre_of_mass(sum);
}

template <class Statistic>
mean_interval bootstrap_statistic(std::size_t prompts, const bootstrap_options& options, Statistic statistic) {
    std::vector<std::size_t> picks(prompts);
    for (std::size_t i = 0; i < prompts; ++i) picks[i] = i;
    mean_interval out;
    out.mean = statistic(picks);
    rng draws(options.seed);
    std::vector<double> values(options.resamples);
    for (double& value : values) {
        for (auto& pick : picks) pick = static_cast<std::size_t>(draws.below(prompts));
        value = statistic(picks);
    }
    std::sort(values.begin(), values.end());
    const double tail = (1 - options.confidence) / 2;
    out.low = sorted_quantile(values, tail), out.high = sorted_quantile(values, 1 - tail);
    return out;
}

}  // namespace detail

/// The depth score (output flavour) with its bootstrap interval over prompts.
inline mean_interval depth_score_interval(const effects& future, const bootstrap_options& options = {}) {
    return detail::bootstrap_statistic(future.prompts, options, [&](const auto& picks) { return detail::resampled_score(future.outputs, picks); });
}

/// The same for the layer flavour.
inline mean_interval layer_depth_score_interval(const effects& future, const bootstrap_options& options = {}) {
    return detail::bootstrap_statistic(future.prompts, options, [&](const auto& picks) { return detail::resampled_score(future.layer_effects, picks); });
}

/// Depth score of `a` minus that of `b` on the same prompts, resampled together; an interval without 0 is a difference.
/// With `relative`, each score is first divided by its L − 1.
inline mean_interval paired_depth_score_difference(const effects& a, const effects& b, const bootstrap_options& options = {}, bool relative = false) {
    require(a.prompts == b.prompts, "[paired_depth_score_difference] expected the same prompts for both, got ", a.prompts, " and ", b.prompts);
    const double ra = relative ? static_cast<double>(a.layers - 1) : 1, rb = relative ? static_cast<double>(b.layers - 1) : 1;
    return detail::bootstrap_statistic(a.prompts, options, [&](const auto& picks) {
        return detail::resampled_score(a.outputs, picks) / ra - detail::resampled_score(b.outputs, picks) / rb;
    });
}

}  // namespace depthgrow
