// Weights in shards: sizes, names, the index, and models that come back from them.
#include "depthgrow/backend/reference.hpp"
#include "depthgrow/io/model_checkpoint.hpp"
#include "io/temporary.hpp"
#include "support/catch.hpp"

namespace dg = depthgrow;

TEST_CASE("a model written in shards reads back bit for bit, in any stored format") {
    dg::reference backend;
    auto config = dg::tiny();
    config.tied = GENERATE(true, false);
    const dg::dtype stored = GENERATE(dg::dtype::f32, dg::dtype::bf16, dg::dtype::f16);
    const dg::decoder<float, dg::reference> model(backend, config, 5);
    const temporary::folder whole, parts;
    dg::write_model(whole.path, model, stored);
    const std::size_t limit = 60000;
    dg::write_model(parts.path, model, stored, {{"depthgrow.growth", "[]"}}, dg::json::object(), limit);
    const dg::checkpoint_reader one(whole.path), many(parts.path);
    CHECK(many.sharded());
    CHECK(many.files().size() > 2);
    const auto index = dg::read_json_file(parts.path / "model.safetensors.index.json");
    std::size_t total = 0;
    for (const auto& file : many.files()) {
        std::size_t bytes = 0;
        for (const auto& [name, info] : file.tensors()) bytes += info.bytes();
        CHECK((bytes <= limit || file.tensors().size() == 1));
        CHECK(file.metadata().at("depthgrow.growth") == "[]");
        CHECK(file.metadata().at("format") == "pt");
        total += bytes;
    }
    CHECK(index["metadata"]["total_size"] == total);
    CHECK(many.names() == one.names());
    for (const auto& name : one.names()) {
        std::vector<char> a(one.find(name).bytes()), b(many.find(name).bytes());
        one.file_of(name).read_bytes(name, a.data(), a.size());
        many.file_of(name).read_bytes(name, b.data(), b.size());
        CHECK(a == b);
    }
    CHECK(many.files()[0].path().filename() == dg::shard_name(0, many.files().size()));
}

TEST_CASE("shards that are not finished leave no index behind") {
    const temporary::folder folder;
    {
        dg::checkpoint_writer files(folder.path, {{"a", "F32", {4}}, {"b", "F32", {4}}}, 16);
        CHECK(files.files() == 2);
        CHECK(files.bytes() == 32);
        const float values[4] = {};
        files.write("a", values, 4);
        CHECK(temporary::says(temporary::refusal([&] { files.commit(); }),
                              "expected every declared tensor to be written, got none for b"));
        CHECK(temporary::says(temporary::refusal([&] { files.write("c", values, 4); }),
                              "expected a declared tensor, got c"));
    }
    CHECK_FALSE(std::filesystem::exists(folder.path / "model.safetensors.index.json"));
}

TEST_CASE("a tensor is copied from another file byte for byte, and zeros are zeros") {
    const temporary::folder folder;
    const std::vector<float> values = {1, -2, 3.5f, 1e-40f};
    dg::safetensors_writer first(folder.path / "a.safetensors", {{"x", "F32", {4}}});
    first.write("x", values.data(), 4);
    first.commit();
    const dg::safetensors_file a(folder.path / "a.safetensors");
    dg::safetensors_writer second(folder.path / "b.safetensors", {{"y", "F32", {4}}, {"z", "BF16", {3}}});
    second.copy("y", a, "x");
    second.write_zeros("z");
    CHECK(temporary::says(temporary::refusal([&] { second.copy("z", a, "x"); }),
                          "expected BF16 (3) for tensor z, got F32 (4)"));
    second.commit();
    const dg::safetensors_file b(folder.path / "b.safetensors");
    std::vector<float> y(4), z(3, 1.0f), middle(2);
    b.read("y", y.data(), 4);
    b.read("z", z.data(), 3);
    b.read_range("y", middle.data(), 2, 1);
    CHECK(y == values);
    CHECK(z == std::vector<float>(3, 0.0f));
    CHECK(middle == std::vector<float>{-2, 3.5f});
    CHECK(temporary::says(temporary::refusal([&] { b.read_range("y", middle.data(), 2, 3); }),
                          "expected tensor y of at least 3 + 2 elements, found 4"));
}
