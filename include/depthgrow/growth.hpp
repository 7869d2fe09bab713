// Everything about growth that needs no tensor: orders, operators, schedules, cost, copying, optimizer state, lineage.
// Assumes C++17 and the standard library only.
// Sources are named in each header.
#pragma once

#include "depthgrow/growth/conformance.hpp"
#include "depthgrow/growth/flops.hpp"
#include "depthgrow/growth/grow.hpp"
#include "depthgrow/growth/layer_order.hpp"
#include "depthgrow/growth/layer_traits.hpp"
#include "depthgrow/growth/lineage.hpp"
#include "depthgrow/growth/operators.hpp"
#include "depthgrow/growth/optimizer_traits.hpp"
#include "depthgrow/growth/schedule.hpp"
