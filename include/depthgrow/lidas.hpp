// LIDAS in one include: the operator (lidas{b}), its schedule (plan_growth) and grow() for your own layers.
// Assumes C++17 and the standard library only.
// Maths: Kapl et al. 2025 (arXiv 2512.08819) section 3.1, with the half-open window that copies b layers.
#pragma once

#include "depthgrow/growth/grow.hpp"
#include "depthgrow/growth/operators.hpp"
#include "depthgrow/growth/schedule.hpp"
