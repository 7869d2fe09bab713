#include "depthgrow/growth/layer_init.hpp"

#include "depthgrow/growth/operators.hpp"
#include "support/catch.hpp"

using namespace depthgrow;

TEST_CASE("every beginning and every policy is read back from its name") {
    for (const init_entry& entry : init_table) {
        const layer_init init{entry.kind, entry.kind == init_kind::noise ? 0.01 : 0};
        CHECK(parse_layer_init(init.to_string()) == init);
        CHECK(init.name() == entry.name);
    }
    for (const state_entry& entry : state_table) CHECK(parse_state_policy(name_of(entry.policy)) == entry.policy);
    CHECK(parse_layer_init("noise:1e-3").sigma == 1e-3);
    CHECK(layer_init{init_kind::noise, 0.5}.to_string() == "noise:0.5");
}

TEST_CASE("an unknown beginning is refused by name") {
    CHECK_THROWS_WITH(parse_layer_init("zeros"),
                      "[layer_init] expected one of copy, zero_residual, average, random, noise:SIGMA, got \"zeros\"");
    CHECK_THROWS_WITH(parse_layer_init("noise"), Catch::Contains("noise:SIGMA, got \"noise\""));
    CHECK_THROWS_WITH(parse_layer_init("copy:1"), Catch::Contains("got \"copy:1\""));
    for (const char* wrong : {"noise:", "noise:0", "noise:-1", "noise:nan", "noise:1x"})
        CHECK_THROWS_WITH(parse_layer_init(wrong), Catch::Contains("expected noise:SIGMA with a SIGMA above 0"));
    CHECK_THROWS_WITH(parse_state_policy("half"), "[state_policy] expected one of copy, zero, all, got \"half\"");
    CHECK_THROWS_WITH((layer_init{static_cast<init_kind>(9), 0}.name()), Catch::Contains("got number 9"));
}

TEST_CASE("averages lie between the kept layers on either side") {
    const growth middle{lidas{2}(4), {init_kind::average}};
    CHECK(middle.layers.to_string() == "0 1 2 1 2 3");
    CHECK(middle.rows().to_string() == "0 1 2 0.5*2+0.5*3 0.5*2+0.5*3 3");
    CHECK(growth{interleave{}(3), {init_kind::average}}.rows().to_string() == "0 0.5*0+0.5*1 1 0.5*1+0.5*2 2 2");
    CHECK(growth{gradual{2}(4), {init_kind::average}}.rows().to_string() == "0 1 2 3 3 3");
}

TEST_CASE("averages between sums are averages of the sums") {
    const growth how{parse_mixture("0.5*0+0.5*1 1 1 0.25*1+0.75*2", 3), {init_kind::average}};
    CHECK(how.rows().to_string() == "0.5*0+0.5*1 1 0.625*1+0.375*2 0.25*1+0.75*2");
}

TEST_CASE("only copies of kept layers begin in another way") {
    const growth how{parse_mixture("0 0.5*0+0.5*1 1 1 0", 2), {init_kind::zero_residual}};
    std::vector<bool> begins;
    for (std::size_t slot = 0; slot < 5; ++slot) begins.push_back(how.begins(slot));
    CHECK(begins == std::vector<bool>{false, false, false, true, true});
    CHECK(how.rows() == how.layers);
}

TEST_CASE("a growth says what is not as usual") {
    CHECK(growth{doubling{}(2)}.to_string() == "0 1 0 1");
    CHECK(growth{doubling{}(2), {init_kind::noise, 0.01}, state_policy::zero, 7}.to_string() ==
          "0 1 0 1 init=noise:0.01 state=zero seed=7");
    CHECK(growth{doubling{}(2), {init_kind::average}, state_policy::all, 7}.to_string() ==
          "0 1 0 1 init=average state=all");
}

TEST_CASE("draws depend on seed, slot and part") {
    const auto first = [](std::uint64_t seed, std::size_t slot, const char* part) {
        return begin_stream(seed, slot, part).bits();
    };
    CHECK(first(1, 2, "mlp.up_proj.weight") == first(1, 2, "mlp.up_proj.weight"));
    CHECK(first(1, 2, "mlp.up_proj.weight") != first(2, 2, "mlp.up_proj.weight"));
    CHECK(first(1, 2, "mlp.up_proj.weight") != first(1, 3, "mlp.up_proj.weight"));
    CHECK(first(1, 2, "mlp.up_proj.weight") != first(1, 2, "mlp.down_proj.weight"));
}
