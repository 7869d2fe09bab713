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
    for (const auto& tensor : dg::model_tensors(model.config())) {
        values.resize(tensor.place.size());
        const auto& numbers = dg::block_of(model.weights, tensor.block);
        numbers.backend().template to_host<T>(numbers.at(tensor.place).data, values.data(), values.size());
        if (!tensor.plain()) values = dg::detail::rearranged(tensor, values, true);
        const auto bad = std::find_if(values.begin(), values.end(),
                                      [](T value) { return !std::isfinite(static_cast<float>(value)); });
        const std::string name = checkpoint.stored_name(tensor.name);
        if (bad != values.end())
            dg::fail(checkpoint.file_of(name).path().string(), ": expected finite numbers in tensor ", name,
                     ", found NaN or infinity at element ", bad - values.begin());
    }
}

}  // namespace tools
