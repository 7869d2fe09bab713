// How long a run may take: "90", "45m", "30:00", "12:00:00", "1-00:00:00", as job schedulers write it.
// Assumes that the run began with the process; a limit leaves room for one more step and the save.
#pragma once

#include <algorithm>
#include <string>

namespace tools {

/// Seconds of "90", "90s", "45m", "12h", "2d", "MM:SS", "HH:MM:SS" or "D-HH:MM:SS"; 0 for "". Throws a sentence that
/// names `flag`.
double seconds_of(const std::string& flag, const std::string& text);

/// Since this process began.
double process_seconds();

class time_limit {
public:
    /// 0: none.
    explicit time_limit(double seconds) : seconds_(seconds) {}

    void took_step(double seconds) { step_ = std::max(step_, seconds); }
    void took_save(double seconds) { save_ = std::max(save_, seconds); }
    /// Whether one more step and a save, as slow as the slowest so far, would end after the limit.
    bool reached() const { return seconds_ > 0 && process_seconds() + step_ + save_ > seconds_; }

private:
    double seconds_, step_ = 0, save_ = 0;
};

}  // namespace tools
