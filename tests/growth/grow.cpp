#include "depthgrow/growth/grow.hpp"

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "depthgrow/growth/operators.hpp"
#include "support/catch.hpp"

using namespace depthgrow;

namespace {

struct block {
    std::vector<float> weight;
    block clone() const { return {weight}; }
};

/// Throws when the `allowed`-th clone is asked for.
struct fragile {
    int id = 0;
    static int allowed;
    fragile clone() const {
        if (allowed-- == 0) throw std::runtime_error("out of memory");
        return {id};
    }
};
int fragile::allowed = 0;

/// A layer that can be added up and knows how to begin.
struct knows_all {
    std::vector<float> weight;
    static knows_all mix(const std::vector<std::pair<const knows_all*, double>>& terms) {
        knows_all sum{std::vector<float>(terms.front().first->weight.size())};
        for (const auto& [layer, coefficient] : terms)
            for (std::size_t i = 0; i < sum.weight.size(); ++i)
                sum.weight[i] += static_cast<float>(coefficient) * layer->weight[i];
        return sum;
    }
    void begin(const layer_init& init, std::uint64_t seed, std::size_t slot) {
        if (init.kind == init_kind::zero_residual) weight.assign(weight.size(), 0.0f);
        else weight.assign(weight.size(), static_cast<float>(seed * 100 + slot));
    }
    knows_all clone() const { return *this; }
};

struct foreign_block {
    double weight = 0;
};

struct user_list {
    std::string name;
    std::vector<std::vector<float>> held;
};

std::vector<block> eight_blocks() {
    std::vector<block> layers;
    for (int i = 0; i < 8; ++i) layers.push_back({{static_cast<float>(i)}});
    return layers;
}

}  // namespace

namespace depthgrow {
template <> struct layer_traits<foreign_block> {
    static foreign_block clone(const foreign_block& layer) { return layer; }
    static foreign_block mix(const std::vector<std::pair<const foreign_block*, double>>& terms) {
        foreign_block sum;
        for (const auto& [layer, coefficient] : terms) sum.weight += coefficient * layer->weight;
        return sum;
    }
    static void begin(foreign_block& layer, const layer_init& init, std::uint64_t, std::size_t) {
        if (init.kind == init_kind::zero_residual) layer.weight = 0;
    }
};
template <> struct sequence_traits<user_list> {
    using element_type = std::vector<float>;
    static std::size_t size(const user_list& list) { return list.held.size(); }
    static element_type& at(user_list& list, std::size_t i) { return list.held[i]; }
    static user_list empty_like(const user_list& list, std::size_t) { return {list.name, {}}; }
    static void append(user_list& list, element_type&& element) { list.held.push_back(std::move(element)); }
};
}  // namespace depthgrow

TEST_CASE("a vector of a user's layers grows by an order") {
    auto layers = eight_blocks();
    std::vector<const float*> addresses;
    for (const block& layer : layers) addresses.push_back(layer.weight.data());
    const layer_order order = lidas{4}(8);
    layers = grow(std::move(layers), order);
    REQUIRE(layers.size() == 12);
    for (std::size_t slot = 0; slot < 12; ++slot) {
        CHECK(layers[slot].weight[0] == static_cast<float>(order[slot]));
        CHECK((layers[slot].weight.data() == addresses[order[slot]]) == !order.is_new(slot));
    }
    layers[6].weight[0] = 99;
    CHECK(layers[2].weight[0] == 2);
}

TEST_CASE("layers behind pointers stay the same objects and copies are independent") {
    std::vector<std::shared_ptr<block>> shared;
    std::vector<std::unique_ptr<block>> unique;
    std::vector<const block*> before;
    for (int i = 0; i < 4; ++i) {
        shared.push_back(std::make_shared<block>(block{{static_cast<float>(i)}}));
        unique.push_back(std::make_unique<block>(block{{static_cast<float>(i)}}));
        before.push_back(unique.back().get());
    }
    const auto held = shared;
    const layer_order order = midas{2}(4);
    shared = grow(std::move(shared), order);
    unique = grow(std::move(unique), order);
    for (std::size_t slot = 0; slot < order.size(); ++slot) {
        CHECK((shared[slot] == held[order[slot]]) == !order.is_new(slot));
        CHECK((unique[slot].get() == before[order[slot]]) == !order.is_new(slot));
        CHECK(unique[slot]->weight[0] == static_cast<float>(order[slot]));
    }
    shared[2]->weight[0] = 50;
    CHECK(shared[0]->weight[0] == 0);
}

