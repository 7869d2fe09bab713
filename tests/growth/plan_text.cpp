#include "depthgrow/growth/plan_text.hpp"

#include "depthgrow/growth/lineage.hpp"
#include "support/catch.hpp"

using namespace depthgrow;

TEST_CASE("a growth is read from an operator, an order or a mixture") {
    CHECK(parse_growth("lidas block=2", 4) == growth{lidas{2}(4)});
    CHECK(parse_growth("0,1,0,1 init=noise:0.5 seed=3 state=zero", 2) ==
          growth{doubling{}(2), {init_kind::noise, 0.5}, state_policy::zero, 3});
    CHECK(parse_growth("0 0.5*0+0.5*1 1 state=all", 2) ==
          growth{parse_mixture("0 0.5*0+0.5*1 1", 2), {}, state_policy::all});
    CHECK(parse_growth("collapse start=1 length=2", 4) == growth{collapse{1, 2}(4)});
    operator_parameters usual;
    usual.block = 2;
    CHECK(parse_growth("midas", 4, usual) == growth{midas{2}(4)});
    for (const growth& how :
         {growth{doubling{}(3), {init_kind::noise, 0.01}, state_policy::all, 7}, growth{collapse{0, 3}(5)}})
        CHECK(parse_growth(how.to_string(), how.layers.source_depth()) == how);
}

TEST_CASE("a growth that cannot be read is refused") {
    CHECK_THROWS_WITH(parse_growth("lidas blocks=2", 4),
                      "[growth] expected init=, state=, seed=, block=, start= or length=, got \"blocks=2\"");
    CHECK_THROWS_WITH(parse_growth("init=copy", 4),
                      Catch::Contains("expected an operator, an order or a mixture in \"init=copy\", got none"));
    CHECK_THROWS_WITH(parse_growth("lydas", 4), Catch::Contains("did you mean lidas?"));
    CHECK_THROWS_WITH(parse_growth("lidas block=-1", 4),
                      Catch::Contains("expected block to be a whole number of at least 0, got \"-1\""));
    CHECK_THROWS_WITH(parse_growth("0,1 init=zeros", 4), Catch::Contains("[layer_init] expected one of copy"));
}

TEST_CASE("a plan is read line by line") {
    const growth_plan plan = parse_growth_plan(
        "# two growths, then a collapse\n100 lidas block=2 init=average\n\n250 0,1,2,3,4,5,5 state=zero  # one "
        "more\r\n300 collapse start=1 length=3",
        4, 400);
    REQUIRE(plan.stages.size() == 4);
    CHECK(plan.growth_steps() == std::vector<std::size_t>{100, 250, 300});
    CHECK(plan.total_steps() == 400);
    CHECK(plan.layers_at(99) == 4);
    CHECK(plan.layers_at(100) == 6);
    CHECK(plan.layers_at(299) == 7);
    CHECK(plan.final_layers() == 4);
    CHECK(plan.stages[1].steps == 150);
    CHECK(plan.stages[1].applied() == growth{lidas{2}(4), {init_kind::average}});
    CHECK(plan.stages[2].applied().state == state_policy::zero);
    CHECK(plan.stages[2].order == layer_order({0, 1, 2, 3, 4, 5, 5}, 6));
    CHECK(plan.stages[3].order.empty());
    CHECK(plan.stages[0].applied() == growth{layer_order::identity(4)});
    CHECK(lineage(plan).depth() == 4);
    CHECK(parse_growth_plan("", 4, 10).stages.size() == 1);
}

TEST_CASE("a plan that does not fit says its line") {
    CHECK_THROWS_WITH(parse_growth_plan("100 doubling\n100 doubling", 2, 400),
                      "[growth_plan] line 2: expected a step above 100 and below 400, got 100");
    CHECK_THROWS_WITH(parse_growth_plan("\n400 doubling", 2, 400),
                      Catch::Contains("line 2: expected a step above 0 and below 400, got 400"));
    CHECK_THROWS_WITH(parse_growth_plan("0 doubling", 2, 400), Catch::Contains("above 0"));
    CHECK_THROWS_WITH(parse_growth_plan("soon doubling", 2, 400),
                      Catch::Contains("line 1: [growth] expected the step to be a whole number"));
    CHECK_THROWS_WITH(parse_growth_plan("9 doubling\n20 0,1,9", 2, 400),
                      Catch::Contains("line 2: [mixture] expected a layer index below 4 at slot 2, got 9"));
}
