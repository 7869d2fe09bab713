// What a family of models is on disk: the names of its tensors, how parts lie in them, its config.json in both
// directions. Assumes Hugging Face directories. Nothing outside io/families knows a family's names; a new family is one
// file like these and a line in table.hpp. Layout and names: huggingface/transformers, by model_type.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "depthgrow/io/json.hpp"
#include "depthgrow/nn/description.hpp"

namespace depthgrow {

/// How parts of a model lie in one stored tensor: stacked rows [out, in] as in memory; transposed, [in, out]; or rows
/// that take turns head by head (q, k and v of head 0, of head 1, …).
enum class stored_as { rows, transposed, turns_by_head };

/// A tensor of the files: parts from `first` to `last`, which lie together in memory.
struct stored_parts {
    std::string name;  // within its layer, or behind the base prefix
    part first{}, last{};
    stored_as how = stored_as::rows;
};

struct family {
    std::string model_type, architecture;
    std::string base;         // prefix of all tensors but the head: "model."
    std::string layers;       // behind the base: "layers."
    std::string depth_field;  // of config.json: "num_hidden_layers"
    std::vector<stored_parts> layer, outer;
    std::string head;  // full name of an untied head
    /// config.json -> description; every refusal names file and field.
    void (*read)(const json_fields& fields, std::string_view file, decoder_config& config) = nullptr;
    /// description -> the family's own fields, on top of what `fields` holds already.
    void (*write)(const decoder_config& config, json& fields) = nullptr;

