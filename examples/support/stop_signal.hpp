// Whether somebody asked the program to stop: SIGTERM or SIGINT; a second one ends it at once.
// Assumes that whoever works in steps looks at stop_requested between them.
// Handlers are set by catch_stop_signals, again after each signal.
#pragma once

#include <csignal>

namespace tools {

inline volatile std::sig_atomic_t stop_requested = 0;

inline void request_stop(int signal) {
    stop_requested = 1;
    std::signal(signal, SIG_DFL);
}

inline void catch_stop_signals() {
    std::signal(SIGTERM, request_stop);
    std::signal(SIGINT, request_stop);
}

}  // namespace tools
