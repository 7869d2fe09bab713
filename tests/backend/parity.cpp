// Every operation of the CPU backend in float and double against the reference in double: odd sizes, one row, groups;
// outputs are poisoned first and guarded on both sides. The bound is the format's epsilon times the length of the sums.
#include <cmath>
#include <limits>
#include <tuple>
#include <vector>

#include "depthgrow/backend/blas.hpp"
#include "depthgrow/core/rng.hpp"
#include "support/catch.hpp"

namespace dg = depthgrow;

namespace {

constexpr std::size_t guard = 8;
constexpr double guard_word = 12345.0;

/// Numbers of one operand for both backends: the same values, poisoned or random, with guard words around.
template <class T> struct operand {
    operand(std::size_t r, std::size_t c, std::uint64_t seed, std::size_t extra = 0)
        : rows(r),
          cols(c),
          stride(c + extra),
          typed(2 * guard + r * (c + extra), static_cast<T>(guard_word)),
          wide(typed.size(), guard_word) {
        dg::rng random(seed);
        for (std::size_t i = 0; i < r; ++i)
            for (std::size_t j = 0; j < c; ++j) {
                const T value = seed ? static_cast<T>(random.normal()) : std::numeric_limits<T>::quiet_NaN();
                typed[guard + i * stride + j] = value;
                wide[guard + i * stride + j] = static_cast<double>(value);
            }
    }
    dg::matrix<T> got() { return {typed.data() + guard, rows, cols, stride}; }
    dg::matrix<double> want() { return {wide.data() + guard, rows, cols, stride}; }
    dg::span<T> got_flat() { return {typed.data() + guard, rows * cols}; }
    dg::span<double> want_flat() { return {wide.data() + guard, rows * cols}; }

    /// |got - want| <= bound * (1 + |want|) everywhere; nothing outside rows and columns has changed.
    void agrees(double bound) {
        for (std::size_t i = 0; i < typed.size(); ++i) {
            const bool inside = i >= guard && i < guard + rows * stride && (i - guard) % stride < cols;
            INFO("element " << i << (inside ? "" : " (guard)"));
            if (!inside) REQUIRE(typed[i] == static_cast<T>(guard_word));
            else REQUIRE(std::abs(static_cast<double>(typed[i]) - wide[i]) <= bound * (1 + std::abs(wide[i])));
        }
    }
    std::size_t rows, cols, stride;
    std::vector<T> typed;
    std::vector<double> wide;
};

/// Rounding of a sum of `terms` numbers of size one: epsilon times the length, with a factor 4 for what follows the
/// sum.
template <class T> double bound(std::size_t terms) {
    return 4 * static_cast<double>(std::numeric_limits<T>::epsilon()) * std::sqrt(static_cast<double>(terms)) * 4;
}

}  // namespace

