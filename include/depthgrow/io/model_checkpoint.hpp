// A model and its optimiser as Hugging Face files: model.safetensors with config.json, optimizer.safetensors beside it.
// Assumes a directory that is not yet visible (atomic_directory) or one of the caller's own when writing.
// One tensor is on the host at a time. States of an optimiser are STATE.TENSOR, as exp_avg.lm_head.weight. Files know
// nothing of ranks: a rank reads its shares (comm/sharding.hpp) of whole tensors.
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
/// What of it lies in this rank's share of a block of `block_size` numbers: all of it, where there is one rank.
template <class T, class Backend, class Reader>
void read_tensor(const Reader& file, const model_tensor& tensor, parameter_block<T, Backend>& block,
                 const tensor_place& place, const std::string& name, std::size_t block_size, const sharding& shards) {
    const auto own = shards.own_part(place.offset, place.size(), block_size);
    if (own.count == 0) return;
    std::vector<T> values(place.size());
    file.read(name, values.data(), values.size());
    if (!tensor.plain()) values = rearranged(tensor, values, false);
    block.backend().template from_host<T>(values.data() + (own.first - place.offset),
                                          block.flat().data() + (own.first - shards.begin(block_size)), own.count);
    block.backend().synchronize();
}

template <class T, class Backend, class Writer>
void write_set(Writer& file, const decoder_config& config, const parameter_set<T, Backend>& set) {
    for (const auto& tensor : model_tensors(config))
        write_tensor(file, tensor, block_of(set, tensor.block), tensor.place, tensor.name);
}
template <class T, class Backend, class Reader>
void read_set(const Reader& file, const decoder_config& config, parameter_set<T, Backend>& set,
              const sharding& shards = {}) {
    const std::size_t outer = outer_layout(config).size, layer = layer_layout(config).size;
    for (const auto& tensor : model_tensors(config))
        read_tensor(file, tensor, block_of(set, tensor.block), tensor.place, tensor.name,
                    tensor.block == 0 ? outer : layer, shards);
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

/// The tensors of a model's file, all of one type.
inline std::vector<tensor_entry> model_entries(const decoder_config& config, dtype stored) {
    std::vector<tensor_entry> entries;
    for (const auto& tensor : model_tensors(config))
        entries.push_back({tensor.name, std::string(name_of(stored)), tensor.shape()});
    return entries;
}

/// Writes config.json and model.safetensors, or with `shard_bytes` above 0 shards of at most so many bytes and their
/// index; `metadata` goes into the files' string map (growth provenance).
template <class T, class Backend>
void write_model(const std::filesystem::path& directory, const decoder_config& config,
                 const parameter_set<T, Backend>& weights, dtype stored = dtype::f32,
                 const std::map<std::string, std::string>& metadata = {}, const json& base = json::object(),
                 std::size_t shard_bytes = 0) {
    checkpoint_writer files(directory, model_entries(config, stored), shard_bytes, metadata);
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

/// The same for a set of weights alone (master copies), or a rank's shares of them.
template <class T, class Backend>
void read_model(const checkpoint_reader& checkpoint, const decoder_config& config, parameter_set<T, Backend>& weights,
                const sharding& shards = {}) {
    detail::read_set(checkpoint, config, weights, shards);
}

/// A model as a checkpoint directory holds it.
template <class T, class Backend>
decoder<T, Backend> load_model(Backend& backend, const std::filesystem::path& directory) {
    const checkpoint_reader checkpoint(directory);
    decoder<T, Backend> model(backend, checkpoint.config());
    read_model(checkpoint, model);
    return model;
}

/// The tensors of an optimiser's file: NAME.TENSOR for each of `states` of each tensor that has it.
template <class States>
std::vector<tensor_entry> optimizer_entries(const decoder_config& config, const States& states, dtype stored) {
    std::vector<tensor_entry> entries;
    for (const auto& state : states)
        for (const auto& tensor : model_tensors(config))
            if (detail::place_in(state, tensor))
                entries.push_back({text(state.name, ".", tensor.name), std::string(name_of(stored)), tensor.shape()});
    return entries;
}

/// What an optimiser's file says in its string map: the step count and, unless it is adamw, the optimiser's name.
template <class Optimizer> std::map<std::string, std::string> optimizer_metadata(const Optimizer& optimizer) {
    std::map<std::string, std::string> metadata = {{"step", std::to_string(optimizer.steps())}};
    if (Optimizer::name != "adamw") metadata[optimizer_metadata_key] = Optimizer::name;
    return metadata;
}

/// Writes optimizer.safetensors, of one rank that has all of the states.
template <class Optimizer>
void write_optimizer(const std::filesystem::path& file_name, const decoder_config& config, const Optimizer& optimizer) {
    const auto states = optimizer.states();
    using number = typename std::remove_cvref_t<decltype(states.front().numbers->outer.flat())>::value_type;
    safetensors_writer file(file_name, optimizer_entries(config, states, dtype_of<number>::value),
                            optimizer_metadata(optimizer));
    for (const auto& state : states)
        for (const auto& tensor : model_tensors(config))
            if (const auto place = detail::place_in(state, tensor))
                detail::write_tensor(file, tensor, block_of(*state.numbers, tensor.block), *place,
                                     text(state.name, ".", tensor.name));
    file.commit();
}

/// The optimiser whose states a file holds.
inline std::string optimizer_of(const safetensors_file& file) {
    const auto found = file.metadata().find(optimizer_metadata_key);
    return found == file.metadata().end() ? "adamw" : found->second;
}

/// Fills an optimiser's states, or a rank's shares of them, and its step count; refuses a file of another optimiser.
template <class Optimizer>
void read_optimizer(const std::filesystem::path& file_name, const decoder_config& config, Optimizer& optimizer,
                    const sharding& shards = {}) {
    const safetensors_file file(file_name);
    require(optimizer_of(file) == Optimizer::name, file_name.string(), ": expected the states of ", Optimizer::name,
            ", found those of ", detail::quotable(optimizer_of(file), 40));
    for (const auto& state : optimizer.states())
        for (const auto& tensor : model_tensors(config))
            if (const auto place = detail::place_in(state, tensor))
                detail::read_tensor(file, tensor, block_of(*state.numbers, tensor.block), *place,
                                    text(state.name, ".", tensor.name), state.layout(tensor.block).size, shards);
    const auto step = file.metadata().find("step");
    const bool digits = step != file.metadata().end() && !step->second.empty() && step->second.size() < 16 &&
                        step->second.find_first_not_of("0123456789") == std::string::npos;
    require(digits, file_name.string(), ": expected the optimiser's step count in the metadata, found ",
            step == file.metadata().end() ? "none" : step->second);
    optimizer.set_steps(std::stoll(step->second));
}

}  // namespace depthgrow