TEST_CASE("names and rates grow by the same order") {
    std::vector<std::string> names{"a", "b", "c"};
    std::deque<double> rates{1, 2, 3};
    CHECK(grow(std::move(names), layer_order({0, 1, 1, 2}, 3)) == std::vector<std::string>{"a", "b", "b", "c"});
    CHECK(grow(std::move(rates), layer_order({2, 2, 0}, 3)) == std::deque<double>{3, 3, 1});
}

TEST_CASE("a user's own container grows through sequence_traits") {
    user_list list{"decoder", {{1}, {2}}};
    list = grow(std::move(list), doubling{}(2));
    CHECK(list.name == "decoder");
    CHECK(list.held == std::vector<std::vector<float>>{{1}, {2}, {1}, {2}});
}

TEST_CASE("a sequence of the wrong length is refused untouched") {
    auto layers = eight_blocks();
    CHECK_THROWS_WITH(grow(std::move(layers), lidas{4}(12)),
                      "[grow] expected 12 elements (source depth of the order), got 8");
    CHECK(layers.size() == 8);
    CHECK(layers[3].weight.size() == 1);
}

TEST_CASE("nothing is lost when a clone throws") {
    std::vector<std::unique_ptr<fragile>> layers;
    for (int i = 0; i < 4; ++i) layers.push_back(std::make_unique<fragile>(fragile{i}));
    fragile::allowed = 2;
    CHECK_THROWS_WITH(grow(std::move(layers), doubling{}(4)), "out of memory");
    REQUIRE(layers.size() == 4);
    for (int i = 0; i < 4; ++i) {
        REQUIRE(layers[static_cast<std::size_t>(i)] != nullptr);
        CHECK(layers[static_cast<std::size_t>(i)]->id == i);
    }
}

TEST_CASE("the callback sees every new layer and only those, before anything moves") {
    auto layers = eight_blocks();
    std::vector<std::size_t> seen;
    layers = grow(std::move(layers), lidas{4}(8), [&](block& fresh, std::size_t slot) {
        CHECK(layers[7].weight.size() == 1);
        seen.push_back(slot);
        fresh.weight[0] = 0;
    });
    CHECK(seen == std::vector<std::size_t>{6, 7, 8, 9});
    for (std::size_t slot = 1; slot < 12; ++slot) CHECK((layers[slot].weight[0] == 0) == (slot >= 6 && slot < 10));
}

TEST_CASE("an order that drops layers shrinks the sequence") {
    std::vector<int> layers{10, 11, 12, 13};
    CHECK(grow(std::move(layers), skip(4, 1, 2)) == std::vector<int>{10, 13});
}

TEST_CASE("growing by a mixture keeps the layers that stay and adds the others up") {
    std::vector<std::vector<float>> layers{{1, 2}, {3, 4}, {5, 6}};
    const std::vector<const float*> before{layers[0].data(), layers[1].data(), layers[2].data()};
    layers = grow(std::move(layers), parse_mixture("0 0.5*0+0.5*1 1 1 -1*0+1+2", 3));
    CHECK(layers == std::vector<std::vector<float>>{{1, 2}, {2, 3}, {3, 4}, {3, 4}, {7, 8}});
    CHECK(layers[0].data() == before[0]);
    CHECK(layers[2].data() == before[1]);
    CHECK(layers[3].data() != before[1]);
    CHECK(grow(std::vector<double>{1, 3}, parse_mixture("0 0.5*0+0.5*1 1", 2)) == std::vector<double>{1, 2, 3});
}

TEST_CASE("layers of one's own grow by a growth, as values, behind pointers and through traits") {
    const growth mean{interleave{}(2), {init_kind::average}}, zero{interleave{}(2), {init_kind::zero_residual}},
        random{interleave{}(2), {init_kind::random}, state_policy::copy, 3};
    const auto grown = [](const growth& how) { return grow(std::vector<knows_all>{{{2}}, {{4}}}, how); };
    CHECK(grown(mean)[1].weight[0] == 3);
    CHECK(grown(zero)[1].weight[0] == 0);
    CHECK(grown(zero)[2].weight[0] == 4);
    CHECK(grown(random)[3].weight[0] == 303);
    std::vector<std::unique_ptr<knows_all>> unique;
    for (float value : {2.0f, 4.0f}) unique.push_back(std::make_unique<knows_all>(knows_all{{value}}));
    const knows_all* kept = unique[1].get();
    unique = grow(std::move(unique), mean);
    CHECK(unique[1]->weight[0] == 3);
    CHECK(unique[2].get() == kept);
    unique = grow(std::move(unique), growth{layer_order({0, 0, 1, 2, 3}, 4), {init_kind::zero_residual}});
    CHECK(unique[1]->weight[0] == 0);
    const auto foreign = grow(std::vector<foreign_block>{{2}, {4}}, zero);
    CHECK(foreign[1].weight == 0);
    CHECK(grow(std::vector<foreign_block>{{2}, {4}}, mean)[1].weight == 3);
}

