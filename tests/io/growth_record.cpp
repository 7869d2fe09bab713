// The recorded growths and the lineage they give.
#include "depthgrow/io/growth_record.hpp"

#include "depthgrow/growth/operators.hpp"
#include "io/temporary.hpp"
#include "support/catch.hpp"

namespace dg = depthgrow;

TEST_CASE("a recorded growth says no more than it must, and gives the lineage back") {
    const auto order = dg::lidas{2}(4);
    CHECK(dg::growth_entry(order) == dg::json{{"order", order.sources()}});
    CHECK(dg::growth_entry(order, 7, true) == dg::json{{"order", order.sources()}, {"step", 7}, {"zero_new", true}});
    const dg::layer_order pruned({0, 1}, 4);
    CHECK(dg::growth_entry(pruned)["layers"] == 4);
    const auto lineage =
        dg::make_lineage(dg::json::array({dg::growth_entry(pruned), dg::growth_entry(dg::doubling{}(2))}), 4, "x");
    CHECK(lineage.initial_depth() == 4);
    CHECK(lineage.depth() == 4);
    CHECK(lineage.descends_from(3) == 1);
    CHECK(dg::make_lineage(dg::json::array(), 9, "x").depth() == 9);
}

TEST_CASE("a recorded growth tells sums, beginnings, seed and moments, and is read back") {
    using dg::init_kind;
    const dg::growth plain{dg::lidas{2}(4)};
    for (const dg::growth& how :
         {plain, dg::growth{dg::lidas{2}(4), {init_kind::noise, 0.01}, dg::state_policy::zero, 7},
          dg::growth{dg::lidas{2}(4), {init_kind::random}, dg::state_policy::copy, 8},
          dg::growth{dg::lidas{2}(4), {init_kind::average}, dg::state_policy::all},
          dg::growth{dg::lidas{2}(4), {init_kind::zero_residual}}, dg::growth{dg::collapse{1, 2}(4)}})
        CHECK(dg::read_growth_entry(dg::growth_entry(how, 3), 4, "x") == how);
    CHECK_FALSE(
        dg::growth_entry({dg::doubling{}(1), {init_kind::average}, dg::state_policy::copy, 5}).contains("seed"));
    CHECK(dg::growth_entry(plain) == dg::growth_entry(dg::lidas{2}(4)));
    CHECK(dg::growth_entry({dg::collapse{0, 2}(4)}) == dg::json{{"mixture", "-0+1+2 3"}, {"layers", 4}});
    CHECK(dg::growth_entry({dg::doubling{}(1), {init_kind::noise, 0.5}, dg::state_policy::all, 3}, 9) ==
          dg::json{{"order", {0, 0}}, {"init", "noise:0.5"}, {"seed", 3}, {"state", "all"}, {"step", 9}});
    CHECK_FALSE(
        dg::weights_record(dg::json::array({dg::growth_entry({dg::doubling{}(1), {}, dg::state_policy::all})}))[0]
            .contains("state"));
}

TEST_CASE("a lineage of sums is read from its record") {
    const auto history =
        dg::json::parse(R"([{"order": [0, 0, 1, 1], "init": "average", "step": 1}, {"mixture": "0 1 0.5*1+0.5*2 3"}])");
    const auto lineage = dg::make_lineage(history, 4, "x");
    CHECK(lineage.initial_depth() == 2);
    CHECK(lineage.ancestors(1) == dg::mixture_row{{0, 0.5}, {1, 0.5}});
    CHECK(lineage.ancestors(2) == dg::mixture_row{{0, 0.25}, {1, 0.75}});
}

TEST_CASE("what a record says and the library does not know is refused by name") {
    const auto refused = [](const char* entry) {
        return temporary::refusal([&] { dg::make_lineage(dg::json::array({dg::json::parse(entry)}), 2, "x"); });
    };
    CHECK(refused(R"({"order": [0, 0], "init": "fancy"})") ==
          "x: expected one of copy, zero_residual, average, random, noise:SIGMA, got \"fancy\"");
    CHECK(refused(R"({"order": [0, 0], "state": "half"})") == "x: expected one of copy, zero, all, got \"half\"");
    CHECK(refused(R"({"mixture": "0 2*", "layers": 3})").find("x: mixture: [parse_mixture] expected slots like") == 0);
    CHECK(refused(R"({"mixture": "0 1"})").find("x: expected layers to be") == 0);
}
