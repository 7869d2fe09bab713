// Tokens a second of the whole optimiser step on the CPU, beside the time that the same run's matrix products take
// alone. The share of the products' rate is that time over the step's. Peer: peer_pytorch.py, run in turn by
// compare_model.sh.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "depthgrow/backend/blas.hpp"
#include "depthgrow/nn/shape.hpp"
#include "depthgrow/train/trainer.hpp"
#include "support/cpu_backend.hpp"

namespace dg = depthgrow;

namespace {

struct setup {
    dg::decoder_config model;
    std::size_t batch, length;
};

std::vector<setup> setups() {
    dg::decoder_config wide = dg::mini();
    wide.name = "width-512", wide.width = 512, wide.ffn = 1536, wide.heads = 8, wide.kv_heads = 8, wide.layers = 8;
    auto slice = dg::smollm_360m();
    slice.name = "360m-2-layers", slice.layers = 2, slice.vocab = 8192, slice.context = 512;
    return {{dg::small(), 8, 128}, {dg::mini(), 4, 512}, {wide, 4, 512}, {slice, 2, 512}};
}

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }
double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

/// All products of a step outside attention: forward, dX and dW of every linear map and of the head in chunks.
class products {
public:
    products(dg::blas& backend, const setup& s) : backend_(backend), rows_(s.batch * s.length), model_(s.model) {
        const std::size_t widest = std::max({model_.qkv_width(), 2 * model_.ffn, model_.width, model_.vocab});
        x_.assign(rows_ * std::max(model_.width, model_.ffn), 0.5f);
        y_.assign(rows_ * std::min(widest, 2 * model_.ffn + model_.qkv_width()), 0.5f);
        logits_.assign(512 * model_.vocab, 0.5f);
        w_.assign(widest * std::max(model_.width, model_.ffn), 0.5f);
        dw_ = w_;
    }
    double flops = 0;

    void run() {
        flops = 0;
        for (std::size_t l = 0; l < model_.layers; ++l) {
            linear(rows_, model_.qkv_width(), model_.width, y_);
            linear(rows_, model_.width, model_.width, y_);
            linear(rows_, 2 * model_.ffn, model_.width, y_);
            linear(rows_, model_.width, model_.ffn, y_);
        }
        for (std::size_t first = 0; first < rows_; first += 512)
            linear(std::min<std::size_t>(512, rows_ - first), model_.vocab, model_.width, logits_);
    }

private:
    void linear(std::size_t rows, std::size_t out, std::size_t in, std::vector<float>& y) {
        using dg::transpose;
        const dg::matrix<float> a(x_.data(), rows, in), c(y.data(), rows, out), w(w_.data(), out, in),
            dw(dw_.data(), out, in);
        backend_.gemm<float>(transpose::no, transpose::yes, 1, a, w, 0, c);
        backend_.gemm<float>(transpose::no, transpose::no, 1, c, w, 0, a);
        backend_.gemm<float>(transpose::yes, transpose::no, 1e-9f, c, a, 1, dw);
        flops += 6.0 * static_cast<double>(rows * out * in);
    }
    dg::blas& backend_;
    std::size_t rows_;
    dg::decoder_config model_;
    std::vector<float> x_, y_, logits_, w_, dw_;
};

}  // namespace

int main(int argc, char** argv) {
    bool json = false;
    int threads = 2, repeats = 7;
    std::string only, precision = "fp32";
    for (int i = 1; i < argc; ++i) {
        if (!std::strcmp(argv[i], "--json")) json = true;
        else if (!std::strcmp(argv[i], "--threads") && i + 1 < argc) threads = std::atoi(argv[++i]);
        else if (!std::strcmp(argv[i], "--repeats") && i + 1 < argc) repeats = std::atoi(argv[++i]);
        else if (!std::strcmp(argv[i], "--only") && i + 1 < argc) only = argv[++i];
        else if (!std::strcmp(argv[i], "--precision") && i + 1 < argc) precision = argv[++i];
        else
            return std::fprintf(stderr,
                                "usage: model [--json] [--threads N] [--repeats N] [--only NAME] "
                                "[--precision fp32|bf16]\n"),
                   1;
    }
    if (!json)
        std::printf("%-14s %7s %9s %10s %12s %12s %7s\n", "model", "tokens", "ms/step", "tok/s", "GFLOP/s", "products",
                    "share");
    for (const auto& s : setups()) {
        if (!only.empty() && s.model.name != only) continue;
        dg::blas backend({threads, tools::cpu_product_of(precision).run});
        dg::trainer<float, dg::blas> trainer(backend, s.model, 1, s.model.layers);
        products alone(backend, s);
        const std::size_t tokens = s.batch * s.length;
        std::vector<dg::token> ids(tokens);
        for (std::size_t i = 0; i < tokens; ++i) ids[i] = static_cast<dg::token>(i * 7919 % s.model.vocab);
        const std::vector<float> weights(tokens, 1);
        const dg::training_batch batch{ids, ids, weights, s.batch};
        trainer.step(batch, s.batch, 1e-4);
        alone.run();
        std::vector<double> step, product, share;
        for (int r = 0; r < repeats; ++r) {
            const double a = now();
            trainer.step(batch, s.batch, 1e-4);
            const double b = now();
            alone.run();
            const double c = now();
            step.push_back(b - a), product.push_back(c - b), share.push_back((c - b) / (b - a));
        }
        const dg::model_shape shape = dg::shape_of(s.model, s.length);
        const double flops = dg::step_flops(shape, shape.layers, tokens, dg::attention_cost::causal),
                     seconds = median(step);
        if (json)
            std::printf(
                "{\"model\": \"%s\", \"tokens\": %zu, \"seconds\": %.6f, \"tokens_per_second\": %.1f, \"gflops\": "
                "%.2f, \"product_gflops\": %.2f, \"share\": %.4f}\n",
                s.model.name.c_str(), tokens, seconds, static_cast<double>(tokens) / seconds, flops / seconds * 1e-9,
                alone.flops / median(product) * 1e-9, median(share));
        else
            std::printf("%-14s %7zu %9.1f %10.0f %12.1f %12.1f %6.0f%%\n", s.model.name.c_str(), tokens, seconds * 1e3,
                        static_cast<double>(tokens) / seconds, flops / seconds * 1e-9,
                        alone.flops / median(product) * 1e-9, 100 * median(share));
        std::fflush(stdout);
    }
}
