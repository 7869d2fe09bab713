// A model directory as growth sees it: weights, the raw config.json, and which tensors are layers.
// Assumes nothing of the model beyond PREFIX.N.REST names and a depth field; where the library reads the configuration
// it also holds the description, checked. What is not understood is kept as sentences. Layout: transformers.
#pragma once

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "depthgrow/growth/mixture.hpp"
#include "depthgrow/io/hf_directory.hpp"
#include "depthgrow/io/layer_stack.hpp"
#include "depthgrow/io/weight_files.hpp"

namespace depthgrow {

/// Fields of config.json that may hold the depth.
inline constexpr std::string_view depth_fields[] = {"num_hidden_layers", "n_layer", "num_layers", "n_layers"};

/// Fields that are lists with one element a layer, in one family or another: they follow the order.
inline constexpr std::string_view layer_list_fields[] = {
    "layer_types",       "no_rope_layers",        "attention_layers",    "layers_block_type",
    "mlp_layer_types",   "attn_type_list",        "layer_type_list",     "activation_sparsity_pattern",
    "num_query_heads",   "num_kv_heads",          "num_attention_heads", "num_key_value_heads",
    "intermediate_size", "ffn_multipliers",       "block_configs",       "sliding_windows",
    "sliding_window",    "sliding_window_layers", "window_sizes",        "rope_layers"};

/// Fields by which a family derives what a layer is from its number, with the list that overrules each ("": none).
inline constexpr std::string_view slot_fields[][2] = {{"sliding_window_pattern", "layer_types"},
                                                      {"_sliding_window_pattern", "layer_types"},
                                                      {"max_window_layers", "layer_types"},
                                                      {"full_attention_interval", "layer_types"},
                                                      {"global_attn_every_n_layers", "layer_types"},
                                                      {"no_rope_layer_interval", "no_rope_layers"},
                                                      {"attention_types", "attention_layers"},
                                                      {"first_k_dense_replace", ""},
                                                      {"decoder_sparse_step", ""},
                                                      {"mlp_only_layers", ""},
                                                      {"scale_attn_by_inverse_layer_idx", ""},
                                                      {"hybrid_override_pattern", ""}};

class model_directory {
public:
    /// `layers_prefix` chooses among several stacks of layers.
    explicit model_directory(const std::filesystem::path& directory, const std::string& layers_prefix = "") {
        require_model_directory(directory);
        const auto file = directory / "config.json";
        const std::string label = file.string();
        config_ = read_json_file(file);
        const json_fields fields(config_, label);
        std::optional<decoder_config> described;
        try {
            described = parse_hf_config(config_, label).model;
        } catch (const error& problem) { unknown_ = problem.what(); }
        if (described) {
            checked_.emplace(directory);
            stack_ = {family_prefix(*described, checked_->weights()), described->layers, ""};
            require(layers_prefix.empty() || layers_prefix == stack_.prefix || layers_prefix + "." == stack_.prefix,
                    "--layers-prefix: expected ", stack_.prefix, ", where the layers of ", label, " are, got ",
                    layers_prefix);
        } else {
            weights_.emplace(directory);
            stack_ = choose_stack(weights_->names(), find_depth(fields, label), layers_prefix, directory.string());
        }
    }

    const std::filesystem::path& directory() const { return weights().directory(); }
    const weight_files& weights() const { return checked_ ? checked_->weights() : *weights_; }
    const json& config() const { return config_; }
    const layer_stack& stack() const { return stack_; }
    std::size_t layers() const { return stack_.layers; }
    /// The description of a family whose graph the library knows, or nullptr.
    const decoder_config* described() const { return checked_ ? &checked_->config() : nullptr; }
    /// Why there is no description: the sentence of the configuration's refusal.
    const std::string& why_unknown() const { return unknown_; }
    /// "gpt2", for sentences.
    std::string model_type() const {
        const auto found = config_.find("model_type");
        const bool named = found != config_.end() && found->is_string();
        return named ? detail::quotable(found->get<std::string>(), 40) : "(none)";
    }

