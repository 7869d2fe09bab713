// Everything about growth that needs no tensor: orders, mixtures, operators, plans, cost, growing, moments, lineage.
// Assumes C++17 and the standard library only.
// Sources are named in each header.
#pragma once

#include "depthgrow/growth/conformance.hpp"
#include "depthgrow/growth/flops.hpp"
#include "depthgrow/growth/grow.hpp"
#include "depthgrow/growth/layer_init.hpp"
#include "depthgrow/growth/layer_order.hpp"
#include "depthgrow/growth/layer_traits.hpp"
#include "depthgrow/growth/lineage.hpp"
#include "depthgrow/growth/mixture.hpp"
#include "depthgrow/growth/operators.hpp"
#include "depthgrow/growth/optimizer_traits.hpp"
#include "depthgrow/growth/plan_text.hpp"
#include "depthgrow/growth/schedule.hpp"
