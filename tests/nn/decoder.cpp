// The model: configurations, initialisation, sites, and layer orders that are run.
#include <cmath>

#include "depthgrow/backend/blas.hpp"
#include "depthgrow/growth/grow.hpp"
#include "depthgrow/growth/operators.hpp"
#include "depthgrow/nn/forward.hpp"
#include "support/catch.hpp"

namespace dg = depthgrow;

namespace {

using model_type = dg::decoder<double, dg::reference>;

std::vector<dg::token> some_tokens(std::size_t count, std::size_t vocab) {
    std::vector<dg::token> ids(count);
    for (std::size_t i = 0; i < count; ++i) ids[i] = static_cast<dg::token>((7 * i + 3) % vocab);
    return ids;
}
std::vector<double> copy_of(dg::matrix<double> m) { return {m.data, m.data + m.size()}; }

double deviation(dg::span<const double> block, const dg::tensor_place& place) {
    double squares = 0;
    for (std::size_t i = 0; i < place.size(); ++i) squares += block[place.offset + i] * block[place.offset + i];
    return std::sqrt(squares / static_cast<double>(place.size()));
}

}  // namespace

TEST_CASE("the presets have the published parameter counts") {
    CHECK(dg::smollm_135m().parameters() == 134'515'008);
    CHECK(dg::smollm_360m().parameters() == 361'821'120);
    CHECK(dg::smollm_1_7b().parameters() == 1'711'376'384);
    CHECK(dg::mini().parameters() - 8192 * 256 == 24 * (4 * 256 * 256 + 3 * 256 * 768 + 2 * 256) + 256);
    for (const auto& preset : dg::presets()) CHECK_NOTHROW(preset.validate());
}

TEST_CASE("impossible extents are refused with the extent named") {
    auto config = dg::tiny();
    config.heads = 5;
    CHECK_THROWS_WITH(config.validate(), Catch::Contains("expected heads to divide width 32, got 5 heads"));
    config = dg::tiny();
    config.kv_heads = 3;
    CHECK_THROWS_WITH(config.validate(), Catch::Contains("kv_heads to divide heads 4"));
    config = dg::tiny();
    config.heads = config.kv_heads = 32;
    CHECK_THROWS_WITH(config.validate(), Catch::Contains("even head width"));
}

TEST_CASE(
    "initialisation has SmolLM's deviations, scaled by the final depth, plain ones under ln_scaling or "
    "where asked for") {
    dg::reference backend;
    auto config = dg::tiny();
    config.width = 64, config.ffn = 192;
    config.norms = GENERATE(dg::norm_placement::pre, dg::norm_placement::ln_scaling);
    config.scaled_init = GENERATE(std::optional<bool>{}, std::optional(false), std::optional(true));
    const std::size_t final_layers = 32;
    const model_type model(backend, config, 9, final_layers);
    const double std = 1 / std::sqrt(64.0);
    const bool scaled = config.scaled_init ? *config.scaled_init : config.norms == dg::norm_placement::pre;
    const double out = scaled ? std / std::sqrt(2.0 * 32) : std;
    for (const auto& place : dg::layer_layout(config).places) {
        INFO(dg::name_of(place.which));
        const double want = place.vector()                                                ? 1.0
                            : place.which == dg::part::o || place.which == dg::part::down ? out
                                                                                          : std;
        CHECK(deviation(model.weights.layers[2].flat(), place) == Approx(want).epsilon(0.05));
    }
    CHECK(deviation(model.weights.outer.flat(), dg::outer_layout(config).places[0]) == Approx(std).epsilon(0.05));
    const model_type shallow(backend, config.with_depth(2), 9,
                             final_layers);  // a layer is born alike whatever the schedule
    CHECK(std::equal(shallow.weights.layers[1].flat().begin(), shallow.weights.layers[1].flat().end(),
                     model.weights.layers[1].flat().begin()));
}

TEST_CASE("the sites of every slot add up, for every norm placement") {
    dg::reference backend;
    auto config = dg::tiny();
    config.norms = GENERATE(dg::norm_placement::pre, dg::norm_placement::ln_scaling, dg::norm_placement::mix);
    config = config.with_depth(6);
    const model_type model(backend, config, 2);
    const auto ids = some_tokens(20, config.vocab);
    const auto read = [&](dg::site where) {
        auto [logits, trace] = dg::run_with_trace(model, ids, where, 2);
        std::vector<std::vector<double>> slots;
        for (auto& slot : trace.slots) slots.push_back(slot.to_host());
        return slots;
    };
    const auto pre = read(dg::site::resid_pre), a = read(dg::site::attn_out), mid = read(dg::site::resid_mid),
               m = read(dg::site::mlp_out), post = read(dg::site::resid_post);
    REQUIRE(pre.size() == 6);
    REQUIRE(post.size() == 6);
    for (std::size_t l = 0; l < 6; ++l)
        for (std::size_t i = 0; i < pre[l].size(); ++i) {
            REQUIRE(mid[l][i] == Approx(pre[l][i] + a[l][i]).margin(1e-14));
            REQUIRE(post[l][i] == Approx(mid[l][i] + m[l][i]).margin(1e-14));
            if (l + 1 < 6) REQUIRE(pre[l + 1][i] == post[l][i]);
        }
}

TEST_CASE("the identity order gives bit-equal logits, and an order runs what copying it would") {
    dg::reference backend;
    auto config = dg::tiny();
    config.norms = GENERATE(dg::norm_placement::pre, dg::norm_placement::ln_scaling, dg::norm_placement::mix);
    config = config.with_depth(6);
    model_type model(backend, config, 2);
    dg::tape<double, dg::reference> tape(backend);
    const auto ids = some_tokens(12, config.vocab);
    const auto run = [&](dg::span<const std::size_t> order) {
        return copy_of(dg::logits(model, tape, dg::span<const dg::token>(ids), 1, order));
    };
    CHECK(run({}) == run(dg::layer_order::identity(6).sources()));
    const auto order = dg::lidas{2}(6);
    const bool same_slots = config.norms != dg::norm_placement::mix;  // a grown mix model has more post-norm slots
    const auto wanted = run(order.sources());
    CHECK(wanted != run({}));
    model.grow(order);
    if (same_slots) CHECK(run({}) == wanted);
    const std::vector<std::size_t> outside = {0, 8};
    CHECK_THROWS_WITH(run(outside), Catch::Contains("got 8 at place 1"));
}

TEST_CASE("too long a sequence and unequal sequences are refused") {
    dg::blas backend;
    const dg::decoder<float, dg::blas> model(backend, dg::tiny(), 1);
    dg::tape<float, dg::blas> tape(backend);
    const auto ids = some_tokens(65, 256);
    CHECK_THROWS_WITH(dg::logits(model, tape, dg::span<const dg::token>(ids), 1), Catch::Contains("at most 64 tokens"));
    CHECK_THROWS_WITH(dg::logits(model, tape, dg::span<const dg::token>(ids), 2),
                      Catch::Contains("2 equal sequences, got 65"));
}
