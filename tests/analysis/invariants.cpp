// What must hold exactly, whatever the weights: zeros, ones, identities. Models of several shapes and norm placements.
#include "depthgrow/analysis/local_effects.hpp"
#include "depthgrow/analysis/skip_effects.hpp"
#include "depthgrow/analysis/sweeps.hpp"
#include "depthgrow/analysis/trace.hpp"
#include "depthgrow/backend/blas.hpp"
#include "depthgrow/growth/operators.hpp"
#include "support/catch.hpp"

namespace dg = depthgrow;

namespace {

struct shape_case {
    dg::decoder_config config;
    std::vector<dg::prompt> prompts;
};

std::vector<shape_case> shapes() {
    dg::decoder_config small{"small", 61, 24, 40, 5, 3, 1, 40};
    dg::decoder_config scaled{"scaled", 130, 16, 24, 6, 2, 2, 64};
    scaled.norms = dg::norm_placement::ln_scaling, scaled.tied = false;
    dg::decoder_config mixed{"mixed", 33, 32, 64, 8, 4, 2, 33};
    mixed.norms = dg::norm_placement::mix, mixed.post_layers = 2;
    std::vector<shape_case> out;
    for (const auto& config : {small, scaled, mixed}) {
        dg::rng random(7);
        shape_case one{config, {}};
        for (std::size_t length : {13u, 22u, 33u}) {
            dg::prompt p;
            for (std::size_t u = 0; u < length; ++u)
                p.tokens.push_back(static_cast<dg::token>(random.below(config.vocab)));
            one.prompts.push_back(p);
        }
        one.prompts[1].boundaries = {2, 9, 21};
        out.push_back(one);
    }
    return out;
}

template <class T> void set_layer_output_zero(dg::decoder<T, dg::blas>& model, std::size_t layer, dg::part which) {
    const auto layout = dg::layer_layout(model.config());
    const auto rows = model.weights.layers[layer].at(layout.at(which));
    std::fill(rows.data, rows.data + rows.size(), T(0));
}

}  // namespace

TEMPLATE_TEST_CASE("skips change exactly nothing before them, and exactly everything of themselves", "", float,
                   double) {
    dg::blas backend;
    for (const auto& one : shapes()) {
        INFO(one.config.name);
        const dg::decoder<TestType, dg::blas> model(backend, one.config, 3);
        const std::size_t L = one.config.layers;
        for (const auto unit : {dg::skip_unit::layer, dg::skip_unit::attention, dg::skip_unit::mlp}) {
            dg::skip_options options;
            options.unit = unit;
            const auto got = dg::skip_effects(model, one.prompts, options);
            for (std::size_t s = 0; s < L; ++s)
                for (std::size_t l = 0; l < L; ++l) {
                    if (l < s) CHECK(got.current.change_max[s * L + l] == 0);
                    if (l <= s) CHECK(got.future.change_max[s * L + l] == 0);
                    if (l > s) CHECK(got.current.change_max[s * L + l] > 0);
                    if (l == s && unit == dg::skip_unit::layer) CHECK(got.current.change_max[s * L + l] == 1);
                    if (l == s && unit == dg::skip_unit::layer) CHECK(got.current.change_mean[s * L + l] == 1);
                }
            CHECK(got.future.output_max[L - 1] == 0);
            CHECK(got.current.output_max[L - 1] > 0);
        }
        const auto local = dg::local_effects(model, one.prompts);
        for (std::size_t s = 0; s < L; ++s)
            for (std::size_t l = 0; l <= s; ++l) CHECK((local.current[s * L + l] == 0 && local.future[s * L + l] == 0));
    }
}

TEST_CASE("logits of a tape and logits beside a trace are read by the same row and column") {
    dg::blas backend;
    const auto one = shapes()[0];
    const dg::decoder<double, dg::blas> model(backend, one.config, 3);
    dg::tape<double, dg::blas> tape(backend);
    const dg::span<const dg::token> tokens(one.prompts[0].tokens);
    const auto clean = dg::logits(model, tape, tokens, 1);
    const auto [logits, trace] = dg::run_with_trace(model, tokens, dg::site::resid_pre);
    REQUIRE(clean.rows == tokens.size());
    REQUIRE(clean.cols == one.config.vocab);
    REQUIRE(logits.size() == clean.size());
    for (std::size_t t = 0; t < clean.rows; ++t)
        for (std::size_t v = 0; v < clean.cols; ++v) REQUIRE(logits(t, v) == clean(t, v));
    CHECK(trace.slots.size() == one.config.layers);
}

