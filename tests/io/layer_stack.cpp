// Layers found from the names of tensors.
#include "depthgrow/io/layer_stack.hpp"

#include "io/temporary.hpp"
#include "support/catch.hpp"

namespace dg = depthgrow;
using temporary::refusal;
using temporary::says;
using names = std::vector<std::string>;

namespace {

names stack(const std::string& prefix, std::size_t layers, const names& parts = {"norm.weight", "mlp.experts.3.w"}) {
    names out;
    for (std::size_t layer = 0; layer < layers; ++layer)
        for (const auto& part : parts) out.push_back(dg::text(prefix, layer, ".", part));
    return out;
}
names operator+(names a, const names& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
}

}  // namespace

TEST_CASE("a name is split at its first number, and within a known stack at its prefix") {
    std::string prefix, part;
    std::size_t number = 0;
    REQUIRE(dg::split_at_number("model.layers.12.mlp.experts.3.w", prefix, number, part));
    CHECK((prefix == "model.layers." && number == 12 && part == "mlp.experts.3.w"));
    for (const char* none :
         {"model.norm.weight", "h.0", "model.layers.01.x", "model.layers.1234567890.x", "model.layers..x", "0.x"})
        CHECK_FALSE(dg::split_at_number(none, prefix, number, part));
    REQUIRE(dg::split_in_stack("exp_avg.transformer.h.3.mlp.w", "transformer.h.", prefix, number, part));
    CHECK((prefix == "exp_avg." && number == 3 && part == "mlp.w"));
    CHECK_FALSE(dg::split_in_stack("my_transformer.h.3.w", "transformer.h.", prefix, number, part));
}

TEST_CASE("the layers are the stack that has as many as the configuration says") {
    const names outer = {"wte.weight", "head.0.weight"};
    for (const char* prefix : {"model.layers.", "transformer.h.", "gpt_neox.layers.", "h."})
        CHECK(dg::choose_stack(outer + stack(prefix, 12), 12, "", "x").prefix == prefix);
    CHECK(dg::choose_stack(stack("h.", 1), 1, "", "x").layers == 1);
}

TEST_CASE("what is no regular stack, or more than one, is refused by name") {
    const auto refused = [](const names& given, const std::string& wanted = "") {
        return refusal([&] { dg::choose_stack(given, 4, wanted, "x"); });
    };
    CHECK(refused({"a.weight"}) ==
          "x: expected layers with names like model.layers.N.mlp.weight, N from 0 up, found none");
    CHECK(refused(stack("h.", 3)) == "x: expected 4 layers, as config.json says, found h. (3)");
    CHECK(refused(stack("h.", 3) + names{"h.4.norm.weight", "h.4.mlp.experts.3.w"}) ==
          "x: expected h.N to be layers with the same tensors, found that layer 3 is missing");
    CHECK(refused(stack("h.", 4) + names{"h.2.bias"}) ==
          "x: expected h.N to be layers with the same tensors, found that bias is not in every layer");
    const auto two = stack("decoder.layers.", 4) + stack("encoder.layers.", 6);
    CHECK(refused(two) ==
          "x: expected one stack of layers, or --layers-prefix to choose one, found decoder.layers. (4), "
          "encoder.layers. (6)");
    CHECK(dg::choose_stack(two, 4, "decoder.layers", "x").prefix == "decoder.layers.");
    CHECK(dg::choose_stack(two, 4, "decoder.layers.", "x").layers == 4);
    CHECK(says(refused(two, "encoder.layers"), "expected 4 layers, as config.json says, found encoder.layers. (6)"));
    CHECK(says(refused(two, "layers"), "expected layers with names like layers.N"));
}
