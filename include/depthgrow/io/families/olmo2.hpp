// OLMo 2: model_type olmo2. Norms stand after each sublayer, on what it adds; queries and keys are normed whole.
// Assumes Llama's names otherwise.
// Source: huggingface/transformers, models/olmo2; OLMo et al. 2024 (arXiv 2501.00656).
#pragma once

#include "depthgrow/io/families/rope_fields.hpp"

namespace depthgrow::families {

inline void read_olmo2(const json_fields& fields, std::string_view file, decoder_config& c) {
    read_common(fields, file, c, {.eps = 1e-5});
    read_head_width(fields, file, c);
    c.norm_before = false, c.norm_after = true;
    c.qk_norm = query_key_norm::width;
    c.ropes = {read_rope(fields, {1e4, 1, c.context}, file)};
}
inline void write_olmo2(const decoder_config& c, json& fields) {
    write_llama_like(c, fields);
    fields["attention_bias"] = c.qkv_bias;
}
inline family olmo2() {
    auto names = with(with(llama_layer_names(), part::attn_out_norm, "post_attention_layernorm.weight"),
                      part::mlp_out_norm, "post_feedforward_layernorm.weight");
    return {"olmo2",          "Olmo2ForCausalLM",  "model.",         "layers.",  "num_hidden_layers",
            std::move(names), llama_outer_names(), "lm_head.weight", read_olmo2, write_olmo2};
}

}  // namespace depthgrow::families
