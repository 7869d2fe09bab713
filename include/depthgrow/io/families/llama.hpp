// Llama (2, 3.x, SmolLM 1 and 2) and Mistral: model_type llama and mistral.
// Assumes RMSNorm, grouped-query attention, SwiGLU. Mistral has one window for all layers and no biases.
// Source: huggingface/transformers, models/llama and models/mistral.
#pragma once

#include "depthgrow/io/families/rope_fields.hpp"

namespace depthgrow::families {

inline void read_llama(const json_fields& fields, std::string_view file, decoder_config& c) {
    read_common(fields, file, c, {});
    read_head_width(fields, file, c);
    c.mlp_bias = fields.boolean("mlp_bias", false);
    c.ropes = {read_rope(fields, {1e4, 1, c.context}, file)};
}
inline void write_llama(const decoder_config& c, json& fields) {
    write_llama_like(c, fields);
    fields["attention_bias"] = c.qkv_bias;
    fields["mlp_bias"] = c.mlp_bias;
}
inline family llama() {
    return {"llama",
            "LlamaForCausalLM",
            "model.",
            "layers.",
            "num_hidden_layers",
            llama_layer_names(),
            llama_outer_names(),
            "lm_head.weight",
            read_llama,
            write_llama};
}

inline void read_mistral(const json_fields& fields, std::string_view file, decoder_config& c) {
    read_common(fields, file, c, {.context = 131072, .kv_heads = 8});
    c.qkv_bias = c.o_bias = false;  // whatever the file says: the family has none
    read_head_width(fields, file, c);
    check_depth(c, "num_hidden_layers", file);
    c.ropes = {read_rope(fields, {1e4, 1, c.context}, file)};
    set_kinds(c, std::vector<layer_kind>(c.layers, {read_window(fields, "sliding_window"), 0}));
}
inline void write_mistral(const decoder_config& c, json& fields) {
    write_llama_like(c, fields);
    fields["sliding_window"] = c.kind(0).window > 0 ? json(c.kind(0).window) : json();
}
inline family mistral() {
    return {"mistral",           "MistralForCausalLM", "model.",         "layers.",    "num_hidden_layers",
            llama_layer_names(), llama_outer_names(),  "lm_head.weight", read_mistral, write_mistral};
}

}  // namespace depthgrow::families