    /// "model.layers.3.mlp.up_proj.weight" of (3, "mlp.up_proj.weight").
    std::string layer_tensor(std::size_t index, std::string_view name) const {
        return text(base, layers, index, ".", name);
    }
};

namespace families {

inline activation read_activation(const json_fields& fields, const char* key, const char* fallback,
                                  std::string_view file) {
    const std::string name = fields.string(key, fallback);
    if (name == "silu" || name == "swish") return activation::silu;
    if (name == "gelu") return activation::gelu;
    if (name == "gelu_new" || name == "gelu_pytorch_tanh" || name == "gelu_fast") return activation::gelu_tanh;
    fail(file, ": expected ", key, " silu, gelu, gelu_new or gelu_pytorch_tanh, found ", detail::quotable(name, 40));
}
inline const char* activation_name(activation act) {
    return act == activation::silu ? "silu" : act == activation::gelu ? "gelu" : "gelu_pytorch_tanh";
}

/// Refuses a field that asks for something that is not computed here.
inline void refuse_if_set(const json_fields& fields, const char* key, std::string_view file) {
    const json* value = fields.find(key);
    require(!value || (value->is_boolean() && !value->get<bool>()), file, ": expected ", key,
            " to be absent, null or false (not supported), found ", describe(value));
}
/// A list with one element a layer, or null when it is absent.
inline const json* layer_list(const json_fields& fields, const char* key, std::size_t layers, std::string_view file) {
    const json* list = fields.find(key);
    if (!list) return nullptr;
    require(list->is_array() && list->size() == layers, file, ": expected ", key, " to be a list of ", layers,
            " elements (one a layer), found ", list->is_array() ? text("one of ", list->size()) : describe(list));
    return list;
}
/// Which layers have sliding windows, by layer_types; `fallback(layer)` says so where the file has no such list.
template <class Fallback>
std::vector<bool> sliding_layers(const json_fields& fields, std::size_t layers, std::string_view file,
                                 const Fallback& fallback) {
    std::vector<bool> out;
    const json* types = layer_list(fields, "layer_types", layers, file);
    for (std::size_t l = 0; l < layers; ++l) {
        if (!types) {
            out.push_back(fallback(l));
            continue;
        }
        const json& type = (*types)[l];
        require(type == "sliding_attention" || type == "full_attention", file,
                ": expected layer_types of sliding_attention or full_attention, found ", describe(&type));
        out.push_back(type == "sliding_attention");
    }
    return out;
}
/// A window of attention; 0 when the field is absent or null.
inline std::size_t read_window(const json_fields& fields, const char* key) {
    return fields.find(key) ? fields.positive(key) : 0;
}
/// Refuses a depth for which no list with one element a layer is made.
inline void check_depth(const decoder_config& c, const char* key, std::string_view file) {
    require(c.layers <= 65536, file, ": expected ", key, " of at most 65536, found ", c.layers);
}
/// Windows into the description; nothing when every layer is like every other and plain.
inline void set_kinds(decoder_config& c, std::vector<layer_kind> kinds) {
    const bool plain =
        std::all_of(kinds.begin(), kinds.end(), [](const layer_kind& kind) { return kind == layer_kind{}; });
    if (!plain) c.kinds = std::move(kinds);
}
/// layer_types of the description, where the file has such a list or some layer has a window.
inline void write_layer_types(const decoder_config& c, json& fields, bool always) {
    const bool windows =
        std::any_of(c.kinds.begin(), c.kinds.end(), [](const layer_kind& kind) { return kind.window > 0; });
    if (!always && !windows && !fields.contains("layer_types")) return;
    json types = json::array();
    for (std::size_t l = 0; l < c.layers; ++l)
        types.push_back(c.kind(l).window > 0 ? "sliding_attention" : "full_attention");
    fields["layer_types"] = types;
}

/// Extents under the names that all but GPT-2 use.
inline void read_extents(const json_fields& fields, decoder_config& c, std::size_t context) {
    c.vocab = fields.positive("vocab_size");
    c.width = fields.positive("hidden_size");
    c.ffn = fields.positive("intermediate_size");
    c.layers = fields.positive("num_hidden_layers");
    c.heads = fields.positive("num_attention_heads");
    c.context = fields.positive("max_position_embeddings", context);
}
inline void write_extents(const decoder_config& c, json& fields) {
    fields["vocab_size"] = c.vocab;
    fields["hidden_size"] = c.width;
    fields["intermediate_size"] = c.ffn;
    fields["num_hidden_layers"] = c.layers;
    fields["num_attention_heads"] = c.heads;
    fields["max_position_embeddings"] = c.context;
    fields["tie_word_embeddings"] = c.tied;
}
/// What a family assumes where its file says nothing.
struct common_defaults {
    std::size_t context = 2048;
    bool tied = false;
    double eps = 1e-6;
    std::size_t kv_heads = 0;  // 0: as many as heads
};
/// Extents and choices of Llama's relatives.
inline void read_common(const json_fields& fields, std::string_view file, decoder_config& c,
                        const common_defaults& defaults) {
    read_extents(fields, c, defaults.context);
    c.kv_heads = fields.positive("num_key_value_heads", defaults.kv_heads > 0 ? defaults.kv_heads : c.heads);
    require(c.heads % c.kv_heads == 0, file, ": expected num_key_value_heads to divide num_attention_heads ", c.heads,
            ", found ", c.kv_heads);
    c.norm_eps = fields.positive_number("rms_norm_eps", defaults.eps);
    c.tied = fields.boolean("tie_word_embeddings", defaults.tied);
    c.act = read_activation(fields, "hidden_act", "silu", file);
    c.qkv_bias = c.o_bias = fields.boolean("attention_bias", false);
}
/// head_dim; `fallback` 0: hidden_size / num_attention_heads.
inline void read_head_width(const json_fields& fields, std::string_view file, decoder_config& c,
                            std::size_t fallback = 0) {
    const bool divides = c.width % c.heads == 0;
    require(fallback > 0 || fields.find("head_dim") || divides, file,
            ": expected num_attention_heads to divide hidden_size ", c.width, " where head_dim is absent, found ",
            c.heads);
    const std::size_t width = fields.positive("head_dim", fallback > 0 ? fallback : c.width / c.heads);
    require(width <= 4096, file, ": expected head_dim of at most 4096, found ", width);
    c.head_size = divides && width == c.width / c.heads ? 0 : width;
}
/// The activation under `key`, in the file's own word where that means the same.
inline void write_activation(const decoder_config& c, json& fields, const char* key) {
    const json held = fields.contains(key) ? fields[key] : json();
    const bool tanh = held == "gelu_new" || held == "gelu_pytorch_tanh" || held == "gelu_fast",
               silu = held == "silu" || held == "swish";
    if ((c.act == activation::gelu_tanh && tanh) || (c.act == activation::silu && silu)) return;
    fields[key] = activation_name(c.act);
}

inline void write_common(const decoder_config& c, json& fields) {
    write_extents(c, fields);
    fields["num_key_value_heads"] = c.kv_heads;
    fields["head_dim"] = c.head_width();
    fields["rms_norm_eps"] = c.norm_eps;
}

/// Llama's names, which most families share; parts that a model lacks are not looked for.
inline std::vector<stored_parts> llama_layer_names() {
    const auto one = [](const char* name, part which) { return stored_parts{name, which, which, stored_as::rows}; };
    return {one("input_layernorm.weight", part::input_norm), one("self_attn.q_proj.weight", part::q),
            one("self_attn.k_proj.weight", part::k),         one("self_attn.v_proj.weight", part::v),
            one("self_attn.q_proj.bias", part::q_bias),      one("self_attn.k_proj.bias", part::k_bias),
            one("self_attn.v_proj.bias", part::v_bias),      one("self_attn.q_norm.weight", part::q_norm),
            one("self_attn.k_norm.weight", part::k_norm),    one("self_attn.o_proj.weight", part::o),
            one("self_attn.o_proj.bias", part::o_bias),      one("post_attention_layernorm.weight", part::mlp_norm),
            one("mlp.gate_proj.weight", part::gate),         one("mlp.up_proj.weight", part::up),
            one("mlp.gate_proj.bias", part::gate_bias),      one("mlp.up_proj.bias", part::up_bias),
            one("mlp.down_proj.weight", part::down),         one("mlp.down_proj.bias", part::down_bias)};
}
/// The same with one part under another name, and more parts behind.
inline std::vector<stored_parts> renamed(std::vector<stored_parts> names, part which, const char* name) {
    for (auto& stored : names)
        if (stored.first == which) stored.name = name;
    return names;
}
inline std::vector<stored_parts> with(std::vector<stored_parts> names, part which, const char* name) {
    names.push_back({name, which, which, stored_as::rows});
    return names;
}
inline std::vector<stored_parts> llama_outer_names() {
    return {{"embed_tokens.weight", part::embedding, part::embedding, stored_as::rows},
            {"norm.weight", part::final_norm, part::final_norm, stored_as::rows}};
}

}  // namespace families
}  // namespace depthgrow
