// The page of a study: its table, quantities over the moments, curves of training.
// Assumes finished cells; nothing but their JSON is read, so that cells of other machines are drawn alike.
// Bands are the table's 95 % intervals.
#pragma once

#include "depth_study/study_table.hpp"

namespace study {

void write_page(const std::filesystem::path& file, const study_file& study, const std::vector<cell>& cells,
                const std::vector<cell_result>& results);

/// The page's plots of what was measured, each as an .svg file named after its title; how many.
std::size_t write_figures(const std::filesystem::path& folder, const study_file& study, const std::vector<cell>& cells,
                          const std::vector<cell_result>& results);

}  // namespace study
