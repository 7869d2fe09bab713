// The CUDA backend's speed: whole optimiser steps, growth, the skip analysis, lens fitting, generation at full size,
// beside floors measured in the same run (matrix products alone; a device copy). --profile: time by operation instead
// of whole steps. Peer: peer_cuda.py. Usage: device [--json] [--only NAME] [--profile] [--steps 20]; NAME may be a part
// of a row's, or its end with $ after it
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "depthgrow/analysis/batched_decoder.hpp"
#include "depthgrow/analysis/skip_effects.hpp"
#include "depthgrow/analysis/tuned_lens.hpp"
#include "depthgrow/backend/cuda/cuda.hpp"
#include "depthgrow/growth/operators.hpp"
#include "depthgrow/nn/shape.hpp"
#include "depthgrow/train/trainer.hpp"
#include "profiled.hpp"
#include "random_tokens.hpp"

namespace dg = depthgrow;
using bf16 = dg::bfloat16;

namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }
double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

bool json = false, profile = false;
std::string only;
std::size_t steps = 20;

/// Rows whose name holds `only`, or with a $ at its end, ends in it.
bool wanted(const std::string& name) {
    if (only.empty() || only.back() != '$') return name.find(only) != std::string::npos;
    const std::string end = only.substr(0, only.size() - 1);
    return name.size() >= end.size() && name.compare(name.size() - end.size(), end.size(), end) == 0;
}
void row(const std::string& name, double value, const char* unit, const std::string& note) {
    if (json)
        std::printf("{\"row\": \"%s\", \"value\": %.6g, \"unit\": \"%s\", \"note\": \"%s\"}\n", name.c_str(), value,
                    unit, note.c_str());
    else std::printf("%-34s %12.6g %-9s %s\n", name.c_str(), value, unit, note.c_str());
    std::fflush(stdout);
}
std::string format(const char* pattern, double a, double b = 0, double c = 0) {
    char out[160];
    std::snprintf(out, sizeof out, pattern, a, b, c);
    return out;
}

template <class T, class Body> double seconds_of(dg::cuda& gpu, std::size_t repeats, const Body& body) {
    std::vector<double> times;
    for (std::size_t i = 0; i < repeats; ++i) {
        gpu.synchronize();
        const double begin = now();
        body();
        gpu.synchronize();
        times.push_back(now() - begin);
    }
    return median(times);
}

void ceilings() {
    dg::cuda gpu;
    const std::size_t n = 8192, bytes = std::size_t{4} << 30;
    dg::tensor<bf16, dg::cuda> a(gpu, {n, n}), b(gpu, {n, n}), c(gpu, {n, n});
    std::vector<bf16> host(n * n);
    dg::rng random(1);
    for (auto& x : host) x = bf16(static_cast<float>(random.uniform() - 0.5));
    gpu.from_host<bf16>(host.data(), a.data(), host.size());
    gpu.copy<bf16>(a.data(), b.data(), host.size());
    gpu.gemm<bf16>(dg::transpose::no, dg::transpose::yes, 1, a.rows(), b.rows(), 0, c.rows());
    const double product =
        seconds_of<bf16>(gpu, 9,
                         [&] {
                             for (int i = 0; i < 4; ++i)
                                 gpu.gemm<bf16>(dg::transpose::no, dg::transpose::yes, 1, std::as_const(a).rows(),
                                                std::as_const(b).rows(), 0, c.rows());
                         }) /
        4;
    row("product 8192 cubed, bf16", 2.0 * 8192.0 * 8192.0 * 8192.0 / product * 1e-12, "TFLOP/s", "");
    dg::tensor<unsigned char, dg::cuda> from(gpu, {bytes}), to(gpu, {bytes});
    const double copy = seconds_of<bf16>(gpu, 9, [&] { gpu.copy<unsigned char>(from.data(), to.data(), bytes); });
    row("device copy, read and written", 2.0 * static_cast<double>(bytes) / copy * 1e-12, "TB/s", "");
}

