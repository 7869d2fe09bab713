// Generation with cached keys and values against the model run whole; scores of every position against single ones.
#include "depthgrow/analysis/cached_decoder.hpp"

#include "depthgrow/analysis/scoring.hpp"
#include "depthgrow/backend/blas.hpp"
#include "depthgrow/backend/reference.hpp"
#include "support/catch.hpp"
#include "support/fixture.hpp"

namespace dg = depthgrow;

namespace {

using options_type = dg::scoring_options<double, dg::reference>;

dg::decoder_config small(dg::norm_placement norms) {
    auto config = dg::tiny().with_depth(4);
    config.norms = norms, config.vocab = 40, config.context = 24;
    return config.with_depth(4);
}

/// The last row of logits of a run of the whole sequence.
std::vector<double> whole(const dg::decoder<double, dg::reference>& model, const std::vector<dg::token>& ids,
                          const std::vector<std::size_t>& order) {
    dg::tape<double, dg::reference> tape(model.backend());
    const auto z = dg::logits<double, dg::reference>(model, tape, ids, 1, order);
    return {z.row(z.rows - 1), z.row(z.rows - 1) + z.cols};
}

}  // namespace

TEST_CASE("logits token by token are those of the whole sequence, under any order and norm placement") {
    const auto norms = GENERATE(dg::norm_placement::pre, dg::norm_placement::ln_scaling, dg::norm_placement::mix);
    const std::vector<std::size_t> order = GENERATE(
        std::vector<std::size_t>{}, std::vector<std::size_t>{0, 1, 2, 1, 2, 3}, std::vector<std::size_t>{3, 0});
    dg::reference backend;
    const dg::decoder<double, dg::reference> model(backend, small(norms), 11);
    dg::cached_decoder<double, dg::reference> decoder(model, {order, {}, nullptr, 4096});
    std::vector<dg::token> ids = {5, 1, 33, 7, 7, 2};
    for (int step = 0; step < 5; ++step) {
        const auto wanted = whole(model, ids, order);
        const auto got = step == 0 ? decoder.append(ids) : decoder.append({&ids.back(), 1});
        REQUIRE(got.size() == wanted.size());
        for (std::size_t v = 0; v < got.size(); ++v) CHECK(got[v] == Approx(wanted[v]).margin(1e-10));
        ids.push_back(static_cast<dg::token>((7 * step + 3) % 40));
    }
    decoder.rewind(6);
    const std::vector<dg::token> two = {9, 4};  // several tokens behind a cache
    const auto got = decoder.append(two);
    ids.resize(6);
    ids.insert(ids.end(), two.begin(), two.end());
    const auto wanted = whole(model, ids, order);
    for (std::size_t v = 0; v < got.size(); ++v) CHECK(got[v] == Approx(wanted[v]).margin(1e-10));
}

TEST_CASE("an early exit generates what the scorer scores") {
    dg::blas backend;
    const dg::decoder<float, dg::blas> model(backend, small(dg::norm_placement::pre), 11);
    const dg::scoring_options<float, dg::blas> options{{0, 1, 2, 1, 2, 3}, 4, nullptr, 4096};
    dg::scorer<float, dg::blas> scorer(model, options);
    dg::cached_decoder<float, dg::blas> decoder(model, options);
    const auto never = [](const std::vector<dg::token>&) { return false; };
    std::vector<dg::token> ids = {3, 1, 4};
    for (int i = 0; i < 12; ++i)
        ids.push_back(scorer.every_position(dg::span<const std::vector<dg::token>>(&ids, 1))[0].best.back());
    CHECK(decoder.complete({3, 1, 4}, 12, never) == std::vector<dg::token>(ids.begin() + 3, ids.end()));
    CHECK(decoder.complete({3, 1, 4}, 100, never).size() == 22);  // to the context's end
}

