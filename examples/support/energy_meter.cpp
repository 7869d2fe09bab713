#include "support/energy_meter.hpp"

#include <dlfcn.h>

namespace tools {

energy_meter::energy_meter(const std::string& bus_id) {
    if (bus_id.empty()) return;
    static void* const library = dlopen("libnvidia-ml.so.1", RTLD_LAZY);  // stays open, as its devices do
    if (!library) return;
    const auto init = reinterpret_cast<int (*)()>(dlsym(library, "nvmlInit_v2"));
    const auto device =
        reinterpret_cast<int (*)(const char*, void**)>(dlsym(library, "nvmlDeviceGetHandleByPciBusId_v2"));
    total_energy_ =
        reinterpret_cast<int (*)(void*, unsigned long long*)>(dlsym(library, "nvmlDeviceGetTotalEnergyConsumption"));
    if (!init || !device || !total_energy_ || init() != 0) return;
    if (device(bus_id.c_str(), &device_) != 0) device_ = nullptr;
}

std::optional<std::uint64_t> energy_meter::read() const {
    unsigned long long millijoules = 0;
    if (!device_ || total_energy_(device_, &millijoules) != 0) return std::nullopt;
    return millijoules;
}

std::optional<double> energy_meter::pause() {
    if (!counting_) return total_;
    counting_ = false;
    const auto now = read();
    if (total_ && began_ && now) *total_ += static_cast<double>(*now - *began_) / 1000;
    else total_.reset();
    return total_;
}

}  // namespace tools
