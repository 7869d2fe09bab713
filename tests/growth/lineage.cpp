#include "depthgrow/growth/lineage.hpp"

#include "support/catch.hpp"

using namespace depthgrow;
using table = std::vector<std::vector<double>>;

namespace {

lineage grown(const growth_operator& op, std::size_t block, std::size_t blocks) {
    lineage history(block);
    while (history.depth() < block * blocks) history.record(op(history.depth()));
    return history;
}

bool centrally_symmetric(const table& matrix) {
    const std::size_t last = matrix.size() - 1;
    for (std::size_t i = 0; i <= last; ++i)
        for (std::size_t j = 0; j <= last; ++j)
            if (matrix[i][j] != matrix[last - i][last - j]) return false;
    return true;
}

}  // namespace

TEST_CASE("the block lineage of MIDAS is the published pattern") {
    CHECK(grown(midas{4}, 4, 6).block_matrix(4) == table{{6, 2, 2, 2, 2, 1},
                                                         {2, 6, 4, 4, 3, 1},
                                                         {2, 4, 6, 5, 3, 1},
                                                         {2, 4, 5, 6, 3, 1},
                                                         {2, 3, 3, 3, 6, 1},
                                                         {1, 1, 1, 1, 1, 6}});
}

TEST_CASE("the block lineage of LIDAS is the published pattern") {
    CHECK(grown(lidas{4}, 4, 6).block_matrix(4) == table{{6, 1.5, 1.5, 1.5, 1.5, 1},
                                                         {1.5, 6, 3.5, 3.5, 3, 1.5},
                                                         {1.5, 3.5, 6, 5, 3.5, 1.5},
                                                         {1.5, 3.5, 5, 6, 3.5, 1.5},
                                                         {1.5, 3, 3.5, 3.5, 6, 1.5},
                                                         {1, 1.5, 1.5, 1.5, 1.5, 6}});
}

TEST_CASE("the block lineage of LIDAS is centrally symmetric and that of MIDAS is not") {
    CHECK(centrally_symmetric(grown(lidas{4}, 4, 6).block_matrix(4)));
    CHECK_FALSE(centrally_symmetric(grown(midas{4}, 4, 6).block_matrix(4)));
}

TEST_CASE("layers descend from the initial layer at their place in the block") {
    for (std::size_t block : {3u, 4u, 8u})
        for (const growth_operator& op : {growth_operator(midas{block}), growth_operator(lidas{block})}) {
            const lineage history = grown(op, block, 6);
            const layer_order all = history.composition();
            for (std::size_t layer = 0; layer < history.depth(); ++layer) {
                CHECK(history.descends_from(layer) == layer % block);
                CHECK(all[layer] == layer % block);
            }
        }
}

TEST_CASE("layers are one tensor until the growth that copied them, and never when their ancestors differ") {
    lineage history(2);
    history.record(doubling{}(2));
    history.record(layer_order({0, 1, 2, 3, 3}, 4));
    CHECK(history.stage() == 3);
    CHECK(history.shared_until(3, 4) == 2);
    CHECK(history.shared_until(1, 4) == 1);
    CHECK(history.shared_until(0, 1) == 0);
    CHECK(history.shared_until(2, 2) == 3);
    const auto matrix = history.layer_matrix();
    CHECK(matrix[4][3] == 2);
    CHECK(matrix[1][4] == matrix[4][1]);
}

TEST_CASE("a plan has the lineage of its orders") {
    growth_schedule wanted;
    wanted.initial_layers = 4;
    wanted.final_layers = 24;
    wanted.plateau_steps = wanted.total_steps = 100;
    const lineage planned(plan_growth(lidas{4}, wanted));
    CHECK(planned.orders() == grown(lidas{4}, 4, 6).orders());
    CHECK(planned.initial_depth() == 4);
}

TEST_CASE("a history that does not fit together is refused") {
    lineage history(4);
    CHECK_THROWS_WITH(history.record(doubling{}(8)), "[lineage] expected an order for 4 layers, got one for 8");
    CHECK_THROWS_WITH(history.shared_until(0, 4), "[lineage] expected a layer below 4, got 4");
    CHECK_THROWS_WITH(history.block_matrix(3), Catch::Contains("divides the depth 4, got 3"));
    CHECK_THROWS_WITH(lineage(growth_plan{}), Catch::Contains("at least 1 stage"));
}

TEST_CASE("a mixed layer has every source as its ancestor, and was no other layer before") {
    lineage history(2);
    history.record(growth{interleave{}(2), {init_kind::average}});  // 0, (0 + 1) / 2, 1, 1
    CHECK(history.ancestors(0) == mixture_row{{0, 1}});
    CHECK(history.ancestors(1) == mixture_row{{0, 0.5}, {1, 0.5}});
    CHECK(history.shared_until(0, 1) == 0);
    CHECK(history.shared_until(2, 3) == 1);
    history.record(growth{parse_mixture("0 1 1 0.5*1+0.5*2", 4)});
    CHECK(history.ancestors(3) == mixture_row{{0, 0.25}, {1, 0.75}});
    CHECK(history.shared_until(1, 2) == 2);
    CHECK(history.shared_until(2, 3) == 0);
    CHECK(history.shared_until(3, 3) == 3);
    CHECK(history.descends_from(3) == 0);
    CHECK_THROWS_WITH(history.orders(), Catch::Contains("[mixture] expected single layers"));
    history.record(collapse{0, 2}(4));
    CHECK(history.ancestors(0) == mixture_row{{1, 1}});
    CHECK(history.depth() == 2);
}

TEST_CASE("a layer drawn at random has no ancestors and takes the place of its source") {
    lineage history(2);
    history.record(growth{doubling{}(2), {init_kind::random}, state_policy::copy, 1});
    CHECK(history.ancestors(1) == mixture_row{{1, 1}});
    CHECK(history.ancestors(3).empty());
    CHECK(history.shared_until(1, 3) == 0);
    CHECK(history.descends_from(3) == 1);
}
