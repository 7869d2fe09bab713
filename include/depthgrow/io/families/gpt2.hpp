// GPT-2: model_type gpt2. LayerNorms, learned positions, biases everywhere, one joint matrix for queries, keys and
// values. Assumes matrices stored [in, out] (the family's Conv1D), and files with or without the prefix "transformer.".
// Source: huggingface/transformers, models/gpt2; Radford et al. 2019.
#pragma once

#include "depthgrow/io/families/family.hpp"

namespace depthgrow::families {

inline void read_gpt2(const json_fields& fields, std::string_view file, decoder_config& c) {
    for (const char* key : {"scale_attn_by_inverse_layer_idx", "add_cross_attention"}) refuse_if_set(fields, key, file);
    c.vocab = fields.positive("vocab_size");
    c.width = fields.positive("n_embd");
    c.ffn = fields.positive("n_inner", 4 * c.width);
    c.layers = fields.positive("n_layer");
    c.heads = fields.positive("n_head");
    require(c.width % c.heads == 0, file, ": expected n_head to divide n_embd ", c.width, ", found ", c.heads);
    c.kv_heads = c.heads;
    check_depth(c, "n_layer", file);
    c.context = fields.positive("n_positions", 1024);
    c.norm_eps = fields.positive_number("layer_norm_epsilon", 1e-5);
    c.tied = fields.boolean("tie_word_embeddings", true);
    c.act = read_activation(fields, "activation_function", "gelu_new", file);
    if (!fields.boolean("scale_attn_weights", true)) c.attention_scale = 1;
    c.norm = norm_kind::layer;
    c.gated = false;
    c.qkv_bias = c.o_bias = c.mlp_bias = c.learned_positions = true;
    c.ropes.clear();
    c.kinds.assign(c.layers, {0, layer_kind::no_rope});
}
inline void write_gpt2(const decoder_config& c, json& fields) {
    fields["vocab_size"] = c.vocab;
    fields["n_embd"] = c.width;
    if (c.ffn != 4 * c.width || (fields.contains("n_inner") && !fields["n_inner"].is_null())) fields["n_inner"] = c.ffn;
    fields["n_layer"] = c.layers;
    fields["n_head"] = c.heads;
    fields["n_positions"] = c.context;
    fields["layer_norm_epsilon"] = c.norm_eps;
    fields["tie_word_embeddings"] = c.tied;
    fields["scale_attn_weights"] = c.attention_scale == 0;
    write_activation(c, fields, "activation_function");
}
inline family gpt2() {
    const auto one = [](const char* name, part which) { return stored_parts{name, which, which, stored_as::rows}; };
    return {"gpt2",
            "GPT2LMHeadModel",
            "transformer.",
            "h.",
            "n_layer",
            {one("ln_1.weight", part::input_norm),
             one("ln_1.bias", part::input_norm_bias),
             {"attn.c_attn.weight", part::q, part::v, stored_as::transposed},
             {"attn.c_attn.bias", part::q_bias, part::v_bias, stored_as::rows},
             {"attn.c_proj.weight", part::o, part::o, stored_as::transposed},
             one("attn.c_proj.bias", part::o_bias),
             one("ln_2.weight", part::mlp_norm),
             one("ln_2.bias", part::mlp_norm_bias),
             {"mlp.c_fc.weight", part::up, part::up, stored_as::transposed},
             one("mlp.c_fc.bias", part::up_bias),
             {"mlp.c_proj.weight", part::down, part::down, stored_as::transposed},
             one("mlp.c_proj.bias", part::down_bias)},
            {one("wte.weight", part::embedding), one("wpe.weight", part::positions),
             one("ln_f.weight", part::final_norm), one("ln_f.bias", part::final_norm_bias)},
            "lm_head.weight",
            read_gpt2,
            write_gpt2};
}

}  // namespace depthgrow::families
