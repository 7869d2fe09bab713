// SmolLM 3: model_type smollm3. Llama's block; some layers do not rotate queries and keys, and those may have windows.
// Assumes no_rope_layers with one element a layer, 1 where a layer rotates (sic), or every fourth without.
// Source: huggingface/transformers, models/smollm3.
#pragma once

#include "depthgrow/io/families/rope_fields.hpp"

namespace depthgrow::families {

inline void read_smollm3(const json_fields& fields, std::string_view file, decoder_config& c) {
    read_common(fields, file, c, {.context = 32768, .tied = true, .kv_heads = 4});
    read_head_width(fields, file, c);
    check_depth(c, "num_hidden_layers", file);
    c.mlp_bias = fields.boolean("mlp_bias", false);
    c.ropes = {read_rope(fields, {2e6, 1, c.context}, file)};
    const json* rotating = layer_list(fields, "no_rope_layers", c.layers, file);
    const std::size_t interval = fields.positive("no_rope_layer_interval", 4);
    const std::size_t window = fields.boolean("use_sliding_window", false) ? read_window(fields, "sliding_window") : 0;
    std::vector<layer_kind> kinds(c.layers);
    for (std::size_t l = 0; l < c.layers; ++l) {
        bool rotates = (l + 1) % interval != 0;
        if (rotating) {
            const json& value = (*rotating)[l];
            require(value.is_boolean() || value == 0 || value == 1, file,
                    ": expected no_rope_layers to hold 0 or 1, found ", describe(&value));
            rotates = value.is_boolean() ? value.get<bool>() : value == 1;
        }
        kinds[l].rope = rotates ? 0 : layer_kind::no_rope;
    }
    const auto sliding = sliding_layers(
        fields, c.layers, file, [&](std::size_t l) { return window > 0 && kinds[l].rope == layer_kind::no_rope; });
    for (std::size_t l = 0; l < c.layers; ++l) kinds[l].window = sliding[l] ? window : 0;
    set_kinds(c, kinds);
}
inline void write_smollm3(const decoder_config& c, json& fields) {
    write_llama_like(c, fields);
    fields["attention_bias"] = c.qkv_bias;
    fields["mlp_bias"] = c.mlp_bias;
    json rotating = json::array();
    for (std::size_t l = 0; l < c.layers; ++l) rotating.push_back(c.kind(l).rope == layer_kind::no_rope ? 0 : 1);
    fields["no_rope_layers"] = rotating;
    write_layer_types(c, fields, false);
}
inline family smollm3() {
    return {"smollm3",           "SmolLM3ForCausalLM", "model.",         "layers.",    "num_hidden_layers",
            llama_layer_names(), llama_outer_names(),  "lm_head.weight", read_smollm3, write_smollm3};
}

}  // namespace depthgrow::families
