// What the two units of the Python module share.
// Assumes nanobind.
// No maths here.
#pragma once

#include <nanobind/nanobind.h>

/// Adds the functions of include/depthgrow/metrics.
void bind_metrics(nanobind::module_& m);
