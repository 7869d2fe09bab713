// Decoding steps on a backend whose memory the host reads: logits and choices of many sequences against each alone
// without steps, under orders and exits, for every family; replays of what was recorded.
#include "depthgrow/analysis/decoding_step.hpp"

#include "depthgrow/analysis/batched_decoder.hpp"
#include "depthgrow/analysis/scoring.hpp"
#include "depthgrow/backend/reference.hpp"
#include "io/temporary.hpp"
#include "support/catch.hpp"
#include "support/fixture.hpp"

namespace dg = depthgrow;

namespace {

/// The reference as a backend without decoding steps.
struct stepless : dg::reference {
    bool decodes_steps() const { return false; }
};

/// Feeds the same pieces to decoders with and without steps; the largest difference of logits.
double distance(const dg::decoder_config& config, const std::vector<std::size_t>& order,
                std::optional<std::size_t> exit) {
    dg::reference backend;
    stepless other;
    const dg::decoder<double, dg::reference> model(backend, config, 11);
    const dg::decoder<double, stepless> same(other, config, 11);
    dg::batched_decoder<double, dg::reference> steps(model, {order, exit, nullptr, 4096});
    dg::batched_decoder<double, stepless> plain(same, {order, exit, nullptr, 4096});
    std::vector<std::size_t> numbers;
    std::vector<std::vector<dg::token>> texts;
    dg::rng random(3);
    double worst = 0;
    for (int round = 0; round < 14; ++round) {
        if (round % 2 == 0 && round < 12) {  // up to six: more rows than are recorded as they are
            numbers.push_back(steps.open(20));
            REQUIRE(plain.open(20) == numbers.back());
            texts.emplace_back(numbers.size() % 3 + 1);
        } else {
            for (auto& text : texts) text.resize(1);
        }
        if (round == 9) {
            steps.close(numbers[1]), plain.close(numbers[1]);
            numbers.erase(numbers.begin() + 1), texts.erase(texts.begin() + 1);
            steps.rewind(numbers[0], 2), plain.rewind(numbers[0], 2);
        }
        std::vector<dg::token_piece> pieces;
        for (std::size_t i = 0; i < numbers.size(); ++i) {
            for (auto& id : texts[i]) id = static_cast<dg::token>(random.below(config.vocab));
            pieces.push_back({numbers[i], texts[i], {}, i % 2 == 0, true});
        }
        const auto got = steps.append(pieces), want = plain.append(pieces);
        for (std::size_t i = 0; i < pieces.size(); ++i) {
            CHECK(got[i].best == want[i].best);
            CHECK(got[i].of_best == Approx(want[i].of_best).epsilon(1e-5));
            REQUIRE(got[i].logits.size() == want[i].logits.size());
            CHECK(got[i].logits.empty() == (i % 2 == 1));
            for (std::size_t v = 0; v < got[i].logits.size(); ++v)
                worst = std::max(worst, std::fabs(got[i].logits[v] - want[i].logits[v]));
        }
    }
    return worst;
}

}  // namespace

TEST_CASE("a decoding step has the logits of a run behind caches, under any order and exit", "[decoding_step]") {
    auto config = dg::tiny();
    config.vocab = 43, config.context = 48, config.ffn = 53;
    config = config.with_depth(4);
    CHECK(distance(config, {}, {}) < 1e-12);
    CHECK(distance(config, {0, 1, 2, 1, 2, 3}, {}) < 1e-12);
    CHECK(distance(config, {3, 0}, 1) < 1e-12);
    CHECK(distance(config, {}, 0) < 1e-12);
}

TEST_CASE("a decoding step has a family's windows, ropes, norms and learned positions", "[decoding_step]") {
    auto config = dg::tiny();
    config.vocab = 43, config.context = 48;
    config = config.with_depth(4);
    config.kinds = {{5, 0}, {0, 1}, {3, dg::layer_kind::no_rope}, {0, 0}};
    config.ropes.resize(2, config.ropes.at(0));
    config.ropes[1].theta = 50;
    config.qk_norm = dg::query_key_norm::head, config.parallel = true, config.qkv_bias = true;
    CHECK(distance(config, {}, {}) < 1e-12);
    config.learned_positions = true, config.gated = false, config.norm = dg::norm_kind::layer;
    config.scaled_embedding = true, config.qk_norm = dg::query_key_norm::none;
    CHECK(distance(config, {}, {}) < 1e-12);
}

TEST_CASE("a step tells rows whose logits are not finite, and refuses tokens that there are not", "[decoding_step]") {
    dg::reference backend;
    auto config = dg::tiny();
    config.vocab = 43, config.tied = false;
    dg::decoder<double, dg::reference> model(backend, config, 12);
    model.weights.outer.at(dg::outer_layout(config).at(dg::part::embedding))(5, 0) =
        std::numeric_limits<double>::quiet_NaN();
    dg::batched_decoder<double, dg::reference> decoder(model);
    const std::vector<dg::token> ids = {1, 5, 43};
    const auto piece = [&](std::size_t id) {
        return dg::token_piece{decoder.open(4), dg::span<const dg::token>(ids).subspan(id, 1), {}, false, true};
    };
    const std::vector<dg::token_piece> good = {piece(0), piece(1)}, bad = {piece(2)};
    const auto got = decoder.append(good);
    CHECK(got[0].finite);
    CHECK_FALSE(got[1].finite);
    CHECK(temporary::says(temporary::refusal([&] { decoder.append(bad); }),
                          "[batched_decoder] expected token ids below the vocabulary of 43, got 43"));
}
