// The fixtures: tiny checkpoints and the values an independent float64 implementation gives for them.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "depthgrow/io/model_checkpoint.hpp"

namespace fixture {

namespace dg = depthgrow;

struct expectations {
    explicit expectations(const std::string& name) : expectations(DEPTHGROW_FIXTURES, name) {}
    expectations(const std::string& folder, const std::string& name)
        : directory(folder + "/" + name),
          values(dg::read_json_file(directory + "/expected.json")),
          tensors(directory + "/expected.safetensors") {
        for (const auto& row : values["train_tokens"])
            for (const auto& id : row) ids.push_back(id.get<dg::token>());
        sequences = values["train_tokens"].size();
        const std::size_t length = ids.size() / sequences;
        for (std::size_t i = 0; i < ids.size(); ++i) targets.push_back((i + 1) % length ? ids[i + 1] : -1);
        weights.resize(ids.size());
        for (std::size_t i = 0; i < ids.size(); ++i) weights[i] = targets[i] >= 0 ? 1.0f : 0.0f;
    }
    std::vector<double> tensor(const std::string& name) const {
        std::vector<double> out(tensors.find(name).elements());
        tensors.read(name, out.data(), out.size());
        return out;
    }
    std::string directory;
    dg::json values;
    dg::safetensors_file tensors;
    std::vector<dg::token> ids, targets;  // (B, T), the last target of a sequence is -1
    std::vector<float> weights;
    std::size_t sequences = 0;
};

/// Decoders of other families, and what transformers gives for them.
inline constexpr const char* families[] = {"llama3_scaled", "llama_yarn", "llama_linear", "llama_wide_heads",
                                           "mistral",       "qwen2",      "qwen3",        "olmo2",
                                           "smollm3",       "gemma3",     "gpt2",         "gpt_neox"};

struct family_values {
    family_values(const std::string& folder, const std::string& name)
        : directory(folder + "/families/" + name),
          values(dg::read_json_file(directory + "/expected.json")),
          tensors(directory + "/expected.safetensors") {}
    std::vector<double> tensor(const std::string& key) const {
        std::vector<double> out(tensors.find(key).elements());
        tensors.read(key, out.data(), out.size());
        return out;
    }
    std::vector<dg::token> tokens(const std::string& key) const {
        std::vector<std::int64_t> wide(tensors.find(key).elements());
        tensors.read_bytes(key, reinterpret_cast<char*>(wide.data()), wide.size() * sizeof(std::int64_t), 0);
        return {wide.begin(), wide.end()};
    }
    /// The model's own name of a stored tensor's parameter: GPT-NeoX's head is embed_out in files alone.
    std::string gradient_of(const std::string& stored) const {
        return tensors.contains("d/" + stored) ? "d/" + stored : "d/lm_head.weight";
    }
    std::string directory;
    dg::json values;
    dg::safetensors_file tensors;
};

/// |got - want| over |want|, Euclidean norms of the whole tensor. (Not the largest element: Adam divides by the root of
/// the second moment, so an element whose gradient is near its rounding error has no determined update in float.)
template <class T> double distance(const std::vector<T>& got, const std::vector<double>& want) {
    if (got.size() != want.size()) return INFINITY;
    double error = 0, scale = 0;
    for (std::size_t i = 0; i < want.size(); ++i) {
        error += (static_cast<double>(got[i]) - want[i]) * (static_cast<double>(got[i]) - want[i]);
        scale += want[i] * want[i];
    }
    return std::sqrt(error / scale);
}

template <class T, class Backend>
std::vector<T> values_of(const dg::parameter_block<T, Backend>& block, const dg::tensor_place& place) {
    std::vector<T> out(place.size());
    block.backend().template to_host<T>(block.at(place).data, out.data(), out.size());
    return out;
}

}  // namespace fixture
