// Tensors that are computed on disk: sums that are rounded once, noise of the right size, draws, buffers left alone.
#include "depthgrow/io/mixed_tensors.hpp"

#include <cmath>

#include "io/temporary.hpp"
#include "support/catch.hpp"

namespace dg = depthgrow;

namespace {

std::filesystem::path write(const temporary::folder& here, const std::string& type, const std::vector<double>& a,
                            const std::vector<double>& b) {
    dg::safetensors_writer file(here.path / "in.safetensors", {{"a", type, {a.size()}}, {"b", type, {b.size()}}});
    file.write("a", a.data(), a.size());
    file.write("b", b.data(), b.size());
    file.commit();
    return here.path / "in.safetensors";
}

/// What `fill(writer)` writes as tensor x.
template <class Fill>
std::vector<double> written(const temporary::folder& here, const dg::tensor_entry& entry, Fill fill) {
    dg::safetensors_writer out(here.path / "out.safetensors", {entry});
    fill(out);
    out.commit();
    const dg::safetensors_file file(here.path / "out.safetensors");
    std::vector<double> values(file.find("x").elements());
    file.read("x", values.data(), values.size());
    return values;
}

}  // namespace

TEST_CASE("the mean of low-precision numbers is rounded once") {
    dg::rng random(3);
    for (const dg::dtype type : {dg::dtype::bf16, dg::dtype::f16, dg::dtype::f32}) {
        std::vector<double> a, b;
        for (int i = 0; i < 70000; ++i) {  // longer than a piece of the computation
            a.push_back(random.normal() * std::pow(2.0, static_cast<double>(random.below(20)) - 10));
            b.push_back(random.normal() * std::pow(2.0, static_cast<double>(random.below(20)) - 10));
        }
        const temporary::folder here;
        const std::string name(dg::name_of(type));
        const dg::safetensors_file in(write(here, name, a, b));
        in.read("a", a.data(), a.size()), in.read("b", b.data(), b.size());
        const auto mean = written(here, {"x", name, {a.size()}}, [&](auto& out) {
            dg::write_sum(out, "x", {{&in, "a", 0.5}, {&in, "b", 0.5}});
        });
        const int bits = type == dg::dtype::bf16 ? 8 : type == dg::dtype::f16 ? 11 : 24;
        std::size_t wrong = 0;
        for (std::size_t i = 0; i < a.size(); ++i) {
            const double exact = (a[i] + b[i]) / 2;
            int exponent = 0;
            std::frexp(exact, &exponent);
            if (type == dg::dtype::f16) exponent = std::max(exponent, -13);  // its subnormals
            const double unit = std::ldexp(1.0, exponent - bits);
            wrong += mean[i] != std::nearbyint(exact / unit) * unit;
        }
        CHECK(wrong == 0);
    }
}

TEST_CASE("a number halfway between two bfloat16 numbers but for a little is not rounded twice") {
    const double above = 1 + 0x1p-8 + 0x1p-30, below = 1 + 0x1.8p-7 - 0x1p-40;
    std::uint16_t stored[3];
    const double values[] = {above, below, -above};
    dg::store_rounded(dg::dtype::bf16, values, stored, 3);
    double read[3];
    dg::convert_from(dg::dtype::bf16, stored, read, 3);
    CHECK(read[0] == 1 + 0x1p-7);
    CHECK(read[1] == 1 + 0x1p-7);
    CHECK(read[2] == -1 - 0x1p-7);
    const double ends[] = {1e300, -1e-320, NAN};
    dg::store_rounded(dg::dtype::bf16, ends, stored, 3);
    dg::convert_from(dg::dtype::bf16, stored, read, 3);
    CHECK(std::isinf(read[0]));
    CHECK((read[1] == 0 && std::signbit(read[1])));
    CHECK(std::isnan(read[2]));
}

TEST_CASE("sums with other coefficients, noise and draws are what they say") {
    const temporary::folder here;
    const std::size_t size = 5000;
    const dg::safetensors_file in(write(here, "F32", std::vector<double>(size, 2), std::vector<double>(size, 5)));
    const dg::tensor_entry entry{"x", "F32", {size}};
    CHECK(written(here, entry, [&](auto& out) {
              dg::write_sum(out, "x", {{&in, "a", -2}, {&in, "b", 1}});
          }) == std::vector<double>(size, 1));
    CHECK(dg::root_mean_square(in, "a") == 2);
    const auto spread = [&](const std::vector<double>& values, double centre) {
        double squares = 0;
        for (double x : values) squares += (x - centre) * (x - centre);
        return std::sqrt(squares / static_cast<double>(values.size()));
    };
    const auto noisy = [&](std::uint64_t seed) {
        return written(here, entry, [&](auto& out) { dg::write_noisy(out, "x", in, "b", 0.1, dg::rng(seed)); });
    };
    CHECK(spread(noisy(1), 5) == Approx(0.5).epsilon(0.05));
    CHECK(noisy(1) == noisy(1));
    CHECK(noisy(1) != noisy(2));
    const auto drawn = [&](double deviation) {
        return written(here, entry, [&](auto& out) { dg::write_drawn(out, "x", in.find("a"), deviation, dg::rng(1)); });
    };
    CHECK(spread(drawn(0.2), 0) == Approx(0.2).epsilon(0.05));
    CHECK(drawn(0) == std::vector<double>(size, 1));
}

TEST_CASE("masks, angles and integers are buffers and biases are not") {
    const dg::tensor_info mask{"F32", {1, 1, 8, 8}, 0, 0}, vector{"F32", {8}, 0, 0}, integers{"U8", {8, 8}, 0, 0},
        eight_bit{"F8_E4M3", {8, 8}, 0, 0};
    CHECK(dg::is_buffer("attn.bias", mask));
    CHECK(dg::is_buffer("attention.bias", mask));
    CHECK(dg::is_buffer("attn.masked_bias", vector));
    CHECK(dg::is_buffer("self_attn.rotary_emb.inv_freq", vector));
    CHECK(dg::is_buffer("mlp.weight", integers));
    CHECK_FALSE(dg::is_buffer("attn.bias", vector));
    CHECK_FALSE(dg::is_buffer("attn.c_attn.bias", vector));
    CHECK_FALSE(dg::is_buffer("mlp.weight", eight_bit));
}
