// The metrics on arrays of your own, from any framework: contributions, overlap, divergence and the depth score.
// Needs C++17, the standard library and the headers of depthgrow; no build step, no model.
// Definitions: the headers of depthgrow/metrics, each with its paper; depth_report measures the same.
#include <algorithm>
#include <cstdio>
#include <depthgrow/core/rng.hpp>
#include <depthgrow/metrics.hpp>
#include <vector>

namespace dg = depthgrow;

int main() {
    // Yours: L layers, T tokens, C channels, V words; here random numbers stand in for what you saved.
    const std::size_t L = 4, T = 12, C = 16, V = 50;
    dg::rng random(1);
    const auto array = [&](std::size_t rows, std::size_t columns) {
        std::vector<float> values(rows * columns);
        for (float& value : values) value = static_cast<float>(random.normal());
        return values;
    };
    const auto view = [&](const std::vector<float>& values, std::size_t columns) {
        return dg::matrix<const float>(values.data(), T, columns);
    };

    const auto logits = array(T, V);  // of the clean run
    std::vector<double> effects;      // of skipping each layer on what comes later
    for (std::size_t l = 0; l < L; ++l) {
        const auto residual = array(T, C), attention = array(T, C), mlp = array(T, C), lens_logits = array(T, V);
        dg::contribution_accumulator layer;
        layer.add(view(residual, C), view(attention, C), view(mlp, C));
        double overlap = 0, kl = 0;
        for (std::size_t u = 0; u < T; ++u) {
            const dg::span<const float> lens(&lens_logits[u * V], V), own(&logits[u * V], V);
            overlap += dg::top_k_overlap(lens, own) / static_cast<double>(T);
            kl += dg::kl_divergence(own, lens) / static_cast<double>(T);
        }
        double effect = 0;  // the strongest over boundaries; with several prompts, average over them
        for (std::size_t boundary : {std::size_t(4), std::size_t(8)}) {
            const auto skipped = array(T, V);  // of a run without layer l's output at positions 1 ... boundary - 1
            effect = std::max(effect, dg::future_output_effect(view(logits, V), view(skipped, V), boundary));
        }
        effects.push_back(effect);
        std::printf("layer %zu: |c|/|h| %.3f, cos(c, h) %+.3f, top-5 overlap %.2f, KL %.3f nats, future effect %.3f\n",
                    l, layer.mean().layer_ratio, layer.mean().layer_cosine, overlap, kl, effect);
    }
    std::printf("depth score %.3f of 0 to %zu\n", dg::output_depth_score(effects), L - 1);
}
