// Many sequences in one run against each alone: logits, scores, independence, what is not finite.
#include "depthgrow/analysis/batched_decoder.hpp"

#include <cmath>
#include <limits>

#include "depthgrow/analysis/cached_decoder.hpp"
#include "depthgrow/analysis/scoring.hpp"
#include "depthgrow/backend/blas.hpp"
#include "depthgrow/backend/reference.hpp"
#include "io/temporary.hpp"
#include "support/catch.hpp"
#include "support/fixture.hpp"

namespace dg = depthgrow;
using temporary::refusal;
using temporary::says;

namespace {

/// Four layers whose sizes are no multiples of a vector of numbers.
dg::decoder_config odd_sizes() {
    auto config = dg::tiny();
    config.vocab = 43, config.context = 48, config.ffn = 53;
    return config.with_depth(4);
}

using token_lists = std::vector<std::vector<dg::token>>;
const token_lists texts = {{5, 1, 33, 7, 7, 2}, {9}, {8, 30, 2, 42, 0, 1, 17, 3, 3}, {40, 41}};

}  // namespace

TEST_CASE("sequences that share runs have the logits of each alone, under any order and exit") {
    const std::vector<std::size_t> order =
        GENERATE(std::vector<std::size_t>{}, std::vector<std::size_t>{0, 1, 2, 1, 2, 3}, std::vector<std::size_t>{3});
    const std::optional<std::size_t> exit = GENERATE(std::optional<std::size_t>{}, std::optional<std::size_t>{1});
    dg::reference backend;
    const dg::decoder<double, dg::reference> model(backend, odd_sizes(), 11);
    const dg::scoring_options<double, dg::reference> options{order, exit, nullptr, 4096};
    dg::batched_decoder<double, dg::reference> together(model, options);
    dg::cached_decoder<double, dg::reference> alone(model, options);
    std::vector<std::size_t> numbers;
    for (const auto& text : texts) numbers.push_back(together.open(text.size() + 3));
    std::vector<dg::token_piece> pieces;
    for (std::size_t i = 0; i < texts.size(); ++i) pieces.push_back({numbers[i], texts[i], {}, i != 1});
    auto got = together.append(pieces);
    CHECK(got[1].logits.empty());
    const std::vector<dg::token> more = {4, 11};
    pieces = {{numbers[2], more, {}, true}, {numbers[0], {more.data(), 1}, {}, true}};  // some, in another order
    auto later = together.append(pieces);
    for (const std::size_t i : {std::size_t{0}, std::size_t{2}, std::size_t{3}}) {
        alone.rewind();
        const auto wanted = alone.append(texts[i]);
        REQUIRE(got[i].logits.size() == wanted.size());
        for (std::size_t v = 0; v < wanted.size(); ++v) CHECK(got[i].logits[v] == Approx(wanted[v]).margin(1e-10));
        if (i == 3) continue;
        const auto after = alone.append({more.data(), std::size_t{i == 0 ? 1u : 2u}});
        for (std::size_t v = 0; v < after.size(); ++v)
            CHECK(later[i == 0 ? 1 : 0].logits[v] == Approx(after[v]).margin(1e-10));
    }
    CHECK(together.size(numbers[2]) == texts[2].size() + 2);
}

TEST_CASE("beside up to 31 other rows a sequence has the bits that it has alone") {
    dg::blas backend({.threads = 2});
    const dg::decoder<float, dg::blas> model(backend, odd_sizes(), 12);
    dg::batched_decoder<float, dg::blas> decoder(model);
    std::vector<std::vector<double>> first, next;
    const dg::token follows = 7;
    for (const auto& text : texts) {
        const std::size_t number = decoder.open(20);
        const dg::token_piece begin{number, text, {}, true}, then{number, {&follows, 1}, {}, true};
        first.push_back(decoder.append({&begin, 1})[0].logits);
        next.push_back(decoder.append({&then, 1})[0].logits);
        decoder.close(number);
    }
    std::vector<dg::token_piece> pieces;
    for (const auto& text : texts) pieces.push_back({decoder.open(20), text, {}, true});
    const std::vector<dg::token> others = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14};
    pieces.push_back({std::nullopt, others, {}, false});
    auto got = decoder.append(pieces);
    for (std::size_t i = 0; i < texts.size(); ++i) CHECK(got[i].logits == first[i]);
    for (std::size_t i = 0; i < texts.size(); ++i) pieces[i].ids = {&follows, 1};
    got = decoder.append(pieces);
    for (std::size_t i = 0; i < texts.size(); ++i) CHECK(got[i].logits == next[i]);
}

