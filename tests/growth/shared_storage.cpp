#include "depthgrow/growth/shared_storage.hpp"

#include <memory>
#include <optional>
#include <tuple>
#include <vector>

#include "depthgrow/growth/grow.hpp"
#include "support/catch.hpp"

using namespace depthgrow;

namespace {

struct settings {
    float rope_theta = 1;
    int heads = 2;
};

/// Its clone() is shallow where `Handle` is a pointer.
template <class Member> struct shallow {
    std::vector<float> bias{1};
    Member member{};
    shallow clone() const { return *this; }
};

struct deep {
    std::shared_ptr<std::vector<float>> weight = std::make_shared<std::vector<float>>(3);
    std::shared_ptr<settings> common;
    std::shared_ptr<const std::vector<float>> table;
    deep clone() const { return {std::make_shared<std::vector<float>>(*weight), common, table}; }
};

struct list {
    std::unique_ptr<list> next;
    std::shared_ptr<float> weight;
};

using weights = std::shared_ptr<std::vector<float>>;

template <class Layer> bool grows(Layer layer) {
    std::vector<Layer> layers;
    layers.push_back(std::move(layer));
    try {
        layers = grow(std::move(layers), layer_order({0, 0}, 1));
    } catch (const error&) {
        CHECK(layers.size() == 1);
        return false;
    }
    CHECK(layers.size() == 2);
    return true;
}

template <class Member> bool grows_with(Member member) { return grows(shallow<Member>{{1}, member}); }

}  // namespace

TEST_CASE("grow refuses copies that share an array of numbers with their source, and leaves the layers as they were") {
    std::vector<shallow<weights>> layers(2);
    for (auto& layer : layers) layer.member = std::make_shared<std::vector<float>>(3);
    CHECK_THROWS_WITH(layers = grow(std::move(layers), layer_order({0, 1, 1}, 2)),
                      "[grow] expected a clone that is equal and independent, but new layer 2 and layer 1, which it "
                      "copies, share weights: make clone() or the copy constructor deep");
    CHECK(layers.size() == 2);
    CHECK(layers[1].member.use_count() == 1);
    layers[1].member = nullptr;
    CHECK_NOTHROW(layers = grow(std::move(layers), layer_order({0, 1, 1}, 2)));
}

TEST_CASE("shared arrays of numbers are seen through members, containers, tuples, optionals and pointers") {
    const auto shared = std::make_shared<std::vector<float>>(3);
    float numbers[2] = {};
    CHECK_FALSE(grows_with(std::vector<weights>{nullptr, shared}));
    CHECK_FALSE(grows_with(std::make_tuple(1, shared)));
    CHECK_FALSE(grows_with(std::optional<weights>(shared)));
    CHECK_FALSE(grows_with(shallow<weights>{{}, shared}));
    CHECK_FALSE(grows_with(std::make_shared<shallow<int>>()));
    CHECK_FALSE(grows_with(std::make_shared<float>(1.0f)));
    CHECK_FALSE(grows_with(&numbers[0]));
    CHECK_FALSE(grows_with(span<float>(numbers, 2)));
    CHECK(grows_with(std::vector<std::vector<float>>{{1}}));
    CHECK(grows_with(std::vector<bool>{true}));
}

TEST_CASE("constants and what holds no array of numbers may be shared") {
    CHECK(grows(deep{std::make_shared<std::vector<float>>(3), std::make_shared<settings>(),
                     std::make_shared<std::vector<float>>(3)}));
    CHECK(grows_with(std::make_shared<settings>()));
    CHECK(grows_with(static_cast<int (*)(int)>(nullptr)));
}

TEST_CASE("a type that holds itself is followed once") {
    const auto weight = std::make_shared<float>(1.0f);
    const list a{std::make_unique<list>(), weight}, b{std::make_unique<list>(), weight}, c{nullptr, nullptr};
    CHECK(detail::share_numbers(a, b));
    CHECK_FALSE(detail::share_numbers(a, c));
}
