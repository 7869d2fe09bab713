// Where a run's tokens come from: the tokenizer, the files and the built-in corpus.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "support/training.hpp"

namespace tools {

/// --tokenizer: null for bytes, else the file's, or one trained on the data files (on generated text without any).
std::shared_ptr<const dg::tokenizer> make_tokenizer(const training_settings& settings);

/// The texts of files (.txt, .jsonl); `bytes` counts them.
std::vector<std::string> read_texts(const std::vector<std::string>& files, std::size_t& bytes);

/// The sources of a run. Reads the files; errors name file and line.
dg::training_data load_data(const resolved_run& run);

/// Sizes of the built-in items: small ones that fit a short context of bytes, the papers' from 1024 tokens on.
dg::primitive_options item_sizes(std::size_t length);

}  // namespace tools
