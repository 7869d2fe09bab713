// Extents of a tensor: at most four, outermost first, with their product and their text.
// Assumes C++17; a shape is a plain value.
// Elements lie row-major: the last extent is contiguous.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <string>

#include "depthgrow/core/error.hpp"

namespace depthgrow {

/// Up to four extents, for example {B, T, C}.
class shape {
public:
    static constexpr std::size_t max_rank = 4;

    shape() = default;
    shape(std::initializer_list<std::size_t> extents) {
        require(extents.size() <= max_rank, "[shape] expected at most 4 extents, got ", extents.size());
        for (std::size_t extent : extents) extents_[rank_++] = extent;
    }

    std::size_t rank() const { return rank_; }
    std::size_t operator[](std::size_t axis) const { return extents_[axis]; }
    std::size_t back() const { return rank_ ? extents_[rank_ - 1] : 1; }

    /// Product of all extents; 1 for a scalar.
    std::size_t elements() const {
        std::size_t product = 1;
        for (std::size_t axis = 0; axis < rank_; ++axis) product *= extents_[axis];
        return product;
    }
    /// Number of rows when the last extent is laid out as columns.
    std::size_t rows() const { return back() ? elements() / back() : 0; }

    friend bool operator==(const shape& a, const shape& b) {
        if (a.rank_ != b.rank_) return false;
        for (std::size_t axis = 0; axis < a.rank_; ++axis)
            if (a.extents_[axis] != b.extents_[axis]) return false;
        return true;
    }
    friend bool operator!=(const shape& a, const shape& b) { return !(a == b); }

    /// "(2, 3, 4)".
    std::string to_string() const {
        std::string out = "(";
        for (std::size_t axis = 0; axis < rank_; ++axis) {
            if (axis) out += ", ";
            out += std::to_string(extents_[axis]);
        }
        return out + ")";
    }

private:
    std::size_t extents_[max_rank] = {};
    std::size_t rank_ = 0;
};

}  // namespace depthgrow
