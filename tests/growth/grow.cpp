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
template <>
struct sequence_traits<user_list> {
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
