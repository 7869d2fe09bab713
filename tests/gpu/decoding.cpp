// What a decoding step runs against `reference` in double: products of a few rows, attention of one position each of
// many sequences, the likeliest token; and many sequences token by token against each alone.
// Bounds: as in operations.cpp; fused maps round in between as they do there.
#include <memory>

#include "depthgrow/analysis/cached_decoder.hpp"
#include "support/fixture.hpp"
#include "table.hpp"

namespace gpu_test {

namespace {

template <class T> double bound(std::size_t terms) {
    return 2 * rounding<T> + 16 * rounding<float> * std::sqrt(static_cast<double>(terms));
}
template <class T> std::string product_size(std::size_t rows, std::size_t out, std::size_t in) {
    return std::to_string(rows) + " x " + std::to_string(out) + " x " + std::to_string(in);
}

/// One to four rows, one more than the kernel takes, and operands that it does not take.
template <class T> void products(dg::cuda& gpu, std::size_t rows, std::size_t out, std::size_t in, std::size_t extra) {
    dg::reference reference;
    const auto no = dg::transpose::no, yes = dg::transpose::yes;
    const double scale = 1 / std::sqrt(static_cast<double>(in));
    operand<T> x(gpu, rows, in, 1, extra, scale), w(gpu, out, in, 2, extra), h(gpu, rows, out, 3, extra),
        bias(gpu, 1, out, 4), y(gpu, rows, out, 0, extra);
    operand<float> wide(gpu, rows, out, 0, extra);
    gpu.gemm<T>(no, yes, 1, x.got(), w.got(), 0, y.got());
    gpu.gemm<T>(no, yes, 1, x.got(), w.got(), 0, wide.got());
    reference.gemm<double>(no, yes, 1, x.want(), w.want(), 0, y.want());
    reference.gemm<double>(no, yes, 1, x.want(), w.want(), 0, wide.want());
    const std::string size = product_size<T>(rows, out, in);
    results.row("few rows, T out", name_of_type<T>, size, y.error(), bound<T>(in));
    results.row("few rows, float out", name_of_type<T>, size, wide.error(), bound<float>(in));
    gpu.linear_add<T>(x.got(), w.got(), h.got(), y.got(), bias.got_flat());
    for (std::size_t r = 0; r < rows; ++r)
        for (std::size_t c = 0; c < out; ++c) y.want()(r, c) = h.want()(r, c) + bias.want()(0, c);
    reference.gemm<double>(no, yes, 1, x.want(), w.want(), 1, y.want());
    results.row("few rows, added to a residual", name_of_type<T>, size, y.error(), bound<T>(in));
}

template <class T> void rounded(operand<T>& x) {
    x.assign([&](std::size_t r, std::size_t c) { return x.want()(r, c); });
}

template <class T> void swiglu(dg::cuda& gpu, std::size_t rows, std::size_t width, std::size_t ffn) {
    dg::reference reference;
    operand<T> x(gpu, rows, width, 1), w(gpu, 2 * ffn, width, 2, 0, 1 / std::sqrt(static_cast<double>(width))),
        gate_up(gpu, rows, 2 * ffn, 0), out(gpu, rows, ffn, 0);
    const bool taken = gpu.few_rows_swiglu<T>(x.got(), w.got(), out.got());
    reference.gemm<double>(dg::transpose::no, dg::transpose::yes, 1, x.want(), w.want(), 0, gate_up.want());
    rounded(gate_up);
    double largest = 0;
    for (const double value : gate_up.want_flat()) largest = std::max(largest, std::fabs(value));
    reference.gated_forward<double>(dg::activation::silu, gate_up.want(), out.want());
    results.row("few_rows_swiglu", name_of_type<T>, product_size<T>(rows, 2 * ffn, width),
                taken ? out.error() : INFINITY, bound<T>(width) * (1 + 1.1 * largest));
}

/// Row r at a position of its own, as a decoding step has them.
template <class T> void rope(dg::cuda& gpu, std::size_t rows, dg::attention_shape s, std::size_t width) {
    dg::reference reference;
    const std::size_t half = s.head_width / 2;
    operand<T> x(gpu, rows, width, 1), w(gpu, s.packed_width(), width, 2, 0, 1 / std::sqrt(static_cast<double>(width))),
        qkv(gpu, rows, s.packed_width(), 0);
    operand<float> cosine(gpu, rows, half, 0), sine(gpu, rows, half, 0);
    cosine.assign([](std::size_t t, std::size_t i) { return std::cos(static_cast<double>(5 * t + i)); });
    sine.assign([](std::size_t t, std::size_t i) { return std::sin(static_cast<double>(5 * t + i)); });
    const bool taken =
        gpu.linear_rope<T>(x.got(), w.got(), qkv.got(), rows, s.heads + s.kv_heads, cosine.got(), sine.got());
    reference.gemm<double>(dg::transpose::no, dg::transpose::yes, 1, x.want(), w.want(), 0, qkv.want());
    operand<T> plain(gpu, rows, s.packed_width(), 0);
    plain.assign([&](std::size_t r, std::size_t c) { return qkv.want()(r, c); });
    for (std::size_t r = 0; r < rows; ++r)
        for (std::size_t c = 0; c < s.packed_width(); ++c) qkv.want()(r, c) = plain.want()(r, c);
    reference.rope_inplace<double>(qkv.want(), rows, s.heads + s.kv_heads, s.head_width, cosine.want(), sine.want(), 1);
    results.row("few rows, heads rotated", name_of_type<T>, product_size<T>(rows, s.packed_width(), width),
                taken ? qkv.error() : INFINITY, 3 * bound<T>(width));
}

/// Sequences of several lengths and capacities, each against cached_attention of the one row.
template <class T> void step_attention(dg::cuda& gpu, dg::attention_shape s, const std::vector<std::size_t>& lengths) {
    dg::reference reference;
    const std::size_t rows = lengths.size();
    s.batch = 1, s.length = rows;
    operand<T> qkv(gpu, rows, s.packed_width(), 1), out(gpu, rows, s.width(), 0, 5);
    std::vector<std::unique_ptr<operand<T>>> keys, values;
    std::vector<dg::cached_row<T>> places;
    std::vector<dg::token> positions;
    for (std::size_t r = 0; r < rows; ++r) {
        const std::size_t capacity = lengths[r] + 1 + r;
        for (auto* part : {&keys, &values}) {
            part->push_back(std::make_unique<operand<T>>(gpu, s.kv_heads * capacity, s.head_width, 2 + r));
            auto& own = *part->back();
            own.assign(
                [&](std::size_t k, std::size_t c) { return k % capacity < lengths[r] ? own.want()(k, c) : 1e4; });
        }
        places.push_back({keys.back()->got_flat().data(), values.back()->got_flat().data(), capacity});
        positions.push_back(static_cast<dg::token>(lengths[r]));
    }
    const auto caches = on_device(gpu, places);
    const auto at = on_device(gpu, positions);
    gpu.step_attention<T>(qkv.got(), s, caches.flat(), at.flat(), out.got());
    auto one = s;
    one.length = 1;
    bool exact = true;
    std::size_t longest = 0;
    for (std::size_t r = 0; r < rows; ++r) {
        reference.cached_attention<double>(
            qkv.want().row_range(r, 1), one,
            {keys[r]->want_flat(), values[r]->want_flat(), places[r].capacity, lengths[r]}, out.want().row_range(r, 1));
        exact = exact && keys[r]->error() == 0 && values[r]->error() == 0;
        longest = std::max(longest, lengths[r]);
    }
    results.row("step_attention", name_of_type<T>,
                std::to_string(rows) + " rows, up to " + std::to_string(longest) + ", heads " +
                    product_size<T>(s.heads, s.kv_heads, s.head_width) +
                    (s.window ? ", window " + std::to_string(s.window) : ""),
                exact ? out.error() : INFINITY, (low_precision<T> ? 4 : 16) * bound<T>(longest + 1));
}

/// The likeliest tokens, the first of equal ones, and their log-likelihoods; rows with what is not finite are told.
void likeliest(dg::cuda& gpu, std::size_t rows, std::size_t vocab) {
    operand<float> z(gpu, rows, vocab, 1, 4), table(gpu, 9, 7, 2), gathered(gpu, 3, 7, 0, 2);
    z.assign([&](std::size_t r, std::size_t c) {
        return r == 1 && (c == 3 || c == vocab - 1) ? 50.0
               : r + 1 == rows && c == vocab / 2    ? -INFINITY
                                                    : z.want()(r, c);
    });
    dg::tensor<dg::row_choice, dg::cuda> best(gpu, {rows});
    gpu.row_best(z.got(), best.flat());
    const auto got = best.to_host();
    double worst = 0;
    for (std::size_t r = 0; r + 1 < rows; ++r) {
        std::size_t want = 0;
        double sum = 0;
        for (std::size_t c = 0; c < vocab; ++c)
            if (z.want()(r, c) > z.want()(r, want)) want = c;
        for (std::size_t c = 0; c < vocab; ++c) sum += std::exp(z.want()(r, c) - z.want()(r, want));
        if (static_cast<std::size_t>(got[r].best) != want) worst = INFINITY;
        worst =
            worse(worst, std::fabs(static_cast<double>(got[r].log_likelihood) + std::log(sum)) / (1 + std::log(sum)));
    }
    if (std::isfinite(got.back().log_likelihood)) worst = INFINITY;
    results.row("row_best", "float", std::to_string(rows) + " x " + std::to_string(vocab), worst, bound<float>(vocab));
    const std::vector<dg::token> which = {8, 0, 3};
    const auto named = on_device(gpu, which);
    gpu.gather_rows(named.flat(), table.got(), gathered.got());
    for (std::size_t r = 0; r < which.size(); ++r)
        for (std::size_t c = 0; c < 7; ++c) gathered.want()(r, c) = table.want()(static_cast<std::size_t>(which[r]), c);
    results.row("gather_rows", "float", "3 of 9", gathered.error(), 0);
}

/// Many sequences that come and go, token by token: the logits of each alone on the host, whose weights are rounded
/// alike, so that only roundings of activations are seen: 8 a layer, in no order, over all of them together.
template <class T> void sequences(dg::cuda& gpu, const char* what, const dg::decoder_config& config) {
    dg::reference host;
    dg::decoder<float, dg::reference> exact(host, config, 5);
    exact.weights.each([](auto& block) {
        for (float& x : block.flat()) x = static_cast<float>(to_double(from_double<T>(static_cast<double>(x))));
    });
    const dg::decoder<T, dg::cuda> model(gpu, config, 5);
    dg::batched_decoder<T, dg::cuda> together(model);
    struct text {
        std::size_t number;
        std::vector<dg::token> ids;
        dg::cached_decoder<float, dg::reference> alone;
    };
    std::vector<std::unique_ptr<text>> open;
    dg::rng random(3);
    const auto next = [&] { return static_cast<dg::token>(random.below(config.vocab)); };
    std::vector<double> all, all_wanted;
    double wrong = 0;
    for (int step = 0; step < 40; ++step) {
        if (step % 6 == 0) {  // one comes, and its prompt is read beside the others' tokens
            open.emplace_back(new text{together.open(60), {}, dg::cached_decoder<float, dg::reference>(exact)});
            for (int t = 0; t < 3 + step; ++t) open.back()->ids.push_back(next());
        }
        if (step % 14 == 13) together.close(open.front()->number), open.erase(open.begin());
        std::vector<dg::token_piece> pieces;
        for (auto& one : open) {
            if (together.size(one->number) > 0) one->ids.push_back(next());
            const dg::span<const dg::token> ids(one->ids);
            pieces.push_back({one->number,
                              ids.subspan(together.size(one->number), ids.size() - together.size(one->number)),
                              {},
                              true,
                              true});
        }
        const auto got = together.append(pieces);
        for (std::size_t i = 0; i < open.size(); ++i) {
            const auto want = open[i]->alone.append(pieces[i].ids);
            all.insert(all.end(), got[i].logits.begin(), got[i].logits.end());
            all_wanted.insert(all_wanted.end(), want.begin(), want.end());
            const auto best = std::max_element(got[i].logits.begin(), got[i].logits.end()) - got[i].logits.begin();
            wrong += best != got[i].best || !got[i].finite;
        }
    }
    results.row(
        "sequences that come and go", name_of_type<T>, what, fixture::distance(all, all_wanted),
        low_precision<T> ? rounding<T> * std::sqrt(8.0 * static_cast<double>(config.layers)) : 4 * bound<float>(1));
    results.row("and their likeliest tokens", name_of_type<T>, what, wrong, 0);
}

}  // namespace

template <class T> void check_decoding(dg::cuda& gpu) {
    gpu.overlap(true);  // as in a step; what these kernels take for constant is
    for (const std::size_t rows : {1u, 2u, 3u, 4u, 5u})
        products<T>(gpu, rows, 48, 64, 0), products<T>(gpu, rows, 33, 100, 1);
    for (const std::size_t rows : {1u, 3u, 4u}) {
        products<T>(gpu, rows, 200, 968, 8);
        swiglu<T>(gpu, rows, 64, 24), swiglu<T>(gpu, rows, 960, 256);
        rope<T>(gpu, rows, {1, rows, 3, 1, 64}, 192), rope<T>(gpu, rows, {1, rows, 4, 2, 10}, 40);
    }
    for (const std::size_t width : {8u, 32u, 33u, 64u, 80u, 96u, 128u, 250u, 256u})
        step_attention<T>(gpu, {1, 1, 4, 2, width}, {0, 1, 7, 33, 130, 300});
    step_attention<T>(gpu, {1, 1, 15, 5, 64}, {700, 0, 31, 32});
    step_attention<T>(gpu, {1, 1, 15, 5, 64, 20}, {300, 0, 19, 20, 21});
    step_attention<T>(gpu, {1, 1, 3, 1, 33, 7}, {40, 3});
    std::vector<std::size_t> many;  // heads of many sequences: more blocks than fit, and smaller ones
    for (std::size_t r = 0; r < 24; ++r) many.push_back(r * 29 % 300);
    step_attention<T>(gpu, {1, 1, 15, 5, 64}, many);
    step_attention<T>(gpu, {1, 1, 16, 16, 40, 50}, many);
    if constexpr (!low_precision<T>) likeliest(gpu, 3, 1000), likeliest(gpu, 5, 49152), likeliest(gpu, 2, 37);
    gpu.overlap(false);
    sequences<T>(gpu, "small", dg::small());
}
template void check_decoding<float>(dg::cuda&);
template void check_decoding<dg::bfloat16>(dg::cuda&);

}  // namespace gpu_test
