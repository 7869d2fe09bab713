// What growth finds in a model directory: depth, layers, lists with one element a layer, what it does not understand.
#include "depthgrow/io/model_directory.hpp"

#include "depthgrow/growth/operators.hpp"
#include "depthgrow/io/checkpoint_writer.hpp"
#include "io/temporary.hpp"
#include "support/catch.hpp"

namespace dg = depthgrow;
using temporary::refusal;
using temporary::says;

namespace {

/// A directory of `prefix`N.w tensors with this configuration.
void write(const temporary::folder& here, const std::string& config, const std::string& prefix = "h.") {
    std::vector<dg::tensor_entry> entries;
    for (int layer = 0; layer < 3; ++layer) entries.push_back({dg::text(prefix, layer, ".w"), "F32", {1}});
    dg::checkpoint_writer files(here.path, entries);
    const float one = 1;
    for (const auto& entry : entries) files.write(entry.name, &one, 1);
    files.commit();
    here.file("config.json", config);
}

}  // namespace

TEST_CASE("a family that the library does not describe is opened by its tensors") {
    const temporary::folder here;
    write(here, R"({"model_type": "bloom", "n_layer": 3})", "transformer.h.");
    const dg::model_directory in(here.path);
    CHECK(in.described() == nullptr);
    CHECK(in.layers() == 3);
    CHECK(in.stack().prefix == "transformer.h.");
    CHECK(in.model_type() == "bloom");
    CHECK(says(in.why_unknown(), "expected model_type llama, mistral, "));
    CHECK(in.grown_config(dg::layer_order({0, 1, 1, 2}, 3))["n_layer"] == 4);
}

TEST_CASE("a described family is checked as ever and has its description") {
    const dg::model_directory in(std::filesystem::path(DEPTHGROW_FIXTURES) / "plain");
    REQUIRE(in.described() != nullptr);
    CHECK(in.layers() == in.described()->layers);
    CHECK(in.notes().empty());
    const temporary::folder here;
    std::filesystem::copy_file(in.directory() / "model.safetensors", here.path / "model.safetensors");
    auto config = in.config();
    config["num_layers"] = 99;  // of something else
    here.file("config.json", config.dump());
    const auto grown = dg::model_directory(here.path).grown_config(dg::doubling{}(in.layers()));
    CHECK(grown["num_hidden_layers"] == 2 * in.layers());
    CHECK(grown["num_layers"] == 99);
    CHECK(says(refusal([&] { dg::model_directory(in.directory(), "h"); }),
               "--layers-prefix: expected model.layers., where the layers"));
}

TEST_CASE("lists with one element a layer follow the order, and other lists stay") {
    const temporary::folder here;
    write(here,
          R"({"model_type": "x", "num_hidden_layers": 3, "layer_types": ["a", "b", "c"], "no_rope_layers": [1, 1, 0],
                    "of_ours": [7, 8, 9], "sliding_windows": [1, 2], "eos_token_id": [1, 2, 3],
                    "sliding_window_pattern": 6, "first_k_dense_replace": 1})");
    const dg::model_directory in(here.path);
    const auto grown = in.grown_config(dg::layer_order({0, 2, 2, 1}, 3));
    CHECK(grown["num_hidden_layers"] == 4);
    CHECK(grown["layer_types"] == dg::json({"a", "c", "c", "b"}));
    CHECK(grown["no_rope_layers"] == dg::json({1, 0, 0, 1}));
    CHECK(grown["of_ours"] == in.config()["of_ours"]);
    CHECK(grown["sliding_windows"] == in.config()["sliding_windows"]);
    const auto notes = in.notes();
    REQUIRE(notes.size() == 4);
    CHECK(says(notes[0], "gpt_neox, found x; grown by its tensors alone, layers are h.N"));
    CHECK(notes[1] == "config.json: of_ours has as many elements as there are layers; left as it is");
    CHECK(notes[2] == "config.json: sliding_windows has 2 elements for 3 layers; left as it is");
    CHECK(notes[3] == "config.json: first_k_dense_replace goes by the number of a layer; left as it is");
}

TEST_CASE("another stack of as many layers is named, since one field may count both") {
    const temporary::folder here;
    write(here, R"({"model_type": "x", "num_layers": 3})");
    {
        std::vector<dg::tensor_entry> entries;
        for (const char* prefix : {"encoder.block.", "decoder.block."})
            for (int layer = 0; layer < 3; ++layer) entries.push_back({dg::text(prefix, layer, ".w"), "F32", {1}});
        dg::checkpoint_writer files(here.path, entries);
        for (const auto& entry : entries) files.file_of(entry.name).write_zeros(entry.name);
        files.commit();
    }
    CHECK(says(refusal([&] { dg::model_directory{here.path}; }),
               "expected one stack of layers, or --layers-prefix to choose one, found decoder.block. (3), "
               "encoder.block. (3)"));
    const dg::model_directory in(here.path, "decoder.block");
    REQUIRE(in.notes().size() == 2);
    CHECK(in.notes()[1] == "encoder.block.N are as many and may go by the same depth field; left as they are");
}

TEST_CASE("a sum takes layers of one kind") {
    const temporary::folder here;
    write(here, R"({"model_type": "x", "num_hidden_layers": 3, "layer_types": ["full", "full", "sliding"]})");
    const dg::model_directory in(here.path);
    CHECK(in.grown_config(dg::parse_mixture("0 0.5*0+0.5*1 1 2", 3))["layer_types"] ==
          dg::json({"full", "full", "full", "sliding"}));
    CHECK(says(refusal([&] { in.grown_config(dg::parse_mixture("0 1 0.5*1+0.5*2 2", 3)); }),
               "expected layers of one kind in a sum, found layer_types \"full\" of layer 1 and \"sliding\" of layer 2 "
               "in slot 2"));
}

TEST_CASE("a configuration without a depth, with two, or with another is refused") {
    const temporary::folder here;
    const auto refused = [&](const std::string& config) {
        write(here, config);
        return refusal([&] { dg::model_directory{here.path}; });
    };
    CHECK(says(refused(R"({"model_type": "x"})"),
               "config.json: expected num_hidden_layers, n_layer, num_layers or n_layers, found none of them"));
    CHECK(says(refused(R"({"n_layer": 3, "num_hidden_layers": 4})"),
               "expected one depth, found num_hidden_layers 4 and n_layer 3"));
    CHECK(says(refused(R"({"n_layer": 5})"), "expected 5 layers, as config.json says, found h. (3)"));
    CHECK(says(refused(R"({"n_layer": "3"})"), "expected n_layer to be"));
    CHECK(says(refused("[]"), "expected a JSON object"));
    CHECK(says(refusal([&] { dg::model_directory{here.path / "none"}; }),
               "expected a model directory, found nothing of that name"));
}
