// A table of checks: what was compared, the largest error, the bound that follows from the number format.
// Operands hold the same numbers on the host in double and on the device in T; what an operation writes is poisoned
// with NaN first, and rows lie in wider memory whose rest must not change.
#pragma once

#include <cmath>
#include <cstdio>
#include <limits>
#include <string>
#include <vector>

#include "depthgrow/backend/cuda/cuda.hpp"
#include "depthgrow/backend/reference.hpp"
#include "depthgrow/core/rng.hpp"
#include "depthgrow/tensor/tensor.hpp"

namespace gpu_test {

namespace dg = depthgrow;

template <class T> constexpr bool low_precision = std::is_same_v<T, dg::bfloat16>;
template <class T> constexpr const char* name_of_type = low_precision<T> ? "bf16" : "float";
/// Half the distance from 1 to the next number: what one rounding can do.
template <class T> constexpr double rounding = low_precision<T> ? 0.00390625 : 5.9604644775390625e-8;

template <class T> double to_double(T x) {
    if constexpr (low_precision<T>) return static_cast<double>(static_cast<float>(x));
    else return static_cast<double>(x);
}
template <class T> T from_double(double x) { return static_cast<T>(static_cast<float>(x)); }

/// The largest of errors; what is not a number is infinite.
inline double worse(double error) { return std::isnan(error) ? INFINITY : error; }
template <class... Errors> double worse(double error, Errors... others) {
    return std::max(worse(error), worse(others...));
}

/// Results of all checks so far.
struct table {
    int checks = 0, failures = 0;
    /// One row; `error` not a number fails.
    void row(const std::string& what, const char* type, const std::string& extents, double error, double bound) {
        ++checks;
        const bool good = error <= bound;
        if (!good) ++failures;
        std::printf("%-34s %-6s %-34s %10.2e %10.2e  %s\n", what.c_str(), type, extents.c_str(), error, bound,
                    good ? "ok" : "FAILED");
        std::fflush(stdout);
    }
};
inline table results;

/// Numbers of one operand: `wide` on the host, the same in T on the device, rows `extra` elements apart.
template <class T> class operand {
public:
    /// Random numbers from `seed`, or 0: poison, for what will be written.
    operand(dg::cuda& gpu, std::size_t rows, std::size_t cols, std::uint64_t seed, std::size_t extra = 0,
            double scale = 1)
        : gpu_(gpu),
          rows_(rows),
          cols_(cols),
          stride_(cols + extra),
          wide_(rows * stride_, guard),
          host_(rows * stride_, from_double<T>(guard)),
          device_(gpu, {rows * stride_}) {
        dg::rng random(seed);
        for (std::size_t r = 0; r < rows; ++r)
            for (std::size_t c = 0; c < cols; ++c) {
                const T value = seed ? from_double<T>(scale * random.normal()) : from_double<T>(NAN);
                host_[r * stride_ + c] = value;
                wide_[r * stride_ + c] = to_double(value);
            }
        upload();
    }
    void upload() { gpu_.from_host<T>(host_.data(), device_.data(), host_.size()); }
    /// Sets every number on both sides.
    template <class Body> void assign(const Body& body) {
        for (std::size_t r = 0; r < rows_; ++r)
            for (std::size_t c = 0; c < cols_; ++c) {
                host_[r * stride_ + c] = from_double<T>(body(r, c));
                wide_[r * stride_ + c] = to_double(host_[r * stride_ + c]);
            }
        upload();
    }
    dg::matrix<T> got() { return {device_.data(), rows_, cols_, stride_}; }
    dg::matrix<double> want() { return {wide_.data(), rows_, cols_, stride_}; }
    dg::span<T> got_flat() { return {device_.data(), rows_ * cols_}; }
    dg::span<double> want_flat() { return {wide_.data(), rows_ * cols_}; }
    std::vector<T> download() {
        gpu_.to_host<T>(device_.data(), host_.data(), host_.size());
        return host_;
    }
    /// The largest |got − want| / (1 + |want|); infinite when a guard has changed or a number is missing.
    double error() {
        download();
        double worst = 0;
        for (std::size_t i = 0; i < host_.size(); ++i) {
            const double got = to_double(host_[i]);
            if (i % stride_ >= cols_) {
                if (got != to_double(from_double<T>(guard))) return INFINITY;
                continue;
            }
            const double off = std::fabs(got - wide_[i]) / (1 + std::fabs(wide_[i]));
            if (!(off <= worst)) worst = std::isnan(off) ? INFINITY : off;
        }
        return worst;
    }

private:
    static constexpr double guard = 192;
    dg::cuda& gpu_;
    std::size_t rows_, cols_, stride_;
    std::vector<double> wide_;
    std::vector<T> host_;
    dg::tensor<T, dg::cuda> device_;
};

/// Host numbers on the device.
template <class T> dg::tensor<T, dg::cuda> on_device(dg::cuda& gpu, const std::vector<T>& values) {
    return dg::tensor<T, dg::cuda>::from_host(gpu, {values.size()}, values);
}

/// Every operation on random numbers against `reference` in double.
template <class T> void check_operations(dg::cuda& gpu, bool small);
/// What a decoding step runs, and many sequences token by token.
template <class T> void check_decoding(dg::cuda& gpu);
/// Linear maps fused with SwiGLU and RoPE.
void check_fused_maps(dg::cuda& gpu, bool small);
/// MLPs in eight bits, the gradients of their weights too.
void check_fp8_mlps();
/// Whole models against the fixtures, training, growth, recorded steps.
void check_models(const std::string& fixtures);
/// Runs in eight bits that stop and go on.
void check_resumed_runs();

}  // namespace gpu_test
