#include "support/time_limit.hpp"

#include <cmath>
#include <cstdlib>

#include "depthgrow/core/error.hpp"
#include "support/console.hpp"

namespace tools {

namespace {

namespace dg = depthgrow;

const stopwatch since_start;

/// Seconds of "[D-]HH:MM:SS" or "MM:SS"; below 0 where the text is none of these.
double clock_seconds(const std::string& text) {
    if (text.find_first_not_of("0123456789:-") != std::string::npos || text[0] == '-' ||
        text.find(":-") != std::string::npos || text.find("--") != std::string::npos)
        return -1;
    unsigned days = 0, hours = 0, minutes = 0, seconds = 0;
    int used = 0;
    const auto all = [&] { return used == static_cast<int>(text.size()); };
    const auto sum = [&] { return ((days * 24.0 + hours) * 60 + minutes) * 60 + seconds; };
    if (std::sscanf(text.c_str(), "%u-%u:%u:%u%n", &days, &hours, &minutes, &seconds, &used) == 4 && all())
        return sum();
    days = 0;
    if (std::sscanf(text.c_str(), "%u:%u:%u%n", &hours, &minutes, &seconds, &used) == 3 && all()) return sum();
    hours = 0;
    if (std::sscanf(text.c_str(), "%u:%u%n", &minutes, &seconds, &used) == 2 && all()) return sum();
    return -1;
}

}  // namespace

double process_seconds() { return since_start.seconds(); }

double seconds_of(const std::string& flag, const std::string& text) {
    if (text.empty()) return 0;
    double seconds = clock_seconds(text);
    if (seconds < 0) {
        char* end = nullptr;
        seconds = std::strtod(text.c_str(), &end);
        const std::string unit = end;
        seconds *= unit == "m" ? 60 : unit == "h" ? 3600 : unit == "d" ? 86400 : 1;
        if (end == text.c_str() || !(unit.empty() || unit == "s" || unit == "m" || unit == "h" || unit == "d"))
            seconds = -1;
    }
    dg::require(std::isfinite(seconds) && seconds > 0, flag,
                ": expected a time above 0, such as 90 (seconds), 45m, 12:00:00 or 1-00:00:00, found \"", text, "\"");
    return seconds;
}

}  // namespace tools
