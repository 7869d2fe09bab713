#include "depthgrow/growth/layer_order.hpp"

#include "support/catch.hpp"

using depthgrow::layer_order;

TEST_CASE("an order remembers its sources and its depth") {
    const layer_order order({0, 1, 1, 2}, 3);
    CHECK(order.size() == 4);
    CHECK(order.source_depth() == 3);
    CHECK(order[2] == 1);
    CHECK(std::vector<std::size_t>(order.begin(), order.end()) == std::vector<std::size_t>{0, 1, 1, 2});
    CHECK(order.to_string() == "0 1 1 2");
    CHECK(order != layer_order({0, 1, 1, 2}, 4));
}

TEST_CASE("an index outside the stack is refused by name") {
    CHECK_THROWS_WITH(layer_order({0, 1, 8}, 8), "[layer_order] expected a layer index below 8 at slot 2, got 8");
}

TEST_CASE("the identity leaves every layer in place") {
    CHECK(layer_order::identity(4) == layer_order({0, 1, 2, 3}, 4));
    CHECK(layer_order::identity(4).is_identity());
    CHECK_FALSE(layer_order({0, 1}, 3).is_identity());
}

TEST_CASE("the second slot that names a source is the new one") {
    const layer_order order({0, 1, 2, 3, 4, 5, 2, 3, 4, 5, 6, 7}, 8);
    for (std::size_t slot = 0; slot < 12; ++slot) CHECK(order.is_new(slot) == (slot >= 6 && slot < 10));
}

TEST_CASE("composing two orders does one after the other") {
    const layer_order twice({0, 1, 0, 1}, 2), middle({0, 2, 1, 3}, 4);
    CHECK(compose(middle, twice) == layer_order({0, 0, 1, 1}, 2));
    CHECK(compose(layer_order({2, 0}, 3), layer_order({1, 0, 0}, 2)) == layer_order({0, 1}, 2));
    CHECK(compose(twice, layer_order::identity(2)) == twice);
    CHECK(compose(layer_order::identity(4), twice) == twice);
    CHECK_THROWS_WITH(compose(twice, middle),
                      "[compose] expected an outer order for 4 layers (size of the inner order), got one for 2");
}

TEST_CASE("an order is read back from its text, with commas or spaces") {
    const layer_order order({0, 1, 2, 1, 2, 10}, 11);
    CHECK(depthgrow::parse_layer_order("0,1,2,1,2,10", 11) == order);
    CHECK(depthgrow::parse_layer_order(order.to_string(), 11) == order);
    CHECK(depthgrow::parse_layer_order(" 0, 1,2 ,1, 2,10 ", 11) == order);
}

TEST_CASE("a text that is no order is refused with its place") {
    using depthgrow::parse_layer_order;
    CHECK_THROWS_WITH(
        parse_layer_order("0,x,2", 4),
        "[parse_layer_order] expected layer indices separated by commas, got 'x' at character 3 of \"0,x,2\"");
    CHECK_THROWS_WITH(parse_layer_order("0,,2", 4), Catch::Contains("got ',' at character 3"));
    CHECK_THROWS_WITH(parse_layer_order("-1", 4), Catch::Contains("got '-' at character 1"));
    CHECK_THROWS_WITH(parse_layer_order("0,1,", 4), Catch::Contains("expected a layer index at the end"));
    CHECK_THROWS_WITH(parse_layer_order("", 4), Catch::Contains("expected a layer index at the end"));
    CHECK_THROWS_WITH(parse_layer_order("0,4", 4), Catch::Contains("below 4 at slot 1, got 4"));
    CHECK_THROWS_WITH(parse_layer_order("99999999999999999999999999", 4), Catch::Contains("below 4 at slot 0"));
}
