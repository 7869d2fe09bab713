// Fits a tuned lens to a checkpoint: what fit_lens and depth_study share, as plain numbers, without tensors.
// Assumes a model directory; a model that runs an order of layers gets a translator for every layer that runs.
// The fit: depthgrow/analysis/tuned_lens.hpp, with its paper.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "depthgrow/analysis/lens_statistics.hpp"
#include "depthgrow/io/training_data.hpp"

namespace tools {

namespace dg = depthgrow;

class measuring_ranks;

struct lens_fit_settings {
    std::string model, out, tokenizer = "auto", optimizer = "sgd", warm, warm_order, order, backend = "blas",
                            precision = "fp32";
    std::vector<std::string> data;  // files; none: the built-in corpus
    std::size_t steps = 250, tokens_per_step = 8192, context = 0, held_out = 16, seed = 1;
    double rate = 0;
    int threads = 0;
    bool torch = false;
    const measuring_ranks* ranks = nullptr;  // which share every step's sequences; null: this process fits alone
};

struct lens_fit_result {
    std::size_t layers = 0, length = 0, tokens = 0, prompts = 0;  // T, all tokens seen, held-out sequences
    double seconds = 0, first = 0, last = 0;                      // mean KL of the first and of the last step
    dg::lens_report logit, tuned;  // on held-out sequences; empty where settings.held_out is 0
};

/// Fits on `data` (null: on what the settings name), writes settings.out and measures both lenses on tokens that
/// neither has seen. `progress` is told steps done and the mean KL. Throws a sentence on bad input.
lens_fit_result fit_lens(const lens_fit_settings& settings, const dg::training_data* data,
                         const std::function<void(std::size_t, double)>& progress);

/// The first T tokens of every row.
std::vector<dg::token> inputs_of(const dg::token_batch& batch);

}  // namespace tools
