// A backend that computes nothing and only counts memory: run the real code on it to learn what a run will take.
// Assumes nobody reads the numbers: addresses are reserved from a counter, never backed by memory.
// The peak it reports is the largest sum of live allocations, exact for whatever code ran.
#pragma once

#include <algorithm>

#include "depthgrow/backend/contract.hpp"

namespace depthgrow {

class planning {
public:
    /// `head_rows`: rows of logits at a time of the backend whose run is planned.
    explicit planning(std::size_t head_rows = 512) : head_rows_(head_rows) {}
    std::size_t head_rows() const { return head_rows_; }
    template <class T> T* allocate(std::size_t count) {
        const std::size_t bytes = (std::max<std::size_t>(1, count) * sizeof(T) + 63) / 64 * 64;
        live_ += bytes;
        peak_ = std::max(peak_, live_);
        next_ += bytes;
        return reinterpret_cast<T*>(next_ - bytes);
    }
    template <class T> void deallocate(T*, std::size_t count) {
        live_ -= (std::max<std::size_t>(1, count) * sizeof(T) + 63) / 64 * 64;
    }
    std::size_t live_bytes() const { return live_; }
    std::size_t peak_bytes() const { return peak_; }

    template <class T> void copy(const T*, T*, std::size_t) {}
    template <class T> void from_host(const T*, T*, std::size_t) {}
    template <class T> void to_host(const T*, T* to, std::size_t count) { std::fill_n(to, count, T()); }
    template <class T> void fill(T*, std::size_t, T) {}
    void synchronize() {}

    template <class T, class C>
    void gemm(transpose ta, transpose tb, wide_t<T>, matrix<const T> a, matrix<const T> b, wide_t<T>, matrix<C> c) {
        contract::gemm(ta, tb, a, b, c);
        multiplications_ += static_cast<double>(c.rows) * static_cast<double>(c.cols) *
                            static_cast<double>(ta == transpose::no ? a.cols : a.rows);
    }
    template <class T> void embedding_forward(span<const token>, matrix<const T>, matrix<T>) {}
    template <class T> void embedding_backward(span<const token>, matrix<const T>, matrix<wide_t<T>>) {}
    template <class T>
    void rms_norm_forward(matrix<const T>, span<const T>, wide_t<T>, wide_t<T>, matrix<T>, span<wide_t<T>>) {}
    template <class T>
    void residual_rms_norm_forward(matrix<const T>, matrix<const T>, span<const T>, wide_t<T>, wide_t<T>, matrix<T>,
                                   matrix<T>, span<wide_t<T>>) {}
    template <class T>
    void rms_norm_backward(matrix<const T>, span<const T>, span<const wide_t<T>>, wide_t<T>, matrix<const T>,
                           matrix<const T>, matrix<T>, span<wide_t<T>>) {}
    template <class T>
    void rope_inplace(matrix<T>, std::size_t, std::size_t, std::size_t, matrix<const wide_t<T>>,
                      matrix<const wide_t<T>>, wide_t<T>) {}
    template <class T> void attention_forward(matrix<const T>, attention_shape, matrix<T>, span<wide_t<T>>) {}
    template <class T>
    void attention_backward(matrix<const T>, attention_shape, matrix<const T>, span<const wide_t<T>>, matrix<const T>,
                            matrix<T>) {}
    template <class T>
    void layer_norm_forward(matrix<const T>, span<const T>, span<const T>, wide_t<T>, wide_t<T>, matrix<T>,
                            span<wide_t<T>>, span<wide_t<T>>) {}
    template <class T>
    void layer_norm_backward(matrix<const T>, span<const T>, span<const wide_t<T>>, span<const wide_t<T>>, wide_t<T>,
                             matrix<const T>, matrix<const T>, matrix<T>, span<wide_t<T>>, span<wide_t<T>>) {}
    template <class T> void add_bias_inplace(span<const T>, matrix<T>) {}
    template <class T> void bias_backward(matrix<const T>, span<wide_t<T>>) {}
    template <class T> void gated_forward(activation, matrix<const T>, matrix<T>) {}
    template <class T> void gated_backward(activation, matrix<const T>, matrix<const T>, matrix<T>) {}
    template <class T> void activation_forward(activation, matrix<const T>, matrix<T>) {}
    template <class T> void activation_backward(activation, matrix<const T>, matrix<const T>, matrix<T>) {}
    template <class T> void add(matrix<const T>, wide_t<T>, matrix<const T>, matrix<T>) {}
    template <class T> void add_inplace(wide_t<T>, matrix<const T>, matrix<T>) {}
    template <class T>
    void cross_entropy_inplace(matrix<T>, span<const token>, span<const wide_t<T>>, span<wide_t<T>>, bool) {}
    template <class T> void row_argmax(matrix<const T>, span<token>) {}
    template <class T> void accumulate_squares(span<const T>, double*) {}
    template <class T>
    void adamw(span<wide_t<T>>, span<const wide_t<T>>, span<wide_t<T>>, span<wide_t<T>>, span<T>,
               const adamw_constants*, const double*) {}
    template <class T>
    void sgd_nesterov(span<wide_t<T>>, span<const wide_t<T>>, span<wide_t<T>>, span<T>, const momentum_constants*,
                      const double*) {}
    template <class T>
    void muon_direction(span<const wide_t<T>>, span<wide_t<T>>, span<T>, const momentum_constants*, const double*) {}
    template <class T> void muon_normalize(span<T>) {}
    template <class T>
    void muon_apply(span<wide_t<T>>, span<const T>, span<T>, double, const momentum_constants*, const double*) {}

    /// Multiply-adds of all matrix products so far.
    double multiplications() const { return multiplications_; }

private:
    std::size_t head_rows_;
    std::uintptr_t next_ = std::uintptr_t{1} << 32;
    std::size_t live_ = 0, peak_ = 0;
    double multiplications_ = 0;
};

/// The same for a backend that adds linear maps to the residual stream in one pass.
class joining_planning : public planning {
public:
    using planning::planning;
    template <class T> void linear_add(matrix<const T>, matrix<const T>, matrix<const T>, matrix<T>) {}
};

}  // namespace depthgrow
