// Sums over runs of numbers, in double whatever the storage: the norm, dot product and cosine of the diagnostics.
// Assumes C++17; a run is anything with size() and [] whose elements are numbers or convert to float (bfloat16).
// Maths: ratios use max(denominator, 1e-6), cosines eps 1e-8 on each norm, as torch.nn.functional.cosine_similarity.
#pragma once

#include <cmath>
#include <cstddef>
#include <string_view>
#include <type_traits>

#include "depthgrow/core/error.hpp"
#include "depthgrow/core/span.hpp"

namespace depthgrow {

inline constexpr double ratio_floor = 1e-6;
inline constexpr double cosine_floor = 1e-8;

namespace detail {

template <class Number> double widen(const Number& number) {
    if constexpr (std::is_arithmetic_v<Number>) return static_cast<double>(number);
    else return static_cast<double>(static_cast<float>(number));
}

template <class A, class B> void require_same_size(std::string_view name, const A& a, const B& b) {
    require(a.size() == b.size(), "[", name, "] expected runs of equal length, got ", a.size(), " and ", b.size());
}

inline double floored(double value, double least) { return value < least ? least : value; }

/// Row r of a matrix as a span.
template <class T> span<T> row_of(const matrix<T>& rows, std::size_t r) { return {rows.row(r), rows.cols}; }

/// A run computed on reading: x[i] + y[i].
template <class X, class Y> struct sum_of {
    const X& x;
    const Y& y;
    std::size_t size() const { return x.size(); }
    double operator[](std::size_t i) const { return widen(x[i]) + widen(y[i]); }
};
template <class X, class Y> sum_of(const X&, const Y&) -> sum_of<X, Y>;

}  // namespace detail

/// Sum of products.
template <class A, class B> double dot_product(const A& a, const B& b) {
    detail::require_same_size("dot_product", a, b);
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += detail::widen(a[i]) * detail::widen(b[i]);
    return sum;
}

/// Euclidean norm.
template <class A> double l2_norm(const A& a) { return std::sqrt(dot_product(a, a)); }

/// ‖a − b‖₂.
template <class A, class B> double l2_distance(const A& a, const B& b) {
    detail::require_same_size("l2_distance", a, b);
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        const double difference = detail::widen(a[i]) - detail::widen(b[i]);
        sum += difference * difference;
    }
    return std::sqrt(sum);
}

/// Cosine of the angle between two runs; 0 when one of them is zero.
template <class A, class B> double cosine(const A& a, const B& b) {
    return dot_product(a, b) / (detail::floored(l2_norm(a), cosine_floor) * detail::floored(l2_norm(b), cosine_floor));
}

}  // namespace depthgrow
