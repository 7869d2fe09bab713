#include "depthgrow/metrics/overlap.hpp"

#include <limits>
#include <vector>

#include "support/catch.hpp"

using namespace depthgrow;
using list = std::vector<double>;
using ids = std::vector<std::size_t>;

TEST_CASE("the k largest come first, ties by the lowest id") {
    CHECK(top_k(list{1, 5, 3, 5, 4}, 3) == ids{1, 3, 4});
    CHECK(top_k(list{2, 2, 2, 2}, 2) == ids{0, 1});
    CHECK(top_k(list{1, 2, 2, 3, 3, 2}, 4) == ids{3, 4, 1, 2});
    CHECK(top_k(std::vector<float>{-1, -2}, 2) == ids{0, 1});
    const double infinity = std::numeric_limits<double>::infinity();
    CHECK(top_k(list{-infinity, 0, infinity}, 3) == ids{2, 1, 0});
}

TEST_CASE("a top-k that cannot be is refused") {
    CHECK_THROWS_WITH(top_k(list{1, 2}, 3), "[top_k] expected k from 1 to 2 (number of values), got 3");
    CHECK_THROWS_WITH(top_k(list{1, 2}, 0), Catch::Contains("got 0"));
    CHECK_THROWS_WITH(top_k(list{1, std::numeric_limits<double>::quiet_NaN()}, 1), Catch::Contains("got NaN at 1"));
}

TEST_CASE("overlap is the shared part of two top-k sets, in any order") {
    CHECK(set_overlap({1, 2, 3, 4, 5}, {5, 4, 9, 8, 7}) == 0.4);
    CHECK(top_k_overlap(list{9, 8, 7, 0, 0, 0}, list{0, 8, 9, 7, 0, 0}, 3) == Approx(2.0 / 3));
    CHECK(top_k_overlap(list{6, 5, 4, 3, 2, 1}, list{1, 2, 3, 4, 5, 6}) == 0.8);
    CHECK_THROWS_WITH(set_overlap({1}, {1, 2}), Catch::Contains("[set_overlap]"));
}

TEST_CASE("two distributions agree when they rank the same id first") {
    CHECK(argmax(list{1, 7, 7}) == 1);
    CHECK(agreement(list{0, 3, 1}, list{-5, 2, 1}));
    CHECK_FALSE(agreement(list{0, 3, 1}, list{5, 2, 1}));
    CHECK_THROWS_WITH(agreement(list{0}, list{5, 2}), Catch::Contains("[agreement]"));
}
