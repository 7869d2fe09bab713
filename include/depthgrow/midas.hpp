// MIDAS in one include: the operator (midas{b}), its schedule (plan_growth) and grow() for your own layers.
// Assumes C++17 and the standard library only.
// Maths: Saunshi et al. 2024 (arXiv 2409.19044) section 3.2; Kapl et al. 2025 (arXiv 2512.08819) eq. 1-2.
#pragma once

#include "depthgrow/growth/grow.hpp"
#include "depthgrow/growth/operators.hpp"
#include "depthgrow/growth/schedule.hpp"
