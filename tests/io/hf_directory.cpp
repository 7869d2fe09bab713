// Hugging Face directories: configurations both ways, tensor names, shards, and what is refused.
#include "depthgrow/io/hf_directory.hpp"

#include <functional>

#include "depthgrow/nn/presets.hpp"
#include "io/temporary.hpp"
#include "support/catch.hpp"

using namespace depthgrow;
using temporary::refusal;
using temporary::says;

namespace {

json small_fields() { return hf_config_fields({"custom", 11, 8, 12, 2, 2, 1, 16}); }

std::string refusal_of(const std::function<void(json&)>& change) {
    json fields = small_fields();
    change(fields);
    return refusal([&] { parse_hf_config(fields, "config.json"); });
}

/// Writes the tensors that `keep` lets through into one file, every value the count of elements.
struct named_shape {
    std::string name;
    std::vector<std::size_t> shape;
};
std::vector<named_shape> expected_tensors(const decoder_config& config) {
    std::vector<named_shape> out;
    for (const auto& tensor : model_tensors(config)) out.push_back({tensor.name, tensor.shape()});
    const auto layers = std::find_if(
        out.begin(), out.end(), [](const auto& tensor) { return tensor.name.find("layers.") != std::string::npos; });
    std::rotate(out.begin() + 1, layers, out.end());  // the embedding, the layers, the rest
    return out;
}
void write_weights(const std::filesystem::path& path, const std::vector<named_shape>& tensors) {
    std::vector<tensor_entry> entries;
    for (const auto& tensor : tensors) entries.push_back({tensor.name, "F32", tensor.shape});
    safetensors_writer file(path, entries);
    for (const auto& tensor : tensors) {
        std::size_t count = 1;
        for (std::size_t extent : tensor.shape) count *= extent;
        const std::vector<float> values(count, static_cast<float>(count));
        file.write(tensor.name, values.data(), count);
    }
    file.commit();
}

}  // namespace

TEST_CASE("both fixtures are read with their configuration") {
    const checkpoint_reader plain(std::filesystem::path(DEPTHGROW_FIXTURES) / "plain"),
        grouped(std::filesystem::path(DEPTHGROW_FIXTURES) / "grouped");
    CHECK(plain.config().layers == 8);
    CHECK(plain.config().tied);
    CHECK(plain.config().ropes[0].theta == 10000);
    CHECK(grouped.config().layers == 9);
    CHECK_FALSE(grouped.config().tied);
    CHECK(grouped.config().kv_heads == 1);
    CHECK(grouped.config().ropes[0].theta == 100000);
    CHECK(plain.names().size() == 2 + 8 * 9);
    CHECK(grouped.names().size() == 3 + 9 * 9);
}

TEST_CASE("a configuration survives being written and read, norm placement too") {
    for (norm_placement norms : {norm_placement::pre, norm_placement::ln_scaling, norm_placement::mix}) {
        decoder_config config = smollm_360m().with_depth(12);
        config.norms = norms;
        config.post_layers = norms == norm_placement::mix ? 3 : 0;
        const decoder_config back = parse_hf_config(hf_config_fields(config), "config.json").model;
        CHECK(back.norms == norms);
        CHECK(back.post_layers == config.post_layers);
        CHECK(back.parameters() == config.parameters());
        CHECK(back.norm_eps == config.norm_eps);
        CHECK(back.context == config.context);
    }
}

TEST_CASE("unknown fields stay when a configuration is rewritten") {
    json fields = small_fields();
    fields["pretraining_tp"] = 1;
    fields["initializer_range"] = 0.5;
    const hf_config read = parse_hf_config(fields, "config.json");
    const json again = hf_config_fields(read.model.with_depth(4), read.fields, dtype::bf16);
    CHECK(again["pretraining_tp"] == 1);
    CHECK(again["initializer_range"] == 0.5);
    CHECK(again["num_hidden_layers"] == 4);
    CHECK(again["torch_dtype"] == "bfloat16");
}

TEST_CASE("rope_theta inside a dictionary counts before the one beside it, as in transformers 5") {
    json fields = small_fields();
    fields["rope_theta"] = 10000;
    fields["rope_parameters"] = {{"rope_theta", 500000}, {"rope_type", "default"}};
    CHECK(parse_hf_config(fields, "f").model.ropes[0].theta == 500000);
    fields.erase("rope_parameters");
    fields["rope_scaling"] = {{"rope_theta", 500000}, {"rope_type", "default"}};
    CHECK(parse_hf_config(fields, "f").model.ropes[0].theta == 500000);
    const json again = hf_config_fields(parse_hf_config(fields, "f").model, fields);
    CHECK(again["rope_theta"] == 500000);
    CHECK(again["rope_scaling"]["rope_theta"] == 500000);
}