TEST_CASE("the depth score of a model is that of the effects that the metric finds in logits of runs by hand") {
    dg::blas backend;
    const auto one = shapes()[0];
    const dg::decoder<double, dg::blas> model(backend, one.config, 3);
    const std::size_t L = one.config.layers, C = one.config.width, V = one.config.vocab;
    dg::tape<double, dg::blas> tape(backend);
    auto prompts = one.prompts;
    for (auto& p : prompts) p.boundaries = {2, 9};
    /// Logits (T, V) without what layer `skipped` adds at positions 1 … until − 1.
    const auto run = [&](const dg::prompt& p, std::size_t skipped, std::size_t until) {
        const std::size_t T = p.tokens.size();
        tape.start(false);
        auto x = model.embedding(tape, dg::span<const dg::token>(p.tokens), model.extents(T, 1));
        for (std::size_t l = 0; l < L; ++l) {
            const auto between = model.attention_sublayer(tape, {x, {}}, l, l, model.extents(T, 1), nullptr);
            const auto a = between.pending.value, m = model.mlp_sublayer(tape, between, l, l, nullptr).pending.value;
            const auto next = tape.make(T, C);
            for (std::size_t u = 0; u < T; ++u)
                for (std::size_t i = 0; i < C; ++i)
                    next.value(u, i) = x.value(u, i) + (l == skipped && u > 0 && u < until ? 0 : a(u, i) + m(u, i));
            x = next;
        }
        const auto z = dg::ops::linear(tape, model.final_norm(tape, x, nullptr), model.head()).value;
        return std::vector<double>(z.data, z.data + z.size());
    };
    std::vector<double> effects(L);
    for (const auto& p : prompts) {
        const auto clean = run(p, L, 0);
        const auto view = [&](const std::vector<double>& logits) {
            return dg::matrix<const double>(logits.data(), p.tokens.size(), V);
        };
        for (std::size_t l = 0; l < L; ++l) {
            double strongest = 0;
            for (std::size_t t : p.boundaries) {
                const auto skipped = run(p, l, t);
                strongest = std::max(strongest, dg::future_output_effect(view(clean), view(skipped), t));
            }
            effects[l] += strongest / static_cast<double>(prompts.size());
        }
    }
    const auto got = dg::future_effects(model, prompts);
    for (std::size_t l = 0; l < L; ++l) CHECK(got.output_mean[l] == Approx(effects[l]).epsilon(1e-9));
    CHECK(dg::depth_score(got) == Approx(dg::output_depth_score(effects)).epsilon(1e-9));
}

TEST_CASE("local effects are those of each layer run by hand on the residual without what the skipped layer added") {
    dg::blas backend;
    for (const auto& one : shapes()) {
        INFO(one.config.name);
        const dg::decoder<double, dg::blas> model(backend, one.config, 3);
        const dg::prompt& p = one.prompts[1];  // names its boundaries
        const std::size_t L = one.config.layers, T = p.tokens.size(), C = one.config.width;
        dg::tape<double, dg::blas> tape(backend);
        std::vector<std::vector<double>> h, c;  // (T, C) a layer
        const auto flat = [](dg::matrix<const double> m) { return std::vector<double>(m.data, m.data + m.size()); };
        dg::visit_layers(
            model, tape, dg::span<const dg::token>(p.tokens),
            [&](std::size_t, auto h_l, auto a, auto m) {
                h.push_back(flat(h_l)), c.push_back(flat(a));
                for (std::size_t i = 0; i < m.size(); ++i) c.back()[i] += m.data[i];
            },
            [](auto) {});
        const auto norm = [&](auto value, std::size_t u) {
            double squares = 0;
            for (std::size_t i = u * C; i < (u + 1) * C; ++i) squares += value(i) * value(i);
            return std::sqrt(squares);
        };
        const auto change = [&](std::size_t s, std::size_t l, std::size_t until, std::size_t from) {
            tape.start(false);
            auto x = tape.make(T, C);
            for (std::size_t i = 0; i < T * C; ++i)
                x.value.data[i] = h[l][i] - (i / C > 0 && i / C < until ? c[s][i] : 0);
            const auto between = model.attention_sublayer(tape, {x, {}}, l, l, model.extents(T, 1), nullptr);
            auto added = flat(between.pending.value);
            const auto m = flat(model.mlp_sublayer(tape, between, l, l, nullptr).pending.value);
            double largest = 0;
            for (std::size_t u = from; u < T; ++u)
                largest = std::max(largest, norm([&](std::size_t i) { return added[i] + m[i] - c[l][i]; }, u) /
                                                norm([&](std::size_t i) { return c[l][i]; }, u));
            return largest;
        };
        const auto got = dg::local_effects(model, std::vector<dg::prompt>{p});
        for (std::size_t s = 0; s < L; ++s)
            for (std::size_t l = s + 1; l < L; ++l) {
                INFO("layer " << s << " taken from layer " << l);
                double later = 0;
                for (std::size_t t : p.boundaries) later = std::max(later, change(s, l, t, t));
                CHECK(got.current[s * L + l] == Approx(change(s, l, T, 0)).epsilon(1e-9));
                CHECK(got.future[s * L + l] == Approx(later).epsilon(1e-9));
            }
    }
}

