#include "depthgrow/growth/optimizer_traits.hpp"

#include <vector>

#include "depthgrow/growth/operators.hpp"
#include "support/catch.hpp"

using namespace depthgrow;

namespace {

using moment = std::vector<double>;
using moments = std::vector<moment>;

struct own_optimizer {
    layer_order seen;
    void grow_layers(const layer_order& order, state_policy) { seen = order; }
};

/// Takes a whole growth alone.
struct newer_optimizer {
    std::vector<std::size_t> seen;
    state_policy state = state_policy::copy;
    void grow_layers(const growth& how) { seen = how.rows().order().sources(), state = how.state; }
};

struct foreign_optimizer {
    std::vector<int> momentum;
};

struct refuses_second_clone {
    double value = 0;
    static int left;
    refuses_second_clone clone() const {
        if (left-- == 0) throw std::runtime_error("full");
        return *this;
    }
    void set_zero() { value = 0; }
};
int refuses_second_clone::left = 0;

}  // namespace

namespace depthgrow {
template <> struct optimizer_traits<foreign_optimizer> {
    static void grow(foreign_optimizer& optimizer, const layer_order& order, state_policy) {
        optimizer.momentum = depthgrow::grow(std::move(optimizer.momentum), order);
    }
};
}  // namespace depthgrow

TEST_CASE("Adam moments are copied with their layers and the step count is carried over") {
    adam_state<moments> state{{{1, 2}, {3, 4}}, {{5, 6}, {7, 8}}, 41};
    grow_optimizer(state, doubling{}(2));
    CHECK(state.first_moment == moments{{1, 2}, {3, 4}, {1, 2}, {3, 4}});
    CHECK(state.second_moment == moments{{5, 6}, {7, 8}, {5, 6}, {7, 8}});
    CHECK(state.step == 41);
    state.first_moment[2][0] = 9;
    CHECK(state.first_moment[0][0] == 1);
}

TEST_CASE("with the zero policy only new layers start from zero moments") {
    adam_state<moments> state{{{1, 2}, {3, 4}}, {{5, 6}, {7, 8}}, 41};
    grow_optimizer(state, interleave{}(2), state_policy::zero);
    CHECK(state.first_moment == moments{{1, 2}, {0, 0}, {3, 4}, {0, 0}});
    CHECK(state.second_moment == moments{{5, 6}, {0, 0}, {7, 8}, {0, 0}});
    CHECK(state.step == 41);
}

TEST_CASE("a sequence of one Adam state a layer keeps each step count") {
    std::vector<adam_state<moment>> states{{{1}, {2}, 10}, {{3}, {4}, 11}};
    grow_optimizer(states, doubling{}(2), state_policy::zero);
    REQUIRE(states.size() == 4);
    CHECK(states[1].first_moment == moment{3});
    CHECK(states[3].first_moment == moment{0});
    CHECK(states[3].second_moment == moment{0});
    CHECK(states[3].step == 11);
}

TEST_CASE("an optimizer's own member or a specialisation is used") {
    own_optimizer own;
    grow_optimizer(own, doubling{}(2));
    CHECK(own.seen == doubling{}(2));
    newer_optimizer newer;
    grow_optimizer(newer, doubling{}(2), state_policy::zero);
    CHECK(newer.seen == doubling{}(2).sources());
    CHECK(newer.state == state_policy::zero);
    foreign_optimizer foreign{{1, 2}};
    grow_optimizer(foreign, doubling{}(2));
    CHECK(foreign.momentum == std::vector<int>{1, 2, 1, 2});
}

TEST_CASE("moments of two lengths are refused untouched") {
    adam_state<moments> state{{{1}, {3}}, {{5}}, 3};
    CHECK_THROWS_WITH(grow_optimizer(state, doubling{}(2)), Catch::Contains("expected 2 elements"));
    CHECK(state.first_moment == moments{{1}, {3}});
}

TEST_CASE("both moments survive a clone that throws") {
    adam_state<std::vector<refuses_second_clone>> state{{{1}, {2}}, {{3}, {4}}, 3};
    refuses_second_clone::left = 3;
    CHECK_THROWS_WITH(grow_optimizer(state, doubling{}(2)), "full");
    REQUIRE(state.first_moment.size() == 2);
    REQUIRE(state.second_moment.size() == 2);
    CHECK(state.first_moment[1].value == 2);
}

TEST_CASE("first moments mix with the coefficients and second moments with their squares") {
    adam_state<moments> state{{{1, 2}, {3, 4}}, {{4, 8}, {12, 16}}, 41};
    grow_optimizer(state, growth{interleave{}(2), {init_kind::average}});
    CHECK(state.first_moment == moments{{1, 2}, {2, 3}, {3, 4}, {3, 4}});
    CHECK(state.second_moment == moments{{4, 8}, {4, 6}, {12, 16}, {12, 16}});
    CHECK(state.step == 41);
    std::vector<adam_state<moment>> states{{{1}, {4}, 10}, {{3}, {12}, 11}};
    grow_optimizer(states, growth{interleave{}(2), {init_kind::average}});
    CHECK(states[1].first_moment == moment{2});
    CHECK(states[1].second_moment == moment{4});
    CHECK(states[1].step == 11);
    moments plain{{1}, {3}};
    grow_optimizer(plain, growth{parse_mixture("-1*0+2*1", 2)});
    CHECK(plain == moments{{5}});
}

TEST_CASE("moments are reset in new layers, or in all") {
    const auto grown = [](state_policy policy) {
        adam_state<moments> state{{{1}, {3}}, {{5}, {7}}, 41};
        grow_optimizer(state, growth{parse_mixture("0 0.5*0+0.5*1 1 1", 2), {}, policy});
        return state;
    };
    CHECK(grown(state_policy::zero).first_moment == moments{{1}, {0}, {3}, {0}});
    CHECK(grown(state_policy::zero).second_moment == moments{{5}, {0}, {7}, {0}});
    CHECK(grown(state_policy::all).first_moment == moments{{0}, {0}, {0}, {0}});
    CHECK(grown(state_policy::all).second_moment == moments{{0}, {0}, {0}, {0}});
    CHECK(grown(state_policy::all).step == 41);
    adam_state<moments> state{{{1}, {3}}, {{5}, {7}}, 41};
    grow_optimizer(state, doubling{}(2), state_policy::all);
    CHECK(state.first_moment == moments{{0}, {0}, {0}, {0}});
}

namespace {

struct mixing_optimizer {
    growth seen;
    void grow_layers(const growth& how) { seen = how; }
};

}  // namespace

TEST_CASE("an optimizer that knows orders only grows by growths that are orders") {
    own_optimizer own;
    foreign_optimizer foreign{{1, 2}};
    grow_optimizer(own, growth{doubling{}(2)});
    grow_optimizer(foreign, growth{doubling{}(2)});
    CHECK(own.seen == doubling{}(2));
    CHECK(foreign.momentum == std::vector<int>{1, 2, 1, 2});
    const growth mean{interleave{}(2), {init_kind::average}};
    CHECK_THROWS_WITH(grow_optimizer(own, mean), Catch::Contains("[mixture] expected single layers"));
    CHECK_THROWS_WITH(grow_optimizer(foreign, mean), Catch::Contains("[mixture] expected single layers"));
    mixing_optimizer mixing;
    grow_optimizer(mixing, mean);
    CHECK(mixing.seen == mean);
}
