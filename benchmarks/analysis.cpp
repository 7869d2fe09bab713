// Seconds a prompt of the diagnostics on the CPU, beside the time that the same matrix products take alone (the floor).
// A current skip analysis needs L (L + 1) / 2 layer passes and L + 1 heads; products of attention are not in the floor.
// Peer: peer_analysis.py, run in turn by compare_analysis.sh.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <vector>

#include "depthgrow/analysis/lens_statistics.hpp"
#include "depthgrow/analysis/local_effects.hpp"
#include "depthgrow/backend/blas.hpp"
#include "support/cpu_backend.hpp"

namespace dg = depthgrow;

namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

/// The products of one prompt's current skips, in the shapes that they have in the analysis.
struct skip_products {
    dg::blas& backend;
    const dg::decoder_config& c;
    std::size_t length;
    std::vector<float> x, w, y;
    double flops = 0;

    skip_products(dg::blas& b, const dg::decoder_config& config, std::size_t tokens)
        : backend(b), c(config), length(tokens) {
        const std::size_t widest = std::max({c.qkv_width(), 2 * c.ffn, c.width});
        x.assign((c.layers + 1) * length * std::max(c.width, c.ffn), 0.5f);
        y.assign(std::max((c.layers + 1) * length * widest, length * c.vocab), 0.5f);
        w.assign(std::max(widest * std::max(c.width, c.ffn), c.vocab * c.width), 0.5f);
    }
    void product(std::size_t m, std::size_t k, std::size_t n) {
        backend.gemm<float>(dg::transpose::no, dg::transpose::yes, 1, dg::matrix<const float>(x.data(), m, k),
                            dg::matrix<const float>(w.data(), n, k), 0, dg::matrix<float>(y.data(), m, n));
        flops += 2.0 * static_cast<double>(m) * static_cast<double>(k) * static_cast<double>(n);
    }
    void run() {
        flops = 0;
        for (std::size_t l = 0; l < c.layers; ++l) {
            const std::size_t rows = (1 + l) * length;
            product(rows, c.width, c.qkv_width()), product(rows, c.width, c.width), product(rows, c.width, 2 * c.ffn),
                product(rows, c.ffn, c.width);
        }
        for (std::size_t r = 0; r <= c.layers; ++r) product(length, c.width, c.vocab);
    }
};

}  // namespace

int main(int argc, char** argv) {
    std::size_t prompts_count = 20, length = 256;
    int threads = 2;
    dg::skip_options options;
    bool json = false, all = false;
    for (int i = 1; i < argc; ++i) {
        if (!std::strcmp(argv[i], "--prompts") && i + 1 < argc) prompts_count = std::strtoul(argv[++i], nullptr, 10);
        else if (!std::strcmp(argv[i], "--length") && i + 1 < argc) length = std::strtoul(argv[++i], nullptr, 10);
        else if (!std::strcmp(argv[i], "--threads") && i + 1 < argc) threads = std::atoi(argv[++i]);
        else if (!std::strcmp(argv[i], "--layer-rows") && i + 1 < argc)
            options.layer_rows = std::strtoul(argv[++i], nullptr, 10);
        else if (!std::strcmp(argv[i], "--json")) json = true;
        else if (!std::strcmp(argv[i], "--all")) all = true;
    }
    dg::blas backend({threads, tools::cpu_product_of("fp32").run});
    const auto config = dg::mini();
    const dg::decoder<float, dg::blas> model(backend, config, 1);
    std::vector<dg::prompt> prompts(prompts_count);
    dg::rng random(1);
    for (auto& p : prompts)
        for (std::size_t u = 0; u < length; ++u) p.tokens.push_back(static_cast<dg::token>(random.below(config.vocab)));
    const dg::span<const dg::prompt> one = dg::span<const dg::prompt>(prompts).subspan(0, 1);
    const auto per_prompt = static_cast<double>(prompts_count);

    skip_products floor(backend, config, length);
    floor.run();
    dg::current_effects(model, one, options);
    double start = now();
    for (std::size_t p = 0; p < prompts_count; ++p) floor.run();
    const double floor_seconds = (now() - start) / per_prompt;
    start = now();
    dg::current_effects(model, prompts, options);
    const double seconds = (now() - start) / per_prompt;
    if (json) {
        std::printf("{\"prompts\": %zu, \"seconds\": %.6f, \"floor\": %.6f, \"gflop\": %.3f}\n", prompts_count, seconds,
                    floor_seconds, floor.flops * 1e-9);
        return 0;
    }
    std::printf("%zu layers, width %zu, vocabulary %zu; %zu prompts of %zu tokens, %d threads; a prompt:\n",
                config.layers, config.width, config.vocab, prompts_count, length, threads);
    std::printf("  current skips  %.3f s, products alone %.3f s (%.1f GFLOP, %.0f GFLOP/s): %.2f times the floor\n",
                seconds, floor_seconds, floor.flops * 1e-9, floor.flops / floor_seconds * 1e-9,
                seconds / floor_seconds);
    if (!all) return 0;
    const auto timed = [&](const char* name, auto work) {
        const double begin = now();
        work();
        std::printf("  %-14s %.3f s\n", name, (now() - begin) / per_prompt);
    };
    timed("future skips", [&] { dg::future_effects(model, prompts); });
    timed("local effects", [&] { dg::local_effects(model, prompts); });
    timed("logit lens", [&] { dg::logit_lens(model, prompts); });
    dg::lens_fitter<float, dg::blas> fitter(model, {});
    std::vector<dg::token> tokens;
    for (const auto& p : prompts) tokens.insert(tokens.end(), p.tokens.begin(), p.tokens.end());
    timed("lens fit step", [&] { fitter.step(tokens, prompts_count); });
}
