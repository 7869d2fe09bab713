// Weights without a configuration: one file, shards, refusals.
#include "depthgrow/io/weight_files.hpp"

#include "depthgrow/io/checkpoint_writer.hpp"
#include "io/temporary.hpp"
#include "support/catch.hpp"

namespace dg = depthgrow;
using temporary::refusal;
using temporary::says;

namespace {

void write(const std::filesystem::path& path, std::size_t shard_bytes) {
    const std::vector<dg::tensor_entry> entries = {{"a", "F32", {2}}, {"b", "I64", {1}}, {"c", "F32", {2}}};
    dg::checkpoint_writer files(path, entries, shard_bytes, {{"said", "so"}});
    const float values[] = {1, 2};
    const std::int64_t count = 7;
    files.write("a", values, 2), files.write("c", values, 2);
    files.file_of("b").write_bytes("b", &count, 8);
    files.commit();
}

}  // namespace

TEST_CASE("weights open from one file and from shards, whatever they are of") {
    for (const std::size_t shard_bytes : {0u, 8u}) {
        const temporary::folder here;
        write(here.path, shard_bytes);
        const dg::weight_files weights(here.path);
        CHECK(weights.sharded() == (shard_bytes > 0));
        CHECK(weights.files().size() == (shard_bytes > 0 ? 3 : 1));
        CHECK(weights.names() == std::vector<std::string>{"a", "b", "c"});
        CHECK(weights.size() == 3);
        CHECK(weights.find("b").type_name == "I64");
        CHECK(weights.metadata().at("said") == "so");
        CHECK_FALSE(weights.contains("d"));
        CHECK(says(refusal([&] { weights.find("d"); }), "expected a tensor d, found none of that name"));
    }
}

TEST_CASE("a directory without weights, and an index that names none, are refused") {
    const temporary::folder here;
    CHECK(says(refusal([&] { dg::weight_files{here.path}; }),
               "expected model.safetensors or model.safetensors.index.json, found neither"));
    here.file("model.safetensors.index.json", R"({"weight_map": {}})");
    CHECK(
        says(refusal([&] { dg::weight_files{here.path}; }), "expected weight_map to name tensors, found an empty one"));
    here.file("model.safetensors.index.json", R"({"weight_map": {"a": "../x.safetensors"}})");
    CHECK(says(refusal([&] { dg::weight_files{here.path}; }), "expected file names inside the directory"));
    CHECK(says(refusal([&] { dg::require_model_directory(here.path / "none"); }),
               "expected a model directory, found nothing of that name"));
    CHECK(says(refusal([&] { dg::require_model_directory(here.path / ".tmp-x"); }),
               "being written or was left half written"));
}
