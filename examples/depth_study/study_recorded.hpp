// A study as its finished cells record it, for tables and pages where its file or its data are not at hand.
// Assumes cells of one study in FOLDER/cells. Nothing can be run or merged with it.
#pragma once

#include "depth_study/study_table.hpp"

namespace study {

/// Cells, what each found, and the study that they are of: variants and seeds as the cells name them, the moments of
/// the first cell as shares of its run, the variant "plain" as baseline, or the first.
struct recorded_study {
    study_file study;
    std::vector<cell> cells;
    std::vector<dg::json> found;  // one a cell
};

/// Reads every cell of a folder. Refuses a folder without cells, and cells that were measured at other shares of their
/// runs than the first.
recorded_study read_recorded(const std::filesystem::path& folder);

}  // namespace study
