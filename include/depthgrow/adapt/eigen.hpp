// Eigen's matrices and vectors as the library's views, so that metrics and operators read them without a copy; as
// layers they grow by orders and by mixtures. Assumes Eigen 3.3 or newer and rows without gaps between elements
// (row-major, or a transposed column-major one). Convention: a row is a token, its columns the residual's channels.
#pragma once

#include <Eigen/Core>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/core/span.hpp"
#include "depthgrow/growth/grow.hpp"

namespace depthgrow {

namespace detail {

template <class Derived> auto eigen_view(Derived& m) {
    using plain = std::remove_const_t<Derived>;
    static_assert((plain::Flags & Eigen::DirectAccessBit) != 0,
                  "depthgrow: an Eigen expression has no memory; evaluate it into a matrix first");
    static_assert((plain::Flags & Eigen::RowMajorBit) != 0 || plain::IsVectorAtCompileTime,
                  "depthgrow: a column-major Eigen matrix holds its rows scattered; use Eigen::RowMajor, or pass its "
                  "transpose()");
    using scalar = std::remove_pointer_t<decltype(m.data())>;
    require(m.innerStride() == 1, "[matrix_view] expected rows without gaps, got an inner stride of ",
            static_cast<long>(m.innerStride()));
    if constexpr (plain::IsVectorAtCompileTime) return matrix<scalar>(m.data(), 1, static_cast<std::size_t>(m.size()));
    else
        return matrix<scalar>(m.data(), static_cast<std::size_t>(m.rows()), static_cast<std::size_t>(m.cols()),
                              static_cast<std::size_t>(m.outerStride()));
}

/// Copies and sums of Eigen's owning types; sums in double, rounded once.
template <class Plain> struct eigen_layer_traits {
    static Plain clone(const Plain& layer) { return layer; }
    static Plain mix(const std::vector<std::pair<const Plain*, double>>& terms) {
        const Plain& first = *terms.front().first;
        std::vector<double> totals(static_cast<std::size_t>(first.size()), 0.0);
        for (const auto& [layer, coefficient] : terms) {
            require(layer->rows() == first.rows() && layer->cols() == first.cols(),
                    "[mix] expected layers of one shape, (", static_cast<long>(first.rows()), ", ",
                    static_cast<long>(first.cols()), "), got (", static_cast<long>(layer->rows()), ", ",
                    static_cast<long>(layer->cols()), ")");
            for (std::size_t i = 0; i < totals.size(); ++i)
                totals[i] += coefficient * static_cast<double>(layer->data()[i]);
        }
        Plain sum = first;
        for (std::size_t i = 0; i < totals.size(); ++i) sum.data()[i] = rounded<typename Plain::Scalar>(totals[i]);
        return sum;
    }
    static void begin(Plain& layer, const layer_init& init, std::uint64_t seed, std::size_t slot) {
        if (init.kind != init_kind::noise) refuse_beginning(init);
        span<typename Plain::Scalar> numbers(layer.data(), static_cast<std::size_t>(layer.size()));
        add_noise(numbers, init.sigma, begin_stream(seed, slot, ""));
    }
};

}  // namespace detail

template <class Scalar, int Rows, int Cols, int Options, int MaxRows, int MaxCols>
struct layer_traits<Eigen::Matrix<Scalar, Rows, Cols, Options, MaxRows, MaxCols>>
    : detail::eigen_layer_traits<Eigen::Matrix<Scalar, Rows, Cols, Options, MaxRows, MaxCols>> {};
template <class Scalar, int Rows, int Cols, int Options, int MaxRows, int MaxCols>
struct layer_traits<Eigen::Array<Scalar, Rows, Cols, Options, MaxRows, MaxCols>>
    : detail::eigen_layer_traits<Eigen::Array<Scalar, Rows, Cols, Options, MaxRows, MaxCols>> {};

/// A view of a row-major Eigen matrix, array, map or block; it reads the caller's memory and keeps nothing alive.
/// A column-major object is refused at compile time: pass its transpose, whose rows are its columns. A vector is one
/// row.
template <class Derived> auto matrix_view(Eigen::DenseBase<Derived>& m) { return detail::eigen_view(m.derived()); }
template <class Derived> auto matrix_view(const Eigen::DenseBase<Derived>& m) {
    return detail::eigen_view(m.derived());
}

/// A run of a vector's elements.
template <class Derived> auto run_view(const Eigen::DenseBase<Derived>& v) {
    static_assert(Derived::IsVectorAtCompileTime, "depthgrow: run_view takes a vector; matrix_view takes a matrix");
    const auto rows = matrix_view(v);
    return span<std::remove_pointer_t<decltype(rows.data)>>(rows.data, rows.cols);
}

/// Results, vectors of rows, as an Eigen matrix.
inline Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> to_eigen(
    const std::vector<std::vector<double>>& rows) {
    const auto cols = rows.empty() ? 0 : rows[0].size();
    Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> out(static_cast<Eigen::Index>(rows.size()),
                                                                               static_cast<Eigen::Index>(cols));
    for (std::size_t r = 0; r < rows.size(); ++r)
        for (std::size_t c = 0; c < cols; ++c)
            out(static_cast<Eigen::Index>(r), static_cast<Eigen::Index>(c)) = rows[r][c];
    return out;
}

}  // namespace depthgrow
