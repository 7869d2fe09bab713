#include "depthgrow/growth/sharing.hpp"

#include <any>
#include <array>
#include <atomic>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <variant>

#include "depthgrow/growth/conformance.hpp"
#include "depthgrow/lidas.hpp"
#include "support/catch.hpp"

using namespace depthgrow;
using detail::member_count;
using detail::sharing;
using detail::sharing_of;

namespace {

struct numbers {
    int heads;
    float scale[3];
    std::string name;
};
struct optionals {
    std::optional<int> head;
    std::vector<float> weight;
    std::optional<std::string> name;
};
struct nested {
    numbers first;
    optionals second;
    std::array<float, 3> third;
    int fourth[2][3];
};
struct library_types {
    std::variant<int, float> kind;
    std::map<std::string, std::vector<float>> tensors;
    std::deque<int> list;
    std::function<float(float)> activation;
    std::filesystem::path file;
    std::set<int> heads;
    std::vector<bool> mask;
    std::atomic<int> count;
    std::tuple<int, float> both;
};
struct with_defaults {
    int heads = 3;
    std::vector<float> weight{1, 2};
    const double scale = 0.5;
    bool first : 1;
    unsigned rest : 3;
};
struct of_any {
    std::any hidden;
    int heads;
};
struct from_anything {
    from_anything() = default;
    template <class T, class = std::enable_if_t<!std::is_same_v<T, from_anything>>> from_anything(T&&) = delete;
};
struct with_a_choosy_member {
    int heads;
    from_anything hidden;
};
struct derived : numbers {
    int more;
};
struct large {
    float weight[1000];
    int heads;
};
struct tree {
    std::vector<tree> children;
    float weight;
};
struct read_only {
    float (*activation)(float);
    std::shared_ptr<const numbers> config;
    std::string_view name;
    span<const float> frequencies;
    const char* file;
};
template <class Handle> struct holds {
    std::vector<float> weight;
    Handle handle;
};
struct hidden {
    explicit hidden(float w) : weight(std::make_shared<float>(w)) {}
    float value() const { return *weight; }
    void set(float w) { *weight = w; }

private:
    std::shared_ptr<float> weight;
};

struct deep {
    int value = 0;
    deep clone() const { return {value + 1}; }
};
struct clones_to_pointer {
    float weight = 0;
    std::unique_ptr<clones_to_pointer> clone() const { return std::make_unique<clones_to_pointer>(*this); }
};
struct of_parts {
    std::unique_ptr<deep> one;
    std::vector<std::shared_ptr<deep>> several;
    std::map<int, deep> by_number;
    std::optional<deep> perhaps;
    std::pair<int, std::shared_ptr<deep>> pair;
    std::array<std::shared_ptr<deep>, 2> both;
};

}  // namespace

TEST_CASE("the members of structs are counted, arrays as one") {
    CHECK(member_count<numbers>() == 3);
    CHECK(member_count<optionals>() == 3);
    CHECK(member_count<nested>() == 4);
    CHECK(member_count<library_types>() == 9);
    CHECK(member_count<with_defaults>() == 5);
    CHECK(member_count<tree>() == 2);
    CHECK(member_count<of_parts>() == 6);
    const nested layer{{4, {1, 2, 3}, "x"}, {1, {2}, "y"}, {3, 4, 5}, {{6}}};
    CHECK(detail::visit_members(layer, [](const numbers& a, const optionals& b, const auto& c, const auto& d) {
              return a.name + *b.name + std::to_string(c[2]).substr(0, 1) + std::to_string(d[0][0]);
          }) == "xy56");
}

TEST_CASE("structs that cannot be seen into have no members to visit") {
    CHECK(member_count<of_any>() == 0);
    CHECK(member_count<with_a_choosy_member>() == 0);
    CHECK(member_count<derived>() == 0);
    CHECK(member_count<large>() == 0);
    CHECK(member_count<hidden>() == 0);
}

TEST_CASE("what a copy shares is seen through structs and containers") {
    STATIC_REQUIRE(sharing_of<nested>() == sharing::none);
    STATIC_REQUIRE(sharing_of<library_types>() == sharing::none);
    STATIC_REQUIRE(sharing_of<tree>() == sharing::none);
    STATIC_REQUIRE(sharing_of<read_only>() == sharing::none);
    STATIC_REQUIRE(sharing_of<of_parts>() == sharing::parts);
    STATIC_REQUIRE(sharing_of<holds<std::shared_ptr<deep>>>() == sharing::parts);
    STATIC_REQUIRE(sharing_of<holds<clones_to_pointer>>() == sharing::none);
    STATIC_REQUIRE(sharing_of<holds<std::shared_ptr<clones_to_pointer>>>() == sharing::parts);
    STATIC_REQUIRE(sharing_of<holds<std::shared_ptr<float>>>() == sharing::handle);
    STATIC_REQUIRE(sharing_of<holds<std::weak_ptr<float>>>() == sharing::handle);
    STATIC_REQUIRE(sharing_of<holds<std::reference_wrapper<float>>>() == sharing::handle);
    STATIC_REQUIRE(sharing_of<holds<float*>>() == sharing::handle);
    STATIC_REQUIRE(sharing_of<holds<std::array<std::optional<float*>, 2>>>() == sharing::handle);
    STATIC_REQUIRE(sharing_of<holds<std::map<int, std::shared_ptr<float>>>>() == sharing::handle);
    STATIC_REQUIRE(sharing_of<holds<span<float>>>() == sharing::view);
    STATIC_REQUIRE(sharing_of<holds<std::span<float>>>() == sharing::view);
    STATIC_REQUIRE(sharing_of<holds<std::span<const float>>>() == sharing::none);
    STATIC_REQUIRE(sharing_of<holds<matrix<float>>>() == sharing::view);
    STATIC_REQUIRE(sharing_of<std::vector<span<float>>>() == sharing::view);
    STATIC_REQUIRE(sharing_of<holds<holds<span<float>>>>() == sharing::view);
}

TEST_CASE("a struct of handles grows member by member, each through its own clone") {
    std::vector<of_parts> layers;
    const auto shared = [](int value) { return std::make_shared<deep>(deep{value}); };
    layers.push_back({std::make_unique<deep>(deep{1}), {shared(2)}, {{7, {3}}}, deep{4}, {5, shared(6)}, {shared(7)}});
    layers[0].both[1] = shared(8);
    layers = grow(std::move(layers), layer_order({0, 0}, 1));
    const of_parts &kept = layers[0], &made = layers[1];
    CHECK((kept.one->value == 1 && made.one->value == 2));
    CHECK((kept.several[0]->value == 2 && made.several[0]->value == 3));
    CHECK((kept.by_number.at(7).value == 3 && made.by_number.at(7).value == 4));
    CHECK((kept.perhaps->value == 4 && made.perhaps->value == 5));
    CHECK((kept.pair.second->value == 6 && made.pair.second->value == 7));
    CHECK((kept.both[1]->value == 8 && made.both[1]->value == 9));
    layers[0].perhaps.reset();
    CHECK_FALSE(layer_traits<of_parts>::clone(layers[0]).perhaps.has_value());
}

TEST_CASE("a handle behind private members is not seen, and check_layer finds it") {
    STATIC_REQUIRE(sharing_of<hidden>() == sharing::none);
    CHECK_THROWS_WITH(check_layer<hidden>([] { return hidden{1}; }, [](hidden& layer) { layer.set(layer.value() + 1); },
                                          [](const hidden& a, const hidden& b) { return a.value() == b.value(); }),
                      Catch::Contains("changing the clone changed the original"));
}
