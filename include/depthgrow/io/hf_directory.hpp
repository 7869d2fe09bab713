// A model as a Hugging Face directory: config.json, one or several safetensors files, the names of the tensors.
// Assumes LlamaForCausalLM without biases; anything that the library would compute differently is refused by its field.
// Layout and names: huggingface/transformers, model type llama. Extra keys of ours: norm_placement, post_layers.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/io/json.hpp"
#include "depthgrow/io/safetensors.hpp"
#include "depthgrow/io/weight_files.hpp"
#include "depthgrow/nn/description.hpp"

namespace depthgrow {

/// A tensor that a model of some configuration must have.
struct expected_tensor {
    std::string name;
    std::vector<std::size_t> shape;
};

inline constexpr const char* embedding_tensor_name = "model.embed_tokens.weight";
inline constexpr const char* final_norm_tensor_name = "model.norm.weight";
inline constexpr const char* head_tensor_name = "lm_head.weight";

/// The parts of one layer, in the order in which they are applied.
inline const std::vector<std::string>& layer_parts() {
    static const std::vector<std::string> parts = {
        "input_layernorm.weight", "self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight", "self_attn.o_proj.weight",
        "post_attention_layernorm.weight", "mlp.gate_proj.weight", "mlp.up_proj.weight", "mlp.down_proj.weight"};
    return parts;
}

/// "model.layers.3.mlp.up_proj.weight" of (3, "mlp.up_proj.weight").
inline std::string layer_tensor_name(std::size_t layer, std::string_view part) { return text("model.layers.", layer, ".", part); }

/// Splits "model.layers.3.mlp.up_proj.weight" into 3 and "mlp.up_proj.weight"; false for names outside the layers.
inline bool split_layer_name(std::string_view name, std::size_t& layer, std::string& part) {
    constexpr std::string_view prefix = "model.layers.";
    if (name.substr(0, prefix.size()) != prefix) return false;
    name.remove_prefix(prefix.size());
    const auto dot = name.find('.');
    if (dot == name.npos || dot == 0 || dot > 9 || name.substr(0, dot).find_first_not_of("0123456789") != name.npos) return false;
    layer = static_cast<std::size_t>(std::stoul(std::string(name.substr(0, dot))));
    part = std::string(name.substr(dot + 1));
    return true;
}

/// Every tensor of a model with its shape, [out, in], in the order embedding, layers by number, final norm, head.
inline std::vector<expected_tensor> expected_tensors(const decoder_config& c) {
    const std::size_t kv = c.kv_width();
    const std::vector<std::vector<std::size_t>> shapes = {{c.width},          {c.width, c.width}, {kv, c.width},    {kv, c.width},   {c.width, c.width},
                                                          {c.width},          {c.ffn, c.width},   {c.ffn, c.width}, {c.width, c.ffn}};
    std::vector<expected_tensor> out = {{embedding_tensor_name, {c.vocab, c.width}}};
    for (std::size_t layer = 0; layer < c.layers; ++layer)
        for (std::size_t i = 0; i < shapes.size(); ++i) out.push_back({layer_tensor_name(layer, layer_parts()[i]), shapes[i]});
    out.push_back({final_norm_tensor_name, {c.width}});
    if (!c.tied) out.push_back({head_tensor_name, {c.vocab, c.width}});
    return out;
}

/// A configuration with every other field of its file, kept for rewriting.
struct hf_config {
    decoder_config model;
    json fields = json::object();
};

namespace detail {

inline double read_rope_theta(const json_fields& fields, std::string_view file) {
    for (const char* key : {"rope_scaling", "rope_parameters"}) {
        if (!fields.find(key)) continue;
        const json_fields rope(fields.object(key), file);
        const std::string kind = rope.string("rope_type", rope.string("type", "default"));
        require(kind == "default", file, ": expected plain RoPE, found ", key, " of type ", quotable(kind, 40));
        const double share = rope.number("partial_rotary_factor", 1);
        require(share == 1, file, ": expected partial_rotary_factor to be 1 (the whole head turns), found ", share);
    }
    const json* nested = fields.find("rope_parameters");
    const double fallback = nested ? json_fields(*nested, file).positive_number("rope_theta", 1e4) : 1e4;
    return fields.positive_number("rope_theta", fallback);
}

inline void refuse_other_models(const json_fields& fields, std::string_view file) {
    const std::string kind = fields.string("model_type");
    require(kind == "llama", file, ": expected model_type llama, found ", quotable(kind, 40));
    if (const json* list = fields.find("architectures"))
        require(list->is_array() && std::find(list->begin(), list->end(), json("LlamaForCausalLM")) != list->end(), file,
                ": expected architectures to name LlamaForCausalLM, found ", describe(list));
    const std::string activation = fields.string("hidden_act", "silu");
    require(activation == "silu", file, ": expected hidden_act silu, found ", quotable(activation, 40));
    for (const char* key : {"attention_bias", "mlp_bias"})
        require(!fields.boolean(key, false), file, ": expected ", key, " to be false (biases are not supported), found true");
    require(!fields.find("quantization_config"), file, ": expected plain weights, found quantization_config");
}

}  // namespace detail

/// Reads a configuration; absent fields take the defaults of transformers. `file` names it in errors.
inline hf_config parse_hf_config(const json& value, std::string_view file) {
    const json_fields fields(value, file);
    detail::refuse_other_models(fields, file);
    decoder_config c;
    c.vocab = fields.positive("vocab_size");
    c.width = fields.positive("hidden_size");
    c.ffn = fields.positive("intermediate_size");
    c.layers = fields.positive("num_hidden_layers");
    c.heads = fields.positive("num_attention_heads");
    c.kv_heads = fields.positive("num_key_value_heads", c.heads);
    c.context = fields.positive("max_position_embeddings", 2048);
    c.rms_eps = fields.positive_number("rms_norm_eps", 1e-6);
    c.rope_theta = detail::read_rope_theta(fields, file);
    c.tied = fields.boolean("tie_word_embeddings", false);
    const std::string norms = fields.string("norm_placement", "pre");
    bool known = false;
    for (norm_placement placement : {norm_placement::pre, norm_placement::ln_scaling, norm_placement::mix})
        if (norms == name_of(placement)) c.norms = placement, known = true;
    require(known, file, ": expected norm_placement pre, ln_scaling or mix, found ", detail::quotable(norms, 40));
    if (c.norms == norm_placement::mix) c.post_layers = static_cast<std::size_t>(fields.count("post_layers"));
    try {
        c.validate();
    } catch (const error& problem) {
        std::string_view sentence = problem.what();
        if (const auto bracket = sentence.find("] "); bracket != sentence.npos) sentence.remove_prefix(bracket + 2);
        fail(file, ": ", sentence);
    }
    require(fields.positive("head_dim", c.head_width()) == c.head_width(), file, ": expected head_dim to be hidden_size / num_attention_heads = ",
            c.head_width(), ", found ", fields.positive("head_dim", c.head_width()));
    return {c, value};
}

/// The fields of config.json for a model; `base` keeps what it holds beyond the model's own fields.
inline json hf_config_fields(const decoder_config& c, json base = json::object(), dtype stored = dtype::f32) {
    const json defaults = {{"attention_bias", false}, {"mlp_bias", false}, {"bos_token_id", 0}, {"eos_token_id", 0}, {"initializer_range", 0.02}, {"use_cache", true}};
    for (const auto& [key, value] : defaults.items())
        if (!base.contains(key)) base[key] = value;
    base["architectures"] = {"LlamaForCausalLM"};
    base["model_type"] = "llama";
    base["hidden_act"] = "silu";
    base["vocab_size"] = c.vocab;
    base["hidden_size"] = c.width;
    base["intermediate_size"] = c.ffn;
    base["num_hidden_layers"] = c.layers;
    base["num_attention_heads"] = c.heads;
    base["num_key_value_heads"] = c.kv_heads;
    base["head_dim"] = c.head_width();
    base["max_position_embeddings"] = c.context;
    base["rms_norm_eps"] = c.rms_eps;
    base["rope_theta"] = c.rope_theta;
    if (base.contains("rope_parameters") && base["rope_parameters"].is_object()) base["rope_parameters"]["rope_theta"] = c.rope_theta;
    base["tie_word_embeddings"] = c.tied;
    base["torch_dtype"] = stored == dtype::f64 ? "float64" : stored == dtype::f32 ? "float32" : stored == dtype::bf16 ? "bfloat16" : "float16";
    base.erase("dtype");  // the newer name of torch_dtype: one of the two only
    base.erase("norm_placement");
    base.erase("post_layers");
    if (c.norms != norm_placement::pre) base["norm_placement"] = std::string(name_of(c.norms));
    if (c.norms == norm_placement::mix) base["post_layers"] = c.post_layers;
    return base;
}

/// Reads a `config.json`.
inline hf_config read_hf_config(const std::filesystem::path& file) { return parse_hf_config(read_json_file(file), file.string()); }

/// Writes a `config.json`, whole or not at all.
inline void write_hf_config(const std::filesystem::path& file, const decoder_config& model, const json& base = json::object(), dtype stored = dtype::f32) {
    write_file(file, json_text(hf_config_fields(model, base, stored), 2));
}

/// The weights of a directory, in one file or in shards, checked against its configuration.
class checkpoint_reader {
public:
    /// Throws a sentence on what does not hold together. A directory that atomic_directory still writes is refused by its
    /// name, unless its writer asks (`unfinished`).
    explicit checkpoint_reader(const std::filesystem::path& directory, bool unfinished = false)
        : config_(read_config(directory, unfinished)), weights_(directory) {
        check_against_config();
    }

