// RMSNorm kernels: alone, fused with the residual add before it, and the backward pass with the gain's gradient.
// Assumes float statistics. A warp owns a row and keeps it in registers; rows wider than that are read twice.
// Maths: Zhang & Sennrich 2019; backend/reference.hpp.
#pragma once

#include "depthgrow/backend/cuda/kernels/fp8.cuh"

namespace depthgrow::kernels {

/// V vectors of N elements a lane hold a row of cols <= 32 * N * V elements; V = 0: any width, read again when needed.
template <class D, int N, int V>
static __global__ void __launch_bounds__(128)
    rms_norm_forward_kernel(const D* h, std::size_t h_stride, const D* a, std::size_t a_stride, const D* gain,
                            float eps, float scale, D* sum, std::size_t sum_stride, D* y, std::size_t y_stride,
                            float* rstd, std::size_t rows, std::size_t cols, fp8_copy copy) {
    let_next_start();
    wait_for_inputs();
    const unsigned lane = threadIdx.x % 32;
    const std::size_t warps = blockDim.x / 32;
    const float copy_scale = copy.out ? copy.scaling->scale : 0.0f;
    float largest = 0;
    for (std::size_t row = blockIdx.x * warps + threadIdx.x / 32; row < rows; row += gridDim.x * warps) {
        constexpr int kept = V > 0 ? V : 1;
        float x[kept][N];
        float squares = 0;
        const int rounds = V > 0 ? V : static_cast<int>((cols + 32 * N - 1) / (32 * N));
        const auto value = [&](int v, float(&to)[N]) {
            const std::size_t c = (static_cast<std::size_t>(v) * 32 + lane) * N;
#pragma unroll
            for (int j = 0; j < N; ++j) to[j] = 0;
            if (c >= cols) return;
            load<N>(h + row * h_stride + c, to);
            if (!a) return;
            float add[N];
            load<N>(a + row * a_stride + c, add);
#pragma unroll
            for (int j = 0; j < N; ++j) to[j] = to_float(from_float<D>(to[j] + add[j]));
        };
#pragma unroll
        for (int v = 0; v < rounds; ++v) {
            float(&part)[N] = x[V > 0 ? v : 0];
            value(v, part);
#pragma unroll
            for (int j = 0; j < N; ++j) squares += part[j] * part[j];
        }
        const float r = rsqrtf(warp_sum(squares) / static_cast<float>(cols) + eps), factor = r * scale;
        if (lane == 0) rstd[row] = r;
#pragma unroll
        for (int v = 0; v < rounds; ++v) {
            const std::size_t c = (static_cast<std::size_t>(v) * 32 + lane) * N;
            if (c >= cols) continue;
            float(&part)[N] = x[V > 0 ? v : 0];
            if (V == 0) value(v, part);
            if (a) store<N>(sum + row * sum_stride + c, part);
            float g[N];
            load<N>(gain + c, g);
#pragma unroll
            for (int j = 0; j < N; ++j) g[j] *= part[j] * factor;
            store_with_copy<N>(y + row * y_stride + c, g, copy, row * cols + c, copy_scale, largest);
        }
    }
    if (copy.out) finish_fp8(copy.scaling, largest, false);
}

/// body(N, V) with the fewest vectors that hold a row.
template <class D, class Body> void with_row_shape(std::size_t cols, bool wide, const Body& body) {
    constexpr int n = widest<D>;
    using std::integral_constant;
    if (!wide) return body(integral_constant<int, 1>(), integral_constant<int, 0>());
    const std::size_t vectors = (cols + 32 * n - 1) / (32 * n);
    if (vectors <= 1) return body(integral_constant<int, n>(), integral_constant<int, 1>());
    if (vectors <= 2) return body(integral_constant<int, n>(), integral_constant<int, 2>());
    if (vectors <= 4) return body(integral_constant<int, n>(), integral_constant<int, 4>());
    if (vectors <= 8) return body(integral_constant<int, n>(), integral_constant<int, 8>());
    body(integral_constant<int, n>(), integral_constant<int, 0>());
}

template <class T>
bool rms_norm_forward(const launch_context& k, matrix<const T> h, matrix<const T> a, span<const T> gain, float eps,
                      float scale, matrix<T> sum, matrix<T> y, span<float> rstd, fp8_copy copy) {
    if (h.rows == 0) return false;
    constexpr std::size_t n = widest<device_t<T>>;
    const bool wide = aligned(h, n) && aligned(a, n) && aligned(sum, n) && aligned(y, n) && aligned(gain, n);
    with_row_shape<device_t<T>>(h.cols, wide, [&](auto elements, auto vectors) {
        if (!leaves_fp8<device_t<T>, decltype(elements)::value>) copy = {};
        launch(k, copying_blocks(k, blocks_for(h.rows, 4), copy), 128,
               rms_norm_forward_kernel<device_t<T>, decltype(elements)::value, decltype(vectors)::value>,
               device(h.data), h.stride, device(a.data), a.stride, device(gain.data()), eps, scale, device(sum.data),
               sum.stride, device(y.data), y.stride, rstd.data(), h.rows, h.cols, copy);
    });
    launched("rms_norm_forward");
    return copy.out;
}

/// Blocks of the backward pass that share a multiprocessor, by vectors a lane.
constexpr unsigned backward_blocks(int vectors) { return vectors > 4 ? 2 : vectors > 2 ? 4 : 8; }

/// dx = skip + d(RMSNorm), a row a warp, all of its numbers asked for at once. Each warp sums the gain's gradient of
/// its rows in shared memory (128 / 32 * cols floats), each block writes one row of `partial` (gridDim.x, cols).
template <class D, int N, int V>
static __global__ void __launch_bounds__(128, backward_blocks(V))
    rms_norm_backward_kernel(const D* x, std::size_t x_stride, const D* gain, const float* rstd, float scale,
                             const D* dy, std::size_t dy_stride, const D* skip, std::size_t skip_stride, D* dx,
                             std::size_t dx_stride, float* partial, std::size_t rows, std::size_t cols, fp8_copy copy) {
    extern __shared__ float sums[];  // (warp, v, j, lane): no two lanes meet in a bank
    const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    const auto column = [&](int v) { return (static_cast<std::size_t>(v) * 32 + lane) * N; };
    float* mine = sums + warp * (V * N * 32) + lane;
    pack<D, N> gains[V];
#pragma unroll
    for (int v = 0; v < V; ++v)
        if (column(v) < cols) gains[v] = *reinterpret_cast<const pack<D, N>*>(gain + column(v));
    const float copy_scale = copy.out ? copy.scaling->scale : 0.0f;
    float largest = 0;
#pragma unroll
    for (int i = 0; i < V * N; ++i) mine[i * 32] = 0;
    for (std::size_t row = blockIdx.x * static_cast<std::size_t>(warps) + warp; row < rows;
         row += static_cast<std::size_t>(gridDim.x) * warps) {
        pack<D, N> in[V], up[V], past[V];
#pragma unroll
        for (int v = 0; v < V; ++v)
            if (column(v) < cols) {
                in[v] = *reinterpret_cast<const pack<D, N>*>(x + row * x_stride + column(v));
                up[v] = *reinterpret_cast<const pack<D, N>*>(dy + row * dy_stride + column(v));
                if (skip) past[v] = *reinterpret_cast<const pack<D, N>*>(skip + row * skip_stride + column(v));
            }
        const float s = rstd[row], push = s * scale;
        float dot = 0;
#pragma unroll
        for (int v = 0; v < V; ++v)
            if (column(v) < cols) {
#pragma unroll
                for (int j = 0; j < N; ++j) {
                    const float share = up[v].get(j) * in[v].get(j) * push;
                    dot += share * gains[v].get(j);
                    mine[(v * N + j) * 32] += share;
                }
            }
        const float pull = warp_sum(dot) * s * s / static_cast<float>(cols);
#pragma unroll
        for (int v = 0; v < V; ++v)
            if (column(v) < cols) {
                float g[N];
#pragma unroll
                for (int j = 0; j < N; ++j)
                    g[j] = (skip ? past[v].get(j) : 0.0f) + push * up[v].get(j) * gains[v].get(j) - pull * in[v].get(j);
                store_with_copy<N>(dx + row * dx_stride + column(v), g, copy, row * cols + column(v), copy_scale,
                                   largest);
            }
    }
    if (copy.out) finish_fp8(copy.scaling, largest, false);
    __syncthreads();
    for (unsigned i = threadIdx.x; i < V * N * 32; i += blockDim.x) {
        float sum = 0;
        for (unsigned w = 0; w < warps; ++w) sum += sums[w * (V * N * 32) + i];
        const std::size_t c = (static_cast<std::size_t>(i / 32 / N) * 32 + i % 32) * N + i / 32 % N;
        if (c < cols) partial[blockIdx.x * cols + c] = sum;
    }
}
/// The same for rows of any width, read twice, without the gain's gradient.
template <class D>
static __global__ void __launch_bounds__(128)
    rms_norm_backward_any_kernel(const D* x, std::size_t x_stride, const D* gain, const float* rstd, float scale,
                                 const D* dy, std::size_t dy_stride, const D* skip, std::size_t skip_stride, D* dx,
                                 std::size_t dx_stride, std::size_t rows, std::size_t cols) {
    const std::size_t row = blockIdx.x * static_cast<std::size_t>(blockDim.x / 32) + threadIdx.x / 32;
    if (row >= rows) return;
    const float s = rstd[row];
    float dot = 0;
    for (std::size_t c = threadIdx.x % 32; c < cols; c += 32)
        dot += to_float(dy[row * dy_stride + c]) * to_float(x[row * x_stride + c]) * s * scale * to_float(gain[c]);
    const float pull = warp_sum(dot) * s * s / static_cast<float>(cols), push = s * scale;
    for (std::size_t c = threadIdx.x % 32; c < cols; c += 32) {
        const float past = skip ? to_float(skip[row * skip_stride + c]) : 0.0f;
        dx[row * dx_stride + c] = from_float<D>(past + push * to_float(dy[row * dy_stride + c]) * to_float(gain[c]) -
                                                pull * to_float(x[row * x_stride + c]));
    }
}
/// Sums over rows of dy * x * rstd * scale for the general width: a block owns 32 columns.
template <class D>
static __global__ void gain_gradient_kernel(const D* x, std::size_t x_stride, const float* rstd, float scale,
                                            const D* dy, std::size_t dy_stride, float* dgain, std::size_t rows,
                                            std::size_t cols) {
    __shared__ float shared[8][32];
    const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const std::size_t c = blockIdx.x * std::size_t{32} + lane;
    float sum = 0;
    if (c < cols)
        for (std::size_t r = warp; r < rows; r += 8)
            sum += to_float(dy[r * dy_stride + c]) * to_float(x[r * x_stride + c]) * rstd[r] * scale;
    shared[warp][lane] = sum;
    __syncthreads();
    if (warp > 0 || c >= cols) return;
    for (int w = 1; w < 8; ++w) sum += shared[w][lane];
    dgain[c] += sum;
}
/// dgain[c] += the sum of column c of partial (parts, cols); 32 warps share the parts of 32 columns.
static __global__ void gain_sum_kernel(const float* partial, std::size_t parts, float* dgain, std::size_t cols) {
    __shared__ float shared[32][32];
    const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const std::size_t c = blockIdx.x * std::size_t{32} + lane;
    float sum = 0;
    if (c < cols)
#pragma unroll 4
        for (std::size_t p = warp; p < parts; p += 32) sum += partial[p * cols + c];
    shared[warp][lane] = sum;
    __syncthreads();
    if (warp > 0 || c >= cols) return;
    for (int w = 1; w < 32; ++w) sum += shared[w][lane];
    dgain[c] += sum;
}

template <class T>
bool rms_norm_backward(const launch_context& k, matrix<const T> x, span<const T> gain, span<const float> rstd,
                       float scale, matrix<const T> dy, matrix<const T> skip, matrix<T> dx, span<float> dgain,
                       fp8_copy copy) {
    if (x.rows == 0) return false;
    constexpr int widest_n = widest<device_t<T>>;
    const bool wide = aligned(x, widest_n) && aligned(dy, widest_n) && aligned(skip, widest_n) &&
                      aligned(dx, widest_n) && aligned(gain, widest_n);
    with_row_shape<device_t<T>>(x.cols, wide, [&](auto elements, auto vectors) {
        constexpr int n = decltype(elements)::value, v = decltype(vectors)::value;
        if (v == 0 || !leaves_fp8<device_t<T>, n>) copy = {};
        if constexpr (v > 0) {
            const std::size_t parts = std::min<std::size_t>(
                {blocks_for(x.rows, 4), backward_blocks(v) * k.multiprocessors, k.scratch_floats / x.cols});
            rms_norm_backward_kernel<device_t<T>, n, v>
                <<<static_cast<unsigned>(parts), 128, 4 * v * n * 32 * sizeof(float), k.stream>>>(
                    device(x.data), x.stride, device(gain.data()), rstd.data(), scale, device(dy.data), dy.stride,
                    device(skip.data), skip.stride, device(dx.data), dx.stride, k.scratch, x.rows, x.cols, copy);
            gain_sum_kernel<<<blocks_for(x.cols, 32), 1024, 0, k.stream>>>(k.scratch, parts, dgain.data(), x.cols);
        } else {
            gain_gradient_kernel<<<blocks_for(x.cols, 32), 256, 0, k.stream>>>(
                device(x.data), x.stride, rstd.data(), scale, device(dy.data), dy.stride, dgain.data(), x.rows, x.cols);
            rms_norm_backward_any_kernel<<<blocks_for(x.rows, 4), 128, 0, k.stream>>>(
                device(x.data), x.stride, device(gain.data()), rstd.data(), scale, device(dy.data), dy.stride,
                device(skip.data), skip.stride, device(dx.data), dx.stride, x.rows, x.cols);
        }
    });
    launched("rms_norm_backward");
    return copy.out;
}

}  // namespace depthgrow::kernels