TEST_CASE("rope_theta is found where old and new transformers put it") {
    json fields = small_fields();
    fields.erase("rope_theta");
    CHECK(parse_hf_config(fields, "f").model.ropes[0].theta == 10000);
    fields["rope_parameters"] = {{"rope_theta", 130000}, {"rope_type", "default"}};
    CHECK(parse_hf_config(fields, "f").model.ropes[0].theta == 130000);
    CHECK(hf_config_fields(parse_hf_config(fields, "f").model, fields)["rope_parameters"]["rope_theta"] == 130000);
}

TEST_CASE("what would be computed differently is refused by its field") {
    CHECK(refusal_of([](json&) {}) == "nothing thrown");
    CHECK(refusal_of([](json& f) { f["model_type"] = "mamba"; }) ==
          "config.json: expected model_type llama, mistral, qwen2, qwen3, olmo2, smollm3, gemma3_text, gpt2, gpt_neox, "
          "found mamba");
    CHECK(says(refusal_of([](json& f) { f["architectures"] = {"GPT2LMHeadModel"}; }),
               "expected architectures to name LlamaForCausalLM, found [\"GPT2LMHeadModel\"]"));
    CHECK(says(refusal_of([](json& f) { f["hidden_act"] = "relu2"; }),
               "expected hidden_act silu, gelu, gelu_new or gelu_pytorch_tanh, found relu2"));
    CHECK(says(refusal_of([](json& f) {
                   f["rope_scaling"] = {{"rope_type", "longrope"}};
               }),
               "expected RoPE of type default, linear, llama3 or yarn, found rope_scaling of type longrope"));
    CHECK(says(refusal_of([](json& f) {
                   f["rope_scaling"] = {{"type", "linear"}};
               }),
               "expected factor to be a number, found nothing"));
    CHECK(says(refusal_of([](json& f) {
                   f["rope_scaling"] = {
                       {"rope_type", "llama3"}, {"factor", 8}, {"low_freq_factor", 4}, {"high_freq_factor", 1}};
               }),
               "expected high_freq_factor above low_freq_factor, found 1 and 4"));
    CHECK(says(refusal_of([](json& f) { f["head_dim"] = 5; }), "expected an even head width for RoPE, got 5"));
    CHECK(says(refusal_of([](json& f) { f["quantization_config"] = json::object(); }), "found quantization_config"));
    CHECK(says(refusal_of([](json& f) { f["norm_placement"] = "post"; }),
               "expected norm_placement pre, ln_scaling or mix, found post"));
    CHECK(says(refusal_of([](json& f) { f["norm_placement"] = "mix"; }),
               "expected post_layers to be an integer of at least 0, found nothing"));
}

TEST_CASE("impossible extents are refused with the file's name") {
    CHECK(refusal_of([](json& f) { f.erase("head_dim"), f["num_attention_heads"] = f["num_key_value_heads"] = 3; }) ==
          "config.json: expected num_attention_heads to divide hidden_size 8 where head_dim is absent, found 3");
    CHECK(refusal_of([](json& f) { f["num_key_value_heads"] = 3; }) ==
          "config.json: expected num_key_value_heads to divide num_attention_heads 2, found 3");
    CHECK(refusal_of([](json& f) { f["num_hidden_layers"] = 0; }) ==
          "config.json: expected num_hidden_layers to be a positive integer, found 0");
    CHECK(refusal_of([](json& f) { f["hidden_size"] = "8"; }) ==
          "config.json: expected hidden_size to be a positive integer, found \"8\"");
    CHECK(refusal_of([](json& f) { f.erase("vocab_size"); }) ==
          "config.json: expected vocab_size to be a positive integer, found nothing");
    CHECK(says(refusal_of([](json& f) { f["rms_norm_eps"] = 0; }), "expected rms_norm_eps to be above 0"));
}

TEST_CASE("names of layers split and join") {
    std::size_t layer = 0;
    std::string part;
    const family& llama = *find_family("llama");
    REQUIRE(split_layer_name(llama, "model.layers.10.mlp.up_proj.weight", layer, part));
    CHECK(layer == 10);
    CHECK(part == "mlp.up_proj.weight");
    CHECK(llama.layer_tensor(layer, part) == "model.layers.10.mlp.up_proj.weight");
    for (const char* name :
         {"model.norm.weight", "model.layers.", "model.layers.x.y", "model.layers.1", "model.layers.99999999999.x"})
        CHECK_FALSE(split_layer_name(llama, name, layer, part));
}