TEMPLATE_TEST_CASE("blas operations agree with the reference in double", "", float, double) {
    using T = TestType;
    dg::reference reference;
    dg::blas blas({.threads = GENERATE(1, 2, 3)});
    const std::size_t rows = GENERATE(1u, 7u, 130u), cols = GENERATE(6u, 33u);

    SECTION("gemm, all transposes, alpha and beta, leading dimensions") {
        for (auto ta : {dg::transpose::no, dg::transpose::yes})
            for (auto tb : {dg::transpose::no, dg::transpose::yes}) {
                operand<T> a(ta == dg::transpose::no ? rows : cols, ta == dg::transpose::no ? cols : rows, 1, 3);
                operand<T> b(tb == dg::transpose::no ? cols : 5, tb == dg::transpose::no ? 5 : cols, 2, 1),
                    c(rows, 5, 3, 2);
                blas.gemm<T>(ta, tb, T(0.5), a.got(), b.got(), T(2), c.got());
                reference.gemm<double>(ta, tb, 0.5, a.want(), b.want(), 2.0, c.want());
                c.agrees(bound<T>(cols));
                operand<T> fresh(rows, 5, 0);
                blas.gemm<T>(ta, tb, T(1), a.got(), b.got(), T(0), fresh.got());
                reference.gemm<double>(ta, tb, 1.0, a.want(), b.want(), 0.0, fresh.want());
                fresh.agrees(bound<T>(cols));
            }
    }
    SECTION("gemm of one row with many, shared between threads") {
        operand<T> x(1, 600, 1), w(303, 600, 2, 5), y(1, 303, 3);
        blas.gemm<T>(dg::transpose::no, dg::transpose::yes, T(0.5), x.got(), w.got(), T(2), y.got());
        reference.gemm<double>(dg::transpose::no, dg::transpose::yes, 0.5, x.want(), w.want(), 2.0, y.want());
        y.agrees(bound<T>(600));
    }
    SECTION("embedding, with repeated ids") {
        std::vector<dg::token> ids(rows);
        for (std::size_t r = 0; r < rows; ++r) ids[r] = static_cast<dg::token>(r * r % 9);
        operand<T> table(9, cols, 1), out(rows, cols, 0), dout(rows, cols, 2), dtable(9, cols, 3);
        blas.embedding_forward<T>(ids, table.got(), out.got());
        reference.embedding_forward<double>(ids, table.want(), out.want());
        out.agrees(0);
        blas.embedding_backward<T>(ids, dout.got(), dtable.got());
        reference.embedding_backward<double>(ids, dout.want(), dtable.want());
        dtable.agrees(bound<T>(rows));
    }
    SECTION("RMSNorm, alone and after a residual add, and its backward pass with and without a skip gradient") {
        operand<T> x(rows, cols, 1), a(rows, cols, 2), gain(1, cols, 3), y(rows, cols, 0), sum(rows, cols, 0),
            rstd(1, rows, 0);
        blas.rms_norm_forward<T>(x.got(), gain.got_flat(), T(1e-5), T(0.6), y.got(), rstd.got_flat());
        reference.rms_norm_forward<double>(x.want(), gain.want_flat(), 1e-5, 0.6, y.want(), rstd.want_flat());
        y.agrees(bound<T>(cols));
        rstd.agrees(bound<T>(cols));
        blas.residual_rms_norm_forward<T>(x.got(), a.got(), gain.got_flat(), T(1e-5), T(1), sum.got(), y.got(),
                                          rstd.got_flat());
        reference.residual_rms_norm_forward<double>(x.want(), a.want(), gain.want_flat(), 1e-5, 1.0, sum.want(),
                                                    y.want(), rstd.want_flat());
        sum.agrees(bound<T>(1));
        y.agrees(bound<T>(cols));
        for (bool skip : {false, true}) {
            operand<T> dy(rows, cols, 4), past(rows, cols, 5), dx(rows, cols, 0), dgain(1, cols, 6);
            blas.rms_norm_backward<T>(sum.got(), gain.got_flat(), rstd.got_flat(), T(1), dy.got(),
                                      skip ? past.got() : dg::matrix<T>{}, dx.got(), dgain.got_flat());
            reference.rms_norm_backward<double>(sum.want(), gain.want_flat(), rstd.want_flat(), 1.0, dy.want(),
                                                skip ? past.want() : dg::matrix<double>{}, dx.want(),
                                                dgain.want_flat());
            dx.agrees(16 * bound<T>(cols));
            dgain.agrees(bound<T>(rows));
        }
    }
    SECTION("SwiGLU and its backward pass") {
        operand<T> gate_up(rows, 2 * cols, 1), out(rows, cols, 0), dout(rows, cols, 2), d(rows, 2 * cols, 0);
        blas.gated_forward<T>(dg::activation::silu, gate_up.got(), out.got());
        reference.gated_forward<double>(dg::activation::silu, gate_up.want(), out.want());
        out.agrees(bound<T>(1));
        blas.gated_backward<T>(dg::activation::silu, gate_up.got(), dout.got(), d.got());
        reference.gated_backward<double>(dg::activation::silu, gate_up.want(), dout.want(), d.want());
        d.agrees(bound<T>(1));
    }
    SECTION("every activation, gated and plain, forward and backward") {
        for (const auto kind : {dg::activation::silu, dg::activation::gelu, dg::activation::gelu_tanh}) {
            operand<T> gate_up(rows, 2 * cols, 1), out(rows, cols, 0), dout(rows, cols, 2), d(rows, 2 * cols, 0),
                x(rows, cols, 3), dx(rows, cols, 0);
            blas.gated_forward<T>(kind, gate_up.got(), out.got());
            reference.gated_forward<double>(kind, gate_up.want(), out.want());
            out.agrees(bound<T>(1));
            blas.gated_backward<T>(kind, gate_up.got(), dout.got(), d.got());
            reference.gated_backward<double>(kind, gate_up.want(), dout.want(), d.want());
            d.agrees(bound<T>(1));
            blas.activation_forward<T>(kind, x.got(), out.got());
            reference.activation_forward<double>(kind, x.want(), out.want());
            out.agrees(bound<T>(1));
            blas.activation_backward<T>(kind, x.got(), dout.got(), dx.got());
            reference.activation_backward<double>(kind, x.want(), dout.want(), dx.want());
            dx.agrees(bound<T>(1));
        }
    }
    SECTION("LayerNorm and biases, forward and backward") {
        operand<T> x(rows, cols, 1), gain(1, cols, 3), bias(1, cols, 7), y(rows, cols, 0), mean(1, rows, 0),
            rstd(1, rows, 0);
        blas.layer_norm_forward<T>(x.got(), gain.got_flat(), bias.got_flat(), T(1e-5), T(0.6), y.got(), mean.got_flat(),
                                   rstd.got_flat());
        reference.layer_norm_forward<double>(x.want(), gain.want_flat(), bias.want_flat(), 1e-5, 0.6, y.want(),
                                             mean.want_flat(), rstd.want_flat());
        y.agrees(4 * bound<T>(cols));  // the deviation feels the rounded mean
        mean.agrees(bound<T>(cols));
        rstd.agrees(4 * bound<T>(cols));
        for (bool skip : {false, true}) {
            operand<T> dy(rows, cols, 4), past(rows, cols, 5), dx(rows, cols, 0), dgain(1, cols, 6), dbias(1, cols, 8);
            blas.layer_norm_backward<T>(x.got(), gain.got_flat(), mean.got_flat(), rstd.got_flat(), T(0.6), dy.got(),
                                        skip ? past.got() : dg::matrix<T>{}, dx.got(), dgain.got_flat(),
                                        dbias.got_flat());
            reference.layer_norm_backward<double>(x.want(), gain.want_flat(), mean.want_flat(), rstd.want_flat(), 0.6,
                                                  dy.want(), skip ? past.want() : dg::matrix<double>{}, dx.want(),
                                                  dgain.want_flat(), dbias.want_flat());
            dx.agrees(16 * bound<T>(cols));
            dgain.agrees(4 * bound<T>(rows));
            dbias.agrees(bound<T>(rows));
            blas.add_bias_inplace<T>(bias.got_flat(), dx.got());
            reference.add_bias_inplace<double>(bias.want_flat(), dx.want());
            dx.agrees(16 * bound<T>(cols));
            blas.bias_backward<T>(dy.got(), dbias.got_flat());
            reference.bias_backward<double>(dy.want(), dbias.want_flat());
            dbias.agrees(bound<T>(rows));
        }
    }
    SECTION("sums") {
        operand<T> a(rows, cols, 1), b(rows, cols, 2), out(rows, cols, 0);
        blas.add<T>(a.got(), T(-1), b.got(), out.got());
        reference.add<double>(a.want(), -1.0, b.want(), out.want());
        out.agrees(bound<T>(1));
        blas.add_inplace<T>(T(1), a.got(), out.got());
        reference.add_inplace<double>(1.0, a.want(), out.want());
        out.agrees(bound<T>(1));
    }
    SECTION("cross entropy with and without gradient, and the likeliest column") {
        std::vector<dg::token> targets(rows), best(rows), want_best(rows);
        std::vector<T> weights(rows);
        std::vector<double> wide_weights(rows);
        for (std::size_t r = 0; r < rows; ++r)
            targets[r] = r % 5 == 3 ? -1 : static_cast<dg::token>(r % cols),
            weights[r] = T(0.3) * static_cast<T>(r % 3), wide_weights[r] = static_cast<double>(weights[r]);
        for (bool gradient : {false, true}) {
            operand<T> logits(rows, cols, 7), loss(1, rows, 0);
            blas.row_argmax<T>(logits.got(), best);
            reference.row_argmax<double>(logits.want(), want_best);
            CHECK(best == want_best);
            blas.cross_entropy_inplace<T>(logits.got(), targets, weights, loss.got_flat(), gradient);
            reference.cross_entropy_inplace<double>(logits.want(), targets, wide_weights, loss.want_flat(), gradient);
            loss.agrees(bound<T>(cols));
            if (gradient) logits.agrees(bound<T>(cols));
        }
    }
    SECTION("AdamW and the gradient norm") {
        operand<T> w(1, rows * cols, 1), g(1, rows * cols, 2), m(1, rows * cols, 3), v(1, rows * cols, 4);
        for (std::size_t i = 0; i < rows * cols; ++i)
            v.got_flat()[i] = std::abs(v.got_flat()[i]), v.want_flat()[i] = std::abs(v.want_flat()[i]);
        double got = 0, want = 0;
        blas.accumulate_squares<T>(g.got_flat(), &got);
        reference.accumulate_squares<double>(g.want_flat(), &want);
        CHECK(got == Approx(want).epsilon(1e-12));
        const dg::adamw_constants constants{1e-2, 0.9, 0.95, 1e-8, 0.01, 1.0, 3};
        blas.adamw<T>(w.got_flat(), g.got_flat(), m.got_flat(), v.got_flat(), {}, &constants, &got);
        reference.adamw<double>(w.want_flat(), g.want_flat(), m.want_flat(), v.want_flat(), {}, &constants, &want);
        w.agrees(bound<T>(4));
        m.agrees(bound<T>(4));
        v.agrees(bound<T>(4));
        const double bad = std::nan("");
        const auto kept = w.typed;
        blas.adamw<T>(w.got_flat(), g.got_flat(), m.got_flat(), v.got_flat(), {}, &constants, &bad);
        CHECK(w.typed == kept);
    }
}

