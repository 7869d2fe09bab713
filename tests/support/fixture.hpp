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
        : directory(folder + "/" + name), values(dg::read_json_file(directory + "/expected.json")),
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

/// |got - want| over |want|, Euclidean norms of the whole tensor. (Not the largest element: Adam divides by the root of
/// the second moment, so an element whose gradient is near its rounding error has no determined update in float.)
template <class T>
double distance(const std::vector<T>& got, const std::vector<double>& want) {
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
