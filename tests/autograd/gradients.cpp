// Every operation's backward pass against central differences, in double on the reference backend.
#include <functional>
#include <vector>

#include "depthgrow/backend/reference.hpp"
#include "depthgrow/core/rng.hpp"
#include "depthgrow/nn/forward.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"

namespace dg = depthgrow;
using tape = dg::tape<double, dg::reference>;
using variable = dg::variable<double>;

namespace {

/// Inputs are activations, weights are parameters; `build` returns the output, the objective is its sum with fixed
/// random factors.
struct gradient_check {
    std::size_t rows, cols;                                    // of the one activation
    std::vector<std::pair<std::size_t, std::size_t>> weights;  // extents
    std::function<variable(tape&, variable, const std::vector<dg::parameter<double>>&)> build;

    double objective(const std::vector<std::vector<double>>& numbers,
                     std::vector<std::vector<double>>* gradients) const {
        dg::reference backend;
        tape t(backend);
        t.start(gradients != nullptr);
        auto x = t.make(rows, cols);
        std::copy(numbers[0].begin(), numbers[0].end(), x.value.data);
        std::vector<dg::parameter<double>> parameters;
        if (gradients) gradients->clear();
        std::vector<std::vector<double>> sums;
        for (const auto& values : numbers) sums.emplace_back(values.size(), 0.0);
        for (std::size_t w = 0; w < weights.size(); ++w) {
            const auto [r, c] = weights[w];
            parameters.push_back({{numbers[w + 1].data(), r, c},
                                  gradients ? dg::matrix<double>(sums[w + 1].data(), r, c) : dg::matrix<double>{}});
        }
        const auto y = build(t, x, parameters);
        const auto factors = normal_numbers<double>(y.value.size(), 99);
        double sum = 0;
        for (std::size_t i = 0; i < factors.size(); ++i) sum += factors[i] * y.value.data[i];
        if (gradients) {
            t.seed(y, dg::matrix<const double>(factors.data(), y.value.rows, y.value.cols));
            t.backward();
            const auto dx = t.gradient(x);
            REQUIRE(dx.data);
            std::copy_n(dx.data, dx.size(), sums[0].begin());
            *gradients = sums;
        }
        return sum;
    }

    void run() const {
        std::vector<std::vector<double>> numbers = {normal_numbers<double>(rows * cols, 1)};
        for (std::size_t w = 0; w < weights.size(); ++w)
            numbers.push_back(normal_numbers<double>(weights[w].first * weights[w].second, 2 + w));
        std::vector<std::vector<double>> gradients;
        objective(numbers, &gradients);
        const double h = 1e-5;
        for (std::size_t k = 0; k < numbers.size(); ++k)
            for (std::size_t i = 0; i < numbers[k].size(); ++i) {
                const double kept = numbers[k][i];
                numbers[k][i] = kept + h;
                const double above = objective(numbers, nullptr);
                numbers[k][i] = kept - h;
                const double below = objective(numbers, nullptr);
                numbers[k][i] = kept;
                const double want = (above - below) / (2 * h);
                INFO("input " << k << ", element " << i);
                REQUIRE(gradients[k][i] == Approx(want).epsilon(1e-6).margin(1e-7));
            }
    }
};

}  // namespace

