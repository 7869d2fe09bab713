// Contributions of a model's layers to its residual stream, and angular distances between its residuals.
// Assumes prompts without padding; contributions are means over all tokens of all prompts (means of ratios), angular
// distances are means over prompts at the last token.
// Maths: Csordás et al. 2025 (arXiv 2505.13898); block influence, Men et al. 2024; angular distance, Gromov et al. 2024.
#pragma once

#include <map>
#include <utility>
#include <vector>

#include "depthgrow/analysis/prompts.hpp"
#include "depthgrow/analysis/samples.hpp"
#include "depthgrow/analysis/trace.hpp"
#include "depthgrow/metrics/contribution.hpp"
#include "depthgrow/metrics/similarity.hpp"

namespace depthgrow {

/// Tables have one row a prompt; columns of `layers` are quantity * L + layer in the order of `layer_contribution`'s
/// first seven, of `residual_norm` the L + 1 residuals, of `angular[n]` the layers 0 … L − n.
struct contribution_report {
    static constexpr std::size_t quantities = 7;
    static constexpr const char* names[quantities] = {"attention_ratio", "mlp_ratio", "layer_ratio", "attention_cosine", "mlp_cosine", "layer_cosine", "block_influence"};
    std::size_t depth = 0, positions = 0;
    sample_table layers, residual_norm;
    std::map<std::size_t, sample_table> angular;

    /// One quantity of every layer.
    std::vector<double> quantity(std::size_t index) const {
        const auto all = layers.means();
        const auto first = all.begin() + static_cast<std::ptrdiff_t>(index * depth);
        return {first, first + static_cast<std::ptrdiff_t>(depth)};
    }
};

/// Contributions, residual norms, and angular distances over `spans` layers (each from 1 to L).
template <class T, class Backend>
contribution_report contributions(const llama<T, Backend>& model, span<const prompt> prompts, const std::vector<std::size_t>& spans = {1}) {
    const std::size_t L = model.layers(), width = model.config().width;
    require(!prompts.empty(), "[contributions] expected at least 1 prompt, got 0");
    contribution_report out{L, 0, sample_table(contribution_report::quantities * L), sample_table(L + 1), {}};
    for (std::size_t n : spans) {
        require(n > 0 && n <= L, "[angular_distance] expected a distance from 1 to ", L, " layers, got ", n);
        out.angular.emplace(n, sample_table(L - n + 1));
    }
    for (std::size_t p = 0; p < prompts.size(); ++p) detail::check_prompt(prompts[p], p, model.config().context, model.config().vocab);
    tape<T, Backend> tape(model.backend());
    for (const prompt& one : prompts) {
        const std::size_t length = one.tokens.size();
        const auto tokens = static_cast<double>(length);
        std::vector<double> sums(contribution_report::quantities * L), norms(L + 1);
        std::vector<T> ends;  // the last token's residuals, (L + 1, C)
        const auto keep_end = [&](matrix<const T> h) { ends.insert(ends.end(), h.row(length - 1), h.row(length - 1) + width); };
        visit_layers(
            model, tape, span<const token>(one.tokens),
            [&](std::size_t l, matrix<const T> h, matrix<const T> a, matrix<const T> m) {
                contribution_accumulator layer;
                layer.add(h, a, m);
                const layer_contribution mean = layer.mean();
                const double values[] = {mean.attention_ratio, mean.mlp_ratio, mean.layer_ratio, mean.attention_cosine, mean.mlp_cosine, mean.layer_cosine, mean.block_influence};
                for (std::size_t q = 0; q < contribution_report::quantities; ++q) sums[q * L + l] = values[q] * tokens;
                norms[l] = mean.residual_norm * tokens;
                keep_end(h);
            },
            [&](matrix<const T> h) {
                for (std::size_t u = 0; u < length; ++u) norms[L] += l2_norm(detail::row_of(h, u));
                keep_end(h);
            });
        for (double value : sums) require(std::isfinite(value), "[contributions] expected finite activations, got NaN or infinity");
        out.layers.add(std::move(sums), std::vector<double>(contribution_report::quantities * L, tokens));
        out.residual_norm.add(std::move(norms), std::vector<double>(L + 1, tokens));
        for (auto& [n, table] : out.angular) {
            std::vector<double> angles(L - n + 1);
            for (std::size_t l = 0; l + n <= L; ++l)
                angles[l] = angular_distance(span<const T>(ends.data() + l * width, width), span<const T>(ends.data() + (l + n) * width, width));
            table.add(std::move(angles), std::vector<double>(L - n + 1, 1.0));
        }
        out.positions += length;
    }
    return out;
}

/// Cosines between the MLP weights (gate, up, down) of blocks of `block` layers, (L / block)². Kapl et al. 2025, 4.4.
template <class T, class Backend>
std::vector<std::vector<double>> block_similarity(const llama<T, Backend>& model, std::size_t block) {
    const block_layout layout = layer_layout(model.config(), 0);
    std::vector<std::vector<T>> host(model.layers());
    return block_similarity(model.layers(), block, [&](std::size_t layer) {
        const auto& numbers = model.weights.layers[layer];
        host[layer].resize(layout.size);
        numbers.backend().template to_host<T>(numbers.flat().data(), host[layer].data(), layout.size);
        std::vector<span<const T>> parts;
        for (const char* name : {"mlp.gate_proj.weight", "mlp.up_proj.weight", "mlp.down_proj.weight"}) {
            const auto& place = layout.find(name);
            parts.emplace_back(host[layer].data() + place.offset, place.size());
        }
        return parts;
    });
}

}  // namespace depthgrow
