// A model as a Hugging Face directory: config.json and one or several safetensors files.
// Assumes a family that io/families knows; anything that the library would compute differently is refused by its field.
// Layout: huggingface/transformers. Extra keys of ours: norm_placement, post_layers.
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
#include "depthgrow/io/families/table.hpp"
#include "depthgrow/io/json.hpp"
#include "depthgrow/io/safetensors.hpp"
#include "depthgrow/io/weight_files.hpp"

namespace depthgrow {

/// A configuration with every other field of its file, kept for rewriting.
struct hf_config {
    decoder_config model;
    json fields = json::object();
};

/// Reads a configuration; absent fields take the defaults of transformers. `file` names it in errors.
inline hf_config parse_hf_config(const json& value, std::string_view file) {
    const json_fields fields(value, file);
    const std::string kind = fields.string("model_type");
    const family* own = find_family(kind);
    require(own != nullptr, file, ": expected model_type ", family_names(), ", found ", detail::quotable(kind, 40));
    if (const json* list = fields.find("architectures"))
        require(list->is_array() && std::find(list->begin(), list->end(), json(own->architecture)) != list->end(), file,
                ": expected architectures to name ", own->architecture, ", found ", describe(list));
    require(!fields.find("quantization_config"), file, ": expected plain weights, found quantization_config");
    decoder_config c;
    c.family = kind;
    own->read(fields, file, c);
    const std::string norms = fields.string("norm_placement", "pre");
    bool known = false;
    for (norm_placement placement : {norm_placement::pre, norm_placement::ln_scaling, norm_placement::mix})
        if (norms == name_of(placement)) c.norms = placement, known = true;
    require(known, file, ": expected norm_placement pre, ln_scaling or mix, found ", detail::quotable(norms, 40));
    if (c.norms == norm_placement::mix) c.post_layers = static_cast<std::size_t>(fields.count("post_layers"));
    told_of(file, [&] { c.validate(); });
    return {c, value};
}

/// The fields of config.json for a model; `base` keeps what it holds beyond the model's own fields.
inline json hf_config_fields(const decoder_config& c, json base = json::object(), dtype stored = dtype::f32) {
    const json defaults = {{"bos_token_id", 0}, {"eos_token_id", 0}, {"initializer_range", 0.02}, {"use_cache", true}};
    for (const auto& [key, value] : defaults.items())
        if (!base.contains(key)) base[key] = value;
    const family& own = family_of(c);
    base["architectures"] = {own.architecture};
    base["model_type"] = own.model_type;
    own.write(c, base);
    base["torch_dtype"] = stored == dtype::f64    ? "float64"
                          : stored == dtype::f32  ? "float32"
                          : stored == dtype::bf16 ? "bfloat16"
                                                  : "float16";
    base.erase("dtype");  // the newer name of torch_dtype: one of the two only
    base.erase("norm_placement");
    base.erase("post_layers");
    if (c.norms != norm_placement::pre) base["norm_placement"] = std::string(name_of(c.norms));
    if (c.norms == norm_placement::mix) base["post_layers"] = c.post_layers;
    return base;
}

/// Reads a `config.json`.
inline hf_config read_hf_config(const std::filesystem::path& file) {
    return parse_hf_config(read_json_file(file), file.string());
}

/// Writes a `config.json`, whole or not at all.
inline void write_hf_config(const std::filesystem::path& file, const decoder_config& model,
                            const json& base = json::object(), dtype stored = dtype::f32) {
    write_file(file, json_text(hf_config_fields(model, base, stored), 2));
}

/// The weights of a directory, in one file or in shards, checked against its configuration.
class checkpoint_reader {
public:
    /// Throws a sentence on what does not hold together. A directory that atomic_directory still writes is refused by
    /// its name, unless its writer asks (`unfinished`).
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
    /// A tensor's name in these files: they may lack the family's base prefix ("model.").
    std::string stored_name(const std::string& name) const {
        const std::string& base = family_of(config_.model).base;
        if (contains(name) || name.rfind(base, 0) != 0) return name;
        std::string bare = name.substr(base.size());
        return contains(bare) ? bare : name;
    }
    /// The file that holds a tensor.
    const safetensors_file& file_of(const std::string& name) const { return weights_.file_of(name); }
    const tensor_info& find(const std::string& name) const { return weights_.find(name); }
    /// Reads a tensor as float or double.
    template <class T> void read(const std::string& name, T* out, std::size_t count) const {
        const std::string stored = stored_name(name);
        file_of(stored).read(stored, out, count);
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
        const family& own = family_of(c);
        for (const auto& name : names()) {
            std::size_t layer = 0;
            std::string rest;
            require(!split_layer_name(own, name, layer, rest) || layer < c.layers, directory().string(), ": expected ",
                    c.layers, " layers (", own.depth_field, "), found a tensor ", detail::quotable(name));
        }
        require(c.layers <= weights_.size(), directory().string(), ": expected ", c.layers, " layers (",
                own.depth_field, "), found ", weights_.size(), " tensors in all");
        for (const auto& tensor : model_tensors(c)) {
            const std::string name = stored_name(tensor.name);
            const tensor_info& info = find(name);
            const std::string file = file_of(name).path().string();
            require(info.shape == tensor.shape(), file, ": expected tensor ", name, " of shape ",
                    shape_text(tensor.shape()), ", found ", shape_text(info.shape));
            require(info.number_type().has_value(), file, ": expected tensor ", name,
                    " to hold floating-point numbers, found ", info.type_name);
        }
        if (c.tied && contains(own.head)) check_tied_head(own.head, stored_name(own.base + own.outer.front().name));
    }

    void check_tied_head(const std::string& head_name, const std::string& embedding_name) const {
        const tensor_info &head = find(head_name), &embedding = find(embedding_name);
        bool same = head.type_name == embedding.type_name && head.bytes() == embedding.bytes();
        std::vector<char> a(1 << 16), b(1 << 16);
        for (std::size_t first = 0; same && first < head.bytes(); first += a.size()) {
            const std::size_t count = std::min(a.size(), head.bytes() - first);
            file_of(head_name).read_bytes(head_name, a.data(), count, first);
            file_of(embedding_name).read_bytes(embedding_name, b.data(), count, first);
            same = std::equal(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(count), b.begin());
        }
        require(same, directory().string(), ": expected ", head_name,
                " to equal the embedding (tie_word_embeddings is true), found other values");
    }

    hf_config config_;
    weight_files weights_;
};

}  // namespace depthgrow
