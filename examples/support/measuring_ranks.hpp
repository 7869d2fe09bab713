// The ranks of a tool that measures: started where --ranks asks for them, and how they talk in a backend's memory.
// Assumes one object a process, made before a model is opened and kept until the tool's body ends.
// The first rank prints and writes; a rank may wait for the others as long as they measure.
#pragma once

#include <memory>
#include <string>
#include <type_traits>

#include "depthgrow/comm/communicator.hpp"
#include "support/ranks.hpp"

namespace tools {

class measuring_ranks {
public:
    /// Becomes `count` processes (see launch_ranks), or is one of those that were started together.
    measuring_ranks(const std::string& count, const std::string& backend) {
        launch_ranks(count, backend);
        if (backend != "cuda") on_cpus_ = cpu_ranks(patience);
    }
    bool first() const { return launched().rank == 0; }

    /// body(comm), by which the ranks talk about numbers in the memory of `backend`.
    template <class Backend, class Body> void with(Backend& backend, const Body& body) const {
        if constexpr (std::is_same_v<Backend, depthgrow::cuda>) {
            const auto on_gpus = gpu_ranks(backend, "depthgrow", patience);
            body(on_gpus ? *on_gpus : depthgrow::no_other_ranks());
        } else {
            body(on_cpus_ ? *on_cpus_ : depthgrow::no_other_ranks());
        }
    }

private:
    static constexpr double patience = 24 * 3600;  // seconds; whoever started a rank that dies ends the others

    std::unique_ptr<depthgrow::communicator> on_cpus_;
};

}  // namespace tools