TEMPLATE_TEST_CASE("blas attention agrees with the reference in double", "", float, double) {
    using T = TestType;
    dg::reference reference;
    dg::blas blas({.threads = GENERATE(1, 2)});
    const dg::attention_shape s = GENERATE(
        dg::attention_shape{1, 1, 2, 2, 4}, dg::attention_shape{3, 17, 4, 2, 6}, dg::attention_shape{1, 129, 3, 1, 8},
        dg::attention_shape{2, 300, 2, 2, 16}, dg::attention_shape{2, 33, 4, 2, 34},
        dg::attention_shape{1, 64, 1, 1, 80}, dg::attention_shape{2, 70, 4, 2, 8, 9},
        dg::attention_shape{1, 129, 3, 1, 8, 64, 0.7}, dg::attention_shape{1, 5, 2, 1, 8, 1});
    operand<T> qkv(s.rows(), s.packed_width(), 1), out(s.rows(), s.width(), 0), lse(1, s.rows() * s.heads, 0);
    operand<T> dout(s.rows(), s.width(), 2), dqkv(s.rows(), s.packed_width(), 0);
    blas.attention_forward<T>(qkv.got(), s, out.got(), lse.got_flat());
    reference.attention_forward<double>(qkv.want(), s, out.want(), lse.want_flat());
    out.agrees(bound<T>(s.length));
    lse.agrees(bound<T>(s.length));
    blas.attention_backward<T>(qkv.got(), s, out.got(), lse.got_flat(), dout.got(), dqkv.got());
    reference.attention_backward<double>(qkv.want(), s, out.want(), lse.want_flat(), dout.want(), dqkv.want());
    dqkv.agrees(8 * bound<T>(s.length));

    std::vector<T> cosine(s.length * s.head_width / 2), sine(cosine.size());
    std::vector<double> cosine_d(cosine.size()), sine_d(cosine.size());
    for (std::size_t i = 0; i < cosine.size(); ++i) {
        cosine[i] = static_cast<T>(std::cos(0.01 * static_cast<double>(i))),
        sine[i] = static_cast<T>(std::sin(0.01 * static_cast<double>(i)));
        cosine_d[i] = static_cast<double>(cosine[i]), sine_d[i] = static_cast<double>(sine[i]);
    }
    const std::size_t half = s.head_width / 2;
    const auto before = qkv.typed;
    blas.rope_inplace<T>(qkv.got(), s.length, s.heads + s.kv_heads, s.head_width, {cosine.data(), s.length, half},
                         {sine.data(), s.length, half}, T(1));
    reference.rope_inplace<double>(qkv.want(), s.length, s.heads + s.kv_heads, s.head_width,
                                   {cosine_d.data(), s.length, half}, {sine_d.data(), s.length, half}, 1.0);
    qkv.agrees(bound<T>(2));
    blas.rope_inplace<T>(qkv.got(), s.length, s.heads + s.kv_heads, s.head_width, {cosine.data(), s.length, half},
                         {sine.data(), s.length, half}, T(-1));
    for (std::size_t i = 0; i < before.size(); ++i)
        REQUIRE(std::abs(qkv.typed[i] - before[i]) <= bound<T>(4) * (1 + std::abs(before[i])));
}

