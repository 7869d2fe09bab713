// A lens fitted and measured as the tool fit_lens shows it: a bar, a table on the screen, the numbers as JSON.
// Assumes a directory that the library's models read. The fit: support/lens_fit.hpp.
// Used by the tool and by the Python package.
#pragma once

#include "depthgrow/io/json.hpp"
#include "support/lens_fit.hpp"

namespace tools {

struct lens_table_settings : lens_fit_settings {
    bool progress = true, told = true;  // a bar; a table on the screen
};

/// Writes the lens as the directory `out` and returns what --json says. Throws a sentence on bad input.
depthgrow::json fit_and_tell(lens_table_settings settings);

}  // namespace tools