    /// Lists of config.json with one element a layer.
    std::vector<std::string> layer_lists() const {
        std::vector<std::string> lists;
        for (std::string_view name : layer_list_fields)
            if (is_layer_list(std::string(name))) lists.emplace_back(name);
        return lists;
    }

    /// What growth does not understand of config.json and leaves as it is, one sentence each.
    std::vector<std::string> notes() const {
        std::vector<std::string> out;
        if (!described())
            out.push_back(text(unknown_, "; grown by its tensors alone, layers are ", stack_.prefix, "N"));
        for (const layer_stack& other : find_stacks(weights().names()))
            if (layers() > 1 && other.prefix != stack_.prefix && other.fault.empty() && other.layers == layers())
                out.push_back(text(other.prefix, "N are as many and may go by the same depth field; left as they are"));
        for (const auto& [name, value] : config_.items()) {
            const bool known = std::find(std::begin(layer_list_fields), std::end(layer_list_fields), name) !=
                               std::end(layer_list_fields);
            if (!value.is_array() || is_layer_list(name) || name == "architectures" || name == "eos_token_id") continue;
            if (known)
                out.push_back(text("config.json: ", name, " has ", value.size(), " elements for ", layers(),
                                   " layers; left as it is"));
            else if (layers() > 1 && value.size() == layers())
                out.push_back(text("config.json: ", detail::quotable(name, 40),
                                   " has as many elements as there are layers; left as it is"));
        }
        for (const auto& [name, list] : slot_fields) {
            const auto found = config_.find(name);
            if (found == config_.end() || found->is_null() || *found == false) continue;
            if (!list.empty() && is_layer_list(std::string(list))) continue;
            out.push_back(text("config.json: ", name, " goes by the number of a layer; left as it is"));
        }
        return out;
    }

    /// config.json of the grown model. Throws where a sum takes layers of different kinds.
    json grown_config(const mixture& rows) const {
        json grown = config_;
        for (std::string_view field : depth_fields)
            if (const auto found = grown.find(field); found != grown.end() && *found == layers()) *found = rows.size();
        for (const std::string& name : layer_lists()) {
            const json& list = config_[name];
            json out = json::array();
            for (std::size_t slot = 0; slot < rows.size(); ++slot) {
                const std::size_t main = rows.main_source(slot);
                for (const mixture_term& term : rows[slot])
                    require(list[term.source] == list[main], directory().string(),
                            ": expected layers of one kind in a sum, found ", name, " ", describe(&list[main]),
                            " of layer ", main, " and ", describe(&list[term.source]), " of layer ", term.source,
                            " in slot ", slot);
                out.push_back(list[main]);
            }
            grown[name] = out;
        }
        return grown;
    }

private:
    /// Where a described family's layers are.
    static std::string family_prefix(const decoder_config& config, const weight_files& weights) {
        const family& own = family_of(config);
        const bool bare = weights.contains(own.outer.front().name);  // files without the base prefix
        return bare ? own.layers : own.base + own.layers;
    }

    bool is_layer_list(const std::string& name) const {
        const auto found = config_.find(name);
        return found != config_.end() && found->is_array() && found->size() == layers() &&
               std::find(std::begin(layer_list_fields), std::end(layer_list_fields), name) !=
                   std::end(layer_list_fields);
    }

    static std::size_t find_depth(const json_fields& fields, const std::string& label) {
        std::size_t depth = 0;
        std::string_view first;
        for (std::string_view field : depth_fields) {
            if (!fields.find(std::string(field))) continue;
            const std::size_t found = fields.positive(std::string(field));
            require(depth == 0 || depth == found, label, ": expected one depth, found ", first, " ", depth, " and ",
                    field, " ", found);
            depth = found, first = field;
        }
        require(depth > 0, label, ": expected num_hidden_layers, n_layer, num_layers or n_layers, found none of them");
        return depth;
    }

    json config_;
    std::string unknown_;
    std::optional<checkpoint_reader> checked_;
    std::optional<weight_files> weights_;
    layer_stack stack_;
};

}  // namespace depthgrow
