// Qwen 2 (also 2.5) and Qwen 3: model_type qwen2 and qwen3, dense models.
// Assumes Llama's block; Qwen 2 has biases of queries, keys and values, Qwen 3 norms of each query and key head.
// Source: huggingface/transformers, models/qwen2 and models/qwen3.
#pragma once

#include "depthgrow/io/families/rope_fields.hpp"

namespace depthgrow::families {

inline void read_qwen(const json_fields& fields, std::string_view file, decoder_config& c) {
    read_common(fields, file, c, {.context = 32768, .kv_heads = 32});
    check_depth(c, "num_hidden_layers", file);
    c.ropes = {read_rope(fields, {1e4, 1, c.context}, file)};
    const bool windows = fields.boolean("use_sliding_window", false);
    const std::size_t window = windows ? fields.positive("sliding_window", 4096) : 0;
    const auto full = fields.count("max_window_layers", 28);
    const auto sliding = sliding_layers(fields, c.layers, file, [&](std::size_t l) { return window > 0 && l >= full; });
    std::vector<layer_kind> kinds;
    for (bool slides : sliding) kinds.push_back({slides ? window : 0, 0});
    set_kinds(c, kinds);
}
inline void write_qwen(const decoder_config& c, json& fields) {
    write_llama_like(c, fields);
    write_layer_types(c, fields, false);
}
inline void read_qwen2(const json_fields& fields, std::string_view file, decoder_config& c) {
    read_qwen(fields, file, c);
    read_head_width(fields, file, c);
    c.qkv_bias = true, c.o_bias = false;
}
inline void read_qwen3(const json_fields& fields, std::string_view file, decoder_config& c) {
    read_qwen(fields, file, c);
    read_head_width(fields, file, c, 128);
    c.qk_norm = query_key_norm::head;
}
inline void write_qwen3(const decoder_config& c, json& fields) {
    write_qwen(c, fields);
    fields["attention_bias"] = c.qkv_bias;
}
inline family qwen2() {
    return {"qwen2",
            "Qwen2ForCausalLM",
            "model.",
            "layers.",
            "num_hidden_layers",
            llama_layer_names(),
            llama_outer_names(),
            "lm_head.weight",
            read_qwen2,
            write_qwen};
}
inline family qwen3() {
    return {"qwen3",
            "Qwen3ForCausalLM",
            "model.",
            "layers.",
            "num_hidden_layers",
            llama_layer_names(),
            llama_outer_names(),
            "lm_head.weight",
            read_qwen3,
            write_qwen3};
}

}  // namespace depthgrow::families