TEST_CASE("linear differentiates") {
    gradient_check{5, 3, {{4, 3}}, [](tape& t, variable x, const auto& w) { return dg::ops::linear(t, x, w[0]); }}
        .run();
}
TEST_CASE("linear with a bias differentiates") {
    gradient_check{
        5, 3, {{4, 3}, {1, 4}}, [](tape& t, variable x, const auto& w) { return dg::ops::linear(t, x, w[0], w[1]); }}
        .run();
}
TEST_CASE("LayerNorm differentiates, with a bias, a scale and gains of one plus the parameter") {
    for (const bool offset : {false, true})
        gradient_check{
            4,
            6,
            {{1, 6}, {1, 6}},
            [offset](tape& t, variable x, const auto& w) {
                return dg::ops::normalize(t, x, dg::ops::norm_parameters<double>{w[0], w[1], 1e-5, true, offset}, 0.7);
            }}
            .run();
    gradient_check{4,
                   6,
                   {{1, 6}},
                   [](tape& t, variable x, const auto& w) {
                       return dg::ops::normalize(t, x, dg::ops::norm_parameters<double>{w[0], {}, 1e-5, false, true});
                   }}
        .run();
}
TEST_CASE("a residual sum with LayerNorm behind it differentiates through both") {
    gradient_check{3,
                   6,
                   {{1, 6}, {1, 6}, {6, 6}},
                   [](tape& t, variable x, const auto& w) {
                       const auto both =
                           dg::ops::add_and_normalize(t, x, dg::ops::linear(t, x, w[2]),
                                                      dg::ops::norm_parameters<double>{w[0], w[1], 1e-5, true, false});
                       return dg::ops::add(t, both.sum, both.normed);
                   }}
        .run();
}
TEST_CASE("gated and plain MLPs differentiate with every activation and with biases") {
    for (const auto act : {dg::activation::silu, dg::activation::gelu, dg::activation::gelu_tanh}) {
        gradient_check{
            3,
            4,
            {{10, 4}, {1, 10}, {4, 5}, {1, 4}},
            [act](tape& t, variable x, const auto& w) {
                return dg::ops::mlp(t, x, dg::ops::mlp_parameters<double>{w[0], w[1], w[2], w[3], act, true});
            }}
            .run();
        gradient_check{
            3,
            4,
            {{5, 4}, {1, 5}, {4, 5}, {1, 4}},
            [act](tape& t, variable x, const auto& w) {
                return dg::ops::mlp(t, x, dg::ops::mlp_parameters<double>{w[0], w[1], w[2], w[3], act, false});
            }}
            .run();
    }
}
TEST_CASE("RMSNorm differentiates, with a scale") {
    gradient_check{
        4, 6, {{1, 6}}, [](tape& t, variable x, const auto& w) { return dg::ops::rms_norm(t, x, w[0], 1e-5, 0.7); }}
        .run();
}
TEST_CASE("the fused residual norm differentiates through its sum and its norm") {
    gradient_check{3,
                   6,
                   {{1, 6}, {6, 6}},
                   [](tape& t, variable x, const auto& w) {
                       const auto a = dg::ops::linear(t, x, w[1]);
                       const auto both = dg::ops::residual_rms_norm(t, x, a, w[0], 1e-5, 1.0);
                       return dg::ops::add(t, both.sum, both.normed);
                   }}
        .run();
}
TEST_CASE("the fused residual norm gives what add and norm give") {
    dg::reference backend;
    tape t(backend);
    t.start(false);
    auto x = t.make(3, 5), a = t.make(3, 5);
    const auto numbers = normal_numbers<double>(30, 4), gain = normal_numbers<double>(5, 5);
    std::copy_n(numbers.begin(), 15, x.value.data);
    std::copy_n(numbers.begin() + 15, 15, a.value.data);
    const dg::parameter<double> weight{{gain.data(), 1, 5}, {}};
    const auto both = dg::ops::residual_rms_norm(t, x, a, weight, 1e-5, 1.0);
    const auto sum = dg::ops::add(t, x, a);
    const auto normed = dg::ops::rms_norm(t, sum, weight, 1e-5, 1.0);
    for (std::size_t i = 0; i < 15; ++i) {
        CHECK(both.sum.value.data[i] == sum.value.data[i]);
        CHECK(both.normed.value.data[i] == normed.value.data[i]);
    }
}
TEST_CASE("the gated MLP differentiates") {
    gradient_check{3,
                   4,
                   {{10, 4}, {4, 5}},
                   [](tape& t, variable x, const auto& w) {
                       return dg::ops::mlp(t, x, dg::ops::mlp_parameters<double>{w[0], {}, w[1], {}});
                   }}
        .run();
}
TEST_CASE("sum and difference differentiate, also of one variable with itself") {
    gradient_check{3,
                   4,
                   {{4, 4}},
                   [](tape& t, variable x, const auto& w) {
                       const auto y = dg::ops::linear(t, x, w[0]);
                       return dg::ops::add(t, dg::ops::add(t, y, x, -1.0), y);
                   }}
        .run();
}
TEST_CASE("causal grouped-query attention with RoPE differentiates") {
    static const auto cosine = [] {
        std::vector<double> c;
        for (std::size_t t = 0; t < 7; ++t)
            c.push_back(std::cos(0.3 * static_cast<double>(t))), c.push_back(std::cos(0.03 * static_cast<double>(t)));
        return c;
    }();
    static const auto sine = [] {
        std::vector<double> s;
        for (std::size_t t = 0; t < 7; ++t)
            s.push_back(std::sin(0.3 * static_cast<double>(t))), s.push_back(std::sin(0.03 * static_cast<double>(t)));
        return s;
    }();
    const dg::attention_shape shape{2, 5, 4, 2, 4};
    gradient_check{
        shape.rows(),
        6,
        {{shape.packed_width(), 6}},
        [shape](tape& t, variable x, const auto& w) {
            const dg::ops::rope_table<double> table{{cosine.data(), 7, 2}, {sine.data(), 7, 2}};
            return dg::ops::attention(
                t, dg::ops::projections(t, x, dg::ops::projection_parameters<double>{w[0], {}, {}, {}}, shape, table),
                shape, table);
        }}
        .run();
}
TEST_CASE(
    "attention differentiates with windows, biases, norms of queries and keys, a share of the head rotated, and its "
    "own scale") {
    static const std::vector<double> cosine = [] {
        std::vector<double> c;
        for (std::size_t t = 0; t < 7; ++t) c.push_back(std::cos(0.3 * static_cast<double>(t)));
        return c;
    }();
    static const std::vector<double> sine = [] {
        std::vector<double> s;
        for (std::size_t t = 0; t < 7; ++t) s.push_back(std::sin(0.3 * static_cast<double>(t)));
        return s;
    }();
    const dg::attention_shape shape{2, 5, 4, 2, 4, 3, 0.4};  // a window of 3
    for (const bool whole : {false, true}) {                 // norms of a head each, of the whole width
        const std::size_t q = whole ? shape.width() : shape.head_width, k = whole ? shape.kv_width() : shape.head_width;
        gradient_check{shape.rows(),
                       6,
                       {{shape.packed_width(), 6}, {1, shape.packed_width()}, {1, q}, {1, k}},
                       [shape](tape& t, variable x, const auto& w) {
                           const dg::ops::rope_table<double> table{{cosine.data(), 7, 1}, {sine.data(), 7, 1}};
                           const dg::ops::projection_parameters<double> p{
                               w[0], w[1], {w[2], {}, 1e-5, false, true}, {w[3], {}, 1e-5, false, false}};
                           return dg::ops::attention(t, dg::ops::projections(t, x, p, shape, table), shape, table);
                       }}
            .run();
    }
    gradient_check{
        shape.rows(),
        6,
        {{shape.packed_width(), 6}, {1, shape.packed_width()}},
        [shape](tape& t, variable x, const auto& w) {  // no rotation, no norms
            return dg::ops::attention(
                t, dg::ops::projections(t, x, dg::ops::projection_parameters<double>{w[0], w[1], {}, {}}, shape, {}),
                shape, {});
        }}
        .run();
}
TEST_CASE("learned positions differentiate by stretches") {
    static const std::vector<dg::token> places = {0, 1, 2, 3, 4, 5, 6};
    static const std::vector<dg::row_stretch> stretches = {{0, 3, 0}, {3, 3, 2}};
    gradient_check{6,
                   4,
                   {{7, 4}, {4, 4}},
                   [](tape& t, variable x, const auto& w) {
                       return dg::ops::add_positions(t, dg::ops::linear(t, x, w[1]), w[0],
                                                     dg::span<const dg::token>(places), stretches);
                   }}
        .run();
}
TEST_CASE("the chunked head and cross entropy differentiates whatever the chunk") {
    const std::vector<dg::token> targets = {3, 0, -1, 6, 2};
    const std::vector<double> weights = {0.25, 0.125, 0.25, 0.5, 0};
    const auto hidden = normal_numbers<double>(5 * 4, 1);
    auto head = normal_numbers<double>(7 * 4, 2);
    const auto run = [&](const std::vector<double>& x, const std::vector<double>& w, std::size_t chunk,
                         std::vector<double>* dx, std::vector<double>* dw) {
        dg::reference backend;
        tape t(backend);
        t.start(dx != nullptr);
        auto v = t.make(5, 4);
        std::copy(x.begin(), x.end(), v.value.data);
        dg::parameter<double> weight{{w.data(), 7, 4},
                                     dw ? dg::matrix<double>(dw->data(), 7, 4) : dg::matrix<double>{}};
        const auto loss = dg::ops::linear_cross_entropy(t, v, weight, targets, weights, chunk);
        double sum = 0;
        for (std::size_t i = 0; i < 5; ++i) sum += weights[i] * loss[i];
        if (dx) dx->assign(t.gradient(v).data, t.gradient(v).data + 20);
        return sum;
    };
    const std::size_t chunk = GENERATE(1u, 2u, 5u, 512u);
    std::vector<double> dx(20, 0), dw(28, 0);
    run(hidden, head, chunk, &dx, &dw);
    const double h = 1e-5;
    auto x = hidden;
    for (std::size_t i = 0; i < 20; ++i) {
        x[i] += h;
        const double above = run(x, head, chunk, nullptr, nullptr);
        x[i] -= 2 * h;
        const double below = run(x, head, chunk, nullptr, nullptr);
        x[i] = hidden[i];
        REQUIRE(dx[i] == Approx((above - below) / (2 * h)).epsilon(1e-6).margin(1e-8));
    }
    for (std::size_t i = 0; i < 28; ++i) {
        const double kept = head[i];
        head[i] = kept + h;
        const double above = run(hidden, head, chunk, nullptr, nullptr);
        head[i] = kept - h;
        const double below = run(hidden, head, chunk, nullptr, nullptr);
        head[i] = kept;
        REQUIRE(dw[i] == Approx((above - below) / (2 * h)).epsilon(1e-6).margin(1e-8));
    }
}
TEST_CASE("a whole model differentiates, embedding included, for every norm placement and with a repeated layer") {
    auto config = dg::tiny();
    config.vocab = 11, config.width = 8, config.ffn = 12, config.heads = 2, config.kv_heads = 1, config.context = 6,
    config.layers = 4;
    config.tied = GENERATE(true, false);
    config.norms = GENERATE(dg::norm_placement::pre, dg::norm_placement::ln_scaling, dg::norm_placement::mix);
    config = config.with_depth(4);
    const std::vector<std::size_t> order = {0, 2, 1, 2, 3};
    dg::reference backend;
    dg::decoder<double, dg::reference> model(backend, config, 5);
    dg::parameter_set<double, dg::reference> gradients(backend, config, 4);
    tape t(backend);
    const std::vector<dg::token> ids = {1, 4, 10, 2, 0, 7}, targets = {4, 10, 2, 3, 7, 1};
    const std::vector<double> weights(6, 1);
    const auto objective = [&](auto* into) {
        const auto loss = dg::token_losses<double, dg::reference>(model, t, ids, targets, weights, 2, into, order);
        double sum = 0;
        for (double l : loss) sum += l;
        return sum;
    };
    objective(&gradients);
    dg::rng random(3);
    for (std::size_t block = 0; block <= 4; ++block)
        for (int probe = 0; probe < 40; ++probe) {
            auto values = dg::block_of(model.weights, block).flat();
            const std::size_t i = random.below(values.size());
            const double kept = values[i], h = 1e-5;
            values[i] = kept + h;
            const double above = objective(static_cast<decltype(&gradients)>(nullptr));
            values[i] = kept - h;
            const double below = objective(static_cast<decltype(&gradients)>(nullptr));
            values[i] = kept;
            INFO("block " << block << ", element " << i);
            REQUIRE(dg::block_of(gradients, block).flat()[i] ==
                    Approx((above - below) / (2 * h)).epsilon(2e-6).margin(1e-7));
        }
}
