// The numbers of a study: means over seeds, their intervals, differences paired by seed.
#include "depth_study/study_table.hpp"

#include <cmath>

#include "support/catch.hpp"
#include "support/held_out_sets.hpp"

namespace dg = depthgrow;

TEST_CASE("a mean over seeds has Student's interval, worked out by hand") {
    // 1, 2, 4: mean 7/3, variance 7/3, standard error sqrt(7)/3, t(2) = 4.302653
    const auto three = dg::student_mean(std::vector<double>{1, 2, 4});
    CHECK(three.mean == Approx(2.3333333));
    CHECK(three.high - three.mean == Approx(3.794583).epsilon(1e-6));
    CHECK(three.mean - three.low == Approx(3.794583).epsilon(1e-6));
    const auto one = dg::student_mean(std::vector<double>{5});
    CHECK(one.mean == 5);
    CHECK(std::isnan(one.low));
    CHECK(std::isnan(one.high));
    CHECK_THROWS_AS(dg::student_mean(std::vector<double>{}), dg::error);
}

TEST_CASE("points of Student's t agree with printed tables") {
    CHECK(dg::student_975(1) == Approx(12.706205));
    CHECK(dg::student_975(4) == Approx(2.776445));
    CHECK(dg::student_975(30) == Approx(2.042272));
    CHECK(dg::student_975(31) == Approx(2.039513).margin(1e-5));
    CHECK(dg::student_975(120) == Approx(1.979930).margin(1e-5));
}

TEST_CASE("differences are paired by seed, and only seeds that both have count") {
    const std::map<std::size_t, double> grown = {{1, 3.0}, {2, 5.0}, {3, 4.0}}, plain = {{1, 2.5}, {2, 4.1}, {4, 9.0}};
    // 0.5 and 0.9: mean 0.7, standard error 0.2, t(1) = 12.706205
    const auto difference = study::paired_by_seed(grown, plain);
    REQUIRE(difference);
    CHECK(difference->mean == Approx(0.7));
    CHECK(difference->high == Approx(0.7 + 2.541241).epsilon(1e-6));
    CHECK(difference->low == Approx(0.7 - 2.541241).epsilon(1e-6));
    CHECK_FALSE(study::paired_by_seed(grown, {{9, 1.0}}));
}

TEST_CASE("the first windows come from every source, as many as it has") {
    const tools::held_out_windows set{{10, 11, 12, 13, 14, 15, 20, 21, 30, 31, 32, 33}, {}, {}, 6, {3, 1, 2}};  // T = 2
    const auto first = [&](std::size_t count) { return tools::first_windows(set, count); };
    CHECK(first(1) == std::vector<std::int32_t>{10, 11});
    CHECK(first(3) == std::vector<std::int32_t>{10, 11, 20, 21, 30, 31});
    CHECK(first(5) == std::vector<std::int32_t>{10, 11, 12, 13, 20, 21, 30, 31, 32, 33});
    CHECK(first(6) == set.inputs);
}
