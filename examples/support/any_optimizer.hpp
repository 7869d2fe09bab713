// The optimiser that --optimizer names, for templates of it.
#pragma once

#include <string>

#include "depthgrow/optim/adamw.hpp"
#include "depthgrow/optim/muon.hpp"
#include "depthgrow/optim/sgd_nesterov.hpp"

namespace tools {

/// body.template operator()<Optimizer>() for one of the names in optim/optimizer.hpp.
template <class T, class Backend, class Body> auto with_optimizer(const std::string& name, const Body& body) {
    namespace dg = depthgrow;
    if (name == "muon") return body.template operator()<dg::muon<T, Backend>>();
    if (name == "sgd_nesterov") return body.template operator()<dg::sgd_nesterov<T, Backend>>();
    dg::require(name == "adamw", "--optimizer: expected one of ", dg::optimizer_names(), ", found \"", name, "\"");
    return body.template operator()<dg::adamw<T, Backend>>();
}

}  // namespace tools
