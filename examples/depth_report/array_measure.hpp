// What depth_report can tell of a model from arrays of its activations, whatever framework they come from.
// Assumes the layout of examples/depth_report/README.md; sums and means as in analysis/contributions.hpp and
// analysis/lens_statistics.hpp, so that the numbers are those of the model itself.
#pragma once

#include <string>

#include "support/depth_measure.hpp"

namespace tools {

/// Measures settings.models[index], a folder of .npy files or of one folder a prompt, or a .safetensors file. Throws a
/// sentence that names the file on arrays that are missing, of other shapes than the rest, or not finite.
depth_measurement measure_arrays(const report_settings& settings, std::size_t index);

}  // namespace tools
