#include "depthgrow/metrics/reduce.hpp"

#include <vector>

#include "depthgrow/core/dtype.hpp"
#include "support/catch.hpp"

using namespace depthgrow;
using list = std::vector<double>;

TEST_CASE("norm, distance and dot product are those of the plane") {
    CHECK(l2_norm(list{3, 4}) == 5);
    CHECK(l2_distance(list{1, 1}, list{4, 5}) == 5);
    CHECK(dot_product(list{1, 2, 3}, list{4, -5, 6}) == 12);
}

TEST_CASE("a cosine is that of the angle, and zero beside a zero vector") {
    CHECK(cosine(list{1, 0}, list{1, 1}) == Approx(0.70710678118654752));
    CHECK(cosine(list{2, 0}, list{-3, 0}) == -1);
    CHECK(cosine(list{0, 0}, list{1, 1}) == 0);
}

TEST_CASE("each norm of a cosine has its own floor, as in torch") {
    CHECK(cosine(list{1e-9}, list{1e9}) == Approx(0.1));
    CHECK(cosine(list{1e-9}, list{1e-9}) == Approx(0.01));
}

TEST_CASE("sums are in double whatever the storage") {
    std::vector<float> ones(3, 1.0f);
    ones[0] = 16777216.0f;
    CHECK(dot_product(ones, std::vector<float>(3, 1.0f)) == 16777218.0);
    const std::vector<bfloat16> narrow{bfloat16(3.0f), bfloat16(4.0f)};
    CHECK(l2_norm(narrow) == 5);
}

TEST_CASE("runs of different lengths are refused") {
    CHECK_THROWS_WITH(dot_product(list{1}, list{1, 2}), "[dot_product] expected runs of equal length, got 1 and 2");
    CHECK_THROWS_WITH(l2_distance(list{1}, list{1, 2}), Catch::StartsWith("[l2_distance]"));
}
