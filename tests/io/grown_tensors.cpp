// The tensors of a grown file by name, and which of them are sums.
#include "depthgrow/io/grown_tensors.hpp"

#include "io/temporary.hpp"
#include "support/catch.hpp"

namespace dg = depthgrow;
using temporary::refusal;
using temporary::says;

TEST_CASE("the tensors of a grown file come slot by slot with their sources") {
    const dg::layer_stack stack{"h.", 2, ""};
    const auto grown =
        dg::detail::grow_names({"exp_avg.h.0.w", "exp_avg.h.1.w", "exp_avg.wte", "head"}, stack,
                               dg::parse_mixture("1 0.25*0+0.75*1 0", 2), {"embed_tokens.weight", "head"}, "x");
    std::vector<std::string> names, sources;
    for (const auto& tensor : grown) names.push_back(tensor.name), sources.push_back(tensor.source);
    CHECK(names == std::vector<std::string>{"exp_avg.h.0.w", "exp_avg.h.1.w", "exp_avg.h.2.w", "exp_avg.wte"});
    CHECK(sources == std::vector<std::string>{"exp_avg.h.1.w", "exp_avg.h.1.w", "exp_avg.h.0.w", "exp_avg.wte"});
    CHECK((grown[1].before == "exp_avg." && grown[1].part == "w" && grown[1].slot == 1));
    CHECK_FALSE(grown[3].slot);
    CHECK_FALSE(dg::detail::is_second_moment(grown[0]));
    CHECK(dg::detail::is_second_moment({"exp_avg_sq.h.0.w", "", "exp_avg_sq.", "w", 0}));
    CHECK(says(refusal([&] { dg::detail::grow_names({"h.2.w"}, stack, dg::mixture(), {}, "x"); }),
               "x: expected 2 layers, found a tensor h.2.w"));
}

TEST_CASE("a sum of tensors that do not fit, or are no numbers, is refused") {
    const temporary::folder here;
    const auto refused = [&](const std::string& type, std::vector<std::size_t> shape) {
        {
            dg::safetensors_writer file(here.path / "x.safetensors",
                                        {{"h.0.w", type, {4}}, {"h.1.w", type == "F32" ? "F32" : type, shape}});
            file.write_zeros("h.0.w"), file.write_zeros("h.1.w");
            file.commit();
        }
        const dg::safetensors_file file(here.path / "x.safetensors");
        const dg::layer_stack stack{"h.", 2, ""};
        const dg::detail::growth_source source{[&](const std::string&) -> const dg::safetensors_file& { return file; },
                                               stack};
        const auto rows = dg::parse_mixture("0.5*0+0.5*1", 2);
        return refusal([&] { source.is_sum(dg::detail::grow_names(file.names(), stack, rows, {}, "x")[0], rows); });
    };
    CHECK(says(refused("F32", {2, 2}), "expected F32 (4) for tensor h.1.w, to add it to h.0.w, found F32 (2, 2)"));
    CHECK(says(refused("F8_E4M3", {4}),
               "expected tensor h.0.w to hold floating-point numbers to compute with, found F8_E4M3"));
    CHECK(refused("F32", {4}) == "nothing thrown");
    CHECK(refused("I32", {4}) == "nothing thrown");
}