TEST_CASE("attention behind a cache is that of the whole sequence, and the cache holds every key and value once") {
    dg::reference backend;
    const dg::attention_shape s{1, 9, 6, 2, 5};
    const std::size_t capacity = 11;
    operand<double> qkv(s.rows(), s.packed_width(), 1), whole(s.rows(), s.width(), 0), out(s.rows(), s.width(), 0);
    operand<double> keys(s.kv_heads * capacity, s.head_width, 2), values(s.kv_heads * capacity, s.head_width, 3);
    std::vector<double> lse(s.rows() * s.heads);
    backend.attention_forward<double>(qkv.got(), s, whole.got(), lse);
    std::size_t done = 0;
    for (const std::size_t count : {4u, 1u, 3u, 1u}) {  // a prompt, one token, several behind a cache
        auto part = s;
        part.length = count;
        backend.cached_attention<double>(qkv.got().row_range(done, count), part,
                                         {keys.got_flat(), values.got_flat(), capacity, done},
                                         out.got().row_range(done, count));
        done += count;
    }
    for (std::size_t r = 0; r < s.rows(); ++r)
        for (std::size_t c = 0; c < s.width(); ++c) REQUIRE(out.got()(r, c) == Approx(whole.got()(r, c)).margin(1e-14));
    for (std::size_t h = 0; h < s.kv_heads; ++h)
        for (std::size_t u = 0; u < capacity; ++u)
            for (std::size_t c = 0; c < s.head_width; ++c) {
                const std::size_t key = s.width() + h * s.head_width + c, row = h * capacity + u;
                REQUIRE(keys.got()(row, c) ==
                        (u < s.length ? qkv.got()(u, key) : keys.want()(row, c)));  // `want`: what was there
                REQUIRE(values.got()(row, c) ==
                        (u < s.length ? qkv.got()(u, key + s.kv_width()) : values.want()(row, c)));
            }
}

