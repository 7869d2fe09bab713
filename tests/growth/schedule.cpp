#include "depthgrow/growth/schedule.hpp"

#include "support/catch.hpp"

using namespace depthgrow;
using list = std::vector<std::size_t>;

namespace {

growth_plan paper_plan(std::size_t final_layers, step_rounding rounding) {
    growth_schedule wanted;
    wanted.initial_layers = 4;
    wanted.final_layers = final_layers;
    wanted.plateau_steps = 170000;
    wanted.total_steps = 200000;
    wanted.rounding = rounding;
    return plan_growth(lidas{4}, wanted);
}

}  // namespace

TEST_CASE("stage lengths rounded down are those behind Table 7") {
    CHECK(stage_lengths(8, 170000, 1, step_rounding::floor) ==
          list{4722, 9444, 14166, 18888, 23611, 28333, 33055, 37781});
    CHECK(paper_plan(32, step_rounding::floor).growth_steps() == list{4722, 14166, 28332, 47220, 70831, 99164, 132219});
    CHECK(paper_plan(24, step_rounding::floor).growth_steps() == list{8095, 24285, 48570, 80950, 121426});
}

TEST_CASE("stage lengths by largest remainder are those of the papers' text") {
    CHECK(stage_lengths(8, 170000) == list{4722, 9444, 14167, 18889, 23611, 28333, 33056, 37778});
    CHECK(paper_plan(32, step_rounding::largest_remainder).growth_steps() ==
          list{4722, 14166, 28333, 47222, 70833, 99166, 132222});
    CHECK(paper_plan(24, step_rounding::largest_remainder).growth_steps() == list{8095, 24286, 48572, 80953, 121429});
}

TEST_CASE("equal remainders go to the earlier stage") {
    CHECK(stage_lengths(4, 6, 0) == list{2, 2, 1, 1});
    CHECK(stage_lengths(4, 6, 0, step_rounding::floor) == list{1, 1, 1, 3});
}

TEST_CASE("any alpha shares out every step") {
    CHECK(stage_lengths(3, 1400, 2) == list{100, 400, 900});
    for (double alpha : {0.0, 0.5, 1.0, 1.7, 3.0, -1.0})
        for (std::size_t total : {0u, 1u, 17u, 170001u})
            for (auto rounding : {step_rounding::largest_remainder, step_rounding::floor}) {
                std::size_t sum = 0;
                for (std::size_t steps : stage_lengths(7, total, alpha, rounding)) sum += steps;
                CHECK(sum == total);
            }
    CHECK_THROWS_WITH(stage_lengths(0, 10), Catch::Contains("at least 1 stage"));
    CHECK_THROWS_WITH(stage_lengths(3, 10, 1e9), Catch::Contains("weights stay finite"));
}

TEST_CASE("a plan has depths, steps without gaps and the order of each growth") {
    const growth_plan plan = paper_plan(32, step_rounding::floor);
    REQUIRE(plan.stages.size() == 8);
    std::size_t next = 0;
    for (std::size_t i = 0; i < 8; ++i) {
        CHECK(plan.stages[i].layers == 4 * (i + 1));
        CHECK(plan.stages[i].first_step == next);
        next += plan.stages[i].steps;
        CHECK(plan.stages[i].order == (i == 0 ? layer_order::identity(4) : lidas{4}(4 * i)));
    }
    CHECK(next == 200000);
    CHECK(plan.total_steps() == 200000);
    CHECK(plan.stages[7].steps == 37781 + 30000);
}

TEST_CASE("growth happens after the last step of a stage") {
    const growth_plan plan = paper_plan(24, step_rounding::floor);
    CHECK(plan.layers_at(0) == 4);
    CHECK(plan.layers_at(8094) == 4);
    CHECK(plan.layers_at(8095) == 8);
    CHECK(plan.layers_at(199999) == 24);
    CHECK_THROWS_WITH(plan.layers_at(200000), "[growth_plan] expected a step below 200000, got 200000");
}

TEST_CASE("operators that double the depth have plans too") {
    growth_schedule wanted;
    wanted.initial_layers = 3;
    wanted.final_layers = 12;
    wanted.plateau_steps = wanted.total_steps = 60;
    for (const growth_operator& op : {growth_operator(doubling{}), growth_operator(interleave{})}) {
        const growth_plan plan = plan_growth(op, wanted);
        REQUIRE(plan.stages.size() == 3);
        CHECK(plan.growth_steps() == list{10, 30});
        CHECK(plan.stages[1].layers == 6);
        CHECK(plan.final_layers() == 12);
    }
}

TEST_CASE("a plan that cannot be is refused with the reason") {
    growth_schedule wanted;
    wanted.initial_layers = 4;
    wanted.final_layers = 22;
    wanted.plateau_steps = wanted.total_steps = 100;
    CHECK_THROWS_WITH(plan_growth(midas{4}, wanted),
                      "[plan_growth] expected a depth that midas reaches, got 22; it gives 4 8 12 16 20 24");
    wanted.final_layers = 24;
    CHECK_THROWS_WITH(plan_growth(doubling{}, wanted), Catch::EndsWith("it gives 4 8 16 32"));
    CHECK_THROWS_WITH(plan_growth(solar{3}, wanted), Catch::EndsWith("it gives 4 2"));
    wanted.plateau_steps = 5;
    CHECK_THROWS_WITH(plan_growth(midas{4}, wanted), Catch::Contains("leaves stage 1 of 6 without one"));
    wanted.plateau_steps = 101;
    CHECK_THROWS_WITH(plan_growth(midas{4}, wanted), Catch::Contains("total_steps of at least 101"));
    wanted.initial_layers = 25;
    CHECK_THROWS_WITH(plan_growth(midas{4}, wanted), Catch::Contains("final_layers of at least 25"));
    wanted.initial_layers = 0;
    CHECK_THROWS_WITH(plan_growth(midas{4}, wanted), Catch::Contains("initial_layers of at least 1"));
}

TEST_CASE("a plain run is a plan of one stage") {
    const growth_plan plan = plan_plain(12, 500);
    CHECK(plan.total_steps() == 500);
    CHECK(plan.layers_at(499) == 12);
    CHECK(plan.growth_steps().empty());
    CHECK(plan.stages[0].order.is_identity());
}
