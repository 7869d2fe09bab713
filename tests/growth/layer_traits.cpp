#include "depthgrow/growth/layer_traits.hpp"

#include <deque>
#include <memory>
#include <vector>

#include "support/catch.hpp"

using depthgrow::layer_traits;

namespace {

struct plain_layer {
    std::vector<float> weight;
};

struct returns_value {
    float weight = 0;
    returns_value clone() const { return {weight + 100}; }
};

struct returns_unique {
    float weight = 0;
    std::unique_ptr<returns_unique> clone() const { return std::make_unique<returns_unique>(*this); }
};

struct returns_shared {
    float weight = 0;
    std::shared_ptr<returns_shared> clone() const { return std::make_shared<returns_shared>(*this); }
};

struct base_layer {
    virtual ~base_layer() = default;
    virtual std::unique_ptr<base_layer> clone() const = 0;
    virtual int kind() const = 0;
};
struct derived_layer : base_layer {
    std::unique_ptr<base_layer> clone() const override { return std::make_unique<derived_layer>(*this); }
    int kind() const override { return 7; }
};

struct returns_raw {
    virtual ~returns_raw() = default;
    virtual returns_raw* clone() const { return new returns_raw(*this); }
};

struct foreign_handle {
    std::shared_ptr<float> shared;
    float* get() const { return shared.get(); }
};

}  // namespace

namespace depthgrow {
template <> struct layer_traits<foreign_handle> {
    static foreign_handle clone(const foreign_handle& layer) { return {std::make_shared<float>(*layer.shared)}; }
};
}  // namespace depthgrow

TEST_CASE("a layer without clone is copied") {
    plain_layer layer{{1, 2}};
    plain_layer copy = layer_traits<plain_layer>::clone(layer);
    copy.weight[0] = 5;
    CHECK(layer.weight[0] == 1);
    CHECK(copy.weight[1] == 2);
}

TEST_CASE("a member clone is preferred to the copy constructor") {
    CHECK(layer_traits<returns_value>::clone(returns_value{1}).weight == 101);
}

TEST_CASE("a pointer is cloned through what it points to, whatever clone returns") {
    const auto unique_value = std::make_unique<returns_value>(returns_value{1});
    CHECK(layer_traits<std::unique_ptr<returns_value>>::clone(unique_value)->weight == 101);
    const auto shared_value = std::make_shared<returns_value>(returns_value{1});
    CHECK(layer_traits<std::shared_ptr<returns_value>>::clone(shared_value)->weight == 101);

    const auto unique = std::make_unique<returns_unique>(returns_unique{3});
    const auto unique_copy = layer_traits<std::unique_ptr<returns_unique>>::clone(unique);
    CHECK(unique_copy->weight == 3);
    CHECK(unique_copy != unique);
    const auto shared = std::make_shared<returns_shared>(returns_shared{4});
    const auto shared_copy = layer_traits<std::shared_ptr<returns_shared>>::clone(shared);
    CHECK(shared_copy->weight == 4);
    CHECK(shared_copy != shared);

    const auto from_unique = layer_traits<std::shared_ptr<returns_unique>>::clone(std::make_shared<returns_unique>());
    CHECK(from_unique.use_count() == 1);
    const auto raw = std::make_unique<returns_raw>();
    CHECK(layer_traits<std::unique_ptr<returns_raw>>::clone(raw) != nullptr);
}

TEST_CASE("a virtual clone keeps the derived layer") {
    const std::unique_ptr<base_layer> layer = std::make_unique<derived_layer>();
    CHECK(layer_traits<std::unique_ptr<base_layer>>::clone(layer)->kind() == 7);
}

TEST_CASE("a null layer is refused") {
    const std::unique_ptr<returns_value> nothing;
    CHECK_THROWS_WITH(layer_traits<std::unique_ptr<returns_value>>::clone(nothing),
                      "[clone] expected a layer, got a null pointer");
}

TEST_CASE("a specialisation clones a type that nobody can change") {
    const foreign_handle layer{std::make_shared<float>(2.0f)};
    const foreign_handle copy = layer_traits<foreign_handle>::clone(layer);
    CHECK(*copy.shared == 2.0f);
    CHECK(copy.shared != layer.shared);
}

TEST_CASE("a sequence is read and rebuilt through its traits") {
    std::vector<int> layers{1, 2, 3};
    using vector_traits = depthgrow::sequence_traits<std::vector<int>>;
    CHECK(vector_traits::size(layers) == 3);
    CHECK(vector_traits::at(layers, 2) == 3);
    CHECK(vector_traits::empty_like(layers, 12).capacity() >= 12);
    CHECK(depthgrow::sequence_traits<std::deque<int>>::empty_like({1}, 12).empty());
}

TEST_CASE("numbers and containers of numbers are added up element by element and rounded once") {
    const auto mix = [](const auto& a, const auto& b) {
        using layer = std::decay_t<decltype(a)>;
        return layer_traits<layer>::mix({{&a, 0.5}, {&b, 0.5}});
    };
    CHECK(mix(1.0f, 2.0f) == 1.5f);
    CHECK(mix(3, 4) == 4);
    CHECK(mix(std::vector<float>{1, 2}, std::vector<float>{3, 5}) == std::vector<float>{2, 3.5f});
    CHECK(mix(std::vector<std::vector<double>>{{1}, {2, 3}}, std::vector<std::vector<double>>{{3}, {4, 5}}) ==
          std::vector<std::vector<double>>{{2}, {3, 4}});
    CHECK(mix(std::deque<double>{1}, std::deque<double>{2}) == std::deque<double>{1.5});
    const float big = 16777216, one = 1;  // in float, big + one + one - big would be 0
    CHECK(layer_traits<float>::mix({{&big, 1.0}, {&one, 2.0}, {&big, -1.0}}) == 2);
}
