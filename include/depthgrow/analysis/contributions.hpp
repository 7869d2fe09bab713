// Contributions of a model's layers to its residual stream, and angular distances between its residuals.
// Assumes prompts without padding; contributions are means over all tokens of all prompts (means of ratios), angular
// distances are means over prompts at the last token.
// Maths: Csordás et al. 2025 (arXiv 2505.13898), ‖c‖/‖h‖ and cos(c, h); Kapl et al. 2025 (arXiv 2512.08819) section
// 4.3; block influence, Men et al. 2024 (arXiv 2403.03853) eq. 1; angular distance, Gromov et al. 2024 (arXiv
// 2403.17887). Chosen: means of ratios, every token counts once and none is masked; denominators of at least 1e-6,
// cosine eps 1e-8.
#pragma once

#include <array>
#include <map>
#include <utility>
#include <vector>

#include "depthgrow/analysis/prompts.hpp"
#include "depthgrow/analysis/samples.hpp"
#include "depthgrow/analysis/shared_prompts.hpp"
#include "depthgrow/analysis/trace.hpp"
#include "depthgrow/metrics/contribution.hpp"
#include "depthgrow/metrics/similarity.hpp"

namespace depthgrow {

/// What is measured of every layer: means of ‖a‖/‖h‖, ‖m‖/‖h+a‖, ‖a+m‖/‖h‖, of the cosines, and 1 − cos(in, out).
enum class contribution_quantity : std::size_t {
    attention_ratio,
    mlp_ratio,
    layer_ratio,
    attention_cosine,
    mlp_cosine,
    layer_cosine,
    block_influence
};

/// "layer_ratio": as the JSON of reports names it.
constexpr const char* name_of(contribution_quantity which) {
    constexpr const char* names[] = {"attention_ratio", "mlp_ratio",    "layer_ratio",    "attention_cosine",
                                     "mlp_cosine",      "layer_cosine", "block_influence"};
    return names[static_cast<std::size_t>(which)];
}

/// Tables have one row a prompt; `layers` has a column for each quantity of each layer, `residual_norm` for the L + 1
/// residuals, `angular[n]` for the layers 0 … L − n.
struct contribution_report {
    static constexpr std::array quantities = {
        contribution_quantity::attention_ratio,  contribution_quantity::mlp_ratio,  contribution_quantity::layer_ratio,
        contribution_quantity::attention_cosine, contribution_quantity::mlp_cosine, contribution_quantity::layer_cosine,
        contribution_quantity::block_influence};
    std::size_t depth = 0, positions = 0;
    sample_table layers, residual_norm;
    std::map<std::size_t, sample_table> angular;

