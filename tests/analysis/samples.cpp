// Streamed means and their bootstrap intervals.
#include "depthgrow/analysis/samples.hpp"

#include <cmath>

#include "depthgrow/analysis/effects.hpp"
#include "support/catch.hpp"

namespace dg = depthgrow;

TEST_CASE("every resample draws as many prompts as there are, each one once on average") {
    for (std::size_t prompts : {1u, 2u, 7u, 40u}) {
        dg::bootstrap_options options;
        options.resamples = 4000;
        dg::resample_counts counts(prompts, options);
        std::vector<std::size_t> all(options.resamples);
        for (std::size_t p = 0; p < prompts; ++p) {
            double mean = 0, square = 0;
            const auto& drawn = counts.next();
            for (std::size_t s = 0; s < all.size(); ++s) {
                all[s] += drawn[s];
                mean += static_cast<double>(drawn[s]) / 4000, square += static_cast<double>(drawn[s] * drawn[s]) / 4000;
            }
            const double variance = 1 - 1 / static_cast<double>(prompts);  // of a binomial count
            CHECK(mean == Approx(1).margin(5 * std::sqrt(variance / 4000) + 1e-9));
            CHECK(square - mean * mean == Approx(variance).margin(0.15));
        }
        for (std::size_t total : all) CHECK(total == prompts);
        CHECK_THROWS_WITH(counts.next(), "[resample_counts] expected no more prompts than were announced, got another");
    }
}

TEST_CASE("a mean weighs prompts by their tokens and has an interval of about the normal width") {
    dg::rng random(3);
    dg::sample_table table(2, 400, {});
    double sum = 0, tokens = 0;
    for (std::size_t p = 0; p < 400; ++p) {
        const double length = p % 2 ? 10 : 30, value = 3 + random.normal();
        table.add({value * length, length}, length);
        sum += value * length, tokens += length;
    }
    CHECK(table.means()[0] == Approx(sum / tokens));
    const auto interval = table.interval(0), constant = table.interval(1);
    // variance of Σ w x / Σ w with weights 10 and 30: (100 + 900) / 2 / 20² / 400
    CHECK(interval.high - interval.low == Approx(2 * 1.96 * std::sqrt(500.0 / 400 / 400)).epsilon(0.15));
    CHECK((interval.low < interval.mean && interval.mean < interval.high));
    CHECK((constant.low == Approx(1) && constant.high == Approx(1)));
}

TEST_CASE("paired differences of one table with itself vanish, and a constant shift is certain") {
    dg::rng random(5);
    dg::sample_table a(1, 30, {}), b(1, 30, {}), other(1, 30, {1, 2000, 0.95});
    for (std::size_t p = 0; p < 30; ++p) {
        const double value = 10 * random.normal();
        a.add({value}, 1), b.add({value + 0.5}, 1), other.add({value}, 1);
    }
    const auto same = dg::paired_difference(a, 0, a, 0), shifted = dg::paired_difference(b, 0, a, 0);
    CHECK((same.mean == 0 && same.low == 0 && same.high == 0));
    CHECK((shifted.low == Approx(0.5) && shifted.high == Approx(0.5)));
    CHECK(a.interval(0).high - a.interval(0).low > 3);
    CHECK(a.interval(0).low != other.interval(0).low);
    CHECK_THROWS_WITH(dg::paired_difference(a, 0, other, 0),
                      Catch::Contains("expected the same prompts, seed and resamples for both"));
}

TEST_CASE("a table gives nothing before all of its prompts are added") {
    dg::sample_table table(1, 2, {});
    CHECK_THROWS_WITH(table.means(), "[sample_table] expected all of at least 1 prompt to be added, got 0 of 2");
    table.add({1}, 1);
    CHECK_THROWS_WITH(table.interval(0), "[sample_table] expected all of at least 1 prompt to be added, got 1 of 2");
    CHECK_THROWS_WITH(table.add({1, 2}, 1), "[sample_table] expected 1 sums, got 2");
}

TEST_CASE("effects: maxima and means over prompts, depth scores with intervals, paired differences") {
    const auto accumulate = [](double late) {
        dg::effects_accumulator sum(3, 2);
        for (double scale : {1.0, 3.0}) {
            dg::prompt_effects one(3);
            one.raise_change(0, 1, 2 * scale), one.raise_change(0, 2, 4 * scale), one.raise_change(1, 2, scale),
                one.raise_change(1, 2, scale / 2);
            one.raise_output(0, scale), one.raise_output(1, 1), one.raise_output(2, late);
            sum.add(one);
        }
        return std::move(sum).result();
    };
    const auto e = accumulate(0), later = accumulate(1);
    CHECK(e.change_max == std::vector<double>{0, 6, 12, 0, 0, 3, 0, 0, 0});
    CHECK(e.change_mean == std::vector<double>{0, 4, 8, 0, 0, 2, 0, 0, 0});
    CHECK(e.output_max == std::vector<double>{3, 1, 0});
    CHECK(e.output_mean == std::vector<double>{2, 1, 0});
    const auto scores = dg::all_depth_scores(e);
    CHECK(scores.mean_output == Approx(1.0 / 3));
    CHECK(scores.mean_layer == Approx(2.0 / 8));  // rows: (4 + 8) / 2, 2 / 1
    CHECK(scores.max_output == Approx(1.0 / 4));
    CHECK(scores.max_layer == Approx(3.0 / 12));
    const auto interval = dg::depth_score_interval(e), layer = dg::layer_depth_score_interval(e);
    CHECK(interval.mean == Approx(1.0 / 3));
    CHECK(interval.low == Approx(1.0 / 4));  // both draws the second prompt
    CHECK(interval.high == Approx(1.0 / 2));
    CHECK((layer.low == Approx(0.25) && layer.high == Approx(0.25)));  // the scale cancels
    CHECK(e.change.interval(1).low == Approx(2));
    CHECK(e.change.interval(1).high == Approx(6));
    const auto difference = dg::paired_depth_score_difference(later, e),
               relative = dg::paired_depth_score_difference(later, e, true);
    CHECK(difference.mean == Approx(3.0 / 4 - 1.0 / 3));
    CHECK(difference.low > 0);
    CHECK(relative.mean == Approx(difference.mean / 2));
}
