// The energy that a GPU uses while a run trains, as NVIDIA's driver counts it (Volta and later).
// Assumes that the run has its GPU for itself; without the driver's library nothing is told.
// Source: NVML, nvmlDeviceGetTotalEnergyConsumption, millijoules; the library is opened when it is there.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace tools {

class energy_meter {
public:
    /// `bus_id`: of the GPU on the PCI bus, as CUDA tells it ("0000:3b:00.0"); empty: no GPU, nothing is told.
    explicit energy_meter(const std::string& bus_id);

    /// Starts to count on top of `total` joules; none: what was used before is not known, nor will the sum be.
    void begin(std::optional<double> total) { total_ = total, counting_ = false, resume(); }
    /// Counts up to now, unless it has paused already: all joules, where every part of them is known.
    std::optional<double> pause();
    void resume() {
        if (!counting_) began_ = read(), counting_ = true;
    }

private:
    std::optional<std::uint64_t> read() const;

    void* device_ = nullptr;
    int (*total_energy_)(void*, unsigned long long*) = nullptr;
    std::optional<std::uint64_t> began_;
    std::optional<double> total_;
    bool counting_ = false;
};

}  // namespace tools
