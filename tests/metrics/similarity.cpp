#include "depthgrow/metrics/similarity.hpp"

#include <cmath>
#include <vector>

#include "support/catch.hpp"

using namespace depthgrow;
using list = std::vector<float>;
using parts = std::vector<span<const float>>;

TEST_CASE("units are compared as if their weights were concatenated") {
    const list a{1, 0}, b{0}, c{1, 1}, d{1}, zero{0, 0};
    const std::vector<parts> units{{a, b}, {c, d}, {zero, b}};
    const auto cosines = similarity_matrix(units);
    CHECK(cosines[0][0] == Approx(1));
    CHECK(cosines[0][1] == Approx(1 / std::sqrt(3.0)));
    CHECK(cosines[1][0] == cosines[0][1]);
    CHECK(cosines[1][2] == 0);
    CHECK(cosines[2][2] == 0);
}

TEST_CASE("blocks hold their layers in order") {
    const std::vector<list> weights{{1, 0}, {0, 1}, {0, 1}, {1, 0}, {1, 0}, {0, 2}};
    std::size_t calls = 0;
    const auto cosines = block_similarity(6, 2, [&](std::size_t layer) {
        ++calls;
        return parts{span<const float>(weights[layer].data(), 1), span<const float>(weights[layer].data() + 1, 1)};
    });
    REQUIRE(cosines.size() == 3);
    CHECK(calls == 6);
    CHECK(cosines[0][1] == 0);
    CHECK(cosines[0][2] == Approx(3 / std::sqrt(10.0)));
    CHECK(cosines[2][0] == cosines[0][2]);
}

TEST_CASE("weights that do not match are refused") {
    const list a{1, 0}, b{0};
    CHECK_THROWS_WITH(similarity_matrix(std::vector<parts>{{a, b}, {b, a}}),
                      "[similarity] expected weights of 2 elements as part 0, got 1");
    CHECK_THROWS_WITH(similarity_matrix(std::vector<parts>{{a}, {a, a}}), Catch::Contains("equal length, got 1 and 2"));
    CHECK_THROWS_WITH(block_similarity(5, 2, [&](std::size_t) { return parts{a}; }),
                      "[block_similarity] expected a block that divides 5 layers, got 2");
}
