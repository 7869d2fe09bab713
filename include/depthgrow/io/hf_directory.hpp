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
    try {
        c.validate();
    } catch (const error& problem) {
        std::string_view sentence = problem.what();
        if (const auto bracket = sentence.find("] "); bracket != sentence.npos) sentence.remove_prefix(bracket + 2);
        fail(file, ": ", sentence);
    }
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
    explicit checkpoint_reader(std::filesystem::path directory, bool unfinished = false) : directory_(std::move(directory)) {
        std::error_code ignored;
        const auto name = (directory_.has_filename() ? directory_ : directory_.parent_path()).filename().string();
        require(unfinished || name.rfind(".tmp-", 0) != 0, directory_.string(), ": expected a finished model directory, found one that is being written or was left half written");
        require(std::filesystem::is_directory(directory_, ignored), directory_.string(), ": expected a model directory, found ",
                std::filesystem::exists(directory_, ignored) ? "a file" : "nothing of that name");
        config_ = read_hf_config(directory_ / "config.json");
        const auto single = directory_ / "model.safetensors", index = directory_ / "model.safetensors.index.json";
        if (std::filesystem::exists(single, ignored)) open_single(single);
        else if (std::filesystem::exists(index, ignored)) open_shards(index);
        else fail(directory_.string(), ": expected model.safetensors or model.safetensors.index.json, found neither");
        check_against_config();
    }

    const std::filesystem::path& directory() const { return directory_; }
    const decoder_config& config() const { return config_.model; }
    /// All fields of config.json, for rewriting.
    const json& config_fields() const { return config_.fields; }
    /// The open files, shards in the order of their names.
    const std::vector<safetensors_file>& files() const { return files_; }
    bool sharded() const { return sharded_; }

    bool contains(const std::string& name) const { return where_.count(name) > 0; }
    /// A tensor's name in these files: they may lack the family's base prefix ("model.").
    std::string stored_name(const std::string& name) const {
        const std::string& base = family_of(config_.model).base;
        if (contains(name) || name.rfind(base, 0) != 0) return name;
        std::string bare = name.substr(base.size());
        return contains(bare) ? bare : name;
    }
    /// The file that holds a tensor.
    const safetensors_file& file_of(const std::string& name) const {
        const auto found = where_.find(name);
        require(found != where_.end(), directory_.string(), ": expected a tensor ", detail::quotable(name), ", found none of that name");
        return files_[found->second];
    }
    const tensor_info& find(const std::string& name) const { return file_of(name).find(name); }
    /// Reads a tensor as float or double.
    template <class T>
    void read(const std::string& name, T* out, std::size_t count) const {
        const std::string stored = stored_name(name);
        file_of(stored).read(stored, out, count);
    }
    /// Names of all tensors, also those the configuration does not ask for.
    std::vector<std::string> names() const {
        std::vector<std::string> out;
        for (const auto& [name, file] : where_) out.push_back(name);
        return out;
    }

private:
    void open_single(const std::filesystem::path& path) {
        files_.emplace_back(path);
        for (const std::string& name : files_.back().names()) where_[name] = 0;
    }

    void open_shards(const std::filesystem::path& index) {
        sharded_ = true;
        const std::string label = index.string();
        const json document = read_json_file(index);
        const json& map = json_fields(document, label).object("weight_map");
        std::map<std::string, std::size_t> opened;
        for (const auto& [name, value] : map.items()) {
            require(value.is_string(), label, ": expected weight_map to hold file names, found ", describe(&value));
            const auto& shard = value.get_ref<const std::string&>();
            require(!shard.empty() && shard[0] != '.' && shard.find_first_of(std::string_view("/\\\0", 3)) == shard.npos, label,
                    ": expected file names inside the directory, found ", describe(&value));
            opened.emplace(shard, 0);
        }
        for (auto& [shard, position] : opened) {
            require(std::filesystem::exists(directory_ / shard), label, ": expected the shard ", detail::quotable(shard), " beside it, found nothing of that name");
            position = files_.size();
            files_.emplace_back(directory_ / shard);
        }
        for (const auto& [name, value] : map.items()) {
            const std::size_t position = opened.at(value.get_ref<const std::string&>());
            require(files_[position].contains(name), files_[position].path().string(), ": expected tensor ", detail::quotable(name),
                    " (so says the index), found none of that name");
            where_[name] = position;
        }
    }

    void check_against_config() const {
        const decoder_config& c = config_.model;
        const family& own = family_of(c);
        for (const auto& [name, file] : where_) {
            std::size_t layer = 0;
            std::string rest;
            require(!split_layer_name(own, name, layer, rest) || layer < c.layers, directory_.string(), ": expected ", c.layers,
                    " layers (", own.depth_field, "), found a tensor ", detail::quotable(name));
        }
        require(c.layers <= where_.size(), directory_.string(), ": expected ", c.layers, " layers (", own.depth_field, "), found ", where_.size(), " tensors in all");
        for (const auto& tensor : model_tensors(c)) {
            const std::string name = stored_name(tensor.name);
            const tensor_info& info = find(name);
            const std::string file = file_of(name).path().string();
            require(info.shape == tensor.shape(), file, ": expected tensor ", name, " of shape ", shape_text(tensor.shape()), ", found ", shape_text(info.shape));
            require(info.number_type().has_value(), file, ": expected tensor ", name, " to hold floating-point numbers, found ", info.type_name);
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
        require(same, directory_.string(), ": expected ", head_name, " to equal the embedding (tie_word_embeddings is true), found other values");
    }

    std::filesystem::path directory_;
    hf_config config_;
    bool sharded_ = false;
    std::vector<safetensors_file> files_;
    std::map<std::string, std::size_t> where_;
};

}  // namespace depthgrow
