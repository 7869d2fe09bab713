// config.json of every family: both spellings, written and read again, growth along with the layers, and what is
// refused.
#include <functional>

#include "depthgrow/io/hf_directory.hpp"
#include "io/temporary.hpp"
#include "support/catch.hpp"

using namespace depthgrow;
using temporary::refusal;
using temporary::says;

namespace {

const char* const folders[] = {"llama3_scaled", "llama_wide_heads", "mistral", "qwen2", "qwen3",
                               "olmo2",         "smollm3",          "gemma3",  "gpt2",  "gpt_neox"};

json fields_of(const std::string& folder) {
    return read_json_file(std::filesystem::path(DEPTHGROW_FIXTURES) / "families" / folder / "config.json");
}
decoder_config parsed(const json& fields) { return parse_hf_config(fields, "config.json").model; }
std::string refusal_of(const std::string& folder, const std::function<void(json&)>& change) {
    json fields = fields_of(folder);
    change(fields);
    return refusal([&] { parse_hf_config(fields, "config.json"); });
}
void check_same(const decoder_config& a, const decoder_config& b) {
    CHECK(a.kinds == b.kinds);
    CHECK(a.ropes == b.ropes);
    CHECK(a.parameters() == b.parameters());
    CHECK(a.qkv_width() == b.qkv_width());
    CHECK(a.act == b.act);
    CHECK(a.attention_scale == Approx(b.attention_scale).epsilon(1e-15));
    CHECK(a.tied == b.tied);
    CHECK(a.norm_eps == b.norm_eps);
    CHECK(a.context == b.context);
    CHECK(a.parallel == b.parallel);
}

}  // namespace

TEST_CASE("every family's configuration survives being written, with and without its file's other fields") {
    for (const char* folder : folders) {
        INFO(folder);
        const json fields = fields_of(folder);
        const decoder_config config = parsed(fields);
        check_same(parsed(hf_config_fields(config, fields)), config);
        check_same(parsed(hf_config_fields(config)), config);
        const json again = hf_config_fields(config, fields);
        for (const auto& [key, value] : fields.items())
            if (key != "dtype" && key != "rope_theta") {
                INFO(key);
                CHECK(again.contains(key));
                if (again.contains(key)) CHECK(again[key] == value);
            }
    }
}

TEST_CASE("what a layer is follows an order, in memory and in the lists of config.json") {
    const std::vector<std::size_t> order = {0, 1, 1, 2, 3, 3};
    const json gemma = hf_config_fields(parsed(fields_of("gemma3")).with_layers(order), fields_of("gemma3"));
    CHECK(gemma["layer_types"] == json({"sliding_attention", "full_attention", "full_attention", "sliding_attention",
                                        "full_attention", "full_attention"}));
    CHECK(gemma["num_hidden_layers"] == 6);
    const json smollm3 = hf_config_fields(parsed(fields_of("smollm3")).with_layers(order), fields_of("smollm3"));
    CHECK(smollm3["no_rope_layers"] == json({1, 0, 0, 1, 0, 0}));
    CHECK(smollm3["layer_types"].size() == 6);
    CHECK(hf_config_fields(parsed(fields_of("gpt2")).with_layers(order), fields_of("gpt2"))["n_layer"] == 6);
}

TEST_CASE("the spelling of transformers 4 means the same") {
    json fields = fields_of("gpt_neox");
    fields.erase("rope_parameters");
    fields["rotary_pct"] = 0.25, fields["rotary_emb_base"] = 10000;
    check_same(parsed(fields), parsed(fields_of("gpt_neox")));
    fields = fields_of("llama3_scaled");
    fields["rope_scaling"] = fields["rope_parameters"];
    fields.erase("rope_parameters");
    fields["rope_theta"] = fields["rope_scaling"]["rope_theta"];
    fields["rope_scaling"].erase("rope_theta");
    check_same(parsed(fields), parsed(fields_of("llama3_scaled")));
    fields = fields_of("gemma3");
    fields.erase("rope_parameters"), fields.erase("layer_types"), fields.erase("_sliding_window_pattern");
    fields["rope_theta"] = 1e6, fields["rope_local_base_freq"] = 1e4, fields["sliding_window_pattern"] = 2;
    check_same(parsed(fields), parsed(fields_of("gemma3")));
    fields = fields_of("qwen2");
    fields.erase("layer_types");
    fields["use_sliding_window"] = true, fields["sliding_window"] = 16, fields["max_window_layers"] = 2;
    const decoder_config windows = parsed(fields);
    CHECK(windows.kind(1).window == 0);
    CHECK(windows.kind(2).window == 16);
    fields = fields_of("smollm3");
    fields.erase("no_rope_layers");
    check_same(parsed(fields), parsed(fields_of("smollm3")));
}

