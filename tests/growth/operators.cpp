#include "depthgrow/growth/operators.hpp"

#include "support/catch.hpp"

using namespace depthgrow;

namespace {

std::vector<std::size_t> copy_starts(const growth_operator& op, std::size_t block, std::size_t growths) {
    std::vector<std::size_t> starts;
    std::size_t depth = block;
    for (std::size_t n = 0; n < growths; ++n, depth += block) {
        const layer_order order = op(depth);
        std::size_t slot = 0;
        while (!order.is_new(slot)) ++slot;
        starts.push_back(order[slot]);
    }
    return starts;
}

using list = std::vector<std::size_t>;

}  // namespace

TEST_CASE("MIDAS copies the middle block after itself") {
    CHECK(midas{4}(8).to_string() == "0 1 2 3 0 1 2 3 4 5 6 7");
    CHECK(midas{3}(6).to_string() == "0 1 2 0 1 2 3 4 5");
    CHECK(midas{2}(6).to_string() == "0 1 2 3 2 3 4 5");
}

TEST_CASE("LIDAS copies the middle layers after themselves") {
    CHECK(lidas{4}(8).to_string() == "0 1 2 3 4 5 2 3 4 5 6 7");
    CHECK(lidas{3}(6).to_string() == "0 1 2 3 1 2 3 4 5");
    CHECK(lidas{1}(2).to_string() == "0 0 1");
    CHECK(lidas{4}(5).to_string() == "0 1 2 3 4 1 2 3 4");
}

TEST_CASE("the copied window starts where the papers' growths start") {
    CHECK(copy_starts(midas{4}, 4, 7) == list{0, 0, 4, 4, 8, 8, 12});
    CHECK(copy_starts(lidas{4}, 4, 7) == list{0, 2, 4, 6, 8, 10, 12});
    CHECK(copy_starts(midas{3}, 3, 7) == list{0, 0, 3, 3, 6, 6, 9});
    CHECK(copy_starts(lidas{3}, 3, 7) == list{0, 1, 3, 4, 6, 7, 9});
    CHECK(copy_starts(midas{8}, 8, 3) == list{0, 0, 8});
    CHECK(copy_starts(lidas{8}, 8, 3) == list{0, 4, 8});
}

TEST_CASE("LIDAS and MIDAS agree on an odd number of blocks") {
    for (std::size_t block : {1u, 2u, 3u, 4u, 8u})
        for (std::size_t blocks : {1u, 3u, 5u, 7u}) CHECK(lidas{block}(block * blocks) == midas{block}(block * blocks));
    CHECK(lidas{4}(8) != midas{4}(8));
}

TEST_CASE("the other operators give their published lists") {
    CHECK(gradual{2}(4).to_string() == "0 1 2 3 2 3");
    CHECK(doubling{}(3).to_string() == "0 1 2 0 1 2");
    CHECK(interleave{}(3).to_string() == "0 0 1 1 2 2");
    const layer_order up = solar{8}(32);
    CHECK(up.size() == 48);
    CHECK(up[23] == 23);
    CHECK(up[24] == 8);
    CHECK(up[47] == 31);
}

TEST_CASE("interventions give the lists of the specification") {
    CHECK(skip(8, 2, 1).to_string() == "0 1 3 4 5 6 7");
    CHECK(swap_blocks(8, 2, 2).to_string() == "0 1 4 5 2 3 6 7");
    CHECK(reverse(8, 2, 4).to_string() == "0 1 5 4 3 2 6 7");
    CHECK(loop(8, 2, 2, 1).to_string() == "0 1 2 3 2 3 4 5 6 7");
    CHECK(loop(8, 2, 2, 0).is_identity());
    CHECK(skip(8, 7, 1).to_string() == "0 1 2 3 4 5 6");
}

TEST_CASE("an operator says why a depth does not fit") {
    CHECK_THROWS_WITH(midas{4}(6), "[midas] expected a depth that is a multiple of the block 4, got 6");
    CHECK_THROWS_WITH(lidas{4}(3), "[lidas] expected a depth of at least 4 (one block), got 3");
    CHECK_THROWS_WITH(gradual{4}(3), Catch::Contains("[gradual] expected a depth of at least 4"));
    CHECK_THROWS_WITH(lidas{0}(4), Catch::Contains("block of at least 1 layer"));
    CHECK_THROWS_WITH(doubling{}(0), Catch::Contains("[doubling] expected a depth of at least 1"));
    CHECK_THROWS_WITH(solar{8}(8), Catch::Contains("above the 8 dropped layers, got 8"));
}