TEMPLATE_TEST_CASE("a unit that adds nothing has rows of zeros", "", float, double) {
    dg::blas backend;
    auto config = shapes()[0].config;
    const auto prompts = shapes()[0].prompts;
    dg::decoder<TestType, dg::blas> model(backend, config, 5);
    set_layer_output_zero(model, 2, dg::part::o);
    set_layer_output_zero(model, 2, dg::part::down);
    set_layer_output_zero(model, 3, dg::part::o);
    const std::size_t L = config.layers;
    const auto check_zero = [&](const dg::skip_effects_result& got, std::size_t s) {
        for (std::size_t l = 0; l < L; ++l)
            CHECK((got.current.change_max[s * L + l] == 0 && got.future.change_max[s * L + l] == 0));
        CHECK((got.current.output_max[s] == 0 && got.future.output_max[s] == 0));
    };
    dg::skip_options options;
    check_zero(dg::skip_effects(model, prompts, options), 2);
    options.unit = dg::skip_unit::mlp;
    check_zero(dg::skip_effects(model, prompts, options), 2);
    options.unit = dg::skip_unit::attention;
    const auto attention = dg::skip_effects(model, prompts, options);
    check_zero(attention, 2);
    check_zero(attention, 3);
    CHECK(attention.current.output_max[1] > 0);
    const auto local = dg::local_effects(model, prompts);
    for (std::size_t l = 0; l < L; ++l) CHECK((local.current[2 * L + l] == 0 && local.future[2 * L + l] == 0));
}

TEST_CASE("a model whose layers add nothing has no depth score, which is an error and not a NaN") {
    dg::blas backend;
    const auto one = shapes()[0];
    dg::decoder<float, dg::blas> model(backend, one.config, 5);
    for (std::size_t l = 0; l < one.config.layers; ++l)
        set_layer_output_zero(model, l, dg::part::o), set_layer_output_zero(model, l, dg::part::down);
    CHECK_THROWS_WITH(dg::depth_score(dg::future_effects(model, one.prompts)),
                      "[centre_of_mass] expected effects with a finite sum above 0, got 0");
}

TEMPLATE_TEST_CASE("the identity order gives bit-equal logits", "", float, double) {
    dg::blas backend;
    for (const auto& one : shapes()) {
        const dg::decoder<TestType, dg::blas> model(backend, one.config, 3);
        const auto& tokens = one.prompts[2].tokens;
        const auto identity = dg::layer_order::identity(one.config.layers);
        dg::tape<TestType, dg::blas> tape(backend);
        const auto plain = dg::logits(model, tape, dg::span<const dg::token>(tokens), 1);
        const std::vector<TestType> first(plain.data, plain.data + plain.size());
        const auto ordered = dg::logits(model, tape, dg::span<const dg::token>(tokens), 1,
                                        dg::span<const std::size_t>(identity.sources()));
        CHECK(first == std::vector<TestType>(ordered.data, ordered.data + ordered.size()));
        const auto losses = dg::order_losses(model, one.prompts, {identity, identity});
        CHECK(losses.means()[0] == losses.means()[1]);
    }
}

