// Everything that turns activations and logits into numbers and needs no tensor of ours.
// Assumes C++17 and the standard library only.
// Sources are named in each header.
#pragma once

#include "depthgrow/metrics/contribution.hpp"
#include "depthgrow/metrics/depth_score.hpp"
#include "depthgrow/metrics/divergence.hpp"
#include "depthgrow/metrics/overlap.hpp"
#include "depthgrow/metrics/similarity.hpp"
#include "depthgrow/metrics/statistics.hpp"