TEMPLATE_TEST_CASE("blas attention behind a cache agrees with the reference in double", "", float, double) {
    using T = TestType;
    dg::reference reference;
    dg::blas blas({.threads = GENERATE(1, 3)});
    const auto [s, start, capacity] = GENERATE(
        std::tuple(dg::attention_shape{1, 1, 2, 2, 4}, 0, 1), std::tuple(dg::attention_shape{1, 1, 3, 1, 64}, 700, 801),
        std::tuple(dg::attention_shape{1, 7, 4, 2, 6}, 0, 9), std::tuple(dg::attention_shape{1, 5, 3, 1, 34}, 40, 45),
        std::tuple(dg::attention_shape{1, 5, 3, 1, 34, 7}, 40, 45),
        std::tuple(dg::attention_shape{1, 9, 4, 2, 8, 3, 0.5}, 0, 9));
    operand<T> qkv(s.length, s.packed_width(), 1, 3), out(s.length, s.width(), 0, 2),
        keys(s.kv_heads * static_cast<std::size_t>(capacity), s.head_width, 2), values(keys.rows, s.head_width, 3);
    const auto cache = [room = static_cast<std::size_t>(capacity), there = static_cast<std::size_t>(start)](auto k,
                                                                                                            auto v) {
        return dg::key_value_cache<std::remove_reference_t<decltype(k[0])>>{k, v, room, there};
    };
    blas.cached_attention<T>(qkv.got(), s, cache(keys.got_flat(), values.got_flat()), out.got());
    reference.cached_attention<double>(qkv.want(), s, cache(keys.want_flat(), values.want_flat()), out.want());
    out.agrees(bound<T>(static_cast<std::size_t>(start) + s.length));
    keys.agrees(0);
    values.agrees(0);
}

