// What people see while a tool works: readable numbers, and a progress bar on a terminal only.
// Nothing here writes escape codes when stderr is not a terminal.
#pragma once

#include <sys/ioctl.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <string>

namespace tools {

/// printf into a string.
template <class... Arguments> std::string format(const char* pattern, Arguments... arguments) {
    const int length = std::snprintf(nullptr, 0, pattern, arguments...);
    std::string out(static_cast<std::size_t>(length), '\0');
    std::snprintf(out.data(), out.size() + 1, pattern, arguments...);
    return out;
}

/// "412", "9.86 k", "1.71 G".
inline std::string human(double value) {
    static constexpr const char* units[] = {"", " k", " M", " G", " T", " P", " E"};
    std::size_t unit = 0;
    while (value >= 1000 && unit < 6) value /= 1000, ++unit;
    return format(value >= 100 || unit == 0 ? "%.0f%s" : value >= 10 ? "%.1f%s" : "%.2f%s", value, units[unit]);
}

/// "42s", "3m12s", "2h05m".
inline std::string duration(double seconds) {
    const auto whole = static_cast<long>(seconds + 0.5);
    if (whole < 60) return format("%lds", whole);
    if (whole < 3600) return format("%ldm%02lds", whole / 60, whole % 60);
    return format("%ldh%02ldm", whole / 3600, whole / 60 % 60);
}

/// Seconds since it was made.
class stopwatch {
public:
    double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

private:
    std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// A bar on stderr, redrawn at most ten times a second; silent when stderr is not a terminal.
class progress_bar {
public:
    explicit progress_bar(std::size_t total) : total_(total), shown_(isatty(STDERR_FILENO) == 1) {}
    ~progress_bar() { clear(); }

    void update(std::size_t done, const std::string& note) {
        if (!shown_ || (done < total_ && watch_.seconds() < next_)) return;
        next_ = watch_.seconds() + 0.1;
        struct ::winsize size = {};
        const int columns = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
        const int width = columns - 12 - static_cast<int>(note.size());
        if (width < 8) return;
        const int filled =
            total_
                ? static_cast<int>(static_cast<double>(width) * static_cast<double>(done) / static_cast<double>(total_))
                : 0;
        std::fprintf(stderr, "\r\033[K[%s%s] %3.0f%%  %s", std::string(static_cast<std::size_t>(filled), '#').c_str(),
                     std::string(static_cast<std::size_t>(width - filled), '.').c_str(),
                     total_ ? 100.0 * static_cast<double>(done) / static_cast<double>(total_) : 0.0, note.c_str());
        std::fflush(stderr);
        drawn_ = true;
    }
    /// Wipes the bar so that a line can be printed.
    void clear() {
        if (drawn_) std::fputs("\r\033[K", stderr), std::fflush(stderr);
        drawn_ = false;
    }

private:
    std::size_t total_;
    bool shown_, drawn_ = false;
    stopwatch watch_;
    double next_ = 0;
};

}  // namespace tools