TEST_CASE("scores of every position are those of single continuations, and the likeliest token's are the same bits") {
    dg::blas backend;
    const dg::decoder<float, dg::blas> model(backend, small(dg::norm_placement::pre), 12);
    dg::scorer<float, dg::blas> scorer(model, {{}, {}, nullptr, 20});
    const std::vector<std::vector<dg::token>> prompts = {{1, 2, 3, 4, 5, 6, 7}, {9}, {8, 30, 2}, {1, 2, 3, 4, 5}};
    const auto scores = scorer.every_position(prompts);
    for (std::size_t p = 0; p < prompts.size(); ++p) {
        const auto& one = scores[p];
        REQUIRE(one.of_token.size() == prompts[p].size());
        REQUIRE(one.of_best.size() == prompts[p].size() + 1);
        for (std::size_t i = 1; i < prompts[p].size(); ++i) {
            const std::vector<dg::token> before(prompts[p].begin(),
                                                prompts[p].begin() + static_cast<std::ptrdiff_t>(i));
            const std::vector<dg::continuation> items = {{before, {prompts[p][i]}}, {before, {one.best[i]}}};
            const auto wanted = scorer(items);
            CHECK(one.of_token[i] == Approx(wanted[0].log_likelihood).epsilon(1e-4));
            CHECK(one.of_best[i] == Approx(wanted[1].log_likelihood).epsilon(1e-4));
            CHECK(wanted[1].greedy);
            CHECK(one.of_token[i] <= one.of_best[i]);
        }
        // a prompt that follows the likeliest tokens: the harness calls it greedy by exact equality
        auto greedy = prompts[p];
        greedy.push_back(one.best.back());
        const auto again = scorer.every_position(dg::span<const std::vector<dg::token>>(&greedy, 1))[0];
        CHECK(again.of_token.back() == again.of_best[greedy.size() - 1]);
    }
}

namespace {

/// Three questions of several options, two of one; contexts of 1 token less than the model's are among them.
std::vector<dg::continuation> questions() {
    const std::vector<dg::token> first = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, second = {30, 31}, third(23, 4);
    return {{first, {12}},   {first, {13, 14, 15}}, {first, {16, 17}}, {second, {1, 2}}, {{9, 9, 9}, {9}},
            {first, {3, 3}}, {first, {12}},         {third, {4, 5}},   {third, {6}}};
}

/// Remembers the most tokens that were run at once.
struct watched_backend : dg::blas {
    template <class T>
    void embedding_forward(dg::span<const dg::token> ids, dg::matrix<const T> table, dg::matrix<T> out) {
        most = std::max(most, ids.size());
        dg::blas::embedding_forward<T>(ids, table, out);
    }
    std::size_t most = 0;
};

}  // namespace

TEST_CASE(
    "options behind one shared context score as they do one by one, under any order, exit, lens and norm placement") {
    const auto norms = GENERATE(dg::norm_placement::pre, dg::norm_placement::ln_scaling, dg::norm_placement::mix);
    const std::vector<std::size_t> order =
        GENERATE(std::vector<std::size_t>{}, std::vector<std::size_t>{0, 1, 2, 1, 2, 3});
    const std::optional<std::size_t> exit =
        GENERATE(std::optional<std::size_t>{}, std::optional<std::size_t>{0}, std::optional<std::size_t>{3});
    dg::reference backend;
    const dg::decoder<double, dg::reference> model(backend, small(norms), 11);
    auto lens = dg::tuned_lens<double, dg::reference>::zero(model);
    for (std::size_t l = 0; l < 4; ++l) lens.translators[l].b.data()[l] = 0.5;
    const auto items = questions();
    dg::scorer<double, dg::reference> apart(model, {order, exit, &lens, 4096, false}),
        together(model, {order, exit, &lens, 4096, true});
    const auto wanted = apart(items), got = together(items);
    for (std::size_t i = 0; i < items.size(); ++i) {
        INFO("item " << i);
        CHECK(got[i].log_likelihood == Approx(wanted[i].log_likelihood).epsilon(1e-12));
        CHECK(got[i].greedy == wanted[i].greedy);
    }
}

