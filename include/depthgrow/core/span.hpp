// Views without ownership: span (a run of elements) and matrix (rows with a leading dimension).
// Assumes C++17; the caller keeps the memory alive.
// Rows are contiguous, row r starts at data + r * stride.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

#include "depthgrow/core/config.hpp"

namespace depthgrow {

/// A contiguous run of elements; converts from any container that has data() and size().
template <class T> class span {
public:
    using element_type = T;
    using value_type = std::remove_cv_t<T>;

    constexpr span() = default;
    constexpr span(T* data, std::size_t size) : data_(data), size_(size) {}

    template <class Container, class Pointer = decltype(std::declval<Container&>().data()),
              class = std::enable_if_t<!std::is_same_v<std::remove_cv_t<std::remove_reference_t<Container>>, span> &&
                                       std::is_convertible_v<std::remove_pointer_t<Pointer> (*)[], T (*)[]>>>
    constexpr span(Container&& container) : data_(container.data()), size_(container.size()) {}

    constexpr T* data() const { return data_; }
    constexpr std::size_t size() const { return size_; }
    constexpr bool empty() const { return size_ == 0; }
    constexpr T& operator[](std::size_t i) const { return data_[i]; }
    constexpr T* begin() const { return data_; }
    constexpr T* end() const { return data_ + size_; }
    /// Elements [first, first + count).
    constexpr span subspan(std::size_t first, std::size_t count) const { return {data_ + first, count}; }

private:
    T* data_ = nullptr;
    std::size_t size_ = 0;
};

/// `rows` rows of `cols` contiguous elements, `stride` elements from one row to the next.
template <class T> struct matrix {
    T* data = nullptr;
    std::size_t rows = 0;
    std::size_t cols = 0;
    std::size_t stride = 0;

    constexpr matrix() = default;
    constexpr matrix(T* d, std::size_t r, std::size_t c) : data(d), rows(r), cols(c), stride(c) {}
    constexpr matrix(T* d, std::size_t r, std::size_t c, std::size_t s) : data(d), rows(r), cols(c), stride(s) {}

    /// A view of constants from a view of variables.
    template <class U, class = std::enable_if_t<std::is_same_v<const U, T> && !std::is_same_v<U, T>>>
    constexpr matrix(const matrix<U>& other)
        : data(other.data), rows(other.rows), cols(other.cols), stride(other.stride) {}

    constexpr T* row(std::size_t r) const { return data + r * stride; }
    constexpr T& operator()(std::size_t r, std::size_t c) const { return data[r * stride + c]; }
    constexpr std::size_t size() const { return rows * cols; }
    /// Rows [first, first + count).
    constexpr matrix row_range(std::size_t first, std::size_t count) const { return {row(first), count, cols, stride}; }
    /// Columns [first, first + count) of every row.
    constexpr matrix col_range(std::size_t first, std::size_t count) const {
        return {data + first, rows, count, stride};
    }
    constexpr bool contiguous() const { return stride == cols || rows <= 1; }
};

}  // namespace depthgrow
