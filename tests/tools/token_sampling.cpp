// What serve draws: frequencies, what top_k, top_p and min_p leave, and every draw beside the definition in double.
#include "serve/token_sampling.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <set>

namespace {

using tools::choose_token;
using tools::token_sampling;

/// The definition: probabilities in double, sorted, cut, drawn from.
std::int32_t defined(const std::vector<double>& z, const token_sampling& how, depthgrow::rng& random) {
    const double top = *std::max_element(z.begin(), z.end());
    std::vector<std::pair<double, std::int32_t>> tokens;
    for (std::size_t v = 0; v < z.size(); ++v) {
        const double weight = std::exp((z[v] - top) / how.temperature);
        if (weight >= how.min_p) tokens.emplace_back(weight, static_cast<std::int32_t>(v));
    }
    if (how.top_k > 0 || how.top_p < 1)
        std::stable_sort(tokens.begin(), tokens.end(), [](auto& a, auto& b) { return a.first > b.first; });
    if (how.top_k > 0 && how.top_k < tokens.size()) tokens.resize(how.top_k);
    const auto sum = [&] {
        double out = 0;
        for (const auto& one : tokens) out += one.first;
        return out;
    };
    const double mass = how.top_p * sum();
    double held = 0;
    std::size_t kept = 0;
    while (kept < tokens.size() && (how.top_p >= 1 || kept == 0 || held < mass)) held += tokens[kept++].first;
    tokens.resize(kept);
    double mark = random.uniform() * sum();
    for (const auto& [weight, id] : tokens)
        if ((mark -= weight) < 0) return id;
    return tokens.back().second;
}

std::set<std::int32_t> drawn(const std::vector<double>& z, const token_sampling& how) {
    depthgrow::rng random(7);
    std::set<std::int32_t> out;
    for (int i = 0; i < 4000; ++i) out.insert(choose_token(z, how, random));
    return out;
}

}  // namespace

TEST_CASE("tokens are drawn as often as they are likely") {
    const std::vector<double> z = {1, -0.5, 2, 0, -1e9, 1};
    token_sampling how;
    how.temperature = 0.7;
    double sum = 0;
    for (const double value : z) sum += std::exp(value / how.temperature);
    constexpr int draws = 60000;
    std::vector<int> counts(z.size());
    depthgrow::rng random(3);
    for (int i = 0; i < draws; ++i) ++counts[static_cast<std::size_t>(choose_token(z, how, random))];
    for (std::size_t v = 0; v < z.size(); ++v) {
        const double p = std::exp(z[v] / how.temperature) / sum;
        CHECK(std::fabs(counts[v] - draws * p) <= 5 * std::sqrt(draws * p * (1 - p)));
    }
}

TEST_CASE("top_k, top_p and min_p leave the tokens they name, the first of equal ones") {
    const std::vector<double> z = {0, 1, 0, 2, 0, -std::numeric_limits<double>::infinity()};
    const auto with = [](std::size_t top_k, double top_p, double min_p, double temperature = 1) {
        token_sampling how;
        how.top_k = top_k, how.top_p = top_p, how.min_p = min_p, how.temperature = temperature;
        return how;
    };
    CHECK(drawn(z, with(0, 1, 0)) == std::set<std::int32_t>{0, 1, 2, 3, 4});
    CHECK(drawn(z, with(3, 1, 0)) == std::set<std::int32_t>{0, 1, 3});
    CHECK(drawn(z, with(100, 1, 0)) == std::set<std::int32_t>{0, 1, 2, 3, 4});
    CHECK(drawn(z, with(0, 0.5, 0)) == std::set<std::int32_t>{3});     // e^2 of 13.1
    CHECK(drawn(z, with(0, 0.6, 0)) == std::set<std::int32_t>{1, 3});  // and e of it
    CHECK(drawn(z, with(0, 0.8, 0)) == std::set<std::int32_t>{0, 1, 3});
    CHECK(drawn(z, with(2, 0.8, 0)) == std::set<std::int32_t>{1, 3});  // of the two likeliest's own weight
    CHECK(drawn(z, with(2, 0.7, 0)) == std::set<std::int32_t>{3});
    CHECK(drawn(z, with(0, 1, 0.2)) == std::set<std::int32_t>{1, 3});
    CHECK(drawn(z, with(0, 0, 0)) == std::set<std::int32_t>{3});
    CHECK(drawn(z, with(0, 1, 0, 0)) == std::set<std::int32_t>{3});
    CHECK(drawn(z, with(0, 1, 0, 1e-300)) == std::set<std::int32_t>{3});
    CHECK(drawn(z, with(0, 1, 0, 1e-310)) == std::set<std::int32_t>{3});
}

TEST_CASE("draws are those of the definition in double") {
    depthgrow::rng random(1);
    std::vector<double> z(5000);
    for (double& value : z) value = 3 * random.normal();
    for (std::size_t v = 0; v < z.size(); v += 9) z[v] = std::round(z[v]);  // equal ones
    token_sampling how[6];
    how[1].top_p = 0.9, how[2].top_k = 50, how[3].min_p = 0.05, how[4].temperature = 2, how[4].top_p = 0.99;
    how[5].top_k = 300, how[5].top_p = 0.7;
    for (const auto& each : how) {
        depthgrow::rng one(5), other(5);
        int differences = 0;
        for (int i = 0; i < 2000; ++i) differences += choose_token(z, each, one) != defined(z, each, other);
        // a float's rounding moves each of 5000 bounds between tokens by some 2^-22 of the whole, at most
        CHECK(differences <= 10);
    }
}
