#include "depthgrow/metrics/contribution.hpp"

#include <cmath>
#include <vector>

#include "support/catch.hpp"

using namespace depthgrow;
using list = std::vector<double>;

TEST_CASE("ratios and relative changes have a floor under the denominator") {
    CHECK(norm_ratio(list{3, 4}, list{0, 2}) == 2.5);
    CHECK(norm_ratio(list{1}, list{0}) == Approx(1e6));
    CHECK(relative_change(list{4, 5}, list{0, 2}) == 2.5);
    CHECK(relative_change(list{1e-6}, list{0}) == Approx(1));
    CHECK(relative_change(list{0, 0}, list{3, 4}) == 1);
}

TEST_CASE("angular distance runs from zero to one") {
    CHECK(angular_distance(list{1, 0}, list{3, 0}) == 0);
    CHECK(angular_distance(list{1, 0}, list{0, 2}) == Approx(0.5));
    CHECK(angular_distance(list{1, 0}, list{-1, 0}) == Approx(1));
    const list v{1, 5}, opposite{-1, -5};  // their cosine rounds to 1 + 2e-16
    CHECK(angular_distance(v, v) == 0);
    CHECK(angular_distance(v, opposite) == Approx(1));
}

TEST_CASE("block influence is one minus the cosine") {
    CHECK(block_influence(list{1, 0}, list{0, 5}) == 1);
    CHECK(block_influence(list{1, 0}, list{-1, 0}) == 2);
}

TEST_CASE("a layer's means are over tokens, ratio by ratio") {
    // Token 0: h = (1, 0), a = (0, 1), m = (2, 0). Token 1: h = (0, 2), a = (0, 2), m = (0, -1).
    list h{1, 0, 0, 2}, a{0, 1, 0, 2}, m{2, 0, 0, -1};
    contribution_accumulator layer;
    layer.add(matrix<double>(h.data(), 2, 2), matrix<double>(a.data(), 2, 2), matrix<double>(m.data(), 2, 2));
    const layer_contribution mean = layer.mean();
    const double r2 = std::sqrt(2.0), r5 = std::sqrt(5.0), r10 = std::sqrt(10.0);
    CHECK(mean.tokens == 2);
    CHECK(mean.attention_ratio == Approx((1 + 1) / 2.0));
    CHECK(mean.mlp_ratio == Approx((2 / r2 + 0.25) / 2));
    CHECK(mean.layer_ratio == Approx((r5 + 0.5) / 2));
    CHECK(mean.attention_cosine == Approx((0 + 1) / 2.0));
    CHECK(mean.mlp_cosine == Approx((1 / r2 - 1) / 2));
    CHECK(mean.layer_cosine == Approx((2 / r5 + 1) / 2));
    CHECK(mean.block_influence == Approx((1 - 3 / r10 + 0) / 2));
    CHECK(mean.residual_norm == Approx((1 + 2) / 2.0));
}

TEST_CASE("prompts of different lengths count token by token, with strides") {
    const float h[] = {1, 9, 2, 9, 4, 9}, a[] = {1, 1, 1}, m[] = {0, 0, 0};
    contribution_accumulator layer;
    layer.add(matrix<const float>(h, 1, 1, 2), matrix<const float>(a, 1, 1), matrix<const float>(m, 1, 1));
    layer.add(matrix<const float>(h + 2, 2, 1, 2), matrix<const float>(a, 2, 1), matrix<const float>(m, 2, 1));
    CHECK(layer.mean().attention_ratio == Approx((1 + 0.5 + 0.25) / 3));
    CHECK(layer.mean().tokens == 3);
}

TEST_CASE("a contribution without tokens or with wrong extents is refused") {
    contribution_accumulator layer;
    CHECK_THROWS_WITH(layer.mean(), "[contribution] expected at least 1 token, got 0");
    list two{1, 2};
    CHECK_THROWS_WITH(
        layer.add(matrix<double>(two.data(), 1, 2), matrix<double>(two.data(), 2, 1), matrix<double>(two.data(), 1, 2)),
        "[contribution] expected a and m of (1, 2) like h, got (2, 1) and (1, 2)");
}