TEST_CASE("attention's backward pass refuses gradients of other extents") {
    dg::blas blas;
    std::vector<float> numbers(512), sums(4);
    const dg::attention_shape s{1, 2, 2, 1, 4};
    const dg::matrix<float> qkv(numbers.data(), 2, 16), out(numbers.data() + 64, 2, 8),
        dout(numbers.data() + 128, 2, 8), dqkv(numbers.data() + 192, 2, 16);
    const auto back = [&](dg::matrix<float> d_out, dg::matrix<float> d_qkv) {
        blas.attention_backward<float>(qkv, s, out, dg::span<const float>(sums), d_out, d_qkv);
    };
    CHECK_NOTHROW(back(dout, dqkv));
    CHECK_THROWS_WITH(back({dout.data, 1, 8}, dqkv), "[attention_backward] expected dout of 2 x 8, got 1 x 8");
    CHECK_THROWS_WITH(back(dout, {dqkv.data, 2, 15}), "[attention_backward] expected dqkv of 2 x 16, got 2 x 15");
    CHECK_THROWS_WITH(back(dout, qkv), Catch::Contains("overlap"));
}
TEST_CASE("attention behind a cache refuses what the cache cannot hold") {
    dg::blas blas;
    std::vector<float> numbers(512);
    const dg::attention_shape s{1, 2, 2, 1, 4};
    const dg::matrix<float> qkv(numbers.data(), 2, 16), out(numbers.data() + 64, 2, 8);
    const dg::span<float> keys(numbers.data() + 128, 40), values(numbers.data() + 256, 40);
    CHECK_NOTHROW(blas.cached_attention<float>(qkv, s, {keys, values, 10, 8}, out));
    CHECK_THROWS_WITH((blas.cached_attention<float>(qkv, s, {keys, values, 10, 9}, out)),
                      "[cached_attention] expected at most 10 positions (the cache's capacity), got 2 behind 9");
    CHECK_THROWS_WITH((blas.cached_attention<float>(qkv, s, {keys, values, 11, 2}, out)),
                      Catch::Contains("expected keys of 44 elements, got 40"));
    CHECK_THROWS_WITH((blas.cached_attention<float>(qkv, {2, 1, 2, 1, 4}, {keys, values, 10, 2}, out)),
                      Catch::Contains("expected one sequence, got 2"));
    CHECK_THROWS_WITH((blas.cached_attention<float>(qkv, s, {keys, {numbers.data() + 60, 40}, 10, 2}, out)),
                      Catch::Contains("overlap"));
}

TEST_CASE("exp_of is within two units in the last place, and zero where softmax weights would become subnormal") {
    for (float x = -59.9f; x < 88.0f; x += 0.0137f) {
        const double want = std::exp(static_cast<double>(x));
        REQUIRE(std::abs(static_cast<double>(dg::detail::exp_of(x)) - want) <= 2.4e-7 * want);
    }
    CHECK(dg::detail::exp_of(-61.0f) == 0.0f);
    CHECK(dg::detail::exp_of(0.0f) == 1.0f);
}

TEST_CASE("overlapping inputs and outputs are refused") {
    dg::blas blas;
    std::vector<float> numbers(64);
    const dg::matrix<float> a(numbers.data(), 4, 4), shifted(numbers.data() + 8, 4, 4),
        beside(numbers.data(), 4, 4, 16), right(numbers.data() + 4, 4, 4, 16);
    CHECK_THROWS_WITH((blas.gemm<float>(dg::transpose::no, dg::transpose::no, 1, a, a, 0, shifted)),
                      Catch::Contains("overlap"));
    CHECK_FALSE(dg::contract::overlap(beside, right));
    CHECK(dg::contract::overlap(beside, dg::matrix<float>(numbers.data() + 3, 4, 4, 16)));
}

TEST_CASE("a wrong extent is one sentence that names operation, operand and sizes") {
    dg::blas blas;
    std::vector<float> numbers(256);
    const dg::matrix<float> x(numbers.data(), 2, 64), y(numbers.data() + 128, 2, 64);
    CHECK_THROWS_WITH((blas.rms_norm_forward<float>(x, {numbers.data(), 32}, 1e-5f, 1, y, {numbers.data(), 2})),
                      "[rms_norm] expected weight of 64 elements (last extent of x), got 32");
}
