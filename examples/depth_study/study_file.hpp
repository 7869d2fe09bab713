// A study as its file says it: variants as sets of train_smol's flags, seeds, moments at which runs are measured.
// Assumes JSON as README.md beside this file explains it. Refusals name the file, what was expected and what was found.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "support/flag_list.hpp"

namespace study {

namespace dg = depthgrow;

/// A set of flags with a name.
struct variant {
    std::string name;
    tools::flag_list flags;
    std::vector<std::size_t> seeds;
};

/// What is measured at every moment beside held-out loss, answers, late overlap and a swap in the middle.
struct measures {
    std::vector<std::string> names;          // of measure_names()
    std::size_t prompts = 8;                 // held-out windows of each source
    std::size_t sweep_prompts = 8;           // of them, for swap, skip, reverse, loop
    std::vector<std::size_t> sweep_lengths;  // none: the block that the variant grows by
    std::size_t lens_steps = 250, lens_tokens = 8192;
    std::vector<std::string> tasks;  // none: those of the run
    std::size_t items = 200, shots = 2;
    std::map<std::string, std::string> prompt_files;  // by name, as the study says it

    bool has(const std::string& name) const;
    dg::json to_json() const;
};

/// A whole study; paths in its flags can be opened.
struct study_file {
    std::string label, name;  // of refusals; of the page
    tools::flag_list flags;   // common to all variants
    std::vector<variant> variants;
    std::string baseline;
    std::vector<double> moments;  // at most 1: a share of the run; above: a step. Sorted; the end is always there
    measures measure;
    bool keep_models = true;
};

/// Names that "measure" knows, each with a sentence.
const std::vector<std::pair<std::string, std::string>>& measure_names();

/// Reads a study. `values` are those of --set, `more` are flags of the command line, laid over the file's common ones.
study_file read_study(const std::filesystem::path& file, const std::map<std::string, std::string>& values,
                      const tools::flag_list& more);

/// Puts growth operators side by side in place of a study's variants, the first one the baseline.
void compare_operators(study_file& study, const std::string& names);

/// Compares the variants with another one of them.
void set_baseline(study_file& study, const std::string& name);

/// Lets every variant have the seeds `first`, `first` + 1, ...
void set_seeds(study_file& study, std::size_t first, std::size_t count);

}  // namespace study
