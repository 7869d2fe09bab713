// The CUDA backend with its operations timed by events: where the time of a step goes.
// Assumes steps that are not recorded as CUDA graphs.
// Operations of the backend that are not named here are not timed.
#pragma once

#include <algorithm>
#include <cstdio>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "depthgrow/backend/cuda/cuda.hpp"

namespace dg = depthgrow;
using bf16 = dg::bfloat16;

/// The backend with a pair of events around every operation while `on`.
class profiled : public dg::cuda {
public:
    using dg::cuda::cuda;
    bool on = false;

    template <class T, class C>
    void gemm(dg::transpose ta, dg::transpose tb, float alpha, dg::matrix<const T> a, dg::matrix<const T> b, float beta,
              dg::matrix<C> c) {
        char name[96];
        const std::size_t k = ta == dg::transpose::no ? a.cols : a.rows;
        std::snprintf(name, sizeof name, "gemm %zu x %zu x %zu %s%s%s", c.rows, c.cols, k,
                      ta == dg::transpose::no ? "n" : "t", tb == dg::transpose::no ? "n" : "t",
                      sizeof(C) == 4 ? " to float" : "");
        timed(name, 2.0 * static_cast<double>(c.rows) * static_cast<double>(c.cols) * static_cast<double>(k),
              [&] { cuda::gemm<T>(ta, tb, alpha, a, b, beta, c); });
    }
    template <class T>
    void linear_add(dg::matrix<const T> x, dg::matrix<const T> w, dg::matrix<const T> addend, dg::matrix<T> out) {
        char name[96];
        std::snprintf(name, sizeof name, "gemm %zu x %zu x %zu nt, added", out.rows, out.cols, x.cols);
        timed(name, 2.0 * static_cast<double>(out.rows) * static_cast<double>(out.cols) * static_cast<double>(x.cols),
              [&] { cuda::linear_add<T>(x, w, addend, out); });
    }
    /// Fused operations, as the product and what is fused with it.
    template <class Body> bool fused(const char* what, std::size_t m, std::size_t n, std::size_t k, const Body& body) {
        char name[96];
        std::snprintf(name, sizeof name, "%s %zu x %zu x %zu", what, m, n, k);
        bool done = false;
        timed(name, 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k),
              [&] { done = body(); });
        if (on && !done)
            events_.pop_back();  // nothing was done: the product and the rest follow, each with events of its own
        return done;
    }
    template <class T>
    bool linear_swiglu(dg::matrix<const T> x, dg::matrix<const T> w, dg::matrix<T> slopes, dg::matrix<T> out) {
        return fused("linear_swiglu", x.rows, w.rows, x.cols,
                     [&] { return cuda::linear_swiglu<T>(x, w, slopes, out); });
    }
    template <class T>
    void linear_swiglu_backward(dg::matrix<const T> dy, dg::matrix<const T> w, dg::matrix<const T> slopes,
                                dg::matrix<T> d) {
        fused("linear_swiglu_backward", dy.rows, w.cols, dy.cols,
              [&] { return cuda::linear_swiglu_backward<T>(dy, w, slopes, d), true; });
    }
    template <class T>
    bool linear_rope(dg::matrix<const T> x, dg::matrix<const T> w, dg::matrix<T> out, std::size_t length,
                     std::size_t heads, dg::matrix<const float> cosine, dg::matrix<const float> sine) {
        return fused("linear_rope", x.rows, w.rows, x.cols,
                     [&] { return cuda::linear_rope<T>(x, w, out, length, heads, cosine, sine); });
    }
    void linear_fp8(dg::matrix<const bf16> x, dg::matrix<const bf16> w, dg::matrix<const bf16> addend,
                    dg::matrix<bf16> out) {
        char name[96];
        std::snprintf(name, sizeof name, "fp8 %zu x %zu x %zu nt%s, with its copies", out.rows, out.cols, x.cols,
                      addend.data ? ", added" : "");
        timed(name, 2.0 * static_cast<double>(out.rows) * static_cast<double>(out.cols) * static_cast<double>(x.cols),
              [&] { cuda::linear_fp8(x, w, addend, out); });
    }
    void linear_fp8_backward(dg::matrix<const bf16> dy, dg::matrix<const bf16> w, float beta, dg::matrix<bf16> dx) {
        char name[96];
        std::snprintf(name, sizeof name, "fp8 %zu x %zu x %zu nn, with its copies", dx.rows, dx.cols, dy.cols);
        timed(name, 2.0 * static_cast<double>(dx.rows) * static_cast<double>(dx.cols) * static_cast<double>(dy.cols),
              [&] { cuda::linear_fp8_backward(dy, w, beta, dx); });
    }
