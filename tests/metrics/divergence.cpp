#include "depthgrow/metrics/divergence.hpp"

#include <cmath>
#include <limits>
#include <vector>

#include "support/catch.hpp"

using namespace depthgrow;
using list = std::vector<double>;

TEST_CASE("log-probabilities sum to one and survive large logits") {
    const list log_p = log_softmax(list{0, std::log(3.0)});
    CHECK(log_p[0] == Approx(std::log(0.25)));
    CHECK(log_p[1] == Approx(std::log(0.75)));
    CHECK(log_softmax(list{10000, 10000})[0] == Approx(std::log(0.5)));
    CHECK(log_sum_exp(list{-10000, -10000}) == Approx(-10000 + std::log(2.0)));
    CHECK_THROWS_WITH(log_sum_exp(list{}), Catch::Contains("at least 1 logit"));
}

TEST_CASE("KL is in nats and goes from the first to the second") {
    const list p{std::log(0.5), std::log(0.5)}, q{std::log(0.25), std::log(0.75)};
    CHECK(kl_divergence(p, q) == Approx(0.5 * std::log(2.0) + 0.5 * std::log(2.0 / 3)));
    CHECK(kl_divergence(q, p) == Approx(0.25 * std::log(0.5) + 0.75 * std::log(1.5)));
    CHECK(kl_divergence(p, p) == 0);
    CHECK_THROWS_WITH(kl_divergence(p, list{1}), Catch::Contains("got 2 and 1"));
}

TEST_CASE("an impossible token of the first distribution costs nothing") {
    const double never = -std::numeric_limits<double>::infinity();
    CHECK(kl_from_log(list{0, never}, list{std::log(0.5), never}) == Approx(std::log(2.0)));
}

TEST_CASE("softmax distance is Euclidean between probabilities") {
    CHECK(softmax_distance(list{0, 0}, list{0, std::log(3.0)}) == Approx(std::sqrt(2.0) / 4));
    CHECK(softmax_distance(list{1000, 0}, list{0, 1000}) == Approx(std::sqrt(2.0)));
    CHECK(softmax_distance(list{1, 2}, list{3, 4}) == Approx(0).margin(1e-15));
}

TEST_CASE("cross entropy is the surprise of the target") {
    CHECK(cross_entropy(list{0, std::log(3.0)}, 0) == Approx(std::log(4.0)));
    CHECK(cross_entropy(list{0, std::log(3.0)}, 1) == Approx(std::log(4.0 / 3)));
    CHECK_THROWS_WITH(cross_entropy(list{0, 1}, 2), "[cross_entropy] expected a target below 2, got 2");
}
