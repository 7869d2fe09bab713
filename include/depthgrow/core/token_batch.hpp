// Rows of tokens with the weights of their losses: what training data gives and a trainer takes.
// Assumes C++17; token ids of 32 bits, one more a row than there are predictions.
// Position t of a row predicts token t + 1.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace depthgrow {

/// Rows of T + 1 tokens; position t predicts token t + 1 with weight `weights[row * T + t]`.
struct token_batch {
    std::size_t rows = 0;              // B
    std::size_t length = 0;            // T
    std::vector<std::int32_t> tokens;  // (B, T + 1)
    std::vector<float> weights;        // (B, T)
    std::vector<std::size_t> sources;  // (B), where each row was drawn from

    void resize(std::size_t new_rows, std::size_t new_length) {
        rows = new_rows;
        length = new_length;
        tokens.resize(rows * (length + 1));
        weights.resize(rows * length);
        sources.assign(rows, 0);
    }
    /// What a model reads and what it should say next: tokens 0 … T − 1 and 1 … T of every row, (B, T) each.
    void split(std::vector<std::int32_t>& inputs, std::vector<std::int32_t>& targets) const {
        inputs.resize(rows * length);
        targets.resize(inputs.size());
        for (std::size_t row = 0; row < rows; ++row) {
            const auto* from = tokens.data() + row * (length + 1);
            std::copy_n(from, length, inputs.data() + row * length);
            std::copy_n(from + 1, length, targets.data() + row * length);
        }
    }
    double weight_sum() const {
        double sum = 0;
        for (float weight : weights) sum += static_cast<double>(weight);
        return sum;
    }
    /// For each of `count` sources the sum of `value(i) * weights[i]` over its tokens i.
    template <class Value> std::vector<double> sums_by_source(std::size_t count, const Value& value) const {
        std::vector<double> sums(count, 0.0);
        for (std::size_t i = 0; i < weights.size(); ++i)
            sums[sources[i / length]] += value(i) * static_cast<double>(weights[i]);
        return sums;
    }
};

}  // namespace depthgrow