TEST_CASE("answers at all exits in one run are those of a run to each exit, bit for bit") {
    const auto norms = GENERATE(dg::norm_placement::pre, dg::norm_placement::mix);
    const std::vector<std::size_t> order = GENERATE(std::vector<std::size_t>{}, std::vector<std::size_t>{0, 2, 1});
    const bool shared = GENERATE(true, false);
    dg::blas backend;
    const dg::decoder<float, dg::blas> model(backend, small(norms), 11);
    auto lens = dg::tuned_lens<float, dg::blas>::zero(model);
    for (std::size_t l = 0; l < 4; ++l) lens.translators[l].b.data()[l] = 0.5f;
    const auto items = questions();
    const std::vector<std::size_t> exits =
        order.empty() ? std::vector<std::size_t>{4, 0, 1, 2, 3, 2} : std::vector<std::size_t>{1, 3};
    dg::scorer<float, dg::blas> all(model, {order, {}, &lens, 30, shared});
    const auto got = all.at_exits(items, exits);
    REQUIRE(got.size() == exits.size());
    for (std::size_t e = 0; e < exits.size(); ++e) {
        const auto wanted = dg::scorer<float, dg::blas>(model, {order, exits[e], &lens, 30, shared})(items);
        for (std::size_t i = 0; i < items.size(); ++i) {
            INFO("exit " << exits[e] << ", item " << i);
            CHECK(got[e][i].log_likelihood == wanted[i].log_likelihood);
            CHECK(got[e][i].greedy == wanted[i].greedy);
        }
    }
    const std::vector<std::size_t> beyond = {model.layers() + 1};
    CHECK_THROWS_WITH(all.at_exits(items, beyond), Catch::Contains("[scorer] expected exits of at most"));
}

TEST_CASE("a shared context is run once, in batches of max_rows or of one sequence") {
    watched_backend backend;
    const dg::decoder<float, watched_backend> model(backend, small(dg::norm_placement::pre), 12);
    const auto items = questions();
    const auto wanted = dg::scorer<float, watched_backend>(model, {{}, {}, nullptr, 1, false})(items);
    const std::size_t first = 11 + 0 + 2 + 1, again = 11 + 1 + 0, third = 23 + 1 + 0, single = 3 + 3;
    const auto [rows, tokens, most] = GENERATE_COPY(table<std::size_t, std::size_t, std::size_t>({
        {4096, first + single + again + third, first + again + third},
        {26, first + single + again + third, first + again},
        {14, first + single + again + third, third},
        {13, 11 + 0 + 2 + (11 + 1) + single + again + third, third},  // the first question's options in two parts
        {1, 11 + (11 + 2) + (11 + 1) + single + again + third,
         third}  // an option that takes no more than another does is still behind it
    }));
    INFO(rows << " rows a batch");
    dg::scorer<float, watched_backend> score(model, {{}, {}, nullptr, rows});
    backend.most = 0;
    const auto got = score(items);
    CHECK(backend.most == most);
    // a log-probability is off by as much as its logits, sums of C products of what 2 sublayers a layer have rounded
    const double each = 2 * 4 * static_cast<double>(model.config().width) * std::numeric_limits<float>::epsilon();
    for (std::size_t i = 0; i < items.size(); ++i) {
        INFO("item " << i);
        CHECK(got[i].log_likelihood ==
              Approx(wanted[i].log_likelihood).margin(each * static_cast<double>(items[i].tokens.size())));
    }
    CHECK(score.tokens_run() == tokens);
    dg::scorer<float, watched_backend> apart(model, {{}, {}, nullptr, 4096, false});
    apart(items);
    CHECK(apart.tokens_run() == items.size() * 24);  // one batch, padded
}

TEST_CASE("a decoder refuses what does not fit") {
    dg::reference backend;
    const dg::decoder<double, dg::reference> model(backend, small(dg::norm_placement::pre), 11);
    dg::cached_decoder<double, dg::reference> decoder(model);
    CHECK_THROWS_WITH(decoder.append(std::vector<dg::token>(25, 1)), Catch::Contains("expected 1 to 24 tokens"));
    CHECK_THROWS_WITH(decoder.append(std::vector<dg::token>{40}),
                      Catch::Contains("expected token ids below the vocabulary of 40, got 40"));
    CHECK_THROWS_WITH((dg::cached_decoder<double, dg::reference>(model, options_type{{9}, {}, nullptr, 1})),
                      Catch::Contains("expected layer indices below 4"));
    CHECK_THROWS_WITH((dg::cached_decoder<double, dg::reference>(model, options_type{{}, 5, nullptr, 1})),
                      Catch::Contains("expected an exit layer of at most 4"));
}
