// Runs one cell of a study: trains from where it was, measures at its moments, leaves one JSON file.
// Assumes a cell of make_cells that is not finished. Stops between steps, and before a measurement, when told to.
// A moment's measurements are kept as they come; those of steps that a run has to do again are dropped.
#pragma once

#include <functional>

#include "depth_study/study_cell.hpp"

namespace study {

/// True: the cell is finished, its file is there. False: stopped, to go on later by the same call.
bool run_cell(const cell& one, const measures& measure, bool keep_models, const std::function<bool()>& stop);

}  // namespace study
