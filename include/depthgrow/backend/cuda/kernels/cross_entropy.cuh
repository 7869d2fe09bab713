// Cross entropy in place of the logits, and the best token of each row.
// Assumes rows of any width, a block a row; the row is read from device memory once where shared memory holds it.
// Maths: backend/reference.hpp.
#pragma once

#include "depthgrow/backend/cuda/kernels/rows.cuh"

namespace depthgrow::kernels {

template <class D, int N, bool Kept>
static __global__ void __launch_bounds__(row_threads)
    cross_entropy_kernel(D* logits, std::size_t stride, std::size_t cols, const token* targets, const float* weights,
                         float* loss, bool gradient) {
    __shared__ float shared[33];
    const std::size_t r = blockIdx.x;
    D* row = logits + r * stride;
    const token target = targets[r];
    const float gold = target >= 0 ? to_float(row[target]) : 0.0f;
    const float factor = gradient && target >= 0 ? weights[r] : 0.0f;
    float top, sum;
    const D* again = row_softmax_sums_of<N, Kept>(row, cols, shared, top, sum);
    if (threadIdx.x == 0) loss[r] = target >= 0 ? top + logf(sum) - gold : 0.0f;
    if (!gradient) return;
    const float share = factor / sum;
    each_column<N>(again, cols, [&](std::size_t c, float(&x)[N]) {
#pragma unroll
        for (int j = 0; j < N; ++j)
            x[j] = share * exp_of<D>(x[j] - top) - (static_cast<token>(c + j) == target ? factor : 0.0f);
        store<N>(row + c, x);
    });
}
template <class T>
void cross_entropy_inplace(const launch_context& k, matrix<T> logits, span<const token> targets,
                           span<const float> weights, span<float> loss, bool gradient) {
    if (logits.rows == 0) return;
    const auto run = [&](auto kernel, std::size_t bytes) {
        kernel<<<static_cast<unsigned>(logits.rows), row_threads, bytes, k.stream>>>(
            device(logits.data), logits.stride, logits.cols, targets.data(), weights.data(), loss.data(), gradient);
    };
    const auto kernel_of = [](auto n, auto kept) {
        return &cross_entropy_kernel<device_t<T>, decltype(n)::value, decltype(kept)::value>;
    };
    if (gradient) with_kept_rows<T>(kernel_of, run, logits);
    else with_width<T>([&](auto n) { run(kernel_of(n, std::false_type()), 0); }, logits);  // read once as it is
    launched("cross_entropy");
}

template <class D>
static __global__ void __launch_bounds__(row_threads)
    row_argmax_kernel(const D* logits, std::size_t stride, std::size_t cols, token* best) {
    __shared__ float values[32];
    __shared__ int places[32];
    const D* row = logits + blockIdx.x * stride;
    float top = -INFINITY;
    int at = static_cast<int>(cols);
    for (std::size_t c = threadIdx.x; c < cols; c += blockDim.x)
        if (const float x = to_float(row[c]); x > top) top = x, at = static_cast<int>(c);
    block_argmax(top, at, values, places);
    if (threadIdx.x == 0) best[blockIdx.x] = at < static_cast<int>(cols) ? at : 0;
}
template <class T> void row_argmax(const launch_context& k, matrix<const T> logits, span<token> best) {
    if (logits.rows == 0) return;
    row_argmax_kernel<<<static_cast<unsigned>(logits.rows), row_threads, 0, k.stream>>>(
        device(logits.data), logits.stride, logits.cols, best.data());
    launched("row_argmax");
}

}  // namespace depthgrow::kernels