#define DEPTHGROW_TIMED(operation)                                                                \
    template <class T, class... Arguments> void operation(Arguments&&... arguments) {             \
        timed(#operation, 0, [&] { cuda::operation<T>(std::forward<Arguments>(arguments)...); }); \
    }
    DEPTHGROW_TIMED(embedding_forward)
    DEPTHGROW_TIMED(embedding_backward)
    DEPTHGROW_TIMED(rms_norm_forward)
    DEPTHGROW_TIMED(residual_rms_norm_forward)
    DEPTHGROW_TIMED(rms_norm_backward)
    DEPTHGROW_TIMED(rope_inplace)
    DEPTHGROW_TIMED(attention_forward)
    DEPTHGROW_TIMED(attention_rope_backward)
    DEPTHGROW_TIMED(gated_forward)
    DEPTHGROW_TIMED(gated_backward)
    DEPTHGROW_TIMED(add)
    DEPTHGROW_TIMED(add_inplace)
    DEPTHGROW_TIMED(cross_entropy_inplace)
    DEPTHGROW_TIMED(adamw_together)
    DEPTHGROW_TIMED(fill)
    DEPTHGROW_TIMED(copy)
#undef DEPTHGROW_TIMED
    void accumulate_squares_together(dg::span<const dg::span<const float>> blocks, double* sum) {
        timed("accumulate_squares", 0, [&] { cuda::accumulate_squares_together(blocks, sum); });
    }

    void print(double tokens) {
        synchronize();
        struct sum {
            double ms = 0, flops = 0;
            int count = 0;
        };
        std::map<std::string, sum> sums;
        double total = 0;
        for (const auto& e : events_) {
            float ms = 0;
            (void)cudaEventElapsedTime(&ms, e.begin, e.end);
            auto& s = sums[e.name];
            s.ms += static_cast<double>(ms), s.flops += e.flops, ++s.count, total += static_cast<double>(ms);
        }
        std::vector<std::pair<double, std::string>> order;
        for (const auto& [name, s] : sums) order.emplace_back(-s.ms, name);
        std::sort(order.begin(), order.end());
        for (const auto& [ms, name] : order) {
            const auto& s = sums[name];
            std::printf(
                "  %8.3f ms %5.1f%% %4d x %-44s %s\n", s.ms, 100 * s.ms / total, s.count, name.c_str(),
                s.flops > 0 ? (std::to_string(static_cast<int>(s.flops / s.ms * 1e-9)) + " TFLOP/s").c_str() : "");
        }
        std::printf("  %8.3f ms in operations, %.0f tokens/s without gaps\n", total, tokens / total * 1e3);
        events_.clear();
    }

    struct event {
        std::string name;
        double flops;
        cudaEvent_t begin, end;
    };
    /// What was timed since the last print, in order.
    const std::vector<event>& events() const { return events_; }

private:
    template <class Body> void timed(const char* name, double flops, const Body& body) {
        if (!on) return body();
        event e{name, flops, nullptr, nullptr};
        (void)cudaEventCreate(&e.begin), (void)cudaEventCreate(&e.end);
        (void)cudaEventRecord(e.begin, stream());
        body();
        (void)cudaEventRecord(e.end, stream());
        events_.push_back(e);
    }
    std::vector<event> events_;
};
