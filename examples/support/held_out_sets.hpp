// The tokens that a run is judged by: held-out windows of its sources, and questions of the built-in tasks.
// Tokens only; held_out.hpp runs the model on them.
#pragma once

#include <string>
#include <vector>

#include "support/training.hpp"

namespace tools {

struct held_out_windows {
    std::vector<std::int32_t> inputs, targets;  // (windows, T)
    std::vector<float> weights;                 // (windows, T)
    std::size_t windows = 0;
    std::vector<std::size_t> of_source;  // windows of each source, in order
};

struct question_set {
    std::string task;
    std::size_t questions = 0, length = 0;      // T: the longest question
    std::vector<std::int32_t> inputs, targets;  // (questions, T); targets only on the answer, else -1
};

/// Windows of every source, in proportion to nothing: each source's mean counts by its windows.
held_out_windows make_windows(const resolved_run& run, const dg::training_data& data);

/// Inputs of `count` of the windows, (count, T): the first of every source, then the second of every one, and so on,
/// source by source.
std::vector<std::int32_t> first_windows(const held_out_windows& set, std::size_t count);

/// 64 held-out questions of each task of a run on the built-in corpus, with as many solved ones before (5 at most) as
/// fit; none for a run on other data.
std::vector<question_set> make_question_sets(const resolved_run& run);

}  // namespace tools
