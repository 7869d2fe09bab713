// The recorded growths and the lineage they give.
#include "support/catch.hpp"

#include "depthgrow/growth/operators.hpp"
#include "depthgrow/io/growth_record.hpp"

namespace dg = depthgrow;

TEST_CASE("a recorded growth says no more than it must, and gives the lineage back") {
    const auto order = dg::lidas{2}(4);
    CHECK(dg::growth_entry(order) == dg::json{{"order", order.sources()}});
    CHECK(dg::growth_entry(order, 7, true) == dg::json{{"order", order.sources()}, {"step", 7}, {"zero_new", true}});
    const dg::layer_order pruned({0, 1}, 4);
    CHECK(dg::growth_entry(pruned)["layers"] == 4);
    const auto lineage = dg::make_lineage(dg::json::array({dg::growth_entry(pruned), dg::growth_entry(dg::doubling{}(2))}), 4, "x");
    CHECK(lineage.initial_depth() == 4);
    CHECK(lineage.depth() == 4);
    CHECK(lineage.descends_from(3) == 1);
    CHECK(dg::make_lineage(dg::json::array(), 9, "x").depth() == 9);
}
