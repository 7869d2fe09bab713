// The ranks of a tool that measures: started where --ranks asks for them, and how they talk in a backend's memory.
// Assumes one object a process, made before a model is opened and kept until the tool's body ends.
// The first rank prints and writes.
#pragma once

#include <memory>
#include <string>
#include <type_traits>

#include "depthgrow/comm/communicator.hpp"
#include "support/cli.hpp"
#include "support/ranks.hpp"

namespace tools {

struct rank_settings {
    std::string count = "1";
    double timeout = 24 * 3600;  // seconds: a rank waits for the others while they measure all of their shares

    /// `what` the processes share.
    void add(command_line& flags, const std::string& what) {
        flags.add_ranks(count, what);
        flags.add("--rank-timeout", timeout,
                  "Seconds that one of them may keep the others waiting: more than its share takes");
    }
};

class measuring_ranks {
public:
    /// Becomes as many processes (see launch_ranks), or is one of those that were started together.
    measuring_ranks(const rank_settings& wanted, const std::string& backend) : timeout_(wanted.timeout) {
        depthgrow::require(timeout_ > 0, "--rank-timeout: expected seconds above 0, found ", timeout_);
        launch_ranks(wanted.count, backend);
        if (backend != "cuda") on_cpus_ = cpu_ranks(timeout_);
    }
    bool first() const { return launched().rank == 0; }

    /// body(comm), by which the ranks talk about numbers in the memory of `backend`.
    template <class Backend, class Body> void with(Backend& backend, const Body& body) const {
        if constexpr (std::is_same_v<Backend, depthgrow::cuda>) {
            const auto on_gpus = gpu_ranks(backend, "depthgrow", timeout_);
            body(on_gpus ? *on_gpus : depthgrow::no_other_ranks());
        } else {
            body(on_cpus_ ? *on_cpus_ : depthgrow::no_other_ranks());
        }
    }

private:
    double timeout_;
    std::unique_ptr<depthgrow::communicator> on_cpus_;
};

}  // namespace tools
