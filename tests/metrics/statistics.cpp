#include "depthgrow/metrics/statistics.hpp"

#include <cmath>
#include <limits>
#include <vector>

#include "support/catch.hpp"

using namespace depthgrow;
using list = std::vector<double>;

TEST_CASE("streaming statistics are those of the whole list") {
    running_statistics values;
    for (double value : {-4.0, -2.0, -9.0, -1.0}) values.add(1e9 + value);
    CHECK(values.count() == 4);
    CHECK(values.mean() == 1e9 - 4);
    CHECK(values.maximum() == 1e9 - 1);
    CHECK(values.variance() == Approx((0 + 4 + 25 + 9) / 3.0));
    CHECK(values.standard_error() == Approx(std::sqrt(38.0 / 3 / 4)));
}

TEST_CASE("a maximum may be negative, and a NaN is kept") {
    running_statistics values;
    values.add(-3);
    CHECK(values.maximum() == -3);
    values.add(std::numeric_limits<double>::quiet_NaN());
    values.add(7);
    CHECK(std::isnan(values.maximum()));
}

TEST_CASE("statistics of too few values are refused") {
    running_statistics values;
    CHECK_THROWS_WITH(values.mean(), "[running_statistics] expected at least 1 values, got 0");
    values.add(1);
    CHECK_THROWS_WITH(values.variance(), Catch::Contains("at least 2 values, got 1"));
}

TEST_CASE("a bootstrap interval holds the mean and has about the normal width") {
    rng draws(7);
    list values(400);
    for (double& value : values) value = 3 + draws.normal();
    const mean_interval interval = bootstrap_mean(values);
    CHECK(interval.low < interval.mean);
    CHECK(interval.mean < interval.high);
    CHECK(interval.high - interval.low == Approx(2 * 1.96 / 20).epsilon(0.15));
    bootstrap_options narrow;
    narrow.confidence = 0.5;
    const mean_interval half = bootstrap_mean(values, narrow);
    CHECK(half.high - half.low == Approx(2 * 0.6745 / 20).epsilon(0.15));
}

TEST_CASE("a bootstrap is the same for one seed and another for another") {
    const list values{1, 5, 2, 8, 3, 9, 4};
    bootstrap_options options;
    options.resamples = 501;
    const mean_interval first = bootstrap_mean(values, options), again = bootstrap_mean(values, options);
    CHECK(first.low == again.low);
    CHECK(first.high == again.high);
    options.seed = 1;
    const mean_interval other = bootstrap_mean(values, options);
    CHECK((other.low != first.low || other.high != first.high));
    CHECK(other.mean == first.mean);
}

TEST_CASE("quantiles are linear between sorted values") {
    CHECK(detail::sorted_quantile({0, 10, 20, 30}, 0.5) == 15);
    CHECK(detail::sorted_quantile({0, 10, 20, 30}, 0.25) == 7.5);
    CHECK(detail::sorted_quantile({0, 10, 20, 30}, 1) == 30);
    CHECK(detail::sorted_quantile({4}, 0.975) == 4);
}

TEST_CASE("two models are compared prompt by prompt") {
    list a(50), b(50);
    rng draws(3);
    for (std::size_t i = 0; i < 50; ++i) {
        b[i] = 100 * draws.normal();
        a[i] = b[i] + 1 + 0.1 * draws.normal();
    }
    const mean_interval interval = paired_difference(a, b);
    CHECK(interval.mean == Approx(1).epsilon(0.1));
    CHECK(interval.low > 0.9);
    CHECK(interval.high < 1.1);
    CHECK_THROWS_WITH(paired_difference(list{1}, b), "[paired_difference] expected runs of equal length, got 1 and 50");
}

TEST_CASE("a bootstrap that cannot be is refused") {
    CHECK_THROWS_WITH(bootstrap_mean(list{}), Catch::Contains("at least 1 value, got 0"));
    CHECK_THROWS_WITH(bootstrap_mean(list{1, std::numeric_limits<double>::infinity()}),
                      Catch::Contains("got inf at 1"));
    bootstrap_options options;
    options.confidence = 95;
    CHECK_THROWS_WITH(bootstrap_mean(list{1}, options), Catch::Contains("confidence in (0, 1), got 95"));
    options.confidence = 0.95;
    options.resamples = 0;
    CHECK_THROWS_WITH(bootstrap_mean(list{1}, options), Catch::Contains("at least 1 resample"));
}

TEST_CASE("the error of a proportion is binomial") {
    CHECK(binomial_standard_error(20, 100) == Approx(0.04));
    CHECK(binomial_standard_error(100, 100) == 0);
    CHECK_THROWS_WITH(binomial_standard_error(3, 2), Catch::Contains("got 3"));
    CHECK_THROWS_WITH(binomial_standard_error(0, 0), Catch::Contains("at least 1"));
}