TEST_CASE("shards are found by the index and read across files") {
    const temporary::folder folder;
    const decoder_config config = parse_hf_config(small_fields(), "f").model;
    write_hf_config(folder.path / "config.json", config);
    const auto tensors = expected_tensors(config);
    write_weights(folder.path / "model-00001-of-00002.safetensors", {tensors.begin(), tensors.begin() + 5});
    write_weights(folder.path / "model-00002-of-00002.safetensors", {tensors.begin() + 5, tensors.end()});
    json map;
    for (std::size_t i = 0; i < tensors.size(); ++i)
        map[tensors[i].name] = i < 5 ? "model-00001-of-00002.safetensors" : "model-00002-of-00002.safetensors";
    const auto index = [&](const json& changed) {
        folder.file("model.safetensors.index.json",
                    json_text({{"metadata", {{"total_size", 1}}}, {"weight_map", changed}}));
    };
    index(map);
    const checkpoint_reader reader(folder.path);
    CHECK(reader.sharded());
    std::vector<float> norm(8);
    reader.read("model.norm.weight", norm.data(), 8);
    CHECK(norm[3] == 8);

    const auto refused = [&](const std::string& file) {
        json changed = map;
        changed["model.norm.weight"] = file;
        index(changed);
        return refusal([&] { checkpoint_reader again(folder.path); });
    };
    CHECK(says(refused("model-00003-of-00002.safetensors"),
               "expected the shard model-00003-of-00002.safetensors beside it, found nothing of that name"));
    CHECK(says(refused("model-00001-of-00002.safetensors"),
               "expected tensor model.norm.weight (so says the index), found none of that name"));
    for (const char* escape : {"../x.safetensors", "/etc/passwd", "a/b", "", "..", "a\\b"})
        CHECK(says(refused(escape), "expected file names inside the directory, found"));
}

TEST_CASE("a directory that does not hold what its configuration says is refused") {
    const temporary::folder folder;
    const decoder_config config = parse_hf_config(small_fields(), "f").model;
    const auto open = [&] { return refusal([&] { checkpoint_reader reader(folder.path); }); };
    CHECK(says(open(), "config.json: expected a file, found nothing of that name"));
    write_hf_config(folder.path / "config.json", config);
    CHECK(says(open(), "expected model.safetensors or model.safetensors.index.json, found neither"));
    auto tensors = expected_tensors(config);
    write_weights(folder.path / "model.safetensors", tensors);
    CHECK(open() == "nothing thrown");
    write_hf_config(folder.path / "config.json", config.with_depth(3));
    CHECK(says(open(), "expected a tensor model.layers.2.input_layernorm.weight, found none of that name"));
    write_hf_config(folder.path / "config.json", config.with_depth(1));
    CHECK(says(open(), "expected 1 layers (num_hidden_layers), found a tensor model.layers.1."));
    write_hf_config(folder.path / "config.json", config.with_depth(2000000000));
    CHECK(says(open(), "expected 2000000000 layers (num_hidden_layers), found 20 tensors in all"));
    write_hf_config(folder.path / "config.json", config);
    tensors[3].shape = {4, 9};
    write_weights(folder.path / "model.safetensors", tensors);
    CHECK(says(open(), "expected tensor model.layers.0.self_attn.k_proj.weight of shape (4, 8), found (4, 9)"));
    CHECK(says(refusal([&] { checkpoint_reader reader(folder.path / "none"); }),
               "expected a model directory, found nothing of that name"));
}

TEST_CASE("a directory that its writer has not put in place is refused by its name") {
    const temporary::folder folder;
    const decoder_config config = parse_hf_config(small_fields(), "f").model;
    const auto unfinished = folder.path / ".tmp-model";
    std::filesystem::create_directory(unfinished);
    write_hf_config(unfinished / "config.json", config);
    write_weights(unfinished / "model.safetensors", expected_tensors(config));
    for (const auto& path : {unfinished, unfinished / ""})
        CHECK(says(refusal([&] { checkpoint_reader reader(path); }),
                   "expected a finished model directory, found one that is being written"));
    CHECK(refusal([&] { checkpoint_reader reader(unfinished, true); }) == "nothing thrown");
}

TEST_CASE("a tied model may carry its head when it equals the embedding") {
    const temporary::folder folder;
    decoder_config config = parse_hf_config(small_fields(), "f").model;
    write_hf_config(folder.path / "config.json", config);
    auto tensors = expected_tensors(config);
    tensors.push_back({"lm_head.weight", {11, 8}});
    write_weights(folder.path / "model.safetensors", tensors);
    CHECK_NOTHROW(checkpoint_reader(folder.path));
    tensors.back().shape = {8, 8};
    write_weights(folder.path / "model.safetensors", tensors);
    CHECK(says(refusal([&] { checkpoint_reader reader(folder.path); }),
               "expected lm_head.weight to equal the embedding"));
}