/// A layer's attention alone, on random numbers: 2 products forward and 5 back count, however many are made.
void attention(const dg::decoder_config& model, std::size_t sequences, std::size_t length) {
    const std::string name = "attention " + model.name;
    if (!wanted(name)) return;
    dg::cuda gpu;
    const dg::attention_shape shape{sequences, length, model.heads, model.kv_heads, model.head_width()};
    const std::size_t rows = shape.rows();
    dg::tensor<bf16, dg::cuda> qkv(gpu, {rows, shape.packed_width()}), dqkv(gpu, {rows, shape.packed_width()}),
        out(gpu, {rows, shape.width()}), dout(gpu, {rows, shape.width()});
    dg::tensor<float, dg::cuda> lse(gpu, {rows * shape.heads});
    std::vector<bf16> host(rows * shape.packed_width());
    dg::rng random(1);
    for (auto& x : host) x = bf16(static_cast<float>(random.uniform() - 0.5));
    gpu.from_host<bf16>(host.data(), qkv.data(), host.size());
    gpu.from_host<bf16>(host.data(), dout.data(), rows * shape.width());
    const auto forward = [&] { gpu.attention_forward<bf16>(std::as_const(qkv).rows(), shape, out.rows(), lse.flat()); };
    const auto backward = [&] {
        gpu.attention_backward<bf16>(std::as_const(qkv).rows(), shape, std::as_const(out).rows(),
                                     std::as_const(lse).flat(), std::as_const(dout).rows(), dqkv.rows());
    };
    forward(), backward();                                                                    // plans are made
    const double product = static_cast<double>(length * length * shape.width() * sequences);  // causal: half of 2
    const auto tell = [&](const char* way, double products, const auto& pass) {
        const double seconds = seconds_of<bf16>(gpu, 9, pass);
        row(name + way, seconds * 1e6, "us", format("%.0f TFLOP/s", products * product / seconds * 1e-12));
    };
    tell(" forward", 2, forward);
    tell(" back", 5, backward);
}

struct step_options {
    bool fp8 = false, recompute = false, deterministic = false;
};
void training(const dg::decoder_config& model, std::size_t sequences, std::size_t length, step_options options = {}) {
    const auto [fp8, recompute, deterministic] = options;
    const std::string name = "train " + model.name + (fp8 ? " fp8" : "") + (deterministic ? " deterministic" : "") +
                             (recompute ? " recompute " + std::to_string(sequences) : "");
    if (!wanted(name)) return;
    const random_tokens data(model, sequences, length);
    const auto count = static_cast<double>(sequences * length);
    std::size_t free_before = 0, free_after = 0, total = 0;
    (void)cudaMemGetInfo(&free_before, &total);
    if (profile) {
        profiled gpu({.deterministic = deterministic, .fp8 = fp8, .record = false});
        dg::trainer<bf16, profiled> trainer(gpu, model, 1, model.layers);
        trainer.recompute(recompute);
        for (int i = 0; i < 3; ++i) trainer.step(data.batch(), sequences, 1e-4);
        gpu.on = true;
        trainer.step(data.batch(), sequences, 1e-4);
        std::printf("%s, one step of %zu x %zu\n", name.c_str(), sequences, length);
        gpu.print(count);
        return;
    }
    dg::cuda gpu({.deterministic = deterministic, .fp8 = fp8});
    dg::trainer<bf16, dg::cuda> trainer(gpu, model, 1, model.layers);
    trainer.recompute(recompute);
    double first = 0, last = 0;
    std::vector<double> times, busy;
    cudaEvent_t queued, done;
    (void)cudaEventCreate(&queued), (void)cudaEventCreate(&done);
    for (std::size_t i = 0; i < steps + 4; ++i) {
        const double begin = now();
        (void)cudaEventRecord(queued, gpu.stream());
        trainer.start(data.batch(), sequences, 1e-4);
        (void)cudaEventRecord(done, gpu.stream());
        last = trainer.finish().loss;
        if (i == 0) first = last;
        float ms = 0;
        (void)cudaEventElapsedTime(&ms, queued, done);
        if (i >= 4) times.push_back(now() - begin), busy.push_back(static_cast<double>(ms) * 1e-3);
    }
    (void)cudaMemGetInfo(&free_after, &total);
    const double seconds = median(times);
    const dg::model_shape shape = dg::shape_of(model, length);
    const double flops = dg::step_flops(shape, model.layers, sequences * length, dg::attention_cost::causal);
    row(name, count / seconds, "tok/s",
        format("%.1f TFLOP/s, %.1f GiB, loss ", flops / seconds * 1e-12,
               static_cast<double>(free_before - free_after) / 1073741824.0) +
            format("%.3f -> %.3f, device busy %.3f of the step", first, last, median(busy) / seconds));
}