TEST_CASE("scores piece by piece and of whole sequences are those of the scorer") {
    dg::blas backend;
    const dg::decoder<float, dg::blas> model(backend, odd_sizes(), 12);
    dg::scorer<float, dg::blas> scorer(model);
    dg::batched_decoder<float, dg::blas> decoder(model);
    const auto wanted = scorer.every_position(texts);
    const auto compare = [&](const dg::row_scores& got, std::size_t text, std::size_t first) {
        for (std::size_t t = 0; t < got.best.size(); ++t) {
            const std::size_t at = first + t;
            CHECK(got.best[t] == wanted[text].best[at + 1]);
            CHECK(got.of_best[t] == Approx(wanted[text].of_best[at + 1]).epsilon(1e-5));
            if (at + 1 < texts[text].size())
                CHECK(got.of_following[t] == Approx(wanted[text].of_token[at + 1]).epsilon(1e-5));
            else CHECK(got.of_following[t] == 0);
        }
    };
    auto following = texts;
    for (auto& list : following) list.erase(list.begin()), list.push_back(-1);
    const std::size_t number = decoder.open(9);
    const dg::span<const dg::token> ids = texts[2], then = following[2];
    const std::vector<dg::token_piece> begin = {{std::nullopt, texts[0], following[0]},
                                                {number, ids.subspan(0, 4), then.subspan(0, 4)},
                                                {std::nullopt, texts[3], following[3]},
                                                {std::nullopt, texts[1], {}, true}};
    const auto one = decoder.append(begin);
    compare(one[0].scores, 0, 0), compare(one[1].scores, 2, 0), compare(one[2].scores, 3, 0);
    CHECK(one[3].scores.best.empty());
    CHECK(one[3].logits.size() == 43);
    const std::vector<dg::token_piece> end = {{number, ids.subspan(4, 5), then.subspan(4, 5)}};
    compare(decoder.append(end)[0].scores, 2, 4);
}

TEST_CASE("logits that are not finite are told of the pieces that have them") {
    dg::reference backend;
    auto config = odd_sizes();
    config.tied = false;
    dg::decoder<double, dg::reference> model(backend, config, 12);
    model.weights.outer.at(dg::outer_layout(config).at(dg::part::embedding))(5, 0) =
        std::numeric_limits<double>::quiet_NaN();
    dg::batched_decoder<double, dg::reference> decoder(model);
    const std::vector<dg::token> good = {1, 2}, bad = {1, 5}, unknown = {-1, -1};
    const std::vector<dg::token_piece> pieces = {
        {std::nullopt, good, unknown, false}, {std::nullopt, bad, unknown, false}, {std::nullopt, bad, {}, true}};
    const auto got = decoder.append(pieces);
    CHECK_FALSE(got[1].finite);
    CHECK_FALSE(got[2].finite);
    CHECK(got[0].finite);
    for (const double infinite : {HUGE_VAL, -HUGE_VAL}) {  // one of the two makes a logit minus infinity
        model.weights.outer.at(dg::outer_layout(config).at(dg::part::head))(5, 0) = infinite;
        const dg::token id = 1, none = -1;
        const std::vector<dg::token_piece> last = {{std::nullopt, {&id, 1}, {&none, 1}, false},
                                                   {std::nullopt, {&id, 1}, {}, true}};
        for (const auto& one : decoder.append(last)) CHECK_FALSE(one.finite);
    }
}

TEST_CASE("a batched decoder refuses what its sequences have no room for") {
    dg::reference backend;
    const dg::decoder<double, dg::reference> model(backend, odd_sizes(), 12);
    dg::batched_decoder<double, dg::reference> decoder(model);
    CHECK(says(refusal([&] { decoder.open(49); }), "expected room for 1 to 48 positions"));
    const std::size_t number = decoder.open(3);
    const std::vector<dg::token> ids = {1, 2, 3, 4};
    const dg::token_piece all{number, ids, {}, true}, two{number, {ids.data(), 2}, {}, true};
    CHECK(says(refusal([&] { decoder.append({&all, 1}); }), "expected 1 to 3 tokens"));
    const std::vector<dg::token_piece> twice = {two, two};
    CHECK(says(refusal([&] { decoder.append(twice); }), "expected a sequence once"));
    const dg::token_piece scored{number, {ids.data(), 3}, {ids.data(), 2}, false};
    CHECK(says(refusal([&] { decoder.append({&scored, 1}); }), "expected what follows each of 3 tokens, got 2"));
    decoder.close(number);
    CHECK(decoder.count() == 0);
    CHECK(says(refusal([&] { decoder.append({&two, 1}); }), "expected an open sequence"));
}
