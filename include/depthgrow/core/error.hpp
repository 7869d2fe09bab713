// Errors: one exception type whose text is one sentence, thrown before anything is written.
// Assumes C++17 and the standard library only; no streams, so that including it stays cheap.
// Form: "[operation] expected WHAT, got WHAT" (or "FILE: expected …, found …" for files).
#pragma once

#include <cstdio>
#include <initializer_list>
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

inline std::string to_text(std::string_view value) { return std::string(value); }

template <class Value, std::enable_if_t<std::is_arithmetic_v<Value>, int> = 0> std::string to_text(Value value) {
    if constexpr (std::is_same_v<Value, bool>) {
        return value ? "true" : "false";
    } else if constexpr (std::is_floating_point_v<Value>) {
        char digits[32];
        std::snprintf(digits, sizeof digits, "%.9g", static_cast<double>(value));
        return digits;
    } else if constexpr (std::is_same_v<Value, char>) {
        return std::string(1, value);
    } else {
        return std::to_string(value);
    }
}

inline std::string concatenated(std::initializer_list<std::string> parts) {
    std::string whole;
    for (const std::string& part : parts) whole += part;
    return whole;
}

}  // namespace detail

/// Joins strings and numbers into one text.
template <class... Parts> std::string text(const Parts&... parts) {
    return detail::concatenated({detail::to_text(parts)...});
}

/// Throws `error` with the parts as one text.
template <class... Parts> [[noreturn]] void fail(const Parts&... parts) {
    throw error(detail::concatenated({detail::to_text(parts)...}));
}

/// Throws `error` with the parts as one text unless `condition` holds.
template <class... Parts> void require(bool condition, const Parts&... parts) {
    if (!condition) throw error(detail::concatenated({detail::to_text(parts)...}));
}

}  // namespace depthgrow