TEMPLATE_TEST_CASE("losses of orders count predictions by the prompt's weights", "", float, double) {
    dg::blas backend;
    const auto one = shapes().front();
    const dg::decoder<TestType, dg::blas> model(backend, one.config, 3);
    const std::vector<dg::layer_order> orders = {dg::layer_order::identity(one.config.layers),
                                                 dg::reverse(one.config.layers, 0, 2)};
    dg::prompt all = one.prompts[2];
    const std::size_t length = all.tokens.size();
    const auto losses = [&](const dg::prompt& p) { return dg::order_losses(model, {&p, 1}, orders).means(); };
    // Of log-sums of `vocab` exponentials, and of the sums over predictions.
    const double bound = 256 * static_cast<double>(std::numeric_limits<TestType>::epsilon());
    std::vector<double> sums(orders.size());  // of every prediction on its own
    for (std::size_t u = 1; u < length; ++u) {
        dg::prompt alone = all;
        alone.weights.assign(length, 0);
        alone.weights[0] = 5;  // of what nothing predicts
        alone.weights[u] = 0.25;
        const auto mean = losses(alone);
        for (std::size_t o = 0; o < orders.size(); ++o) {
            dg::tape<TestType, dg::blas> tape(backend);
            const auto logits = dg::logits(model, tape, dg::span<const dg::token>(all.tokens), 1,
                                           dg::span<const std::size_t>(orders[o].sources()));
            double total = 0;
            for (std::size_t v = 0; v < logits.cols; ++v) total += std::exp(static_cast<double>(logits.row(u - 1)[v]));
            const double logit = logits.row(u - 1)[static_cast<std::size_t>(all.tokens[u])];
            CHECK(std::abs(mean[o] - (std::log(total) - logit)) < bound);
            sums[o] += mean[o];
        }
    }
    const auto whole = losses(all);
    for (std::size_t o = 0; o < orders.size(); ++o)
        CHECK(std::abs(whole[o] - sums[o] / static_cast<double>(length - 1)) < bound);
    const auto refused = [&](std::vector<double> weights, const std::string& found) {
        all.weights = std::move(weights);
        CHECK_THROWS_WITH(losses(all), "prompt 0: expected " + found);
    };
    refused({1, 1}, dg::text("one weight for each of its ", length, " tokens, found 2"));
    std::vector<double> some(length, 1);
    some[3] = -1;
    refused(some, "weights of at least 0, found -1 at position 3");
    some.assign(length, 0);
    some[0] = 1;
    refused(some, "a weight above 0 after the first token, found none");
}

TEMPLATE_TEST_CASE("prompts of one length run together and lose what they lose alone", "", float, double) {
    dg::blas backend;
    const auto one = shapes()[1];
    const dg::decoder<TestType, dg::blas> model(backend, one.config, 3);
    const std::vector<dg::layer_order> orders = {dg::layer_order::identity(one.config.layers),
                                                 dg::skip(one.config.layers, 2, 2)};
    std::vector<dg::prompt> prompts = {one.prompts[1], one.prompts[1], one.prompts[0], one.prompts[1], one.prompts[1]};
    for (std::size_t p = 0; p < prompts.size(); ++p)
        for (auto& id : prompts[p].tokens) id = static_cast<dg::token>((static_cast<std::size_t>(id) + 7 * p) % 130);
    CHECK(dg::detail::batches_of(prompts, 100).size() == 3);
    CHECK(dg::detail::batches_of(prompts, 43).size() == 5);  // two of them have 44 tokens
    CHECK(dg::detail::batches_of(prompts, 0).size() == 5);
    CHECK(dg::detail::batches_of(std::vector<dg::prompt>(9, prompts[0]), 1000).size() == 3);
    std::vector<double> sums(orders.size());
    double count = 0;
    for (const auto& p : prompts) {
        const auto alone = dg::order_losses(model, {&p, 1}, orders).means();
        const double predictions = static_cast<double>(p.tokens.size() - 1);
        for (std::size_t o = 0; o < orders.size(); ++o) sums[o] += alone[o] * predictions;
        count += predictions;
    }
    const auto together = dg::order_losses(model, prompts, orders).means();
    for (std::size_t o = 0; o < orders.size(); ++o)
        CHECK(std::abs(together[o] - sums[o] / count) <
              256 * static_cast<double>(std::numeric_limits<TestType>::epsilon()));
}

TEST_CASE("interventions stand at every legal start and nowhere else") {
    CHECK(dg::interventions("skip", 1, 5).size() == 5);
    CHECK(dg::interventions("skip", 1, 5)[2].order.sources() == std::vector<std::size_t>{0, 1, 3, 4});
    CHECK(dg::interventions("swap", 2, 8).size() == 5);
    CHECK(dg::interventions("swap", 8, 8).empty());
    CHECK(dg::interventions("skip", 8, 8).empty());
    CHECK(dg::interventions("loop", 4, 8, 3)[1].order.size() == 20);
    CHECK(dg::standard_interventions(8).size() == (8 + 7 + 5) + (7 + 5 + 1) + 5 + 4 * 5);
    CHECK_THROWS_WITH(dg::interventions("drop", 1, 8),
                      "[interventions] expected skip, swap, reverse or loop, got drop");
}

