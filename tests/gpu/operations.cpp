// Operations of the CUDA backend against `reference` in double: odd sizes, one row, groups, leading dimensions.
// Bounds: one rounding of the result, plus float sums of `terms` numbers; attention rounds its weights as well.
#include "depthgrow/analysis/row_operations.hpp"
#include "depthgrow/tensor/tensor.hpp"
#include "table.hpp"

namespace gpu_test {

namespace {

template <class... Parts> std::string by(const Parts&... parts) {
    std::string out;
    ((out += (out.empty() ? "" : " x ") + std::to_string(parts)), ...);
    return out;
}
/// Rounding of a result, and of a float sum of `terms` numbers of size one.
template <class T> double bound(std::size_t terms) {
    return 2 * rounding<T> + 16 * rounding<float> * std::sqrt(static_cast<double>(terms));
}

template <class T> void products(dg::cuda& gpu, std::size_t m, std::size_t n, std::size_t k, std::size_t extra) {
    dg::reference reference;
    double worst = 0;
    for (const auto ta : {dg::transpose::no, dg::transpose::yes})
        for (const auto tb : {dg::transpose::no, dg::transpose::yes})
            for (const float beta : {0.0f, 1.0f}) {
                const bool a_turned = ta == dg::transpose::yes, b_turned = tb == dg::transpose::yes;
                operand<T> a(gpu, a_turned ? k : m, a_turned ? m : k, 1, extra, 1 / std::sqrt(static_cast<double>(k))),
                    b(gpu, b_turned ? n : k, b_turned ? k : n, 2, extra);
                operand<T> c(gpu, m, n, beta != 0 ? 3 : 0, extra);
                operand<float> wide(gpu, m, n, beta != 0 ? 3 : 0, extra);
                gpu.gemm<T>(ta, tb, 0.5f, a.got(), b.got(), beta, c.got());
                gpu.gemm<T>(ta, tb, 0.5f, a.got(), b.got(), beta, wide.got());
                reference.gemm<double>(ta, tb, 0.5, a.want(), b.want(), beta, c.want());
                reference.gemm<double>(ta, tb, 0.5, a.want(), b.want(), beta, wide.want());
                worst = std::max({worst, c.error() / bound<T>(k), wide.error() / bound<float>(k)});
            }
    results.row("gemm, all transposes, T and float out", name_of_type<T>, by(m, n, k), worst, 1);
}

/// addend + x wᵀ + bias in one pass.
template <class T> void added_maps(dg::cuda& gpu, std::size_t m, std::size_t n, std::size_t k) {
    dg::reference reference;
    operand<T> x(gpu, m, k, 1, 0, 1 / std::sqrt(static_cast<double>(k))), w(gpu, n, k, 2), h(gpu, m, n, 3),
        bias(gpu, 1, n, 4), y(gpu, m, n, 0);
    for (const bool biased : {false, true}) {
        gpu.linear_add<T>(x.got(), w.got(), h.got(), y.got(), biased ? bias.got_flat() : dg::span<T>());
        for (std::size_t r = 0; r < m; ++r)
            for (std::size_t c = 0; c < n; ++c) y.want()(r, c) = h.want()(r, c) + (biased ? bias.want()(0, c) : 0);
        reference.gemm<double>(dg::transpose::no, dg::transpose::yes, 1, x.want(), w.want(), 1, y.want());
        results.row(biased ? "linear_add with a bias" : "linear_add", name_of_type<T>, by(m, n, k), y.error(),
                    bound<T>(k));
    }
}

/// Linear maps in eight bits: exact where every number fits e4m3 under a power of two, else within e4m3's rounding.
void fp8_maps(dg::cuda& gpu, std::size_t m, std::size_t n, std::size_t k) {
    using T = dg::bfloat16;
    dg::reference reference;
    const auto compare = [&](const char* what, operand<T>& x, operand<T>& w, operand<T>& dy, double limit) {
        operand<T> h(gpu, m, n, 3), y(gpu, m, n, 0), dx(gpu, m, k, 5);
        for (int use = 0; use < 3; ++use)
            gpu.linear_fp8(x.got(), w.got(), {}, y.got());  // the scale is the first use's, then follows
        reference.gemm<double>(dg::transpose::no, dg::transpose::yes, 1, x.want(), w.want(), 0, y.want());
        double worst = y.error();
        gpu.linear_fp8(x.got(), w.got(), h.got(), y.got());
        for (std::size_t r = 0; r < m; ++r)
            for (std::size_t c = 0; c < n; ++c) y.want()(r, c) += h.want()(r, c);
        worst = std::max(worst, y.error());
        for (const float beta : {1.0f, 0.0f}) {
            gpu.linear_fp8_backward(dy.got(), w.got(), beta, dx.got());
            reference.gemm<double>(dg::transpose::no, dg::transpose::no, 1, dy.want(), w.want(), beta, dx.want());
            worst = std::max(worst, dx.error());
        }
        results.row(what, "bf16", by(m, n, k), worst, limit);
    };
    operand<T> x(gpu, m, k, 1), w(gpu, n, k, 2), dy(gpu, m, n, 4);
    const auto few = [](std::size_t r, std::size_t c) {
        return static_cast<double>((r * 7 + c * 5) % 15) - 7;
    };  // 3 bits and a sign
    for (auto* each : {&x, &w, &dy}) each->assign([&](std::size_t r, std::size_t c) { return few(r, c) / 64; });
    if (std::max(n, k) < 512)
        compare("fp8 maps of small whole numbers", x, w, dy,
                bound<T>(std::max(n, k)));  // longer sums of e4m3 are not exact: they keep about 14 bits
    operand<T> x2(gpu, m, k, 1, 0, 1 / std::sqrt(static_cast<double>(k))), w2(gpu, n, k, 2),
        dy2(gpu, m, n, 4, 0, 1 / std::sqrt(static_cast<double>(n)));
    const double e4m3 =
        0.0625;  // half the distance between neighbours, relative; both operands, and 5 deviations of a sum
    compare("fp8 maps", x2, w2, dy2, 5 * e4m3 * std::sqrt(2.0 / 3));
}

/// A product must be the same bits whether its operand was quantised by the kernel that wrote it or by itself.
void fp8_copies(dg::cuda& gpu, std::size_t rows, std::size_t width) {
    using T = dg::bfloat16;
    operand<T> h(gpu, rows, width, 1), a(gpu, rows, width, 2), gain(gpu, 1, width, 3), sum(gpu, rows, width, 0),
        x(gpu, rows, width, 0), again(gpu, rows, width, 0), w(gpu, 2 * width, width, 4), w2(gpu, 2 * width, width, 6),
        w3(gpu, 2 * width, width, 7);
    operand<T> gate_up(gpu, rows, 2 * width, 0), other(gpu, rows, 2 * width, 0), dx(gpu, rows, width, 0);
    operand<float> rstd(gpu, 1, rows, 0), dgain(gpu, 1, width, 5);
    double differences = 0;
    const auto same = [&](operand<T>& left, operand<T>& right) {
        const auto one = left.download(), two = right.download();
        for (std::size_t i = 0; i < one.size(); ++i) differences += one[i].bits != two[i].bits;
    };
    for (int step = 0; step < 4; ++step) {  // the first use only looks; the second leaves copies
        gpu.residual_rms_norm_forward<T>(h.got(), a.got(), gain.got_flat(), 1e-5f, 1, sum.got(), x.got(),
                                         rstd.got_flat());
        gpu.linear_fp8(x.got(), w.got(), {}, gate_up.got());
        gpu.copy<T>(x.got().data, again.got().data, rows * width);
        gpu.linear_fp8(again.got(), w.got(), {}, other.got());
        same(gate_up, other);
        operand<T> d(gpu, rows, 2 * width, 0), d_again(gpu, rows, 2 * width, 0), up(gpu, rows, width, 0);
        gpu.gated_forward<T>(dg::activation::silu, gate_up.got(), up.got());
        gpu.gated_backward<T>(dg::activation::silu, gate_up.got(), up.got(), d.got());
        gpu.linear_fp8_backward(d.got(), w.got(), 0, dx.got());
        gpu.copy<T>(d.got().data, d_again.got().data, 2 * rows * width);
        gpu.linear_fp8_backward(d_again.got(), w.got(), 0, again.got());
        same(dx, again);
        gpu.rms_norm_backward<T>(sum.got(), gain.got_flat(), rstd.got_flat(), 1, dx.got(), {}, x.got(),
                                 dgain.got_flat());
        gpu.linear_fp8(x.got(), w2.got(), {}, gate_up.got());
        gpu.copy<T>(x.got().data, again.got().data, rows * width);
        gpu.linear_fp8(again.got(), w2.got(), {}, other.got());
        same(gate_up, other);
        gpu.gated_forward<T>(dg::activation::silu, gate_up.got(), x.got());
        gpu.linear_fp8(x.got(), w3.got(), {}, gate_up.got());
        gpu.copy<T>(x.got().data, again.got().data, rows * width);
        gpu.linear_fp8(again.got(), w3.got(), {}, other.got());
        same(gate_up, other);
    }
    results.row("fp8 maps of copies left by kernels", "bf16", by(rows, width), differences, 0);
}

template <class T> void row_wise(dg::cuda& gpu, std::size_t rows, std::size_t cols, std::size_t extra) {
    dg::reference reference;
    const auto size = by(rows, cols) + (extra ? " in wider rows" : "");
    {
        operand<T> x(gpu, rows, cols, 1, extra), a(gpu, rows, cols, 2, extra), gain(gpu, 1, cols, 3),
            y(gpu, rows, cols, 0, extra), sum(gpu, rows, cols, 0, extra);
        operand<float> rstd(gpu, 1, rows, 0);
        gpu.rms_norm_forward<T>(x.got(), gain.got_flat(), 1e-5f, 0.5f, y.got(), rstd.got_flat());
        reference.rms_norm_forward<double>(x.want(), gain.want_flat(), 1e-5, 0.5, y.want(), rstd.want_flat());
        results.row("rms_norm_forward", name_of_type<T>, size,
                    std::max(y.error() / bound<T>(cols), rstd.error() / bound<float>(cols)), 1);
        gpu.residual_rms_norm_forward<T>(x.got(), a.got(), gain.got_flat(), 1e-5f, 0.5f, sum.got(), y.got(),
                                         rstd.got_flat());
        reference.residual_rms_norm_forward<double>(x.want(), a.want(), gain.want_flat(), 1e-5, 0.5, sum.want(),
                                                    y.want(), rstd.want_flat());
        results.row("residual_rms_norm_forward", name_of_type<T>, size, std::max({sum.error(), y.error() / 2}),
                    bound<T>(cols));
        for (bool past : {false, true}) {
            operand<T> dy(gpu, rows, cols, 4, extra), skip(gpu, rows, cols, 5, extra), dx(gpu, rows, cols, 0, extra);
            operand<float> dgain(gpu, 1, cols, 6), exact_rstd(gpu, 1, rows, 0);
            reference.rms_norm_forward<double>(x.want(), gain.want_flat(), 1e-5, 0.5, y.want(), exact_rstd.want_flat());
            exact_rstd.assign([&](std::size_t, std::size_t c) { return exact_rstd.want_flat()[c]; });
            gpu.rms_norm_backward<T>(x.got(), gain.got_flat(), exact_rstd.got_flat(), 0.5f, dy.got(),
                                     past ? dg::matrix<const T>(skip.got()) : dg::matrix<const T>(), dx.got(),
                                     dgain.got_flat());
            reference.rms_norm_backward<double>(
                x.want(), gain.want_flat(), exact_rstd.want_flat(), 0.5, dy.want(),
                past ? dg::matrix<const double>(skip.want()) : dg::matrix<const double>(), dx.want(),
                dgain.want_flat());
            results.row(past ? "rms_norm_backward, past the norm" : "rms_norm_backward", name_of_type<T>, size,
                        std::max(dx.error() / bound<T>(cols), dgain.error() / bound<float>(rows)), 1);
        }
    }
    {
        operand<T> gate_up(gpu, rows, 2 * cols, 1, 2 * extra), out(gpu, rows, cols, 0, extra),
            dout(gpu, rows, cols, 2, extra), d(gpu, rows, 2 * cols, 0, 2 * extra);
        gpu.gated_forward<T>(dg::activation::silu, gate_up.got(), out.got());
        reference.gated_forward<double>(dg::activation::silu, gate_up.want(), out.want());
        gpu.gated_backward<T>(dg::activation::silu, gate_up.got(), dout.got(), d.got());
        reference.gated_backward<double>(dg::activation::silu, gate_up.want(), dout.want(), d.want());
        results.row("swiglu, forward and backward", name_of_type<T>, size, std::max(out.error(), d.error()),
                    bound<T>(4));
        for (const auto kind : {dg::activation::silu, dg::activation::gelu, dg::activation::gelu_tanh}) {
            const std::string name = kind == dg::activation::silu   ? "silu"
                                     : kind == dg::activation::gelu ? "gelu"
                                                                    : "gelu_tanh";
            operand<T> x(gpu, rows, cols, 5, extra), dx(gpu, rows, cols, 0, extra);
            gpu.gated_forward<T>(kind, gate_up.got(), out.got());
            reference.gated_forward<double>(kind, gate_up.want(), out.want());
            gpu.gated_backward<T>(kind, gate_up.got(), dout.got(), d.got());
            reference.gated_backward<double>(kind, gate_up.want(), dout.want(), d.want());
            results.row("gated " + name + ", both ways", name_of_type<T>, size, std::max(out.error(), d.error()),
                        bound<T>(4));
            gpu.activation_forward<T>(kind, x.got(), out.got());
            reference.activation_forward<double>(kind, x.want(), out.want());
            gpu.activation_backward<T>(kind, x.got(), dout.got(), dx.got());
            reference.activation_backward<double>(kind, x.want(), dout.want(), dx.want());
            results.row("plain " + name + ", both ways", name_of_type<T>, size, std::max(out.error(), dx.error()),
                        bound<T>(4));
        }
    }
    {
        operand<T> x(gpu, rows, cols, 1, extra), gain(gpu, 1, cols, 3), bias(gpu, 1, cols, 9),
            y(gpu, rows, cols, 0, extra), dy(gpu, rows, cols, 4, extra), skip(gpu, rows, cols, 5, extra),
            dx(gpu, rows, cols, 0, extra);
        operand<float> mean(gpu, 1, rows, 0), rstd(gpu, 1, rows, 0), dgain(gpu, 1, cols, 6), dbias(gpu, 1, cols, 7);
        gpu.layer_norm_forward<T>(x.got(), gain.got_flat(), bias.got_flat(), 1e-5f, 0.5f, y.got(), mean.got_flat(),
                                  rstd.got_flat());
        reference.layer_norm_forward<double>(x.want(), gain.want_flat(), bias.want_flat(), 1e-5, 0.5, y.want(),
                                             mean.want_flat(), rstd.want_flat());
        // the deviation of few numbers feels their rounded mean
        results.row("layer_norm_forward", name_of_type<T>, size,
                    std::max({y.error() / bound<T>(cols), mean.error() / bound<float>(cols),
                              rstd.error() / bound<float>(cols)}),
                    4);
        mean.assign([&](std::size_t, std::size_t c) { return mean.want_flat()[c]; });
        rstd.assign([&](std::size_t, std::size_t c) { return rstd.want_flat()[c]; });
        gpu.layer_norm_backward<T>(x.got(), gain.got_flat(), mean.got_flat(), rstd.got_flat(), 0.5f, dy.got(),
                                   skip.got(), dx.got(), dgain.got_flat(), dbias.got_flat());
        reference.layer_norm_backward<double>(x.want(), gain.want_flat(), mean.want_flat(), rstd.want_flat(), 0.5,
                                              dy.want(), skip.want(), dx.want(), dgain.want_flat(), dbias.want_flat());
        results.row("layer_norm_backward", name_of_type<T>, size,
                    std::max({dx.error() / bound<T>(cols), dgain.error() / bound<float>(rows),
                              dbias.error() / bound<float>(rows)}),
                    2);
        gpu.add_bias_inplace<T>(bias.got_flat(), dx.got());
        reference.add_bias_inplace<double>(bias.want_flat(), dx.want());
        gpu.bias_backward<T>(dy.got(), dbias.got_flat());
        reference.bias_backward<double>(dy.want(), dbias.want_flat());
        results.row("biases, both ways", name_of_type<T>, size,
                    std::max(dx.error() / bound<T>(cols), dbias.error() / bound<float>(rows)), 2);
    }
    {
        operand<T> a(gpu, rows, cols, 1, extra), b(gpu, rows, cols, 2, extra), out(gpu, rows, cols, 0, extra);
        gpu.add<T>(a.got(), -0.5f, b.got(), out.got());
        reference.add<double>(a.want(), -0.5, b.want(), out.want());
        gpu.add_inplace<T>(1, a.got(), out.got());
        reference.add_inplace<double>(1, a.want(), out.want());
        results.row("add, add_inplace", name_of_type<T>, size, out.error(), bound<T>(2));
    }
    {
        std::vector<dg::token> ids(rows);
        for (std::size_t r = 0; r < rows; ++r) ids[r] = static_cast<dg::token>(r * 7 % 13);
        const auto device_ids = on_device(gpu, ids);
        operand<T> table(gpu, 13, cols, 1, extra), out(gpu, rows, cols, 0, extra), dout(gpu, rows, cols, 2, extra);
        operand<float> dtable(gpu, 13, cols, 3, extra);
        gpu.embedding_forward<T>(device_ids.flat(), table.got(), out.got());
        reference.embedding_forward<double>(ids, table.want(), out.want());
        gpu.embedding_backward<T>(device_ids.flat(), dout.got(), dtable.got());
        reference.embedding_backward<double>(ids, dout.want(), dtable.want());
        results.row("embedding, forward and backward", name_of_type<T>, size,
                    std::max(out.error(), dtable.error() / bound<float>(rows)), 1);
    }
    {
        std::vector<dg::token> targets(rows), best(rows), want_best(rows);
        operand<float> weights(gpu, 1, rows, 8);
        for (std::size_t r = 0; r < rows; ++r) targets[r] = r % 5 == 3 ? -1 : static_cast<dg::token>(r % cols);
        const auto device_targets = on_device(gpu, targets);
        auto device_best = on_device(gpu, best);
        for (bool gradient : {false, true}) {
            operand<T> logits(gpu, rows, cols, 7, extra, 3);
            operand<float> loss(gpu, 1, rows, 0);
            gpu.row_argmax<T>(logits.got(), device_best.flat());
            reference.row_argmax<double>(logits.want(), want_best);
            best = device_best.to_host();
            gpu.cross_entropy_inplace<T>(logits.got(), device_targets.flat(), weights.got_flat(), loss.got_flat(),
                                         gradient);
            reference.cross_entropy_inplace<double>(logits.want(), targets, weights.want_flat(), loss.want_flat(),
                                                    gradient);
            results.row(
                gradient ? "cross_entropy with its gradient" : "cross_entropy, row_argmax", name_of_type<T>, size,
                best == want_best
                    ? std::max(loss.error() / bound<float>(cols), gradient ? logits.error() / bound<T>(cols) : 0)
                    : INFINITY,
                low_precision<T> ? 24 : 2);
        }
    }
}

template <class T> void attention(dg::cuda& gpu, dg::attention_shape s) {
    dg::reference reference;
    operand<T> qkv(gpu, s.rows(), s.packed_width(), 1), out(gpu, s.rows(), s.width(), 0),
        dout(gpu, s.rows(), s.width(), 2), dqkv(gpu, s.rows(), s.packed_width(), 0);
    operand<float> lse(gpu, 1, s.rows() * s.heads, 0);
    gpu.attention_forward<T>(qkv.got(), s, out.got(), lse.got_flat());
    reference.attention_forward<double>(qkv.want(), s, out.want(), lse.want_flat());
    const auto size = by(s.batch, s.length) + ", heads " + by(s.heads, s.kv_heads, s.head_width) +
                      (s.window ? ", window " + by(s.window) : "");
    const double weights = low_precision<T> ? 4 : 16;  // weights and scores are rounded before they are summed
    results.row("attention_forward", name_of_type<T>, size, out.error(), weights * bound<T>(s.length));
    gpu.attention_backward<T>(qkv.got(), s, out.got(), lse.got_flat(), dout.got(), dqkv.got());
    reference.attention_backward<double>(qkv.want(), s, out.want(), lse.want_flat(), dout.want(), dqkv.want());
    results.row("attention_backward", name_of_type<T>, size, dqkv.error(),
                2 * weights * bound<T>(s.length) * std::sqrt(static_cast<double>(s.group())));
    cudaDeviceProp device{};
    (void)cudaGetDeviceProperties(&device, 0);
    if (low_precision<T> && device.major == 9 && s.head_width == 64 && s.length % 128 == 0 && !s.window) {
        const std::size_t count = s.rows() * s.packed_width();
        const auto first = gpu.word_sum(dqkv.got().data, count);
        gpu.attention_backward<T>(qkv.got(), s, out.got(), lse.got_flat(), dout.got(), dqkv.got());
        results.row("attention_backward, twice", name_of_type<T>, size,
                    gpu.word_sum(dqkv.got().data, count) == first ? 0 : 1, 0);
    }

    const std::size_t half =
        s.window ? s.head_width / 4 : s.head_width / 2;  // with windows, a share of the head rotates
    operand<float> cosine(gpu, s.length, half, 0), sine(gpu, s.length, half, 0);
    cosine.assign([](std::size_t t, std::size_t i) {
        return std::cos(static_cast<double>(t) * std::pow(0.1, static_cast<double>(i)));
    });
    sine.assign([](std::size_t t, std::size_t i) {
        return std::sin(static_cast<double>(t) * std::pow(0.1, static_cast<double>(i)));
    });
    operand<T> turned(gpu, s.rows(), s.packed_width(), 0);
    gpu.attention_rope_backward<T>(qkv.got(), s, out.got(), lse.got_flat(), dout.got(), turned.got(), cosine.got(),
                                   sine.got());
    reference.attention_backward<double>(qkv.want(), s, out.want(), lse.want_flat(), dout.want(), turned.want());
    reference.rope_inplace<double>(turned.want(), s.length, s.heads + s.kv_heads, s.head_width, cosine.want(),
                                   sine.want(), -1);
    results.row("attention_rope_backward", name_of_type<T>, size, turned.error(),
                2 * weights * bound<T>(s.length) * std::sqrt(static_cast<double>(s.group())) + bound<T>(2));
    gpu.rope_inplace<T>(qkv.got(), s.length, s.heads + s.kv_heads, s.head_width, cosine.got(), sine.got(), -1);
    reference.rope_inplace<double>(qkv.want(), s.length, s.heads + s.kv_heads, s.head_width, cosine.want(), sine.want(),
                                   -1);
    results.row("rope_inplace", name_of_type<T>, size, qkv.error(), bound<T>(2));
}

/// New rows behind `start` remembered positions; what the cache holds beyond them is large, and must not be read or
/// changed.
template <class T>
void cached_attention(dg::cuda& gpu, dg::attention_shape s, std::size_t start, std::size_t capacity) {
    dg::reference reference;
    operand<T> qkv(gpu, s.length, s.packed_width(), 1, 3), out(gpu, s.length, s.width(), 0, 5),
        keys(gpu, s.kv_heads * capacity, s.head_width, 2), values(gpu, s.kv_heads * capacity, s.head_width, 3);
    for (auto* part : {&keys, &values})
        part->assign([&](std::size_t r, std::size_t c) { return r % capacity < start ? part->want()(r, c) : 1e4; });
    gpu.cached_attention<T>(qkv.got(), s, {keys.got_flat(), values.got_flat(), capacity, start}, out.got());
    reference.cached_attention<double>(qkv.want(), s, {keys.want_flat(), values.want_flat(), capacity, start},
                                       out.want());
    const bool exact = keys.error() == 0 && values.error() == 0;
    results.row("cached_attention", name_of_type<T>,
                by(s.length) + " behind " + by(start) + " of " + by(capacity) + ", heads " +
                    by(s.heads, s.kv_heads, s.head_width),
                exact ? out.error() : INFINITY, (low_precision<T> ? 4 : 16) * bound<T>(start + s.length));
}

template <class T> void optimiser(dg::cuda& gpu, std::size_t count) {
    dg::reference reference;
    operand<float> w(gpu, 1, count, 1), g(gpu, 1, count, 2), m(gpu, 1, count, 3), v(gpu, 1, count, 4);
    operand<T> copy(gpu, 1, count, 0);
    v.assign([&](std::size_t, std::size_t c) { return std::fabs(v.want_flat()[c]); });
    double want = 0;
    auto sum = dg::tensor<double, dg::cuda>::filled(gpu, {1}, 0.0);
    gpu.accumulate_squares<float>(g.got_flat(), sum.data());
    reference.accumulate_squares<double>(g.want_flat(), &want);
    results.row("accumulate_squares", "float", by(count), std::fabs(sum.to_host()[0] / want - 1), 4 * rounding<float>);
    const dg::adamw_constants constants{1e-2, 0.9, 0.95, 1e-8, 0.01, 1.0, 3};
    auto device_constants = on_device<dg::adamw_constants>(gpu, {constants});
    const bool mixed = low_precision<T>;
    gpu.adamw<T>(w.got_flat(), g.got_flat(), m.got_flat(), v.got_flat(), mixed ? copy.got_flat() : dg::span<T>(),
                 device_constants.data(), sum.data());
    reference.adamw<double>(w.want_flat(), g.want_flat(), m.want_flat(), v.want_flat(),
                            mixed ? copy.want_flat() : dg::span<double>(), &constants, &want);
    results.row("adamw", mixed ? "bf16" : "float", by(count),
                std::max({w.error() / bound<float>(4), m.error() / bound<float>(4), v.error() / bound<float>(4),
                          mixed ? copy.error() / bound<T>(4) : 0}),
                1);

    // A step over blocks of sizes of their own, against the same of all numbers at once.
    operand<float> wide(gpu, 4, count, 1), gradient(gpu, 4, count, 2), first(gpu, 4, count, 3),
        second(gpu, 4, count, 4);
    operand<T> rounded(gpu, 4, count, 0);
    second.assign([&](std::size_t r, std::size_t c) { return std::fabs(second.want()(r, c)); });
    std::vector<dg::adamw_operands<T>> blocks;
    for (std::size_t from = 0, to; from < 4 * count; from = to) {
        to = std::min(4 * count, from + (count % 4 != 0 ? 4 * count : count < 1000 ? 4 : count + 4 * blocks.size()));
        const auto part = [&](auto flat) { return flat.subspan(from, to - from); };
        blocks.push_back({part(wide.got_flat()), part(gradient.got_flat()), part(first.got_flat()),
                          part(second.got_flat()), mixed ? part(rounded.got_flat()) : dg::span<T>()});
    }
    std::vector<dg::span<const float>> gradients;
    for (const auto& block : blocks) gradients.push_back(block.gradient);
    sum = dg::tensor<double, dg::cuda>::filled(gpu, {1}, 0.0);
    gpu.accumulate_squares_together({gradients.data(), gradients.size()}, sum.data());
    gpu.adamw_together<T>({blocks.data(), blocks.size()}, device_constants.data(), sum.data());
    want = 0;
    reference.accumulate_squares<double>(gradient.want_flat(), &want);
    reference.adamw<double>(wide.want_flat(), gradient.want_flat(), first.want_flat(), second.want_flat(),
                            mixed ? rounded.want_flat() : dg::span<double>(), &constants, &want);
    results.row("accumulate_squares_together", "float", by(blocks.size(), count),
                std::fabs(sum.to_host()[0] / want - 1), 4 * rounding<float>);
    results.row("adamw_together", mixed ? "bf16" : "float", by(blocks.size(), count),
                std::max({wide.error() / bound<float>(4), first.error() / bound<float>(4),
                          second.error() / bound<float>(4), mixed ? rounded.error() / bound<T>(4) : 0}),
                1);

    const auto kept = w.download();
    sum = dg::tensor<double, dg::cuda>::filled(gpu, {1}, NAN);
    gpu.adamw<T>(w.got_flat(), g.got_flat(), m.got_flat(), v.got_flat(), {}, device_constants.data(), sum.data());
    results.row("adamw leaves weights after NaN", "float", by(count), w.download() == kept ? 0 : 1, 0);
}

/// What SGD and Muon add to AdamW; with a norm that is not finite nothing changes.
template <class T> void momentum_methods(dg::cuda& gpu, std::size_t count) {
    dg::reference reference;
    const dg::momentum_constants constants{1e-2, 0.9, 0.01, 1.0};
    auto device_constants = on_device<dg::momentum_constants>(gpu, {constants});
    for (const double sum : {0.25, 9.0, static_cast<double>(NAN)}) {
        auto squares = on_device<double>(gpu, {sum});
        operand<float> w(gpu, 1, count, 1), g(gpu, 1, count, 2), v(gpu, 1, count, 3), w2(gpu, 1, count, 4),
            buffer(gpu, 1, count, 5);
        operand<T> rounded(gpu, 1, count, 6), u(gpu, 1, count, 7), rounded2(gpu, 1, count, 8);
        const std::string size = by(count) + (sum < 1 ? "" : sum == sum ? ", clipped" : ", NaN");
        gpu.sgd_nesterov<T>(w.got_flat(), g.got_flat(), v.got_flat(), rounded.got_flat(), device_constants.data(),
                            squares.data());
        reference.sgd_nesterov<double>(w.want_flat(), g.want_flat(), v.want_flat(), rounded.want_flat(), &constants,
                                       &sum);
        results.row("sgd_nesterov", name_of_type<T>, size,
                    std::max({w.error() / bound<float>(4), v.error() / bound<float>(4), rounded.error() / bound<T>(4)}),
                    1);
        gpu.muon_direction<T>(g.got_flat(), buffer.got_flat(), u.got_flat(), device_constants.data(), squares.data());
        reference.muon_direction<double>(g.want_flat(), buffer.want_flat(), u.want_flat(), &constants, &sum);
        results.row("muon_direction", name_of_type<T>, size,
                    std::max(buffer.error() / bound<float>(4), u.error() / bound<T>(4)), 1);
        const double deviation = 1 / std::sqrt(static_cast<double>(count));
        u.assign([&](std::size_t, std::size_t c) { return u.want_flat()[c]; });
        gpu.muon_normalize<T>(u.got_flat());
        reference.muon_normalize<double>(u.want_flat());
        results.row("muon_normalize", name_of_type<T>, size, u.error(), bound<T>(4) * std::max(4 * deviation, 1e-3));
        gpu.muon_apply<T>(w2.got_flat(), dg::span<const T>(u.got_flat().data(), count), rounded2.got_flat(),
                          0.2 / deviation, device_constants.data(), squares.data());
        reference.muon_apply<double>(w2.want_flat(), dg::span<const double>(u.want_flat().data(), count),
                                     rounded2.want_flat(), 0.2 / deviation, &constants, &sum);
        results.row("muon_apply", name_of_type<T>, size,
                    std::max(w2.error() / bound<T>(4), rounded2.error() / bound<T>(4)), 1);
    }
}

template <class T> void row_operations(dg::cuda& gpu, std::size_t rows, std::size_t cols) {
    dg::reference reference;
    const auto size = by(rows, cols);
    operand<T> a(gpu, 2 * rows, cols, 1), b(gpu, 2 * rows, cols, 2), c(gpu, rows, cols, 3), d(gpu, rows, cols, 4);
    operand<float> distance(gpu, 1, 2 * rows, 0), norm(gpu, 1, 2 * rows, 0);
    dg::rows::changes<T>(gpu, a.got(), b.got(), c.got(), d.got(), distance.got_flat(), norm.got_flat());
    dg::rows::changes<double>(reference, a.want(), b.want(), c.want(), d.want(), distance.want_flat(),
                              norm.want_flat());
    results.row("row changes", name_of_type<T>, size, std::max(distance.error(), norm.error()), bound<float>(cols));

    operand<T> y(gpu, rows, cols, 5, 0, 3), z(gpu, rows, cols, 6, 0, 3), q(gpu, rows, cols, 6, 0, 3),
        other(gpu, rows, cols, 5, 0, 3);
    std::vector<dg::token> targets(rows);
    for (std::size_t r = 0; r < rows; ++r) targets[r] = r % 3 == 2 ? -1 : static_cast<dg::token>(r % cols);
    std::vector<dg::rows::comparison> got(rows), want(rows);
    dg::rows::compare<T>(gpu, q.got(), other.got(), targets, 5, got);
    dg::rows::compare<double>(reference, q.want(), other.want(), targets, 5, want);
    double worst = 0;
    for (std::size_t r = 0; r < rows; ++r) {
        worst = worse(worst, std::fabs(got[r].kl_lens_final - want[r].kl_lens_final),
                      std::fabs(got[r].kl_final_lens - want[r].kl_final_lens),
                      std::fabs(got[r].cross_entropy - want[r].cross_entropy));
        if (std::fabs(got[r].overlap - want[r].overlap) > 1e-6 || got[r].agrees != want[r].agrees ||
            got[r].hits != want[r].hits)
            worst = INFINITY;
    }
    results.row("row comparisons", name_of_type<T>, size, worst, low_precision<T> ? 1e-3 : 32 * bound<float>(cols));

    operand<float> log_sums(gpu, 1, rows, 0), dots(gpu, 1, rows, 0), far(gpu, 1, rows, 0);
    operand<float> wide(gpu, rows, cols, 8), other_wide(gpu, rows, cols, 9), shares(gpu, 1, rows, 10);
    dg::rows::dots<T>(gpu, z.got(), wide.got(), dots.got_flat());
    dg::rows::dots<double>(reference, z.want(), wide.want(), dots.want_flat());
    results.row("row dots", name_of_type<T>, size, dots.error(), bound<float>(cols));
    operand<T> difference(gpu, rows, cols, 0);
    dg::rows::differences<T>(gpu, wide.got(), shares.got_flat(), other_wide.got(), 0.5f, difference.got());
    dg::rows::differences<double>(reference, wide.want(), shares.want_flat(), other_wide.want(), 0.5,
                                  difference.want());
    results.row("row differences", name_of_type<T>, size, difference.error(), bound<T>(4));
    dg::rows::softmax_inplace<T>(gpu, y.got(), log_sums.got_flat());
    dg::rows::softmax_inplace<double>(reference, y.want(), log_sums.want_flat());
    results.row("row softmax", name_of_type<T>, size, y.error(), bound<T>(cols));
    results.row("row log sums", name_of_type<T>, size, log_sums.error(),
                bound<float>(cols) + (low_precision<T> ? 1e-5 : 0));
    y.assign([&](std::size_t r, std::size_t col) { return y.want()(r, col); });
    dg::rows::softmax_distances<T>(gpu, q.got(), y.got(), far.got_flat());
    dg::rows::softmax_distances<double>(reference, q.want(), y.want(), far.want_flat());
    results.row("row softmax distances", name_of_type<T>, size, far.error(),
                4 * bound<float>(cols) + (low_precision<T> ? 1e-5 : 0));
    operand<T> logits(gpu, rows, cols, 7, 0, 3);
    operand<float> value(gpu, 1, rows, 0);
    const auto gold = on_device(gpu, targets);
    dg::rows::probability_gradient_inplace<T>(gpu, logits.got(), gold.flat(), value.got_flat());
    dg::rows::probability_gradient_inplace<double>(reference, logits.want(), targets, value.want_flat());
    results.row("row probability gradient", name_of_type<T>, size, std::max(value.error(), logits.error()),
                4 * bound<T>(cols));
}

}  // namespace

template <class T> void check_operations(dg::cuda& gpu, bool small) {
    for (const auto [m, n, k] : {std::array<std::size_t, 3>{1, 7, 33}, {130, 65, 257}, {64, 160, 96}})
        products<T>(gpu, m, n, k, k == 257 ? 3 : 0);
    added_maps<T>(gpu, 48, 32, 160);
    if constexpr (low_precision<T>)
        for (const auto [m, n, k] : {std::array<std::size_t, 3>{16, 16, 16}, {144, 80, 272}, {512, 960, 1600}})
            if (!small || m < 512) fp8_maps(gpu, m, n, k);
    if constexpr (low_precision<T>) {
        dg::cuda small_maps({.tune = false, .fp8 = true}),
            wide_maps({.tune = false, .fp8 = true});  // scales go by addresses
        fp8_copies(small_maps, 48, 64), fp8_copies(wide_maps, 656, 960);
    }
    for (const auto [rows, cols] :
         {std::array<std::size_t, 2>{1, 6}, {7, 33}, {130, 64}, {37, 960}, {3, 2048}, {2, 8192}, {2, 49152}})
        if (!small || rows * cols < 20000) row_wise<T>(gpu, rows, cols, 0);
    row_wise<T>(gpu, 9, 40, 24);
    for (const auto& s : {dg::attention_shape{1, 1, 2, 2, 4}, dg::attention_shape{3, 17, 4, 2, 6},
                          dg::attention_shape{1, 129, 3, 1, 8}, dg::attention_shape{2, 300, 2, 2, 16},
                          dg::attention_shape{2, 160, 6, 2, 64}, dg::attention_shape{1, 77, 15, 5, 64},
                          dg::attention_shape{3, 64, 4, 4, 128}, dg::attention_shape{3, 128, 2, 1, 64},
                          dg::attention_shape{2, 384, 15, 5, 64}, dg::attention_shape{7, 384, 15, 5, 64}})
        if (!small || s.length <= 128) attention<T>(gpu, s);
    for (const dg::attention_shape s :
         {dg::attention_shape{3, 40, 4, 2, 16, 7}, dg::attention_shape{2, 70, 6, 2, 64, 33},
          dg::attention_shape{1, 33, 3, 1, 64, 1}, dg::attention_shape{2, 64, 4, 2, 32, 64}})
        attention<T>(gpu, s);
    if (!small)
        attention<T>(gpu, {1, 2048, 3, 1, 64}),
            attention<T>(gpu, {17, 512, 3, 1, 64});  // the second: so many rows that plans are tuned
    cached_attention<T>(gpu, {1, 1, 2, 2, 4}, 0, 1), cached_attention<T>(gpu, {1, 17, 4, 2, 6}, 0, 20),
        cached_attention<T>(gpu, {1, 1, 3, 1, 33}, 30, 31);
    cached_attention<T>(gpu, {1, 5, 15, 5, 64}, 62, 100), cached_attention<T>(gpu, {1, 3, 4, 1, 128}, 200, 210),
        cached_attention<T>(gpu, {1, 2, 2, 1, 250}, 9, 16);
    cached_attention<T>(gpu, {1, 5, 15, 5, 64, 20}, 62, 100), cached_attention<T>(gpu, {1, 1, 3, 1, 33, 7}, 30, 31),
        cached_attention<T>(gpu, {1, 9, 4, 2, 32, 3}, 0, 9), cached_attention<T>(gpu, {1, 2, 4, 2, 32, 100}, 40, 50);
    if (!small)
        cached_attention<T>(gpu, {1, 1, 15, 5, 64}, 8191, 8192), cached_attention<T>(gpu, {1, 700, 6, 2, 64}, 0, 1024);
    optimiser<T>(gpu, 1), optimiser<T>(gpu, 100), optimiser<T>(gpu, 4099), optimiser<T>(gpu, 100000);
    momentum_methods<T>(gpu, 1), momentum_methods<T>(gpu, 100), momentum_methods<T>(gpu, 4099),
        momentum_methods<T>(gpu, 100000);
    row_operations<T>(gpu, 3, 37);
    if (!small) row_operations<T>(gpu, 5, 49152);
}

template void check_operations<float>(dg::cuda&, bool);
template void check_operations<dg::bfloat16>(dg::cuda&, bool);

}  // namespace gpu_test