TEST_CASE("a lying configuration ends in one sentence that names file and field") {
    CHECK(refusal_of("gemma3", [](json& f) { f["layer_types"] = {"full_attention"}; }) ==
          "config.json: expected layer_types to be a list of 4 elements (one a layer), found one of 1");
    CHECK(says(refusal_of("gemma3", [](json& f) { f["layer_types"][2] = "chunked_attention"; }),
               "expected layer_types of sliding_attention or full_attention, found \"chunked_attention\""));
    CHECK(says(refusal_of("gemma3", [](json& f) { f["final_logit_softcapping"] = 30.0; }),
               "expected final_logit_softcapping to be absent, null or false (not supported), found 30.0"));
    CHECK(says(refusal_of("gemma3", [](json& f) { f["attn_logit_softcapping"] = -1; }),
               "expected attn_logit_softcapping to be absent"));
    CHECK(says(refusal_of("gemma3", [](json& f) { f["query_pre_attn_scalar"] = 0; }),
               "expected query_pre_attn_scalar to be above 0, found 0"));
    CHECK(says(refusal_of("mistral", [](json& f) { f["sliding_window"] = -4; }),
               "expected sliding_window to be a positive integer, found -4"));
    CHECK(says(refusal_of("mistral", [](json& f) { f["sliding_window"] = 0; }),
               "expected sliding_window to be a positive integer, found 0"));
    CHECK(says(refusal_of("smollm3",
                          [](json& f) {
                              f["no_rope_layers"] = {1, 0};
                          }),
               "expected no_rope_layers to be a list of 4 elements"));
    CHECK(says(refusal_of("smollm3", [](json& f) { f["no_rope_layers"][1] = 7; }),
               "expected no_rope_layers to hold 0 or 1, found 7"));
    CHECK(says(refusal_of("qwen3", [](json& f) { f["num_key_value_heads"] = 3; }),
               "expected num_key_value_heads to divide num_attention_heads 4, found 3"));
    CHECK(says(refusal_of("qwen3", [](json& f) { f["head_dim"] = 7; }), "expected an even head width for RoPE, got 7"));
    CHECK(says(refusal_of("qwen2",
                          [](json& f) {
                              f["num_hidden_layers"] = 2000000000;
                              f.erase("layer_types");
                          }),
               "expected num_hidden_layers of at most 65536"));
    CHECK(says(refusal_of("gpt2", [](json& f) { f["n_head"] = 5; }), "expected n_head to divide n_embd 32, found 5"));
    CHECK(says(refusal_of("gpt2", [](json& f) { f["scale_attn_by_inverse_layer_idx"] = true; }),
               "expected scale_attn_by_inverse_layer_idx to be absent"));
    CHECK(says(refusal_of("gpt_neox", [](json& f) { f["rope_parameters"]["partial_rotary_factor"] = 1.5; }),
               "expected a rotary share above 0 and at most 1, got 1.5"));
    CHECK(says(refusal_of("gpt_neox", [](json& f) { f["hidden_act"] = "relu"; }),
               "expected hidden_act silu, gelu, gelu_new or gelu_pytorch_tanh, found relu"));
    CHECK(says(refusal_of("llama3_scaled", [](json& f) { f["rope_parameters"]["rope_type"] = "dynamic"; }),
               "found rope_parameters of type dynamic"));
    CHECK(says(refusal_of("llama3_scaled", [](json& f) { f["rope_parameters"]["factor"] = 0.5; }),
               "expected the factor of rope_parameters to be at least 1, found 0.5"));
    CHECK(says(refusal_of("olmo2", [](json& f) { f["norm_placement"] = "ln_scaling"; }),
               "expected norm placement pre for a model that is not plainly pre-norm, got ln_scaling"));
}
