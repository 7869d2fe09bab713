// libtorch (PyTorch in C++): tensors and modules as layers, and layers grown in place with their optimiser.
// Assumes libtorch 1.13 or newer and C++17 (what libtorch itself asks for); link libtorch, the library links nothing.
// Source: Kapl et al. 2025 section 3.1.
#pragma once

#include "depthgrow/adapt/torch/children.hpp"
#include "depthgrow/adapt/torch/grow.hpp"
#include "depthgrow/adapt/torch/modules.hpp"
#include "depthgrow/adapt/torch/optimizer.hpp"
#include "depthgrow/adapt/torch/tensors.hpp"
