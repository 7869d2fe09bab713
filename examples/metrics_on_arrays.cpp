// The metrics on arrays of your own, from any framework: overlap, contributions and a depth score without our model.
#include <cstdio>
#include <depthgrow/core/rng.hpp>
#include <depthgrow/metrics.hpp>
#include <vector>

namespace dg = depthgrow;

int main() {
    // Yours: L layers, T tokens, C channels, V words; here random numbers stand in for what you saved.
    const std::size_t L = 4, T = 6, C = 16, V = 50;
    dg::rng random(1);
    const auto array = [&](std::size_t count) {
        std::vector<float> values(count);
        for (float& value : values) value = static_cast<float>(random.normal());
        return values;
    };
    std::vector<double> effects;  // of skipping each layer on later outputs
    for (std::size_t l = 0; l < L; ++l) {
        const auto residual = array(T * C), attention = array(T * C), mlp = array(T * C), lens_logits = array(T * V),
                   logits = array(T * V);
        dg::contribution_accumulator layer;
        layer.add(dg::matrix<const float>(residual.data(), T, C), dg::matrix<const float>(attention.data(), T, C),
                  dg::matrix<const float>(mlp.data(), T, C));
        double overlap = 0, kl = 0;
        for (std::size_t u = 0; u < T; ++u) {
            const dg::span<const float> lens(&lens_logits[u * V], V), own(&logits[u * V], V);
            overlap += dg::top_k_overlap(lens, own) / static_cast<double>(T),
                kl += dg::kl_divergence(own, lens) / static_cast<double>(T);
            if (u + 1 == T) effects.push_back(dg::softmax_distance(lens, own));
        }
        std::printf("layer %zu: |c|/|h| %.3f, cos(c, h) %+.3f, top-5 overlap %.2f, KL %.3f nats\n", l,
                    layer.mean().layer_ratio, layer.mean().layer_cosine, overlap, kl);
    }
    std::printf("depth score %.3f of 0 to %zu\n", dg::output_depth_score(effects), L - 1);
}
