// The page of a depth report: figures and tables of one or several measured models as HTML with SVG.
// Assumes models that were measured with the same settings; every figure shows all of them.
// Used by depth_report alone.
#pragma once

#include <filesystem>
#include <vector>

#include "support/depth_measure.hpp"

namespace tools {

/// Writes the page, over an earlier one if there is any. Throws error when the file cannot be written.
void write_depth_page(const std::filesystem::path& file, const std::vector<depth_measurement>& models);

}  // namespace tools
