// Number formats: float64, float32, bfloat16, float16, their sizes, names and conversions.
// Assumes C++17 and IEEE 754; bfloat16 and float16 here are storage only, arithmetic happens in float.
// Names are those of the safetensors format (F64, F32, BF16, F16).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <type_traits>

#include "depthgrow/core/error.hpp"

namespace depthgrow {

enum class dtype { f64, f32, bf16, f16 };

inline std::size_t size_of(dtype type) { return type == dtype::f64 ? 8 : type == dtype::f32 ? 4 : 2; }

inline std::string_view name_of(dtype type) {
    switch (type) {
        case dtype::f64:
            return "F64";
        case dtype::f32:
            return "F32";
        case dtype::bf16:
            return "BF16";
        default:
            return "F16";
    }
}

namespace detail {

inline std::uint32_t float_bits(float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, 4);
    return bits;
}

inline float bits_float(std::uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

}  // namespace detail

/// bfloat16 as stored: the upper half of a float, rounded to nearest even.
struct bfloat16 {
    std::uint16_t bits = 0;

    bfloat16() = default;
    explicit bfloat16(float value) {
        const std::uint32_t wide = detail::float_bits(value);
        if ((wide & 0x7fffffffu) > 0x7f800000u)
            bits = static_cast<std::uint16_t>((wide >> 16) | 0x40u);  // a NaN stays a NaN
        else bits = static_cast<std::uint16_t>((wide + 0x7fffu + ((wide >> 16) & 1u)) >> 16);
    }
    explicit operator float() const { return detail::bits_float(static_cast<std::uint32_t>(bits) << 16); }
    explicit operator double() const { return static_cast<double>(static_cast<float>(*this)); }
};

/// IEEE 754 binary16 as stored, rounded to nearest even.
struct float16 {
    std::uint16_t bits = 0;

    float16() = default;
    explicit float16(float value) {
        const std::uint32_t wide = detail::float_bits(value);
        const auto sign = static_cast<std::uint16_t>((wide >> 16) & 0x8000u);
        const std::uint32_t magnitude = wide & 0x7fffffffu;
        if (magnitude > 0x7f800000u) {
            bits = static_cast<std::uint16_t>(sign | 0x7e00u);
        } else if (magnitude >= 0x477ff000u) {  // rounds to 65536 or more
            bits = static_cast<std::uint16_t>(sign | 0x7c00u);
        } else if (magnitude >= 0x38800000u) {  // normal
            const std::uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
            bits = static_cast<std::uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
        } else {  // subnormal: adding 0.5 places the rounding at the right bit
            const float shifted = detail::bits_float(magnitude) + 0.5f;
            bits = static_cast<std::uint16_t>(sign | (detail::float_bits(shifted) - 0x3f000000u));
        }
    }
    explicit operator float() const {
        const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
        const std::uint32_t exponent = (bits >> 10) & 0x1fu;
        const std::uint32_t fraction = bits & 0x3ffu;
        if (exponent == 31) return detail::bits_float(sign | 0x7f800000u | (fraction << 13));
        if (exponent == 0) {
            const float magnitude = static_cast<float>(fraction) * 5.9604644775390625e-8f;  // 2^-24
            return sign ? -magnitude : magnitude;
        }
        return detail::bits_float(sign | ((exponent + 112u) << 23) | (fraction << 13));
    }
};

template <class T> struct dtype_of;
template <> struct dtype_of<double> { static constexpr dtype value = dtype::f64; };
template <> struct dtype_of<float> { static constexpr dtype value = dtype::f32; };
template <> struct dtype_of<bfloat16> { static constexpr dtype value = dtype::bf16; };
template <> struct dtype_of<float16> { static constexpr dtype value = dtype::f16; };

namespace detail {

template <class From, class To> void convert_run(const void* from, To* to, std::size_t count) {
    const auto* bytes = static_cast<const unsigned char*>(from);
    for (std::size_t i = 0; i < count; ++i) {
        From value;
        std::memcpy(&value, bytes + i * sizeof(From), sizeof(From));
        if constexpr (std::is_same_v<From, double> && std::is_floating_point_v<To>) to[i] = static_cast<To>(value);
        else if constexpr (std::is_same_v<To, double>) to[i] = static_cast<double>(static_cast<float>(value));
        else to[i] = static_cast<To>(static_cast<float>(value));
    }
}

}  // namespace detail

/// Reads `count` numbers stored as `type` (any alignment) into `to` (double, float or narrower).
template <class To> void convert_from(dtype type, const void* from, To* to, std::size_t count) {
    switch (type) {
        case dtype::f64:
            return detail::convert_run<double>(from, to, count);
        case dtype::f32:
            return detail::convert_run<float>(from, to, count);
        case dtype::bf16:
            return detail::convert_run<bfloat16>(from, to, count);
        case dtype::f16:
            return detail::convert_run<float16>(from, to, count);
    }
}

/// Writes `count` numbers from `from` (float or double) as `type` (any alignment).
template <class From> void convert_to(dtype type, const From* from, void* to, std::size_t count) {
    auto* bytes = static_cast<unsigned char*>(to);
    const auto store = [&](auto tag) {
        using Stored = decltype(tag);
        for (std::size_t i = 0; i < count; ++i) {
            Stored value;
            if constexpr (std::is_same_v<Stored, double>) value = from[i];
            else value = static_cast<Stored>(static_cast<float>(from[i]));
            std::memcpy(bytes + i * sizeof(Stored), &value, sizeof(Stored));
        }
    };
    switch (type) {
        case dtype::f64:
            return store(double{});
        case dtype::f32:
            return store(float{});
        case dtype::bf16:
            return store(bfloat16{});
        case dtype::f16:
            return store(float16{});
    }
}

}  // namespace depthgrow
