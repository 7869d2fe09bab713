// Whether somebody asked the program to stop: SIGTERM or SIGINT, of which a second one ends it at once, or SIGUSR1, by
// which job schedulers tell that the time is nearly over (Slurm: --signal=USR1@120).
// Assumes that whoever works in steps looks at stop_requested between them.
#pragma once

#include <csignal>

namespace tools {

inline volatile std::sig_atomic_t stop_requested = 0;

inline void request_stop(int signal) {
    stop_requested = 1;
    if (signal != SIGUSR1) std::signal(signal, SIG_DFL);
}

/// From a program's start on: the warning of a scheduler must not end it.
inline void catch_warning_signal() { std::signal(SIGUSR1, request_stop); }

inline void catch_stop_signals() {
    std::signal(SIGTERM, request_stop);
    std::signal(SIGINT, request_stop);
}

}  // namespace tools
