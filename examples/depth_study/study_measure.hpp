// What a study measures on a run's newest checkpoint, by the functions of depth_report, fit_lens and evaluate.
// Assumes the checkpoint of a moment, which is still there. Prompts are held-out windows of each source, and files.
// Arrays by layer are kept to seven digits, intervals over prompts are not: a study's intervals are over seeds.
#pragma once

#include "depth_study/study_cell.hpp"

namespace study {

/// Refuses measures that this build does not have, and prompts of files that a cell's model cannot read.
void require_measures(const cell& one, const measures& measure);

/// Adds to `out` what `measure` names.
void measure_model(const cell& one, const measures& measure, const tools::training_moment& now, dg::json& out);

}  // namespace study
