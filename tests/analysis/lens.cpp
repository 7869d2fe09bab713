// Lenses beyond the fixtures: refusals, growth, Adam, the fingerprint's hash, early exit and scoring.
#include "analysis/analysis.hpp"
#include "depthgrow/analysis/cached_decoder.hpp"
#include "depthgrow/analysis/lens_statistics.hpp"
#include "depthgrow/analysis/scoring.hpp"
#include "depthgrow/growth/operators.hpp"
#include "depthgrow/metrics/divergence.hpp"
#include "depthgrow/tasks/multiple_choice.hpp"
#include "depthgrow/tasks/primitives.hpp"
#include "support/catch.hpp"

namespace dg = depthgrow;

TEST_CASE("SHA-256 of FIPS 180-4's examples") {
    const auto digest = [](const std::string& text) {
        dg::sha256 hash;
        hash.add(text.data(), text.size());
        return hash.hex();
    };
    CHECK(digest("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    CHECK(digest("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    CHECK(digest("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
          "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    CHECK(digest(std::string(1000000, 'a')) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("a lens is refused by another model, by a deeper one, and grows by an order as a warm start") {
    dg::blas backend;
    analysis_fixture<float, dg::blas> f(backend, "plain");
    auto lens = f.lens("random");
    const auto original = f.lens("random");
    CHECK_NOTHROW(lens.check(f.model));
    dg::decoder<float, dg::blas> other(backend, f.model.config(), 99);
    CHECK_THROWS_WITH(dg::tuned_lens_statistics(other, f.prompts, lens),
                      Catch::Contains("got another; refit the lens to this model"));
    const auto order = dg::lidas{4}(f.model.layers());
    f.model.grow(order);
    CHECK_THROWS_WITH(dg::tuned_lens_statistics(f.model, f.prompts, lens),
                      Catch::Contains("expected a model of 8 layers, got 12; a grown model needs its lens refitted"));
    const auto before = lens.translators[5].A.to_host();
    lens = dg::grow(std::move(lens), order);
    CHECK(lens.layers() == 12);
    CHECK(lens.translators[5].A.to_host() == before);
    CHECK(lens.translators[6].A.to_host() == original.translators[order[6]].A.to_host());
    lens.translators[6].A.data()[0] += 1;  // copies, not shared
    CHECK(lens.translators[order[6]].A.data()[0] == original.translators[order[6]].A.data()[0]);
    dg::lens_fit_options options;
    options.steps = 1;
    dg::lens_fitter<float, dg::blas> fitter(f.model, options, std::move(lens));
    CHECK(fitter.step(f.want.ids, f.want.sequences).size() == 12);
    CHECK_NOTHROW(fitter.lens.check(f.model));
    dg::tuned_lens<float, dg::blas> shallow{{}, 32, ""};
    shallow.translators.push_back(dg::translator<float, dg::blas>::zero(backend, 32));
    CHECK_THROWS_WITH((dg::lens_fitter<float, dg::blas>(f.model, options, std::move(shallow))),
                      Catch::Contains("[lens_fitter] expected a warm start of 12 layers of width 32, got 1"));
}

TEST_CASE("a zero lens is the logit lens") {
    dg::blas backend;
    const analysis_fixture<double, dg::blas> f(backend, "grouped");
    const auto zero = dg::tuned_lens_statistics(f.model, f.prompts, dg::tuned_lens<double, dg::blas>::zero(f.model))
                          .all_tokens.means();
    const auto logit = dg::logit_lens(f.model, f.prompts).all_tokens.means();
    for (std::size_t i = 0; i < zero.size(); ++i) CHECK(zero[i] == Approx(logit[i]).margin(1e-12));
}

TEST_CASE("the model's own head is its own control: 0, 0, 1, 1 exactly") {
    dg::blas backend;
    const analysis_fixture<float, dg::blas> f(backend, "grouped");
    const auto got = dg::logit_lens(f.model, f.prompts);
    const std::size_t L = f.model.layers();
    CHECK(got.quantity(dg::lens_quantity::kl_lens_final)[L] == 0);
    CHECK(got.quantity(dg::lens_quantity::kl_final_lens)[L] == 0);
    CHECK(got.quantity(dg::lens_quantity::top5_overlap)[L] == 1);
    CHECK(got.quantity(dg::lens_quantity::agreement)[L] == 1);
}

TEST_CASE("fitting brings every layer closer to the final prediction, by SGD and by Adam") {
    dg::blas backend;
    const analysis_fixture<float, dg::blas> f(backend, "plain");
    for (const auto optimizer : {dg::lens_optimizer::sgd_nesterov, dg::lens_optimizer::adam}) {
        dg::lens_fit_options options;
        options.steps = 40, options.optimizer = optimizer;
        dg::lens_fitter<float, dg::blas> fitter(f.model, options);
        const auto first = fitter.step(f.want.ids, f.want.sequences);
        std::vector<double> last;
        for (std::size_t s = 1; s < options.steps; ++s) last = fitter.step(f.want.ids, f.want.sequences);
        for (std::size_t l = 0; l < first.size(); ++l) CHECK(last[l] < first[l]);
    }
}

TEST_CASE("log-likelihoods are those of the logits, in any order of items and any batch") {
    dg::blas backend;
    const analysis_fixture<double, dg::blas> f(backend, "plain");
    std::vector<dg::continuation> items;
    for (std::size_t cut : {5u, 11u, 16u}) {
        const auto& t = f.prompts[0].tokens;
        const auto at = static_cast<std::ptrdiff_t>(cut);
        items.push_back({{t.begin(), t.begin() + at}, {t.begin() + at, t.end()}});
    }
    dg::tape<double, dg::blas> tape(backend);
    const auto z = dg::logits(f.model, tape, dg::span<const dg::token>(f.prompts[0].tokens), 1);
    std::vector<double> want;
    for (const auto& item : items) {
        double sum = 0;
        for (std::size_t i = 0; i < item.tokens.size(); ++i)
            sum -= dg::cross_entropy(dg::span<const double>(z.row(item.context.size() + i - 1), z.cols),
                                     static_cast<std::size_t>(item.tokens[i]));
        want.push_back(sum);
    }
    for (std::size_t max_rows : {1u, 20u, 1000u}) {
        dg::scoring_options<double, dg::blas> options;
        options.max_rows = max_rows;
        const auto got = dg::scorer<double, dg::blas>(f.model, options)(items);
        for (std::size_t i = 0; i < items.size(); ++i) CHECK(got[i].log_likelihood == Approx(want[i]).epsilon(1e-9));
    }
}

TEST_CASE("early exit reads the lens, and the last exit is the whole model") {
    dg::blas backend;
    const analysis_fixture<double, dg::blas> f(backend, "plain");
    const auto lens = f.lens("random");
    const auto& t = f.prompts[1].tokens;
    const std::vector<dg::continuation> items = {{{t[0]}, {t.begin() + 1, t.end()}}};
    const auto mean_loss = [&](std::optional<std::size_t> exit, const dg::tuned_lens<double, dg::blas>* through) {
        return -dg::scorer<double, dg::blas>(f.model, {{}, exit, through, 100})(items)[0].log_likelihood /
               static_cast<double>(t.size() - 1);
    };
    const std::vector<dg::prompt> one = {f.prompts[1]};
    const auto logit = dg::logit_lens(f.model, one).quantity(dg::lens_quantity::cross_entropy),
               tuned = dg::tuned_lens_statistics(f.model, one, lens).quantity(dg::lens_quantity::cross_entropy);
    for (std::size_t l = 0; l < f.model.layers(); ++l) {
        CHECK(mean_loss(l, nullptr) == Approx(logit[l]).epsilon(1e-9));
        CHECK(mean_loss(l, &lens) == Approx(tuned[l]).epsilon(1e-9));
    }
    CHECK(mean_loss(f.model.layers(), &lens) == Approx(logit.back()).epsilon(1e-9));
    CHECK(mean_loss({}, nullptr) == Approx(logit.back()).epsilon(1e-9));
    CHECK_THROWS_WITH((dg::scorer<double, dg::blas>(f.model, {{}, 9, nullptr, 100})),
                      "[scorer] expected an exit layer of at most 8 (the layers run), got 9");
    CHECK_THROWS_WITH((dg::scorer<double, dg::blas>(f.model, {{0, 8}, {}, nullptr, 100})),
                      "[scorer] expected layer indices below 8 in the order, got 8 at place 1");
}

TEST_CASE("an exit under an order is that of the model whose layers and lens were copied by it") {
    dg::blas backend;
    const analysis_fixture<double, dg::blas> f(backend, "plain");
    const auto lens = f.lens("random");
    const auto& t = f.prompts[1].tokens;
    const std::vector<dg::continuation> items = {{{t[0]}, {t.begin() + 1, t.end()}}};
    for (const auto& order : {dg::lidas{4}(8), dg::swap_blocks(8, 2, 2), dg::loop(8, 5, 2, 1)}) {
        INFO(order.to_string());
        analysis_fixture<double, dg::blas> grown(backend, "plain");
        grown.model.grow(order);
        const auto copied = dg::grow(f.lens("random"), order);
        const std::vector<dg::prompt> one = {f.prompts[1]};
        const auto logit = dg::logit_lens(grown.model, one).quantity(dg::lens_quantity::cross_entropy),
                   tuned =
                       dg::tuned_lens_statistics(grown.model, one, copied).quantity(dg::lens_quantity::cross_entropy);
        for (std::size_t l = 0; l <= order.size(); ++l)
            for (const auto* through : {static_cast<const dg::tuned_lens<double, dg::blas>*>(nullptr), &lens}) {
                INFO("exit " << l << (through ? ", tuned lens" : ", logit lens"));
                const double loss = -dg::scorer<double, dg::blas>(f.model, {order.sources(), l, through, 100})(items)[0]
                                         .log_likelihood /
                                    static_cast<double>(t.size() - 1);
                CHECK(loss == Approx((through ? tuned : logit)[l]).epsilon(1e-9));
            }
    }
}

TEST_CASE("a greedy completion repeats the likeliest token until it is told to stop") {
    dg::blas backend;
    const analysis_fixture<double, dg::blas> f(backend, "grouped");
    dg::scorer<double, dg::blas> score(f.model);
    dg::cached_decoder<double, dg::blas> writer(f.model);
    const auto never = [](const auto&) { return false; };
    const auto& prompt = f.prompts[1].tokens;
    const auto made = writer.complete(prompt, 10, never);
    const auto likeliest = [&](const std::vector<dg::token>& ids) {  // by the model run whole
        dg::tape<double, dg::blas> tape(backend);
        const auto z = dg::logits<double, dg::blas>(f.model, tape, ids, 1);
        return static_cast<dg::token>(std::max_element(z.row(z.rows - 1), z.row(z.rows - 1) + z.cols) -
                                      z.row(z.rows - 1));
    };
    const auto greedy = [&](const std::vector<dg::token>& tokens) {
        return score(std::vector<dg::continuation>{{prompt, tokens}})[0].greedy;
    };
    REQUIRE(made.size() == 10);
    CHECK(greedy(made));
    auto before = prompt;
    for (std::size_t i = 0; i < made.size(); ++i) {
        INFO("token " << i);
        CHECK(made[i] == likeliest(before));
        if (i > 0) CHECK(made[i] != made[i - 1]);  // else a place too far looks the same
        // the likeliest tokens but for this one
        auto wrong = before;
        wrong.push_back((made[i] + 1) % 61);
        const auto rest = writer.complete(wrong, made.size() - i - 1, never);
        wrong.insert(wrong.end(), rest.begin(), rest.end());
        CHECK_FALSE(greedy({wrong.begin() + static_cast<std::ptrdiff_t>(prompt.size()), wrong.end()}));
        before.push_back(made[i]);
    }
    CHECK(writer.complete(prompt, 6, [](const auto& tokens) { return tokens.size() == 2; }).size() == 2);
    CHECK(writer.complete(prompt, 1000, never).size() == f.model.config().context - prompt.size() + 1);
}

TEST_CASE("a model that knows nothing scores chance within three standard errors") {
    dg::blas backend;
    dg::decoder_config config = dg::tiny();
    config.context = 256;
    const dg::decoder<float, dg::blas> model(backend, config, 11);
    for (const std::string task : {"copy_words", "assign_basic_0"}) {
        INFO(task);
        const auto bytes = [](const std::string& text) { return std::vector<dg::token>(text.begin(), text.end()); };
        const auto questions = dg::evaluation_set(task, 200, 0, 3, {10, 5, 5, 9, true});
        std::vector<dg::continuation> items;
        for (const auto& q : questions)
            for (const auto& option : q.item.options) items.push_back({bytes(q.prompt), bytes(option + "\n")});
        const auto scores = dg::scorer<float, dg::blas>(model)(items);
        dg::score_counter counter;
        std::size_t next = 0;
        for (const auto& q : questions) {
            std::vector<double> options;
            for (std::size_t i = 0; i < q.item.options.size(); ++i) options.push_back(scores[next++].log_likelihood);
            counter.add(options, q.item.gold);
        }
        const auto score = counter.score();
        CHECK(score.chance == Approx(task == "copy_words" ? 0.1 : 0.2));
        CHECK(std::fabs(score.accuracy - score.chance) <
              3 * std::sqrt(score.chance * (1 - score.chance) / static_cast<double>(score.items)));
    }
}