    const std::filesystem::path& directory() const { return weights_.directory(); }
    const decoder_config& config() const { return config_.model; }
    /// All fields of config.json, for rewriting.
    const json& config_fields() const { return config_.fields; }
    const weight_files& weights() const { return weights_; }
    /// The open files, shards in the order of their names.
    const std::vector<safetensors_file>& files() const { return weights_.files(); }
    bool sharded() const { return weights_.sharded(); }

    bool contains(const std::string& name) const { return weights_.contains(name); }
    /// The file that holds a tensor.
    const safetensors_file& file_of(const std::string& name) const { return weights_.file_of(name); }
    const tensor_info& find(const std::string& name) const { return weights_.find(name); }
    /// Reads a tensor as float or double.
    template <class T>
    void read(const std::string& name, T* out, std::size_t count) const {
        file_of(name).read(name, out, count);
    }
    /// Names of all tensors, also those the configuration does not ask for.
    std::vector<std::string> names() const { return weights_.names(); }

private:
    static hf_config read_config(const std::filesystem::path& directory, bool unfinished) {
        require_model_directory(directory, unfinished);
        return read_hf_config(directory / "config.json");
    }

    void check_against_config() const {
        const decoder_config& c = config_.model;
        for (const auto& name : names()) {
            std::size_t layer = 0;
            std::string part;
            require(!split_layer_name(name, layer, part) || layer < c.layers, directory().string(), ": expected ", c.layers,
                    " layers (num_hidden_layers), found a tensor ", detail::quotable(name));
        }
        require(c.layers <= weights_.size(), directory().string(), ": expected ", c.layers, " layers (num_hidden_layers), found ", weights_.size(), " tensors in all");
        for (const auto& [name, shape] : expected_tensors(c)) {
            const tensor_info& info = find(name);
            const std::string file = file_of(name).path().string();
            require(info.shape == shape, file, ": expected tensor ", name, " of shape ", shape_text(shape), ", found ", shape_text(info.shape));
            require(info.number_type().has_value(), file, ": expected tensor ", name, " to hold floating-point numbers, found ", info.type_name);
        }
        if (c.tied && contains(head_tensor_name)) check_tied_head();
    }

    void check_tied_head() const {
        const tensor_info &head = find(head_tensor_name), &embedding = find(embedding_tensor_name);
        bool same = head.type_name == embedding.type_name && head.bytes() == embedding.bytes();
        std::vector<char> a(1 << 16), b(1 << 16);
        for (std::size_t first = 0; same && first < head.bytes(); first += a.size()) {
            const std::size_t count = std::min(a.size(), head.bytes() - first);
            file_of(head_tensor_name).read_bytes(head_tensor_name, a.data(), count, first);
            file_of(embedding_tensor_name).read_bytes(embedding_tensor_name, b.data(), count, first);
            same = std::equal(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(count), b.begin());
        }
        require(same, directory().string(), ": expected lm_head.weight to equal the embedding (tie_word_embeddings is true), found other values");
    }

    hf_config config_;
    weight_files weights_;
};

}  // namespace depthgrow