void growth() {
    if (!wanted("grow smollm-1.7b")) return;
    dg::cuda gpu;
    const auto model = dg::smollm_1_7b();
    dg::trainer<bf16, dg::cuda> trainer(gpu, model.with_depth(20));
    gpu.synchronize();
    const double begin = now();
    trainer.grow(dg::lidas{4}(20));
    gpu.synchronize();
    row("grow smollm-1.7b 20 to 24 layers", now() - begin, "s", "weights, masters, both moments");
}

template <class Backend> void skips_on(Backend& gpu, const dg::decoder_config& model, std::size_t length) {
    const dg::decoder<bf16, Backend> made(gpu, model, 1);
    const random_tokens data(model, 1, length);
    const std::vector<dg::prompt> prompts(9, {data.ids, {}, {}});
    double sum = 0;
    const auto run = [&](std::size_t count) {
        const double start = now();
        sum += dg::current_effects(made, dg::span<const dg::prompt>(prompts).subspan(0, count)).output_max[0];
        return now() - start;
    };
    const double first = run(1);
    run(1);
    if constexpr (requires { gpu.on; }) {
        gpu.on = true;
        run(1);
        gpu.print(static_cast<double>(length));
        return;
    }
    std::vector<double> times;
    for (int i = 0; i < 5; ++i) {
        const double one = run(1);
        times.push_back((run(9) - one) /
                        8);  // a further prompt; a report's own share (resamples, intervals) comes once
    }
    row("skip " + model.name, median(times), "s",
        format("current effects of every layer, one prompt of %.0f tokens; the first prompt of a length took %.1f s",
               static_cast<double>(length), first));
}
void skips(const dg::decoder_config& model, std::size_t length) {
    if (!wanted("skip " + model.name)) return;
    const dg::cuda_options options{.many_shapes = true};
    if (profile) {
        profiled gpu(options);
        skips_on(gpu, model, length);
    } else {
        dg::cuda gpu(options);
        skips_on(gpu, model, length);
    }
}

void lens(const dg::decoder_config& model, std::size_t sequences, std::size_t length) {
    if (!wanted("lens " + model.name)) return;
    dg::cuda gpu;
    const dg::decoder<bf16, dg::cuda> made(gpu, model, 1);
    const random_tokens data(model, sequences, length);
    dg::lens_fitter<bf16, dg::cuda> fitter(made, dg::lens_fit_options());
    double last = 0;
    const auto step = [&] { last = fitter.step(data.ids, sequences).back(); };
    step();
    std::vector<double> times;
    for (int i = 0; i < 5; ++i) {
        const double begin = now();
        step();
        times.push_back(now() - begin);
    }
    row("lens " + model.name, static_cast<double>(sequences * length) / median(times), "tok/s",
        format("all layers, steps of %.0f tokens, KL of the last layer %.4f", static_cast<double>(sequences * length),
               last));
}