    /// The column of a quantity of a layer in `layers`.
    std::size_t column(contribution_quantity which, std::size_t layer) const {
        return static_cast<std::size_t>(which) * depth + layer;
    }
    /// One quantity of every layer, and its intervals.
    std::vector<double> quantity(contribution_quantity which) const {
        std::vector<double> out;
        for (std::size_t l = 0; l < depth; ++l) out.push_back(layers.mean(column(which, l)));
        return out;
    }
    std::vector<mean_interval> intervals(contribution_quantity which) const {
        std::vector<mean_interval> out;
        for (std::size_t l = 0; l < depth; ++l) out.push_back(layers.interval(column(which, l)));
        return out;
    }
};

/// Contributions, residual norms, and angular distances over `spans` layers (each from 1 to L). Ratios and cosines have
/// no unit; distances are angles over π. Refuses prompts that do not fit and activations that are not finite. The ranks
/// of `comm` share the prompts.
template <decoder_model Model, class T = typename Model::number, class Backend = typename Model::backend_type>
contribution_report contributions(const Model& model, span<const prompt> prompts,
                                  const std::vector<std::size_t>& spans = {1}, const bootstrap_options& bootstrap = {},
                                  communicator& comm = no_other_ranks()) {
    const std::size_t L = model.layers(), width = model.config().width;
    require(!prompts.empty(), "[contributions] expected at least 1 prompt, got 0");
    const std::size_t count = prompts.size();
    contribution_report out{L,
                            0,
                            sample_table(contribution_report::quantities.size() * L, count, bootstrap),
                            sample_table(L + 1, count, bootstrap),
                            {}};
    for (std::size_t n : spans) {
        require(n > 0 && n <= L, "[angular_distance] expected a distance from 1 to ", L, " layers, got ", n);
        out.angular.emplace(n, sample_table(L - n + 1, count, bootstrap));
    }
    for (std::size_t p = 0; p < prompts.size(); ++p)
        detail::check_prompt(prompts[p], p, model.config().context, model.config().vocab);
    tape<T, Backend> tape(model.backend());
    const std::size_t sums_size = out.layers.columns(), norms_size = L + 1;
    std::size_t columns = sums_size + norms_size;  // of a prompt's row: sums, norms, angles
    for (const auto& [n, table] : out.angular) columns += table.columns();
    const auto measure = [&](std::size_t p, span<double> row) {
        const prompt& one = prompts[p];
        const std::size_t length = one.tokens.size();
        const auto tokens = static_cast<double>(length);
        const auto sums = row.subspan(0, sums_size), norms = row.subspan(sums_size, norms_size);
        std::vector<T> ends;  // the last token's residuals, (L + 1, C)
        const auto keep_end = [&](matrix<const T> h) {
            ends.insert(ends.end(), h.row(length - 1), h.row(length - 1) + width);
        };
        visit_layers(
            model, tape, span<const token>(one.tokens),
            [&](std::size_t l, matrix<const T> h, matrix<const T> a, matrix<const T> m) {
                contribution_accumulator layer;
                layer.add(h, a, m);
                const layer_contribution mean = layer.mean();
                const double values[] = {mean.attention_ratio,  mean.mlp_ratio,  mean.layer_ratio,
                                         mean.attention_cosine, mean.mlp_cosine, mean.layer_cosine,
                                         mean.block_influence};
                for (const auto which : contribution_report::quantities)
                    sums[out.column(which, l)] = values[static_cast<std::size_t>(which)] * tokens;
                norms[l] = mean.residual_norm * tokens;
                keep_end(h);
            },
            [&](matrix<const T> h) {
                for (std::size_t u = 0; u < length; ++u) norms[L] += l2_norm(detail::row_of(h, u));
                keep_end(h);
            });
        for (std::size_t i = 0; i < sums.size(); ++i)
            require(std::isfinite(sums[i]),
                    "[contributions] expected finite activations, got NaN or infinity in layer ", i % L, " on ",
                    detail::prompt_name(one, p));
        std::size_t next = sums_size + norms_size;
        for (const auto& [n, table] : out.angular)
            for (std::size_t l = 0; l + n <= L; ++l)
                row[next++] = angular_distance(span<const T>(ends.data() + l * width, width),
                                               span<const T>(ends.data() + (l + n) * width, width));
    };
    share_out(comm, count, columns, measure, [&](std::size_t p, span<const double> row) {
        const std::size_t length = prompts[p].tokens.size();
        out.layers.add(row.subspan(0, sums_size), static_cast<double>(length));
        out.residual_norm.add(row.subspan(sums_size, norms_size), static_cast<double>(length));
        std::size_t next = sums_size + norms_size;
        for (auto& [n, table] : out.angular) {
            table.add(row.subspan(next, table.columns()), 1);
            next += table.columns();
        }
        out.positions += length;
    });
    return out;
}

/// Cosines between the MLP weights of blocks of `block` layers, (L / block)². Kapl et al. 2025 section 4.4, figures 7a
/// and 22. Chosen: gate, up and down of the block's layers in order as one vector; attention and norms are left out, as
/// there.
template <decoder_model Model, class T = typename Model::number, class Backend = typename Model::backend_type>
std::vector<std::vector<double>> block_similarity(const Model& model, std::size_t block) {
    const block_layout layout = layer_layout(model.config());
    std::vector<std::vector<T>> host(model.layers());
    return block_similarity(model.layers(), block, [&](std::size_t layer) {
        const auto& numbers = model.weights.layers[layer];
        host[layer].resize(layout.size);
        numbers.backend().template to_host<T>(numbers.flat().data(), host[layer].data(), layout.size);
        std::vector<span<const T>> parts;
        for (part which : {part::gate, part::up, part::down}) {
            if (!layout.contains(which)) continue;
            const auto& place = layout.at(which);
            parts.emplace_back(host[layer].data() + place.offset, place.size());
        }
        return parts;
    });
}

}  // namespace depthgrow
