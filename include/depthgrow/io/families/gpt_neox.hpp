// GPT-NeoX, Pythia: model_type gpt_neox. LayerNorms, partial RoPE, biases, attention and MLP in parallel.
// Assumes queries, keys and values in one matrix whose rows take turns head by head.
// Source: huggingface/transformers, models/gpt_neox; Black et al. 2022 (arXiv 2204.06745).
#pragma once

#include "depthgrow/io/families/rope_fields.hpp"

namespace depthgrow::families {

inline void read_gpt_neox(const json_fields& fields, std::string_view file, decoder_config& c) {
    read_extents(fields, c, 2048);
    require(c.width % c.heads == 0, file, ": expected num_attention_heads to divide hidden_size ", c.width, ", found ",
            c.heads);
    c.kv_heads = c.heads;
    c.norm_eps = fields.positive_number("layer_norm_eps", 1e-5);
    c.tied = fields.boolean("tie_word_embeddings", false);
    c.act = read_activation(fields, "hidden_act", "gelu", file);
    c.norm = norm_kind::layer;
    c.gated = false, c.mlp_bias = true;
    c.qkv_bias = c.o_bias = fields.boolean("attention_bias", true);
    c.parallel = fields.boolean("use_parallel_residual", true);
    const char* key = fields.find("rope_scaling") ? "rope_scaling" : "rope_parameters";
    c.ropes = {read_rope(
        fields, fields.find(key), key,
        {fields.positive_number("rotary_emb_base", 1e4), fields.positive_number("rotary_pct", 0.25), c.context}, file)};
}
inline void write_gpt_neox(const decoder_config& c, json& fields) {
    const rope_description& rope = c.ropes.front();
    write_extents(c, fields);
    fields["layer_norm_eps"] = c.norm_eps;
    fields["attention_bias"] = c.qkv_bias;
    fields["use_parallel_residual"] = c.parallel;
    write_activation(c, fields, "hidden_act");
    if (fields.contains("rope_parameters") && fields["rope_parameters"].is_object()) {
        fields["rope_parameters"]["rope_theta"] = rope.theta,
        fields["rope_parameters"]["partial_rotary_factor"] = rope.share;
    } else {
        fields["rotary_emb_base"] = rope.theta, fields["rotary_pct"] = rope.share;
    }
}
inline family gpt_neox() {
    const auto one = [](const char* name, part which) { return stored_parts{name, which, which, stored_as::rows}; };
    return {"gpt_neox",
            "GPTNeoXForCausalLM",
            "gpt_neox.",
            "layers.",
            "num_hidden_layers",
            {one("input_layernorm.weight", part::input_norm),
             one("input_layernorm.bias", part::input_norm_bias),
             {"attention.query_key_value.weight", part::q, part::v, stored_as::turns_by_head},
             {"attention.query_key_value.bias", part::q_bias, part::v_bias, stored_as::turns_by_head},
             one("attention.dense.weight", part::o),
             one("attention.dense.bias", part::o_bias),
             one("post_attention_layernorm.weight", part::mlp_norm),
             one("post_attention_layernorm.bias", part::mlp_norm_bias),
             one("mlp.dense_h_to_4h.weight", part::up),
             one("mlp.dense_h_to_4h.bias", part::up_bias),
             one("mlp.dense_4h_to_h.weight", part::down),
             one("mlp.dense_4h_to_h.bias", part::down_bias)},
            {one("embed_in.weight", part::embedding), one("final_layer_norm.weight", part::final_norm),
             one("final_layer_norm.bias", part::final_norm_bias)},
            "embed_out.weight",
            read_gpt_neox,
            write_gpt_neox};
}

}  // namespace depthgrow::families
