#include "depthgrow/growth/flops.hpp"

#include <cstdio>

#include "support/catch.hpp"

using namespace depthgrow;

namespace {

constexpr std::size_t paper_steps = 200000;

model_shape smollm_360m() { return {32, 960, 5 * 64, 2560, 49152, 2048}; }
model_shape smollm_1700m() { return {24, 2048, 2048, 8192, 49152, 2048}; }

growth_plan paper_plan(std::size_t layers, step_rounding rounding) {
    growth_schedule wanted;
    wanted.initial_layers = 4;
    wanted.final_layers = layers;
    wanted.plateau_steps = 170000;
    wanted.total_steps = paper_steps;
    wanted.rounding = rounding;
    return plan_growth(midas{4}, wanted);
}

std::string petaflops(double flops) {
    char digits[32];
    std::snprintf(digits, sizeof digits, "%.3f", flops / 1e15);
    return digits;
}

}  // namespace

TEST_CASE("the cost of the papers' runs is Table 7 to the last printed digit") {
    CHECK(petaflops(training_flops(smollm_360m(), paper_steps, 1u << 20)) == "613527.488");
    CHECK(petaflops(training_flops(smollm_1700m(), paper_steps, 1u << 21)) == "4813222.102");
    CHECK(petaflops(training_flops(smollm_360m(), paper_plan(32, step_rounding::floor), 1u << 20)) == "476147.897");
    CHECK(petaflops(training_flops(smollm_1700m(), paper_plan(24, step_rounding::floor), 1u << 21)) == "3736608.182");
}

TEST_CASE("largest remainder costs slightly less than Table 7") {
    const auto rounding = step_rounding::largest_remainder;
    CHECK(petaflops(training_flops(smollm_360m(), paper_plan(32, rounding), 1u << 20)) == "476144.434");
    CHECK(petaflops(training_flops(smollm_1700m(), paper_plan(24, rounding), 1u << 21)) == "3736573.983");
}

TEST_CASE("a plain plan costs what plain steps cost") {
    const model_shape shape = smollm_360m();
    CHECK(training_flops(shape, plan_plain(32, 1000), 4096) == training_flops(shape, 1000, 4096));
}

TEST_CASE("the causal cost leaves out half of the attention products") {
    const model_shape shape{3, 8, 4, 16, 100, 64};
    const double difference = step_flops(shape, 3, 10) - step_flops(shape, 3, 10, attention_cost::causal);
    CHECK(difference == 3.0 * 10 * 3 * (2 * 64 * 8));
}

TEST_CASE("a FLOP-matched plain run costs no more than the grown run, and one step more costs more") {
    const growth_plan plan = paper_plan(32, step_rounding::floor);
    const model_shape shape = smollm_360m();
    const std::size_t steps = flop_matched_steps(shape, plan);
    CHECK(training_flops(shape, steps, 1) <= training_flops(shape, plan, 1));
    CHECK(training_flops(shape, steps + 1, 1) > training_flops(shape, plan, 1));
    CHECK(flop_matched_steps(shape, plan_plain(32, 777)) == 777);
    CHECK_THROWS_WITH(flop_matched_steps(model_shape{}, plan), Catch::Contains("got 0 operations"));
}
