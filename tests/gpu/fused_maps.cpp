// Linear maps fused with SwiGLU and RoPE against `reference` in double, and training with them against training
// without. What a fused map rounds in between is rounded here too; where the two fall on different sides, that is one
// unit more.
#include "depthgrow/analysis/tuned_lens.hpp"
#include "depthgrow/train/trainer.hpp"
#include "support/fixture.hpp"
#include "table.hpp"

namespace gpu_test {

namespace {

using T = dg::bfloat16;

double largest(const dg::matrix<double>& x) {
    double found = 0;
    for (std::size_t r = 0; r < x.rows; ++r)
        for (std::size_t c = 0; c < x.cols; ++c) found = std::max(found, std::fabs(x(r, c)));
    return found;
}

void swiglu(dg::cuda& gpu, std::size_t rows, std::size_t width, std::size_t ffn, std::size_t extra) {
    dg::reference reference;
    const double scale = 1 / std::sqrt(static_cast<double>(width)), one = 2 * rounding<T>;
    const std::string size = std::to_string(rows) + " x " + std::to_string(width) + " x " + std::to_string(ffn);
    const auto rounded = [](operand<T>& x) { x.assign([&](std::size_t r, std::size_t c) { return x.want()(r, c); }); };
    operand<T> x(gpu, rows, width, 1, extra), in(gpu, 2 * ffn, width, 2, extra, scale),
        slopes(gpu, rows, 2 * ffn, 0, extra), out(gpu, rows, ffn, 0, extra);
    const bool taken = gpu.linear_swiglu<T>(x.got(), in.got(), slopes.got(), out.got());
    operand<T> gate_up(gpu, rows, 2 * ffn, 0), dout(gpu, rows, ffn, 0);
    reference.gemm<double>(dg::transpose::no, dg::transpose::yes, 1, x.want(), in.want(), 0, gate_up.want());
    rounded(gate_up);
    const double bound = one * (1 + 1.1 * largest(gate_up.want()));
    reference.gated_forward<double>(dg::activation::silu, gate_up.want(), out.want());
    results.row("linear_swiglu, its result", "bf16", size, taken ? out.error() : INFINITY, bound);
    dout.assign([](std::size_t, std::size_t) { return 1; });
    reference.gated_backward<double>(dg::activation::silu, gate_up.want(), dout.want(), slopes.want());
    results.row("linear_swiglu, the slopes", "bf16", size, slopes.error(), bound);

    operand<T> dy(gpu, rows, width, 3, extra), down(gpu, width, ffn, 4, extra, scale),
        given(gpu, rows, 2 * ffn, 5, extra), d(gpu, rows, 2 * ffn, 0, extra);
    gpu.linear_swiglu_backward<T>(dy.got(), down.got(), given.got(), d.got());
    reference.gemm<double>(dg::transpose::no, dg::transpose::no, 1, dy.want(), down.want(), 0, dout.want());
    rounded(dout);
    for (std::size_t r = 0; r < rows; ++r)
        for (std::size_t c = 0; c < 2 * ffn; ++c) d.want()(r, c) = given.want()(r, c) * dout.want()(r, c % ffn);
    results.row("linear_swiglu_backward", "bf16", size, d.error(), one * (1 + largest(given.want())));
}

/// Averages near the row's largest logit, far below it, and too far off or none at all, so that rows are made anew.
/// With memory for the sums of `part` rows alone, those are made at a time.
void softmax(dg::cuda& gpu, std::size_t rows, std::size_t width, std::size_t vocab, std::size_t extra,
             std::size_t part = 0) {
    dg::reference reference;
    operand<T> x(gpu, rows, width, 1, extra), w(gpu, vocab, width, 2, extra, 3 / std::sqrt(static_cast<double>(width))),
        e(gpu, rows, vocab, 0, extra);
    operand<float> averages(gpu, 1, rows, 0), shares(gpu, 1, rows, 0), log_sums(gpu, 1, rows, 0);
    reference.gemm<double>(dg::transpose::no, dg::transpose::yes, 1, x.want(), w.want(), 0, e.want());
    const auto top = [&](std::size_t r) { return *std::max_element(e.want().row(r), e.want().row(r) + vocab); };
    averages.assign([&](std::size_t, std::size_t r) {
        const double off = r % 64 == 5 ? -300 : r % 64 == 6 ? 300 : r % 64 == 7 ? NAN : r % 3 == 1 ? -100 : -3;
        return top(r) + off;
    });
    std::vector<double> rounded;  // how large a row's logits are, less what they are rounded without
    for (std::size_t r = 0; r < rows; ++r) {
        const double off = top(r) - averages.want()(0, r);
        rounded.push_back(1 + (std::fabs(off) < 200 ? off : top(r)));
    }
    dg::tensor<float, dg::cuda> scratch(gpu, {part * ((vocab + 255) / 256) + 1});
    const bool taken =
        part ? dg::kernels::linear_softmax({gpu.stream(), scratch.data(), scratch.size(), 64}, x.got(), w.got(),
                                           averages.got_flat(), e.got(), shares.got_flat(), log_sums.got_flat())
             : gpu.linear_softmax<T>(x.got(), w.got(), averages.got_flat(), e.got(), shares.got_flat(),
                                     log_sums.got_flat());
    dg::rows::softmax_inplace<double>(reference, e.want(), log_sums.want_flat());
    const auto e_got = e.download();
    const auto shares_got = shares.download(), sums_got = log_sums.download();
    double worst = taken ? 0 : INFINITY, worst_sum = worst;
    for (std::size_t r = 0; r < rows; ++r) {
        for (std::size_t c = 0; c < vocab + extra; ++c) {
            const double found = to_double(e_got[r * (vocab + extra) + c]);
            if (c >= vocab) worst = found == 192 ? worst : INFINITY;
            else worst = worse(worst, std::fabs(found * to_double(shares_got[r]) - e.want()(r, c)) / rounded[r]);
        }
        worst_sum = worse(worst_sum, std::fabs(to_double(sums_got[r]) - log_sums.want()(0, r)) / rounded[r]);
    }
    const auto size = std::to_string(rows) + " x " + std::to_string(width) + " x " + std::to_string(vocab) +
                      (part ? ", in parts" : "");
    results.row("linear_softmax", "bf16", size, worst, 2 * rounding<T>);
    results.row("linear_softmax, log sums", "bf16", size, worst_sum, rounding<T>);
}

void rope(dg::cuda& gpu, dg::attention_shape s, std::size_t width, std::size_t extra) {
    dg::reference reference;
    const double scale = 1 / std::sqrt(static_cast<double>(width)), one = 2 * rounding<T>;
    const std::size_t half = s.head_width / 2;
    operand<T> x(gpu, s.rows(), width, 1, extra), w(gpu, s.packed_width(), width, 2, extra, scale),
        qkv(gpu, s.rows(), s.packed_width(), 0, extra);
    operand<float> cosine(gpu, s.length, half, 3), sine(gpu, s.length, half, 4);
    const auto turn = [&](std::size_t t, std::size_t i) {
        return static_cast<double>(t) * std::pow(1e4, -static_cast<double>(i) / static_cast<double>(half));
    };
    cosine.assign([&](std::size_t t, std::size_t i) { return std::cos(turn(t, i)); });
    sine.assign([&](std::size_t t, std::size_t i) { return std::sin(turn(t, i)); });
    const bool taken =
        gpu.linear_rope<T>(x.got(), w.got(), qkv.got(), s.length, s.heads + s.kv_heads, cosine.got(), sine.got());
    operand<T> plain(gpu, s.rows(), s.packed_width(), 0, extra);
    reference.gemm<double>(dg::transpose::no, dg::transpose::yes, 1, x.want(), w.want(), 0, plain.want());
    plain.assign([&](std::size_t r, std::size_t c) { return plain.want()(r, c); });
    for (std::size_t r = 0; r < s.rows(); ++r)
        for (std::size_t c = 0; c < s.packed_width(); ++c) qkv.want()(r, c) = plain.want()(r, c);
    reference.rope_inplace<double>(qkv.want(), s.length, s.heads + s.kv_heads, s.head_width, cosine.want(), sine.want(),
                                   1);
    results.row("linear_rope", "bf16",
                std::to_string(s.rows()) + " x " + std::to_string(width) + ", heads of " + std::to_string(s.head_width),
                taken ? qkv.error() : INFINITY, 3 * one);
}

/// Three steps of a model large enough for the fused kernels, with and without them.
void training() {
    dg::decoder_config model = dg::mini().with_depth(3);
    const std::size_t sequences = 32, length = 512;
    std::vector<dg::token> ids(sequences * length), targets(ids.size());
    dg::rng random(5);
    for (auto& id : ids) id = static_cast<dg::token>(random.below(model.vocab));
    for (std::size_t i = 0; i < ids.size(); ++i) targets[i] = ids[(i + 1) % ids.size()];
    const std::vector<float> weights(ids.size(), 1.0f);
    const auto losses = [&](bool fuse, bool recompute = false) {
        dg::cuda gpu({.deterministic = true, .fuse = fuse});
        dg::trainer<T, dg::cuda> trainer(gpu, model, 1, model.layers);
        trainer.recompute(recompute);
        std::vector<double> out;
        for (int i = 0; i < 3; ++i) {
            const auto done = trainer.step({ids, targets, weights, sequences}, sequences, 1e-3);
            out.push_back(done.loss), out.push_back(done.gradient_norm);
        }
        return out;
    };
    const auto fused = losses(true), separate = losses(false), again = losses(true), recomputed = losses(true, true);
    double difference = 0, repeated = 0, recomputing = 0;
    for (std::size_t i = 0; i < fused.size(); ++i) {
        difference = worse(difference, std::fabs(fused[i] - separate[i]) / (1 + separate[i]));
        repeated = worse(repeated, std::fabs(fused[i] - again[i]));
        recomputing = worse(recomputing, std::fabs(fused[i] - recomputed[i]));
    }
    results.row("training, fused against separate", "bf16", "3 layers, 3 steps", difference, 2 * rounding<T>);
    results.row("training, fused, twice", "bf16", "3 layers, 3 steps", repeated, 0);
    results.row("training, fused, recomputing", "bf16", "3 layers, 3 steps", recomputing, 0);
}

/// Three steps of a lens with logits enough for the fused kernel, with and without it.
void lens() {
    const dg::decoder_config config = dg::mini().with_depth(3);
    const std::size_t sequences = 4, length = 256;
    std::vector<dg::token> ids(sequences * length);
    dg::rng random(5);
    for (auto& id : ids) id = static_cast<dg::token>(random.below(config.vocab));
    std::vector<double> losses[2], translators[2];
    for (const bool fuse : {false, true}) {
        dg::cuda gpu({.deterministic = true, .fuse = fuse});
        const dg::decoder<T, dg::cuda> model(gpu, config, 1);
        dg::lens_fit_options options;
        options.logit_rows = ids.size();
        dg::lens_fitter<T, dg::cuda> fitter(model, options);
        for (int step = 0; step < 3; ++step)
            for (const double loss : fitter.step(ids, sequences)) losses[fuse].push_back(loss);
        for (const auto& map : fitter.wide_lens().translators)
            for (const auto* values : {&map.A, &map.b})
                for (const double value : values->to_host()) translators[fuse].push_back(value);
    }
    double apart = 0;
    for (std::size_t i = 0; i < losses[0].size(); ++i)
        apart = worse(apart, std::fabs(losses[1][i] - losses[0][i]) / (1 + losses[0][i]));
    results.row("lens: KL, fused against separate", "bf16", "3 layers, 3 steps", apart, 2 * rounding<T>);
    results.row("lens: translators, likewise", "bf16", "3 layers, 3 steps",
                fixture::distance(translators[1], translators[0]), 8 * rounding<T>);
}

}  // namespace

void check_fused_maps(dg::cuda& gpu, bool small) {
    swiglu(gpu, 4200, 72, 1032, 0);  // no extent is a whole tile
    if (!small) swiglu(gpu, 8198, 128, 640, 8);
    softmax(gpu, 4200, 72, 1032, 0);
    softmax(gpu, 4200, 72, 1032, 8, 1100);
    if (!small) softmax(gpu, 300, 136, 30000, 8);
    rope(gpu, {8, 1030, 16, 4, 64}, 136, 0);
    rope(gpu, {20, 411, 30, 20, 16}, 64, 8);
    if (!small)
        for (const std::size_t width : {32u, 128u, 256u})
            rope(gpu, {8, 1030, 1024 / width, 256 / width, width}, 136, 0);
    if (!small) training(), lens();
}

}  // namespace gpu_test
