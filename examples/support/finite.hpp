// Refuses a model whose weights are not all numbers, by file and tensor.
// Assumes the model holds what `checkpoint` stores, in its own number type.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "depthgrow/io/model_checkpoint.hpp"

namespace tools {

namespace dg = depthgrow;

template <class T, class Backend>
void require_finite(const dg::decoder<T, Backend>& model, const dg::checkpoint_reader& checkpoint) {
    std::vector<T> values;
    dg::each_tensor(model.config(), [&](const std::string& name, const dg::tensor_place& place, std::size_t block) {
        values.resize(place.size());
        const auto& numbers = dg::block_of(model.weights, block);
        numbers.backend().template to_host<T>(numbers.at(place).data, values.data(), values.size());
        const auto bad = std::find_if(values.begin(), values.end(), [](T value) { return !std::isfinite(static_cast<float>(value)); });
        if (bad != values.end()) dg::fail(checkpoint.file_of(name).path().string(), ": expected finite numbers in tensor ", name, ", found NaN or infinity at element ", bad - values.begin());
    });
}

}  // namespace tools
