// An owning block of numbers in a backend's memory with its extents. Copies are explicit (`clone`), moves are free.
// Assumes the backend outlives the tensor. Elements are row-major; rows run over the last extent.
// There are no lazy expressions: an operation writes a named output when it is called.
#pragma once

#include <utility>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/core/shape.hpp"
#include "depthgrow/core/span.hpp"

namespace depthgrow {

template <class T, class Backend> class tensor {
public:
    tensor() = default;
    /// Uninitialised memory of these extents.
    tensor(Backend& backend, shape extents)
        : backend_(&backend), shape_(extents), data_(backend.template allocate<T>(extents.elements())) {}
    tensor(tensor&& other) noexcept { swap(other); }
    tensor& operator=(tensor&& other) noexcept {
        tensor moved(std::move(other));
        swap(moved);
        return *this;
    }
    tensor(const tensor&) = delete;
    tensor& operator=(const tensor&) = delete;
    ~tensor() {
        if (data_) backend_->template deallocate<T>(data_, size());
    }

    /// Every element `value`.
    static tensor filled(Backend& backend, shape extents, T value) {
        tensor made(backend, extents);
        backend.template fill<T>(made.data(), made.size(), value);
        return made;
    }
    /// A copy of host memory; throws unless `values` has as many elements as `extents`.
    static tensor from_host(Backend& backend, shape extents, span<const T> values) {
        require(values.size() == extents.elements(), "[tensor] expected ", extents.elements(), " values for extents ",
                extents.to_string(), ", got ", values.size());
        tensor made(backend, extents);
        backend.template from_host<T>(values.data(), made.data(), values.size());
        return made;
    }

    /// A deep copy in the same backend.
    tensor clone() const {
        if (!data_) return {};
        tensor copy(*backend_, shape_);
        backend_->template copy<T>(data_, copy.data_, size());
        return copy;
    }
    std::vector<T> to_host() const {
        std::vector<T> values(size());
        if (data_) backend_->template to_host<T>(data_, values.data(), values.size());
        return values;
    }

    const shape& extents() const { return shape_; }
    std::size_t size() const { return data_ ? shape_.elements() : 0; }
    bool empty() const { return data_ == nullptr; }
    Backend& backend() const { return *backend_; }
    T* data() { return data_; }
    const T* data() const { return data_; }
    /// All elements in one row.
    span<T> flat() { return {data_, size()}; }
    span<const T> flat() const { return {data_, size()}; }
    /// Rows over the last extent: (product of the others) x (last).
    matrix<T> rows() { return {data_, shape_.rows(), shape_.back()}; }
    matrix<const T> rows() const { return {data_, shape_.rows(), shape_.back()}; }
    /// Element `column` of row `row`, in a backend whose memory the host reads; as a view of the rows indexes it.
    T& operator()(std::size_t row, std::size_t column) { return rows()(row, column); }
    const T& operator()(std::size_t row, std::size_t column) const { return rows()(row, column); }

private:
    void swap(tensor& other) noexcept {
        std::swap(backend_, other.backend_);
        std::swap(shape_, other.shape_);
        std::swap(data_, other.data_);
    }

    Backend* backend_ = nullptr;
    shape shape_;
    T* data_ = nullptr;
};

}  // namespace depthgrow
