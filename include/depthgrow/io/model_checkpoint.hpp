// A model and its optimiser as Hugging Face files: model.safetensors with config.json, optimizer.safetensors beside it.
// Assumes a directory that is not yet visible (atomic_directory) or one of the caller's own when writing.
// One tensor is on the host at a time. States of an optimiser are STATE.TENSOR, as exp_avg.lm_head.weight.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "depthgrow/io/checkpoint_writer.hpp"
#include "depthgrow/io/hf_directory.hpp"
#include "depthgrow/nn/decoder.hpp"
#include "depthgrow/optim/optimizer.hpp"

namespace depthgrow {

/// Whose states an optimizer.safetensors holds; absent: adamw's.
inline constexpr const char* optimizer_metadata_key = "optimizer";

namespace detail {

/// One tensor as its family stores it, from or to `place` of a block.
template <class T, class Backend, class Writer>
void write_tensor(Writer& file, const model_tensor& tensor, const parameter_block<T, Backend>& block,
                  const tensor_place& place, const std::string& name) {
    std::vector<T> values(place.size());
    block.backend().template to_host<T>(block.at(place).data, values.data(), values.size());
    if (!tensor.plain()) values = rearranged(tensor, values, true);
    file.write(name, values.data(), values.size());
}
template <class T, class Backend, class Reader>
void read_tensor(const Reader& file, const model_tensor& tensor, parameter_block<T, Backend>& block,
                 const tensor_place& place, const std::string& name) {
    std::vector<T> values(place.size());
    file.read(name, values.data(), values.size());
    if (!tensor.plain()) values = rearranged(tensor, values, false);
    block.backend().template from_host<T>(values.data(), block.at(place).data, values.size());
    block.backend().synchronize();
}

template <class T, class Backend, class Writer>
void write_set(Writer& file, const decoder_config& config, const parameter_set<T, Backend>& set) {
    for (const auto& tensor : model_tensors(config))
        write_tensor(file, tensor, block_of(set, tensor.block), tensor.place, tensor.name);
}
template <class T, class Backend, class Reader>
void read_set(const Reader& file, const decoder_config& config, parameter_set<T, Backend>& set) {
    for (const auto& tensor : model_tensors(config))
        read_tensor(file, tensor, block_of(set, tensor.block), tensor.place, tensor.name);
}

/// Where an optimiser keeps a state of a tensor; nothing when the tensor has no such state.
template <class Set>
std::optional<tensor_place> place_in(const optimizer_state<Set>& state, const model_tensor& tensor) {
    const block_layout& layout = state.layout(tensor.block);
    if (!layout.contains(tensor.parts.front().which)) return {};
    tensor_place place = tensor.place;
    place.offset = layout.at(tensor.parts.front().which).offset;
    return place;
}

}  // namespace detail

/// Writes config.json and model.safetensors, or with `shard_bytes` above 0 shards of at most so many bytes and their
/// index; `metadata` goes into the files' string map (growth provenance).
template <class T, class Backend>
void write_model(const std::filesystem::path& directory, const decoder_config& config,
                 const parameter_set<T, Backend>& weights, dtype stored = dtype::f32,
                 const std::map<std::string, std::string>& metadata = {}, const json& base = json::object(),
                 std::size_t shard_bytes = 0) {
    std::vector<tensor_entry> entries;
    for (const auto& tensor : model_tensors(config))
        entries.push_back({tensor.name, std::string(name_of(stored)), tensor.shape()});
    checkpoint_writer files(directory, entries, shard_bytes, metadata);
    detail::write_set(files, config, weights);
    files.commit();
    write_hf_config(directory / "config.json", config, base, stored);
}
template <decoder_model Model>
void write_model(const std::filesystem::path& directory, const Model& model, dtype stored = dtype::f32,
                 const std::map<std::string, std::string>& metadata = {}, const json& base = json::object(),
                 std::size_t shard_bytes = 0) {
    write_model(directory, model.config(), model.weights, stored, metadata, base, shard_bytes);
}

/// Fills a model of the checkpoint's configuration with its weights.
template <decoder_model Model> void read_model(const checkpoint_reader& checkpoint, Model& model) {
    detail::read_set(checkpoint, model.config(), model.weights);
}

/// The same for a set of weights alone (master copies).
template <class T, class Backend>
void read_model(const checkpoint_reader& checkpoint, const decoder_config& config, parameter_set<T, Backend>& weights) {
    detail::read_set(checkpoint, config, weights);
}

/// A model as a checkpoint directory holds it.
template <class T, class Backend>
decoder<T, Backend> load_model(Backend& backend, const std::filesystem::path& directory) {
    const checkpoint_reader checkpoint(directory);
    decoder<T, Backend> model(backend, checkpoint.config());
    read_model(checkpoint, model);
    return model;
}

/// Writes optimizer.safetensors: NAME.TENSOR for each state of each tensor that has it. Step count and, unless it is
/// adamw, the optimiser's name go into the file's string map.
template <class Optimizer>
void write_optimizer(const std::filesystem::path& file_name, const decoder_config& config, const Optimizer& optimizer) {
    std::vector<tensor_entry> entries;
    const auto states = optimizer.states();
    const auto each = [&](const auto& body) {
        for (const auto& state : states)
            for (const auto& tensor : model_tensors(config))
                if (const auto place = detail::place_in(state, tensor))
                    body(state, tensor, *place, text(state.name, ".", tensor.name));
    };
    using number = typename std::remove_cvref_t<decltype(states.front().numbers->outer.flat())>::value_type;
    const std::string type(name_of(dtype_of<std::remove_const_t<number>>::value));
    each([&](const auto&, const model_tensor& tensor, const tensor_place&, const std::string& name) {
        entries.push_back({name, type, tensor.shape()});
    });
    std::map<std::string, std::string> metadata = {{"step", std::to_string(optimizer.steps())}};
    if (Optimizer::name != "adamw") metadata[optimizer_metadata_key] = Optimizer::name;
    safetensors_writer file(file_name, entries, metadata);
    each([&](const auto& state, const model_tensor& tensor, const tensor_place& place, const std::string& name) {
        detail::write_tensor(file, tensor, block_of(*state.numbers, tensor.block), place, name);
    });
    file.commit();
}

/// The optimiser whose states a file holds.
inline std::string optimizer_of(const safetensors_file& file) {
    const auto found = file.metadata().find(optimizer_metadata_key);
    return found == file.metadata().end() ? "adamw" : found->second;
}

/// Fills an optimiser's states and its step count; refuses a file of another optimiser.
template <class Optimizer>
void read_optimizer(const std::filesystem::path& file_name, const decoder_config& config, Optimizer& optimizer) {
    const safetensors_file file(file_name);
    require(optimizer_of(file) == Optimizer::name, file_name.string(), ": expected the states of ", Optimizer::name,
            ", found those of ", detail::quotable(optimizer_of(file), 40));
    for (const auto& state : optimizer.states())
        for (const auto& tensor : model_tensors(config))
            if (const auto place = detail::place_in(state, tensor))
                detail::read_tensor(file, tensor, block_of(*state.numbers, tensor.block), *place,
                                    text(state.name, ".", tensor.name));
    const auto step = file.metadata().find("step");
    const bool digits = step != file.metadata().end() && !step->second.empty() && step->second.size() < 16 &&
                        step->second.find_first_not_of("0123456789") == std::string::npos;
    require(digits, file_name.string(), ": expected the optimiser's step count in the metadata, found ",
            step == file.metadata().end() ? "none" : step->second);
    optimizer.set_steps(std::stoll(step->second));
}

}  // namespace depthgrow
