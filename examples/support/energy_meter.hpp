// What a GPU has used since the meter was made, as NVIDIA's driver counts it (Volta and later).
// Assumes one GPU in the machine: with several, or without the driver's library, nothing is told.
// Source: NVML, nvmlDeviceGetTotalEnergyConsumption, millijoules; the library is opened when it is there.
#pragma once

#include <cstdint>
#include <optional>

namespace tools {

class energy_meter {
public:
    /// `on`: whether the work is on a GPU at all.
    explicit energy_meter(bool on);

    /// Joules since it was made or last restarted.
    std::optional<double> joules() const;
    void restart() { began_ = read(); }

private:
    std::optional<std::uint64_t> read() const;

    void* device_ = nullptr;
    int (*total_energy_)(void*, unsigned long long*) = nullptr;
    std::optional<std::uint64_t> began_;
};

}  // namespace tools
