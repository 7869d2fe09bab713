// The energy that a GPU uses while a run trains, as NVIDIA's driver counts it (Volta and later).
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
