// A model and its optimiser as Hugging Face files: model.safetensors with config.json, optimizer.safetensors beside it.
// Assumes a directory that is not yet visible (atomic_directory) or one of the caller's own when writing.
// One tensor is on the host at a time. Moments are float32: exp_avg.NAME and exp_avg_sq.NAME.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "depthgrow/io/checkpoint_writer.hpp"
#include "depthgrow/io/hf_directory.hpp"
#include "depthgrow/nn/decoder.hpp"
#include "depthgrow/optim/adamw.hpp"

namespace depthgrow {

namespace detail {

template <class T, class Backend, class Writer>
void write_set(Writer& file, const decoder_config& config, const parameter_set<T, Backend>& set, const std::string& prefix) {
    std::vector<T> values;
    for (const auto& tensor : model_tensors(config)) {
        values.resize(tensor.place.size());
        const auto& numbers = block_of(set, tensor.block);
        numbers.backend().template to_host<T>(numbers.at(tensor.place).data, values.data(), values.size());
        if (!tensor.plain()) values = rearranged(tensor, values, true);
        file.write(prefix + tensor.name, values.data(), values.size());
    }
}

template <class T, class Backend, class Reader>
void read_set(const Reader& file, const decoder_config& config, parameter_set<T, Backend>& set, const std::string& prefix) {
    std::vector<T> values;
    for (const auto& tensor : model_tensors(config)) {
        values.resize(tensor.place.size());
        file.read(prefix + tensor.name, values.data(), values.size());
        if (!tensor.plain()) values = rearranged(tensor, values, false);
        auto& numbers = block_of(set, tensor.block);
        numbers.backend().template from_host<T>(values.data(), numbers.at(tensor.place).data, values.size());
    }
}

}  // namespace detail

/// Writes config.json and model.safetensors, or with `shard_bytes` above 0 shards of at most so many bytes and their
/// index; `metadata` goes into the files' string map (growth provenance).
template <class T, class Backend>
void write_model(const std::filesystem::path& directory, const decoder_config& config, const parameter_set<T, Backend>& weights, dtype stored = dtype::f32,
                 const std::map<std::string, std::string>& metadata = {}, const json& base = json::object(), std::size_t shard_bytes = 0) {
    std::vector<tensor_entry> entries;
    for (const auto& tensor : model_tensors(config)) entries.push_back({tensor.name, std::string(name_of(stored)), tensor.shape()});
    checkpoint_writer files(directory, entries, shard_bytes, metadata);
    detail::write_set(files, config, weights, "");
    files.commit();
    write_hf_config(directory / "config.json", config, base, stored);
}
template <decoder_model Model>
void write_model(const std::filesystem::path& directory, const Model& model, dtype stored = dtype::f32,
                 const std::map<std::string, std::string>& metadata = {}, const json& base = json::object(), std::size_t shard_bytes = 0) {
    write_model(directory, model.config(), model.weights, stored, metadata, base, shard_bytes);
}

/// Fills a model of the checkpoint's configuration with its weights.
template <decoder_model Model>
void read_model(const checkpoint_reader& checkpoint, Model& model) {
    detail::read_set(checkpoint, model.config(), model.weights, "");
}

/// The same for a set of weights alone (master copies).
template <class T, class Backend>
void read_model(const checkpoint_reader& checkpoint, const decoder_config& config, parameter_set<T, Backend>& weights) {
    detail::read_set(checkpoint, config, weights, "");
}

/// A model as a checkpoint directory holds it.
template <class T, class Backend>
decoder<T, Backend> load_model(Backend& backend, const std::filesystem::path& directory) {
    const checkpoint_reader checkpoint(directory);
    decoder<T, Backend> model(backend, checkpoint.config());
    read_model(checkpoint, model);
    return model;
}

/// Writes optimizer.safetensors: both moments of every tensor; the step count goes into the file's string map.
template <class T, class Backend>
void write_optimizer(const std::filesystem::path& file_name, const decoder_config& config, const adamw<T, Backend>& optimizer) {
    std::vector<tensor_entry> entries;
    const std::string type(name_of(dtype_of<wide_t<T>>::value));
    for (const char* moment : {"exp_avg.", "exp_avg_sq."})
        for (const auto& tensor : model_tensors(config)) entries.push_back({moment + tensor.name, type, tensor.shape()});
    safetensors_writer file(file_name, entries, {{"step", std::to_string(optimizer.steps())}});
    detail::write_set(file, config, optimizer.first, "exp_avg.");
    detail::write_set(file, config, optimizer.second, "exp_avg_sq.");
    file.commit();
}

/// Fills both moments and the step count.
template <class T, class Backend>
void read_optimizer(const std::filesystem::path& file_name, const decoder_config& config, adamw<T, Backend>& optimizer) {
    const safetensors_file file(file_name);
    detail::read_set(file, config, optimizer.first, "exp_avg.");
    detail::read_set(file, config, optimizer.second, "exp_avg_sq.");
    const auto step = file.metadata().find("step");
    const bool digits = step != file.metadata().end() && !step->second.empty() && step->second.size() < 16 &&
                        step->second.find_first_not_of("0123456789") == std::string::npos;
    require(digits, file_name.string(), ": expected the optimiser's step count in the metadata, found ",
            step == file.metadata().end() ? "none" : step->second);
    optimizer.set_steps(std::stoll(step->second));
}

}  // namespace depthgrow
