// Growth of a model on disk: a Hugging Face directory in, the directory of the grown model out, a few megabytes at a time.
// Assumes that layers are the tensors model.layers.N.*; dtypes, every other tensor and every other file are kept.
// The result equals, byte for byte, that of growing the model in the trainer: growth copies layers, Kapl et al. 2025, 3.1.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "depthgrow/growth/optimizer_traits.hpp"
#include "depthgrow/io/checkpoint_writer.hpp"
#include "depthgrow/io/growth_record.hpp"

namespace depthgrow {

struct directory_growth_options {
    bool zero_new = false;                      // new layers begin as identities: o_proj and down_proj zero
    state_policy moments = state_policy::copy;  // what the new layers' moments start with
};

/// What growing a directory does, known before anything is written.
struct directory_growth_plan {
    decoder_config before, after;
    std::uint64_t bytes_before = 0, bytes_after = 0;          // weights
    std::uint64_t optimizer_before = 0, optimizer_after = 0;  // moments; 0 without an optimizer file
    std::size_t shard_bytes = 0;                              // bound on an output shard; 0: one file
    json history;                                             // recorded growths with this one
    std::vector<std::string> kept, left_out;                  // other files: copied; stale weights and folders, not copied
};

namespace detail {

/// A tensor of the grown file and where its numbers come from.
struct grown_tensor {
    std::string name, source;
    bool is_new = false;  // in a layer that the order copies
};

/// "exp_avg.model.layers.3.mlp.up_proj.weight": prefix "exp_avg.model.layers.", layer 3, part "mlp.up_proj.weight".
inline bool split_prefixed(const family& own, const std::string& name, std::string& prefix, std::size_t& layer, std::string& part) {
    for (const char* moment : {"", "exp_avg.", "exp_avg_sq."}) {
        const std::size_t skipped = std::string_view(moment).size();
        if (name.compare(0, skipped, moment) != 0 || !split_layer_name(own, std::string_view(name).substr(skipped), layer, part)) continue;
        prefix = name.substr(0, name.size() - part.size() - 1 - std::to_string(layer).size());
        return true;
    }
    return false;
}

/// The tensors of the grown file: embedding, layers by slot, the rest by name (`tied` leaves a stored head out).
inline std::vector<grown_tensor> grow_names(const family& own, const std::vector<std::string>& names, const layer_order& order, bool tied, const std::string& label) {
    std::map<std::size_t, std::vector<std::pair<std::string, std::string>>> layers;  // layer -> (prefix, part)
    std::vector<grown_tensor> first, rest;
    std::string prefix, part;
    std::size_t layer = 0;
    for (const auto& name : names) {
        if (split_prefixed(own, name, prefix, layer, part)) {
            require(layer < order.source_depth(), label, ": expected ", order.source_depth(), " layers, found a tensor ", quotable(name));
            layers[layer].emplace_back(prefix, part);
        } else if (name.ends_with(own.outer.front().name)) {
            first.push_back({name, name});
        } else if (!(tied && name == own.head)) {
            rest.push_back({name, name});
        }
    }
    for (std::size_t slot = 0; slot < order.size(); ++slot)
        for (const auto& [pre, rear] : layers[order[slot]])
            first.push_back({text(pre, slot, ".", rear), text(pre, order[slot], ".", rear), order.is_new(slot)});
    first.insert(first.end(), rest.begin(), rest.end());
    return first;
}

inline bool is_residual_projection(const decoder_config& config, const std::string& name) {
    std::size_t layer = 0;
    std::string rest;
    return split_layer_name(family_of(config), name, layer, rest) && writes_residual(config, rest);
}

/// Weights of other formats: they would be those of the model before growth.
inline bool is_stale_weight(const std::string& name) {
    for (const char* ending : {".safetensors", ".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack", ".onnx", ".index.json"})
        if (name.ends_with(ending)) return true;
    return false;
}

inline bool is_rewritten(const std::string& name) {
    return name == "config.json" || name == "optimizer.safetensors" || name == "trainer_state.json" || name == "growth.json" ||
           name == "model.safetensors" || name == "model.safetensors.index.json";
}

/// Whether the layers that stay are all layers in their order, so that identities between them change nothing.
inline bool keeps_function(const layer_order& order) {
    std::vector<std::size_t> kept;
    for (std::size_t slot = 0; slot < order.size(); ++slot)
        if (!order.is_new(slot)) kept.push_back(order[slot]);
    return kept == layer_order::identity(order.source_depth()).sources();
}

inline std::vector<tensor_entry> entries_of(const std::vector<grown_tensor>& tensors, const std::function<const tensor_info&(const std::string&)>& find) {
    std::vector<tensor_entry> out;
    for (const auto& tensor : tensors) {
        const tensor_info& info = find(tensor.source);
        out.push_back({tensor.name, info.type_name, info.shape});
    }
    return out;
}

inline std::uint64_t bytes_of(const std::vector<grown_tensor>& tensors, const std::function<const tensor_info&(const std::string&)>& find) {
    std::uint64_t bytes = 0;
    for (const auto& tensor : tensors) bytes += find(tensor.source).bytes();
    return bytes;
}

/// Both moments of every tensor of the model must be there, or growth would make a file that cannot be resumed from.
inline void check_optimizer(const safetensors_file& file, const decoder_config& config) {
    for (const char* moment : {"exp_avg.", "exp_avg_sq."})
        for (const auto& tensor : model_tensors(config)) {
            const tensor_info& info = file.find(moment + tensor.name);
            require(info.shape == tensor.shape(), file.path().string(), ": expected tensor ", moment, tensor.name, " of shape ", shape_text(tensor.shape()), ", found ", shape_text(info.shape));
        }
}

}  // namespace detail

/// Checks that `order` and `options` fit the model, and says what growing its directory will do.
inline directory_growth_plan plan_directory_growth(const checkpoint_reader& in, const layer_order& order, const directory_growth_options& options = {}) {
    directory_growth_plan plan;
    plan.before = in.config();
    require(order.source_depth() == plan.before.layers, in.directory().string(), ": expected an order for ", plan.before.layers, " layers, got one for ", order.source_depth());
    require(!order.empty(), in.directory().string(), ": expected an order of at least one layer, got an empty one");
    require(!options.zero_new || plan.before.norms == norm_placement::pre, in.directory().string(),
            ": expected norm placement pre for new layers that begin as identities, found ", name_of(plan.before.norms), " (its layers depend on their slot)");
    require(!options.zero_new || detail::keeps_function(order), in.directory().string(),
            ": expected an order that keeps every layer in place for new layers that begin as identities, got ", order.to_string());
    plan.after = plan.before.with_layers(order.sources());
    const auto find = [&](const std::string& name) -> const tensor_info& { return in.find(name); };
    plan.bytes_before = detail::bytes_of(detail::grow_names(family_of(plan.before), in.names(), layer_order::identity(plan.before.layers), plan.before.tied, in.directory().string()), find);
    plan.bytes_after = detail::bytes_of(detail::grow_names(family_of(plan.before), in.names(), order, plan.before.tied, in.directory().string()), find);
    if (in.sharded())
        for (const auto& file : in.files()) {
            std::size_t bytes = 0;
            for (const auto& [name, info] : file.tensors()) bytes += info.bytes();
            plan.shard_bytes = std::max(plan.shard_bytes, std::max<std::size_t>(bytes, 1));
        }
    std::optional<std::uint64_t> step;
    const auto state = in.directory() / "trainer_state.json", moments = in.directory() / "optimizer.safetensors";
    if (std::filesystem::exists(state)) {
        const json value = read_json_file(state);
        const std::string label = state.string();
        step = json_fields(value, label).count("step");
    }
    if (std::filesystem::exists(moments)) {
        const safetensors_file file(moments);
        detail::check_optimizer(file, plan.before);
        const auto find_moment = [&](const std::string& name) -> const tensor_info& { return file.find(name); };
        plan.optimizer_before = detail::bytes_of(detail::grow_names(family_of(plan.before), file.names(), layer_order::identity(plan.before.layers), false, moments.string()), find_moment);
        plan.optimizer_after = detail::bytes_of(detail::grow_names(family_of(plan.before), file.names(), order, false, moments.string()), find_moment);
    }
    plan.history = read_growth(in);
    make_lineage(plan.history, plan.before.layers, in.files().front().path().string());
    plan.history.push_back(growth_entry(order, step, options.zero_new));
    for (const auto& entry : std::filesystem::directory_iterator(in.directory())) {
        const std::string name = entry.path().filename().string();
        if (detail::is_rewritten(name) || name.rfind(".tmp-", 0) == 0 || name.rfind(".old-", 0) == 0) continue;
        const bool weights = std::any_of(in.files().begin(), in.files().end(), [&](const auto& file) { return file.path().filename() == name; });
        if (weights) continue;
        (entry.is_regular_file() && !detail::is_stale_weight(name) ? plan.kept : plan.left_out).push_back(name);
    }
    std::sort(plan.kept.begin(), plan.kept.end());
    std::sort(plan.left_out.begin(), plan.left_out.end());
    return plan;
}

/// Refuses a place for a new directory that is taken, by a link too: nothing is overwritten or written through.
inline void require_new_directory(const std::filesystem::path& out) {
    std::error_code ignored;
    const auto status = std::filesystem::symlink_status(out, ignored);
    require(!std::filesystem::exists(status), out.string(), ": expected a new directory, found ", std::filesystem::is_symlink(status) ? "a link" :
            std::filesystem::is_directory(status) ? "a directory" : "a file", " of that name");
}

/// Writes the grown directory, whole or not at all. `check` sees it before it is put in place and may refuse it.
inline directory_growth_plan grow_directory(const checkpoint_reader& in, const std::filesystem::path& out, const layer_order& order,
                                            const directory_growth_options& options = {}, const std::function<void(const std::filesystem::path&)>& check = {}) {
    const directory_growth_plan plan = plan_directory_growth(in, order, options);
    require_new_directory(out);
    atomic_directory folder(out);

    auto metadata = in.files().front().metadata();
    metadata[growth_metadata_key] = plan.history.dump();
    metadata.erase(order_metadata_key);  // the order named the layers before growth
    const auto tensors = detail::grow_names(family_of(plan.before), in.names(), order, plan.before.tied, in.directory().string());
    checkpoint_writer files(folder.path(), detail::entries_of(tensors, [&](const std::string& name) -> const tensor_info& { return in.find(name); }), plan.shard_bytes, metadata);
    for (const auto& tensor : tensors) {
        auto& file = files.file_of(tensor.name);
        if (options.zero_new && tensor.is_new && detail::is_residual_projection(plan.before, tensor.name)) file.write_zeros(tensor.name);
        else file.copy(tensor.name, in.file_of(tensor.source), tensor.source);
    }
    files.commit();

    if (plan.optimizer_before > 0) {
        const safetensors_file from(in.directory() / "optimizer.safetensors");
        const auto moments = detail::grow_names(family_of(plan.before), from.names(), order, false, from.path().string());
        safetensors_writer to(folder.path() / "optimizer.safetensors", detail::entries_of(moments, [&](const std::string& name) -> const tensor_info& { return from.find(name); }),
                              from.metadata());
        for (const auto& moment : moments) {
            if (options.moments == state_policy::zero && moment.is_new) to.write_zeros(moment.name);
            else to.copy(moment.name, from, moment.source);
        }
        to.commit();
    }

    for (const auto& name : plan.kept) {
        std::error_code problem;
        std::filesystem::copy_file(in.directory() / name, folder.path() / name, problem);
        require(!problem, (in.directory() / name).string(), ": expected a file that can be copied, found: ", problem.message());
    }
    json config = in.config_fields();
    config[family_of(plan.before).depth_field] = plan.after.layers;
    if (plan.after.norms == norm_placement::mix) config["post_layers"] = plan.after.post_layers;
    for (const char* key : {"layer_types", "no_rope_layers"}) {
        if (!config.contains(key) || !config[key].is_array() || config[key].size() != plan.before.layers) continue;
        json list = json::array();
        for (std::size_t source : order) list.push_back(config[key][source]);
        config[key] = list;
    }
    if (const auto state = in.directory() / "trainer_state.json"; std::filesystem::exists(state)) {
        json value = read_json_file(state);
        value["layers"] = plan.after.layers;
        value["growth"] = plan.history;
        write_file(folder.path() / "trainer_state.json", json_text(value, 2));
    }
    write_file(folder.path() / "growth.json", json_text({{"format_version", 1}, {"growth", plan.history}}, 2));
    write_file(folder.path() / "config.json", json_text(config, 2));
    if (check) check(folder.path());
    folder.commit();
    return plan;
}

}  // namespace depthgrow
