// Fits a tuned lens to a checkpoint, and measures both lenses on text that neither has seen.
// Assumes a directory that the library's models read. Method: analysis/tuned_lens.hpp.
// Used by the tool fit_lens and by the Python package.
#pragma once

#include <string>
#include <vector>

#include "depthgrow/io/json.hpp"

namespace tools {

struct lens_fit_settings {
    std::string model, out, tokenizer = "auto", optimizer = "sgd", warm, warm_order, order, backend = "blas",
                            precision = "fp32";
    std::vector<std::string> data;  // none: the built-in corpus
    std::size_t steps = 250, tokens_per_step = 8192, context = 0, held_out = 16, seed = 1;
    double rate = 0;
    int threads = 0;
    bool torch = false, progress = true, told = true;  // params.pt too; a bar; a table on the screen
};

/// Writes the lens as the directory `out` and returns what --json says. Throws a sentence on bad input.
depthgrow::json fit_lens(const lens_fit_settings& settings);

}  // namespace tools
