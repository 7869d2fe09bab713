// Gemma 3, text models: model_type gemma3_text. Norms before and after each sublayer with gains of 1 + weight, norms of
// each query and key head, windows with a RoPE of their own, a scaled embedding, GELU gates.
// Assumes no soft caps and no attention to later tokens; both are refused.
// Source: huggingface/transformers, models/gemma3; Gemma Team 2025 (arXiv 2503.19786).
#pragma once

#include "depthgrow/io/families/rope_fields.hpp"

namespace depthgrow::families {

inline void read_gemma3(const json_fields& fields, std::string_view file, decoder_config& c) {
    for (const char* key : {"attn_logit_softcapping", "final_logit_softcapping", "use_bidirectional_attention"})
        refuse_if_set(fields, key, file);
    read_common(fields, file, c, {.context = 131072, .tied = true, .kv_heads = 4});
    c.act = read_activation(fields, "hidden_activation", "gelu_pytorch_tanh", file);
    read_head_width(fields, file, c, 256);
    check_depth(c, "num_hidden_layers", file);
    c.gain_offset = c.norm_after = true;
    c.qk_norm = query_key_norm::head;
    c.scaled_embedding = true;
    c.attention_scale = 1 / std::sqrt(fields.positive_number("query_pre_attn_scalar", 256));
    const std::size_t window = fields.positive("sliding_window", 4096);
    const std::size_t pattern =
        fields.positive("sliding_window_pattern", fields.positive("_sliding_window_pattern", 6));
    const auto sliding = sliding_layers(fields, c.layers, file, [&](std::size_t l) { return (l + 1) % pattern != 0; });
    const json* parameters = fields.find("rope_parameters");
    const bool nested = parameters && parameters->is_object() &&
                        (parameters->contains("full_attention") || parameters->contains("sliding_attention"));
    const auto of = [&](const char* type) -> const json* {
        const auto found = nested ? parameters->find(type) : json::const_iterator();
        return nested && found != parameters->end() && !found->is_null() ? &*found : nullptr;
    };
    const rope_defaults global{fields.positive_number("rope_theta", 1e6), 1, c.context},
        local{fields.positive_number("rope_local_base_freq", 1e4), 1, c.context};
    const json* whole = nested                        ? of("full_attention")
                        : fields.find("rope_scaling") ? fields.find("rope_scaling")
                                                      : parameters;
    c.ropes = {read_rope(fields, whole, "rope_parameters", global, file),
               read_rope(fields, of("sliding_attention"), "rope_parameters", local, file)};
    for (bool slides : sliding) c.kinds.push_back({slides ? window : 0, slides ? 1 : 0});
}
inline void write_gemma3(const decoder_config& c, json& fields) {
    write_common(c, fields);
    write_activation(c, fields, "hidden_activation");
    fields["attention_bias"] = c.qkv_bias;
    const double scalar = 1 / (c.attention_scale * c.attention_scale), whole = std::round(scalar);
    fields["query_pre_attn_scalar"] =
        std::fabs(scalar - whole) < 1e-9 * scalar ? json(static_cast<std::int64_t>(whole)) : json(scalar);
    json types = json::array();
    std::size_t window = 0;
    for (std::size_t l = 0; l < c.layers; ++l) {
        types.push_back(c.kind(l).rope == 1 ? "sliding_attention" : "full_attention");
        window = std::max(window, c.kind(l).window);
    }
    fields["layer_types"] = types;
    if (window > 0) fields["sliding_window"] = window;
    for (const char* key : {"attn_logit_softcapping", "final_logit_softcapping"})
        if (!fields.contains(key)) fields[key] = json();
    if (fields.contains("rope_local_base_freq"))
        fields["rope_theta"] = c.ropes[0].theta, fields["rope_local_base_freq"] = c.ropes[1].theta;
    const bool old =
        fields.contains("rope_theta") || fields.contains("rope_scaling") || fields.contains("rope_local_base_freq");
    if (!fields.contains("rope_parameters") && !old)
        fields["rope_parameters"] = {
            {"full_attention", {{"rope_type", "default"}, {"rope_theta", c.ropes[0].theta}}},
            {"sliding_attention", {{"rope_type", "default"}, {"rope_theta", c.ropes[1].theta}}}};
}
inline family gemma3() {
    auto names = renamed(llama_layer_names(), part::mlp_norm, "pre_feedforward_layernorm.weight");
    names = with(with(std::move(names), part::attn_out_norm, "post_attention_layernorm.weight"), part::mlp_out_norm,
                 "post_feedforward_layernorm.weight");
    return {"gemma3_text",    "Gemma3ForCausalLM", "model.",         "layers.",   "num_hidden_layers",
            std::move(names), llama_outer_names(), "lm_head.weight", read_gemma3, write_gemma3};
}

}  // namespace depthgrow::families
