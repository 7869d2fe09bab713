// Scores from log-likelihoods.
#include "depthgrow/tasks/multiple_choice.hpp"

#include <cmath>

#include "io/temporary.hpp"
#include "support/catch.hpp"

using namespace depthgrow;
using temporary::refusal;

TEST_CASE("the largest log-likelihood wins, the first among equals, NaN never") {
    CHECK(best_option(std::vector<double>{-3, -1, -2}) == 1);
    CHECK(best_option(std::vector<double>{-1, -1}) == 0);
    CHECK(best_option(std::vector<double>{std::nan(""), -5, std::nan(""), -4}) == 3);
    CHECK(best_option(std::vector<double>{-INFINITY, -1e300}) == 1);
    CHECK(refusal([] { best_option(std::vector<double>{}); }) ==
          "[multiple_choice] expected at least one option, got 0");
}

TEST_CASE("length normalisation can change the winner") {
    const std::vector<double> sums = {-4, -6};
    CHECK(best_option(sums) == 0);
    CHECK(best_option(sums, std::vector<std::size_t>{2, 6}) == 1);
    CHECK(refusal([&] { best_option(sums, std::vector<std::size_t>{2}); }) ==
          "[multiple_choice] expected 2 lengths, got 1");
    CHECK(refusal([&] {
              best_option(sums, std::vector<std::size_t>{2, 0});
          }) == "[multiple_choice] expected lengths above 0, got 0");
}

TEST_CASE("accuracy comes with its standard error and its chance level") {
    score_counter counter;
    for (int i = 0; i < 10; ++i) counter.add(std::vector<double>{-1, -2, -3, -4}, i < 7 ? 0 : 1);
    const task_score score = counter.score();
    CHECK(score.items == 10);
    CHECK(score.accuracy == Approx(0.7));
    CHECK(score.standard_error == Approx(std::sqrt(0.7 * 0.3 / 9)));
    CHECK(score.chance == Approx(0.25));
    CHECK(refusal([&] { counter.add(std::vector<double>{-1}, 1); }) ==
          "[multiple_choice] expected gold below 1, got 1");
    CHECK(score_counter().score().items == 0);
    const auto interval = counter.interval({5, 4000, 0.95});
    CHECK(interval.mean == Approx(0.7));
    CHECK(interval.low == Approx(0.4).margin(0.1001));  // the 2.5 % quantile of Binomial(10, 0.7) / 10 is 0.4
    CHECK(interval.high == Approx(1.0).margin(0.1001));
    CHECK(interval.low == counter.interval({5, 4000, 0.95}).low);
    CHECK(counter.answers() == std::vector<double>{1, 1, 1, 1, 1, 1, 1, 0, 0, 0});
    score_counter sure;
    for (int i = 0; i < 5; ++i) sure.add(true);
    CHECK((sure.interval().low == 1 && sure.interval().high == 1));
}

TEST_CASE("exact matches count without chance") {
    score_counter counter;
    counter.add(exact_match(" -7 \nmore", "-7"));
    counter.add(exact_match("-77", "-7"));
    CHECK(counter.score().accuracy == 0.5);
    CHECK(counter.score().chance == 0);
    CHECK(exact_match("", ""));
    CHECK_FALSE(exact_match("\n-7", "-7"));
}
