#include "depthgrow/growth/mixture.hpp"

#include "depthgrow/growth/operators.hpp"
#include "support/catch.hpp"

using namespace depthgrow;

TEST_CASE("an order is the mixture of its layers and comes back from it") {
    const layer_order order = lidas{2}(4);
    const mixture rows = mixture::of(order);
    CHECK(rows.size() == 6);
    CHECK(rows.source_depth() == 4);
    CHECK(rows.is_order());
    CHECK(rows.order() == order);
    CHECK(rows.to_string() == order.to_string());
    for (std::size_t slot = 0; slot < order.size(); ++slot) {
        CHECK(rows.is_copy(slot));
        CHECK(rows.is_new(slot) == order.is_new(slot));
    }
}

TEST_CASE("a mixture is printed and read back") {
    const mixture rows({{{0, 1}}, {{2, 0.5}, {1, 0.5}}, {{1, -2}, {2, 1}, {3, 1}}, {{0, 1e-20}}, {{3, 1.0 / 3}}}, 4);
    CHECK(rows.to_string() == "0 0.5*1+0.5*2 -2*1+2+3 1e-20*0 0.3333333333333333*3");
    CHECK(parse_mixture(rows.to_string(), 4) == rows);
    CHECK(parse_mixture("0, 1,-1*2", 3).to_string() == "0 1 -2");
    CHECK(parse_mixture("0 2-0.5*1", 3)[1] == mixture_row{{1, -0.5}, {2, 1}});
}

TEST_CASE("a slot that is a sum is new, and so is a second copy") {
    const mixture rows = parse_mixture("0 0.5*0+0.5*1 1 1 2*1", 2);
    CHECK_FALSE(rows.is_copy(1));
    CHECK_FALSE(rows.is_copy(4));
    CHECK_FALSE(rows != parse_mixture("0,0.5*0+0.5*1,1,1,2*1", 2));
    CHECK(rows != parse_mixture("0 0.5*0+0.5*1 1 1 3*1", 2));
    CHECK(rows[4][0] != mixture_term{1, 3});
    CHECK_FALSE(rows[4][0] != mixture_term{1, 2});
    std::vector<bool> made;
    for (std::size_t slot = 0; slot < rows.size(); ++slot) made.push_back(rows.is_new(slot));
    CHECK(made == std::vector<bool>{false, true, false, true, true});
    CHECK(rows.main_source(1) == 0);
    CHECK(parse_mixture("0.1*0-3*1+2*2", 3).main_source(0) == 1);
}

TEST_CASE("composition is the product of the matrices") {
    const mixture inner = parse_mixture("0 0.5*0+0.5*1 1", 2), outer = parse_mixture("0.5*0+0.5*1 1-2", 3);
    CHECK(compose(outer, inner) == parse_mixture("0.75*0+0.25*1 0.5*0-0.5*1", 2));
    CHECK(compose(mixture(doubling{}(2)), mixture(layer_order({1, 0}, 2))).order() ==
          compose(doubling{}(2), layer_order({1, 0}, 2)));
    CHECK_THROWS_WITH(compose(outer, outer),
                      "[compose] expected an outer mixture for 2 layers (size of the inner one), got one for 3");
}

TEST_CASE("second moments grow by the squares") {
    CHECK(squared(parse_mixture("0 0.5*0+0.5*1 -2*0+1", 2)) == parse_mixture("0 0.25*0+0.25*1 4*0+1", 2));
}

TEST_CASE("a mixture that means nothing is refused with its slot") {
    CHECK_THROWS_WITH(mixture({{{0, 1}}, {{5, 1}}}, 4), "[mixture] expected a layer index below 4 at slot 1, got 5");
    CHECK_THROWS_WITH(mixture({{{0, 1}, {0, 1}}}, 4),
                      "[mixture] expected every layer once at slot 0, got layer 0 twice");
    CHECK_THROWS_WITH(mixture({{{1, INFINITY}}}, 4),
                      "[mixture] expected finite coefficients at slot 0, got inf for layer 1");
    CHECK_THROWS_WITH(mixture({{{1, 0.0}}}, 4),
                      "[mixture] expected a layer with a coefficient other than 0 at slot 0, got none");
    CHECK_THROWS_WITH(mixture({{}}, 4), Catch::Contains("at slot 0, got none"));
    CHECK_THROWS_WITH(parse_mixture("0 0.5*0+0.5*1", 2).order(),
                      "[mixture] expected single layers, as a layer order has them, got 0.5*0+0.5*1 at slot 1");
}

TEST_CASE("text that is no mixture is refused with its place") {
    CHECK_THROWS_WITH(
        parse_mixture("0 0.5*+1", 2),
        "[parse_mixture] expected slots like 3 or 0.5*1+0.5*2, got \"0.5*+1\" (character 5) in \"0 0.5*+1\"");
    CHECK_THROWS_WITH(parse_mixture("0 1x", 2), Catch::Contains("got \"1x\" (character 2)"));
    CHECK_THROWS_WITH(parse_mixture("0 1+", 2), Catch::Contains("got \"1+\""));
    CHECK_THROWS_WITH(parse_mixture("0 --1*1", 2), Catch::Contains("got \"--1*1\""));
    CHECK_THROWS_WITH(parse_mixture("0,", 2), "[parse_mixture] expected a slot at the end of \"0,\", got none");
    CHECK_THROWS_WITH(parse_mixture("", 2), Catch::Contains("got none"));
    CHECK_THROWS_WITH(parse_mixture(",0", 2), Catch::Contains("expected slots like"));
    CHECK_THROWS_WITH(parse_mixture("nan*1", 2), Catch::Contains("expected finite coefficients"));
}
