// Errors: one exception type whose text is one sentence, thrown before anything is written.
// Assumes C++17 and the standard library only; no streams, so that including it stays cheap.
// Form: "[operation] expected WHAT, got WHAT" (or "FILE: expected …, found …" for files).
#pragma once

#include <cstdio>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

namespace depthgrow {

/// What every depthgrow function throws when its input is wrong; `what()` is one sentence for people.
class error : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

namespace detail {

template <class Value>
std::string to_text(const Value& value) {
    if constexpr (std::is_same_v<Value, bool>) {
        return value ? "true" : "false";
    } else if constexpr (std::is_floating_point_v<Value>) {
        char digits[32];
        std::snprintf(digits, sizeof digits, "%.9g", static_cast<double>(value));
        return digits;
    } else if constexpr (std::is_same_v<Value, char>) {
        return std::string(1, value);
    } else if constexpr (std::is_integral_v<Value>) {
        return std::to_string(value);
    } else {
        return std::string(std::string_view(value));
    }
}

}  // namespace detail

/// Joins strings and numbers into one text.
template <class... Parts>
std::string text(const Parts&... parts) {
    std::string joined;
    (joined.append(detail::to_text(parts)), ...);
    return joined;
}

/// Throws `error` with the joined parts.
template <class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
    throw error(text(parts...));
}

/// Throws `error` with the joined parts unless `condition` holds.
template <class... Parts>
void require(bool condition, const Parts&... parts) {
    if (!condition) fail(parts...);
}

}  // namespace depthgrow