/// Tokens a second of greedy generation, behind prompts of 512 tokens: a step of one token for every sequence.
template <class T>
void generate(const dg::decoder_config& model, std::size_t sequences, const char* precision, bool logits = false) {
    const std::string name =
        "generate " + model.name + " " + precision + " " + std::to_string(sequences) + (logits ? " with logits" : "");
    if (!wanted(name)) return;
    dg::cuda gpu({.many_shapes = true, .decode_steps = true});
    const dg::decoder<T, dg::cuda> made(gpu, model, 1);
    const random_tokens data(model, 1, 512);
    dg::batched_decoder<T, dg::cuda> decoder(made);
    std::vector<dg::token> last(sequences);
    std::vector<dg::token_piece> pieces;
    for (std::size_t i = 0; i < sequences; ++i) {
        const dg::token_piece prompt{decoder.open(1024), data.ids, {}, false, true};
        last[i] = decoder.append({&prompt, 1})[0].best;
        pieces.push_back({prompt.sequence, {&last[i], 1}, {}, logits, true});
    }
    std::vector<double> times;
    for (std::size_t step = 0; step < 136; ++step) {
        const double begin = now();
        const auto results = decoder.append(pieces);
        for (std::size_t i = 0; i < sequences; ++i) last[i] = results[i].best;
        if (step >= 8) times.push_back(now() - begin);
    }
    const double weights =
        static_cast<double>(sizeof(T)) * (static_cast<double>(dg::outer_layout(model).size) +
                                          static_cast<double>(model.layers * dg::layer_layout(model).size));
    row(name, static_cast<double>(sequences) / median(times), "tok/s",
        format("%.3f ms a step; the weights read once take %.3f at 3 TB/s", median(times) * 1e3, weights / 3e12 * 1e3));
}

}  // namespace

int main(int argc, char** argv) {
    for (int i = 1; i < argc; ++i) {
        if (!std::strcmp(argv[i], "--json")) json = true;
        else if (!std::strcmp(argv[i], "--profile")) profile = true;
        else if (!std::strcmp(argv[i], "--only") && i + 1 < argc) only = argv[++i];
        else if (!std::strcmp(argv[i], "--steps") && i + 1 < argc)
            steps = static_cast<std::size_t>(std::atoi(argv[++i]));
        else return std::fprintf(stderr, "usage: device [--json] [--only NAME] [--profile] [--steps N]\n"), 1;
    }
    try {
        if (wanted("ceilings")) ceilings();
        attention(dg::mini(), 128, 512);
        attention(dg::smollm_360m(), 16, 2048), attention(dg::smollm_1_7b(), 8, 2048);
        for (const bool fp8 : {false, true}) training(dg::smollm_360m(), 16, 2048, {.fp8 = fp8});
        training(dg::smollm_360m(), 16, 2048, {.deterministic = true});
        for (const std::size_t sequences : {16u, 64u})
            training(dg::smollm_360m(), sequences, 2048, {.recompute = true});
        for (const bool fp8 : {false, true}) training(dg::smollm_1_7b(), 8, 2048, {.fp8 = fp8});
        training(dg::mini(), 128, 512);
        growth();
        skips(dg::smollm_360m(), 1024);
        skips(dg::smollm_1_7b(), 1024);
        lens(dg::smollm_360m(), 8, 2048);
        lens(dg::smollm_1_7b(), 8, 2048);
        for (const std::size_t sequences : {1u, 4u, 8u, 32u, 128u})
            generate<bf16>(dg::smollm_360m(), sequences, "bf16");
        generate<bf16>(dg::smollm_360m(), 1, "bf16", true);
        generate<float>(dg::smollm_360m(), 1, "fp32");
        for (const std::size_t sequences : {1u, 32u}) generate<bf16>(dg::smollm_1_7b(), sequences, "bf16");
    } catch (const std::exception& problem) {
        std::printf("stopped: %s\n", problem.what());
        return 1;
    }
}
