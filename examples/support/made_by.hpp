// What made a result: version and commit of the library, the command, the device.
// Assumes nothing of the build: a commit is there when it was built from a git checkout.
// The device's name is the driver's or the processor's own.
#pragma once

#include <string>

#include "depthgrow/io/json.hpp"

namespace tools {

/// "NVIDIA H100 80GB HBM3", "Intel(R) Xeon(R) ...".
std::string device_name(const std::string& backend);
/// Where the GPU of this process is on the PCI bus, "0000:3b:00.0"; empty on a CPU.
std::string device_bus_id(const std::string& backend);
std::string cuda_device_name(), cuda_device_bus_id();  // in builds with CUDA

/// {"depthgrow": "0.2.0", "commit": "...", "command", "backend", "device"}; no commit where none is known.
depthgrow::json made_by(const std::string& command, const std::string& backend);

}  // namespace tools
