// What the completions endpoint asks of a model, whatever its numbers and its backend.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "depthgrow/analysis/batched_pieces.hpp"
#include "depthgrow/nn/description.hpp"

namespace tools {

struct model_settings {
    std::string model, order, lens, backend = "blas", precision = "fp32";
    std::optional<std::size_t> exit_layer;
    int threads = 0;
};

/// A model and its open sequences, as depthgrow::batched_decoder has them.
struct served_model {
    virtual ~served_model() = default;
    virtual const depthgrow::decoder_config& config() const = 0;
    /// Layers that run, in order.
    virtual const std::vector<std::size_t>& order() const = 0;
    virtual std::size_t open(std::size_t capacity) = 0;
    virtual void close(std::size_t sequence) = 0;
    virtual std::vector<depthgrow::piece_results> append(depthgrow::span<const depthgrow::token_piece> pieces) = 0;
};

/// Throws a sentence on bad input.
std::unique_ptr<served_model> load_served(const model_settings& settings);

}  // namespace tools
