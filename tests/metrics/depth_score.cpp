#include "depthgrow/metrics/depth_score.hpp"

#include <limits>
#include <vector>

#include "support/catch.hpp"

using namespace depthgrow;
using list = std::vector<double>;

TEST_CASE("the depth score is the centre of mass of the effects, counted from zero") {
    CHECK(output_depth_score(list{0, 1, 0}) == 1);
    CHECK(output_depth_score(list{1, 1, 1, 1}) == 1.5);
    CHECK(centre_of_mass(std::vector<float>{1, 0, 3}) == 1.5);
}

TEST_CASE("effects that sum to nothing have no depth score") {
    CHECK_THROWS_WITH(centre_of_mass(list{0, 0}), "[centre_of_mass] expected effects with a finite sum above 0, got 0");
    CHECK_THROWS_WITH(centre_of_mass(list{}), Catch::Contains("above 0, got 0"));
    CHECK_THROWS_WITH(centre_of_mass(list{1, -1}), Catch::Contains("got -1 at layer 1"));
    CHECK_THROWS_WITH(centre_of_mass(list{std::numeric_limits<double>::quiet_NaN()}), Catch::Contains("at layer 0"));
    CHECK_THROWS_WITH(centre_of_mass(list{std::numeric_limits<double>::infinity()}), Catch::Contains("finite sum"));
}

TEST_CASE("the layer score takes the mean change of later layers only") {
    list change{9, 1, 3,  //
                9, 9, 4,  //
                9, 9, 9};
    const matrix<double> view(change.data(), 3, 3);
    CHECK(layer_effects(view) == list{2, 4, 0});
    CHECK(layer_depth_score(view) == Approx(4.0 / 6));
    CHECK_THROWS_WITH(layer_effects(matrix<double>(change.data(), 2, 3)), Catch::Contains("square matrix, got (2, 3)"));
}

TEST_CASE("a relative depth is one at the last layer") {
    CHECK(relative_depth(23, 24) == 1);
    CHECK(relative_depth(11.5, 24) == 0.5);
    CHECK_THROWS_WITH(relative_depth(0, 1), "[relative_depth] expected at least 2 layers, got 1");
}

TEST_CASE("a future effect is the strongest change of the output from the boundary on") {
    const list clean{0, 0, 0, 0, 0, 0, 0, 0}, skipped{9, 0, 9, 0, 1, 0, 2, 0};  // (4, 2)
    const auto logits = [](const list& values) { return matrix<const double>(values.data(), 4, 2); };
    CHECK(future_output_effect(logits(clean), logits(skipped), 2) ==
          Approx(softmax_distance(list{0, 0}, list{2, 0})).epsilon(1e-12));
    CHECK(future_output_effect(logits(clean), logits(clean), 2) == 0);
    CHECK_THROWS_WITH(future_output_effect(logits(clean), logits(skipped), 4),
                      "[future_output_effect] expected a boundary from 2 to 3 (the last position), got 4");
    CHECK_THROWS_WITH(future_output_effect(logits(clean), logits(skipped), 1), Catch::Contains("got 1"));
    CHECK_THROWS_WITH(future_output_effect(logits(clean), matrix<const double>(skipped.data(), 2, 4), 2),
                      Catch::Contains("expected logits of (4, 2), got (2, 4)"));
}