TEST_CASE("noise has the size that was asked for, in new layers only, the same from the same seed") {
    const std::vector<std::vector<double>> before{std::vector<double>(4000, 2.0), std::vector<double>(4000, -3.0)};
    const growth how{doubling{}(2), {init_kind::noise, 0.1}, state_policy::copy, 5};
    const auto after = grow(std::vector<std::vector<double>>(before), how);
    CHECK(after[0] == before[0]);
    CHECK(after[1] == before[1]);
    double squares = 0;
    for (double x : after[3]) squares += (x + 3) * (x + 3);
    CHECK(std::sqrt(squares / 4000) == Approx(0.3).epsilon(0.05));
    CHECK(after == grow(std::vector<std::vector<double>>(before), how));
    CHECK(grow(std::vector<double>{1, 1}, how)[2] != 1);
    growth other = how;
    other.seed = 6;
    CHECK(after != grow(std::vector<std::vector<double>>(before), other));
    const growth sums{parse_mixture("0 0.5*0+0.5*1 1 1", 2), {init_kind::noise, 0.1}};
    const auto mixed = grow(std::vector<double>{1, 3}, sums);
    CHECK(mixed[1] == 2);  // a sum is what it says
    CHECK(mixed[3] != 3);
}

TEST_CASE("a layer that does not know how to begin is refused untouched") {
    auto layers = eight_blocks();
    std::vector<std::vector<double>> numbers{{1}, {2}};
    CHECK_THROWS_WITH(grow(std::move(numbers), growth{doubling{}(2), {init_kind::zero_residual}}),
                      Catch::StartsWith("[grow] expected layers that know how to begin as zero_residual"));
    CHECK(numbers.size() == 2);
    CHECK(numbers[1][0] == 2);
    CHECK_THROWS_WITH(grow(std::move(numbers), collapse{0, 1}(3)),
                      "[grow] expected 3 elements (source depth of the order), got 2");
    numbers[1].push_back(9);
    CHECK_THROWS_WITH(grow(std::move(numbers), parse_mixture("0.5*0+0.5*1", 2)),
                      "[mix] expected layers of one size, 1, got 2");
    CHECK(numbers.size() == 2);
}

TEST_CASE("several sequences grow together or not at all") {
    const layer_order order({0, 1, 0, 1, 2}, 3);
    std::vector<block> layers{{{1}}, {{2}}, {{3}}};
    std::vector<double> rates{0.1, 0.2, 0.3};
    std::vector<fragile> states{{1}, {2}, {3}};
    fragile::allowed = 1;  // the second copy of the last sequence fails
    CHECK_THROWS_AS(grow_all(order, layers, rates, states), std::runtime_error);
    CHECK(layers.size() == 3);
    CHECK(layers[0].weight == std::vector<float>{1});
    CHECK(rates == std::vector<double>{0.1, 0.2, 0.3});
    CHECK(states.size() == 3);
    std::vector<int> short_one{1, 2};
    CHECK_THROWS_AS(grow_all(order, layers, rates, short_one), error);
    CHECK(layers.size() == 3);
    fragile::allowed = 2;
    grow_all(order, layers, rates, states);
    CHECK(rates == std::vector<double>{0.1, 0.2, 0.1, 0.2, 0.3});
    CHECK(layers[2].weight == std::vector<float>{1});
    CHECK(states[3].id == 2);
    layers[2].weight[0] = 9;
    CHECK(layers[0].weight[0] == 1);
    std::vector<float> sums{1, 3, 5};
    grow_all(parse_mixture("0, 0.5*0+0.5*1, 1, 2", 3), sums);
    CHECK(sums == std::vector<float>{1, 2, 3, 5});
}
