#include "support/made_by.hpp"

#include <fstream>

#include "commit.hpp"
#include "depthgrow/core/config.hpp"

namespace tools {

std::string device_name(const std::string& backend) {
#if DEPTHGROW_USES_CUDA
    if (backend == "cuda") return cuda_device_name();
#endif
    std::ifstream in("/proc/cpuinfo");
    for (std::string line; std::getline(in, line);)
        if (line.rfind("model name", 0) == 0) return line.substr(std::min(line.size(), line.find(": ") + 2));
    return backend == "cuda" ? "a GPU" : "a CPU";
}

std::string device_bus_id([[maybe_unused]] const std::string& backend) {
#if DEPTHGROW_USES_CUDA
    if (backend == "cuda") return cuda_device_bus_id();
#endif
    return {};
}

depthgrow::json made_by(const std::string& command, const std::string& backend) {
    depthgrow::json out = {{"depthgrow", DEPTHGROW_VERSION_STRING},
                           {"command", command},
                           {"backend", backend},
                           {"device", device_name(backend)}};
    if (const std::string commit = DEPTHGROW_COMMIT; !commit.empty()) out["commit"] = commit;
    return out;
}

}  // namespace tools