TEST_CASE("an intervention that leaves the stack is refused") {
    CHECK_THROWS_WITH(skip(8, 7, 2), Catch::Contains("[skip] expected layers [7, 7 + 2) inside a depth of 8"));
    CHECK_THROWS_WITH(swap_blocks(8, 5, 2), Catch::Contains("[7, 7 + 2)"));
    CHECK_THROWS_WITH(reverse(8, 9, 1), Catch::Contains("[reverse]"));
    CHECK_THROWS_WITH(loop(8, 0, 0, 1), Catch::Contains("length of at least 1"));
    CHECK_THROWS_WITH(skip(8, 1, static_cast<std::size_t>(-1)), Catch::Contains("[skip]"));
}

TEST_CASE("an operator chosen by name is the operator") {
    for (std::size_t depth : {8u, 16u}) {
        CHECK(make_operator("midas", 4)(depth) == midas{4}(depth));
        CHECK(make_operator("lidas", 4)(depth) == lidas{4}(depth));
        CHECK(make_operator("gradual", 4)(depth) == gradual{4}(depth));
        CHECK(make_operator("doubling", 4)(depth) == doubling{}(depth));
        CHECK(make_operator("interleave", 4)(depth) == interleave{}(depth));
        CHECK(make_operator("solar", 4)(depth) == solar{4}(depth));
    }
    CHECK(make_operator("lidas", 3).name() == "lidas");
    CHECK(make_operator("lidas", 3)(9) == lidas{3}(9));
}

TEST_CASE("an unknown operator name is answered with the nearest") {
    CHECK_THROWS_WITH(make_operator("lydas", 4), Catch::EndsWith("got \"lydas\"; did you mean lidas?"));
    CHECK_THROWS_WITH(make_operator("double", 4), Catch::Contains("did you mean doubling?"));
}

TEST_CASE("every operator of the table is made by its name and says what it reads") {
    operator_parameters given;
    given.block = 2, given.start = 1, given.length = 3;
    std::string all;
    for (const operator_entry& entry : operator_table) {
        const growth_operator made = make_operator(entry.name, given);
        CHECK(made.name() == entry.name);
        CHECK(made.rows(8).is_order() == entry.is_order);
        CHECK_FALSE(entry.help.empty());
        all += text(all.empty() ? "" : ", ", entry.name);
    }
    CHECK_THROWS_WITH(make_operator("", 4), Catch::Contains("expected one of " + all + ", got \"\""));
    CHECK(make_operator("collapse", given).rows(8) == collapse{1, 3}(8));
    CHECK(operator_names().size() == operator_names(true).size() + 1);
}

TEST_CASE("collapse merges the layers after one into it") {
    CHECK(collapse{2, 3}(8).to_string() == "0 1 -2*2+3+4+5 6 7");
    CHECK(collapse{0, 1}(3).to_string() == "1 2");
    CHECK(collapse{0, 2}(3).to_string() == "-0+1+2");
    CHECK_THROWS_WITH(collapse({2, 0})(8), "[collapse] expected a length of at least 1, got 0");
    CHECK_THROWS_WITH(collapse({2, 6})(8),
                      "[collapse] expected a layer 2 with 6 layers after it in a depth of 8, got fewer");
    CHECK_THROWS_WITH(collapse({8, 1})(8), Catch::Contains("got fewer"));
    CHECK_THROWS_WITH(growth_operator(collapse{1, 2})(8), Catch::Contains("[mixture] expected single layers"));
}

namespace {

/// An operator of a user: the first layer again, on top.
struct first_again {
    static constexpr std::string_view name = "first_again";
    layer_order operator()(std::size_t depth) const {
        return compose(layer_order({0, 1, 0}, 2), layer_order({0, depth - 1}, depth));
    }
};

}  // namespace

TEST_CASE("an operator of one's own is an operator") {
    const growth_operator op = first_again{};
    CHECK(op.name() == "first_again");
    CHECK(op(5).to_string() == "0 4 0");
}