TEST_CASE("results do not depend on the rows in flight") {
    dg::blas backend;
    for (const auto& one : shapes()) {
        const dg::decoder<double, dg::blas> model(backend, one.config, 3);
        dg::skip_options few, many;
        few.max_rows = 1, few.logit_rows = 3;
        const auto a = dg::skip_effects(model, one.prompts, few), b = dg::skip_effects(model, one.prompts, many);
        for (std::size_t i = 0; i < a.current.change_max.size(); ++i)
            CHECK(a.current.change_max[i] == Approx(b.current.change_max[i]).epsilon(1e-9));
        for (std::size_t i = 0; i < a.future.output_mean.size(); ++i)
            CHECK(a.future.output_mean[i] == Approx(b.future.output_mean[i]).epsilon(1e-9));
    }
}

/// As a device says it.
struct many_rows_backend : dg::blas {
    static constexpr bool wants_many_rows = true;
};

TEST_CASE("rows at a time are the options', or suit the backend, and those of a layer are among those in flight") {
    dg::skip_options options;
    const auto cpu = options.on<dg::blas>(), device = options.on<many_rows_backend>();
    CHECK((cpu.max_rows == 16384 && cpu.layer_rows == 4096 && cpu.logit_rows == 256));
    CHECK((device.max_rows == 65536 && device.layer_rows == 65536 && device.logit_rows == 1024));
    options.max_rows = 2000, options.logit_rows = 7;
    const auto bounded = options.on<many_rows_backend>();
    CHECK((bounded.max_rows == 2000 && bounded.layer_rows == 2000 && bounded.logit_rows == 7));
}

TEST_CASE("prompts and boundaries out of range are refused with a sentence") {
    dg::blas backend;
    const auto one = shapes()[0];
    dg::decoder<float, dg::blas> model(backend, one.config, 3);
    const auto run = [&](dg::prompt p) { return dg::skip_effects(model, std::vector<dg::prompt>{one.prompts[0], p}); };
    const std::vector<dg::token> tokens = one.prompts[2].tokens;
    CHECK_THROWS_WITH(run({{1}, {}, {}}), "prompt 1: expected at least 2 tokens, found 1");
    CHECK_THROWS_WITH(run({{1, 2, 61}, {}, "p.jsonl line 4"}),
                      "p.jsonl line 4: expected token ids below the vocabulary of 61, found 61 at position 2");
    CHECK_THROWS_WITH(run({{1, -1}, {}, {}}),
                      "prompt 1: expected token ids below the vocabulary of 61, found -1 at position 1");
    CHECK_THROWS_WITH(run({std::vector<dg::token>(41, 1), {}, {}}),
                      "prompt 1: expected at most 40 tokens (the model's context), found 41");
    CHECK_THROWS_WITH(
        run({std::vector<dg::token>(12, 1), {}, {}}),
        "prompt 1: expected at least 13 tokens to draw a boundary from (or boundaries of its own), found 12");
    CHECK_THROWS_WITH(run({tokens, {33}, {}}),
                      "prompt 1: expected boundaries from 2 to 32 (its last position), found 33");
    CHECK_THROWS_WITH(run({tokens, {1}, {}}),
                      "prompt 1: expected boundaries from 2 to 32 (its last position), found 1");
    CHECK_THROWS_WITH(dg::skip_effects(model, std::vector<dg::prompt>{}),
                      "[skip_effects] expected at least 1 prompt, got 0");
    model.weights.layers[1].at(dg::layer_layout(one.config).at(dg::part::up))(2, 3) = NAN;
    CHECK_THROWS_WITH(dg::skip_effects(model, one.prompts),
                      Catch::Contains("[skip_effects] expected finite activations, got NaN or infinity in layer 1"));
}

TEST_CASE("boundaries are drawn as multiples of eight, without repetition, by seed and prompt") {
    CHECK(dg::draw_boundaries(12, 1, 0).empty());
    CHECK(dg::draw_boundaries(13, 1, 0) == std::vector<std::size_t>{8});
    CHECK(dg::draw_boundaries(21, 1, 0) == std::vector<std::size_t>{8, 16});
    const auto drawn = dg::draw_boundaries(300, 1, 0);
    CHECK(drawn.size() == 4);
    CHECK(drawn == dg::draw_boundaries(300, 1, 0));
    CHECK(drawn != dg::draw_boundaries(300, 1, 1));
    for (std::size_t i = 0; i < drawn.size(); ++i)
        CHECK((drawn[i] % 8 == 0 && drawn[i] + 4 < 300 && (i == 0 || drawn[i] > drawn[i - 1])));
}
