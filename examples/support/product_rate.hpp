// The rate of a backend's own matrix product, measured: what shares of the possible are shares of.
#pragma once

#include <time.h>

#include <algorithm>

#include "depthgrow/tensor/tensor.hpp"
#include "support/console.hpp"

namespace tools {

namespace dg = depthgrow;

/// Seconds that the calling thread itself has computed; those in which other programs had its core do not count.
class thread_stopwatch {
public:
    double seconds() const { return now() - start_; }

private:
    static double now() {
        timespec t{};
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
        return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
    }
    double start_ = now();
};

/// FLOPs a second of (rows, in) x (out, in)^T: the best of `seconds`, since other programs may run too.
template <class T, class Watch = stopwatch, class Backend>
double product_rate(Backend& backend, std::size_t rows, std::size_t out, std::size_t in, double seconds = 0.25) {
    dg::tensor<T, Backend> x(backend, {rows, in}), w(backend, {out, in}), y(backend, {rows, out});
    backend.template fill<T>(x.data(), x.size(), T(1)), backend.template fill<T>(w.data(), w.size(), T(1));
    const auto product = [&] {
        backend.template gemm<T>(dg::transpose::no, dg::transpose::yes, 1, x.rows(), w.rows(), 0, y.rows());
    };
    product();
    double best = 1e30;
    for (const Watch whole; whole.seconds() < seconds;) {
        const Watch watch;
        product();
        backend.synchronize();
        best = std::min(best, watch.seconds());
    }
    return 2.0 * static_cast<double>(rows * in * out) / best;
}

}  // namespace tools
