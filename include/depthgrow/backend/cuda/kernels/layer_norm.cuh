// LayerNorm and biases: forward, backward, and the column sums that gradients of gains and biases are.
// Assumes float statistics. A warp owns a row; sums over rows run in two stages of fixed order, so results repeat.
// Maths: Ba et al. 2016 (arXiv 1607.06450); backend/reference.hpp. Bound by memory; nothing here is tuned yet.
#pragma once

#include "depthgrow/backend/cuda/kernels/common.cuh"

namespace depthgrow::kernels {

template <class D>
static __global__ void __launch_bounds__(128)
    layer_norm_forward_kernel(const D* x, std::size_t x_stride, const D* gain, const D* bias, float eps, float scale,
                              D* y, std::size_t y_stride, float* mean, float* rstd, std::size_t rows,
                              std::size_t cols) {
    const unsigned lane = threadIdx.x % 32, warps = blockDim.x / 32;
    for (std::size_t row = blockIdx.x * static_cast<std::size_t>(warps) + threadIdx.x / 32; row < rows;
         row += static_cast<std::size_t>(gridDim.x) * warps) {
        const D* in = x + row * x_stride;
        float sum = 0, squares = 0;
        for (std::size_t c = lane; c < cols; c += 32) sum += to_float(in[c]);
        const float centre = warp_sum(sum) / static_cast<float>(cols);
        for (std::size_t c = lane; c < cols; c += 32) {
            const float d = to_float(in[c]) - centre;
            squares += d * d;
        }
        const float r = 1.0f / sqrtf(warp_sum(squares) / static_cast<float>(cols) + eps);
        if (lane == 0) mean[row] = centre, rstd[row] = r;
        for (std::size_t c = lane; c < cols; c += 32)
            y[row * y_stride + c] = from_float<D>(
                ((to_float(in[c]) - centre) * r * to_float(gain[c]) + (bias ? to_float(bias[c]) : 0.0f)) * scale);
    }
}
template <class T>
void layer_norm_forward(const launch_context& k, matrix<const T> x, span<const T> gain, span<const T> bias, float eps,
                        float scale, matrix<T> y, span<float> mean, span<float> rstd) {
    if (x.rows == 0) return;
    layer_norm_forward_kernel<<<blocks_for(x.rows, 4), 128, 0, k.stream>>>(
        device(x.data), x.stride, device(gain.data()), device(bias.empty() ? nullptr : bias.data()), eps, scale,
        device(y.data), y.stride, mean.data(), rstd.data(), x.rows, x.cols);
    launched("layer_norm_forward");
}

/// dx = skip + d(LayerNorm); `skip` may be dx itself.
template <class D>
static __global__ void __launch_bounds__(128)
    layer_norm_backward_kernel(const D* x, std::size_t x_stride, const D* gain, const float* mean, const float* rstd,
                               float scale, const D* dy, std::size_t dy_stride, const D* skip, std::size_t skip_stride,
                               D* dx, std::size_t dx_stride, std::size_t rows, std::size_t cols) {
    const unsigned lane = threadIdx.x % 32, warps = blockDim.x / 32;
    for (std::size_t row = blockIdx.x * static_cast<std::size_t>(warps) + threadIdx.x / 32; row < rows;
         row += static_cast<std::size_t>(gridDim.x) * warps) {
        const D *in = x + row * x_stride, *up = dy + row * dy_stride;
        const float centre = mean[row], r = rstd[row];
        float sum = 0, dot = 0;
        for (std::size_t c = lane; c < cols; c += 32) {
            const float g = to_float(up[c]) * scale * to_float(gain[c]);
            sum += g;
            dot += g * (to_float(in[c]) - centre) * r;
        }
        sum = warp_sum(sum) / static_cast<float>(cols), dot = warp_sum(dot) / static_cast<float>(cols);
        for (std::size_t c = lane; c < cols; c += 32) {
            const float normed = (to_float(in[c]) - centre) * r,
                        past = skip ? to_float(skip[row * skip_stride + c]) : 0.0f;
            dx[row * dx_stride + c] =
                from_float<D>(past + r * (to_float(up[c]) * scale * to_float(gain[c]) - sum - normed * dot));
        }
    }
}

/// partial[part][c] = the sum of term(row, c) over the part's rows; then to[c] += the parts in order.
template <class Term>
static __global__ void column_sums_kernel(Term term, std::size_t rows, std::size_t cols, float* partial) {
    __shared__ float sums[8][33];
    const std::size_t c = blockIdx.x * std::size_t{32} + threadIdx.x, share = (rows + gridDim.y - 1) / gridDim.y,
                      first = blockIdx.y * share;
    const std::size_t last = first + share < rows ? first + share : rows;
    float sum = 0;
    if (c < cols)
        for (std::size_t row = first + threadIdx.y; row < last; row += 8) sum += term(row, c);
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y > 0 || c >= cols) return;
    for (int i = 1; i < 8; ++i) sum += sums[i][threadIdx.x];
    partial[blockIdx.y * cols + c] = sum;
}
static __global__ void add_column_parts_kernel(const float* partial, std::size_t parts, std::size_t cols, float* to) {
    const std::size_t c = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x;
    if (c >= cols) return;
    float sum = to[c];
    for (std::size_t part = 0; part < parts; ++part) sum += partial[part * cols + c];
    to[c] = sum;
}
template <class Term>
void add_column_sums(const launch_context& k, Term term, std::size_t rows, std::size_t cols, float* to) {
    const std::size_t strips = (cols + 31) / 32,
                      wanted = std::max<std::size_t>(
                          1, std::min<std::size_t>((rows + 63) / 64, 8 * k.multiprocessors / strips + 1));
    const std::size_t parts = std::max<std::size_t>(1, std::min(wanted, k.scratch_floats / cols));
    column_sums_kernel<<<dim3(static_cast<unsigned>(strips), static_cast<unsigned>(parts)), dim3(32, 8), 0, k.stream>>>(
        term, rows, cols, k.scratch);
    add_column_parts_kernel<<<blocks_for(cols, 128), 128, 0, k.stream>>>(k.scratch, parts, cols, to);
}

template <class D> struct bias_term {
    const D* dy;
    std::size_t stride;
    float scale;
    __device__ float operator()(std::size_t row, std::size_t c) const { return scale * to_float(dy[row * stride + c]); }
};
template <class D> struct gain_term {
    bias_term<D> up;
    const D* x;
    std::size_t stride;
    const float *mean, *rstd;
    __device__ float operator()(std::size_t row, std::size_t c) const {
        return up(row, c) * (to_float(x[row * stride + c]) - mean[row]) * rstd[row];
    }
};

template <class T>
void layer_norm_backward(const launch_context& k, matrix<const T> x, span<const T> gain, span<const float> mean,
                         span<const float> rstd, float scale, matrix<const T> dy, matrix<const T> skip, matrix<T> dx,
                         span<float> dgain, span<float> dbias) {
    if (x.rows == 0) return;
    using D = device_t<T>;
    const bias_term<D> up{device(dy.data), dy.stride, scale};
    add_column_sums(k, gain_term<D>{up, device(x.data), x.stride, mean.data(), rstd.data()}, x.rows, x.cols,
                    dgain.data());
    if (!dbias.empty()) add_column_sums(k, up, x.rows, x.cols, dbias.data());
    layer_norm_backward_kernel<<<blocks_for(x.rows, 4), 128, 0, k.stream>>>(
        device(x.data), x.stride, device(gain.data()), mean.data(), rstd.data(), scale, device(dy.data), dy.stride,
        device(skip.data), skip.stride, device(dx.data), dx.stride, x.rows, x.cols);
    launched("layer_norm_backward");
}

template <class D>
static __global__ void add_bias_kernel(const D* bias, D* y, std::size_t stride, std::size_t cols, std::size_t count) {
    for (std::size_t i = blockIdx.x * static_cast<std::size_t>(blockDim.x) + threadIdx.x; i < count;
         i += static_cast<std::size_t>(gridDim.x) * blockDim.x) {
        const std::size_t row = i / cols, c = i % cols;
        y[row * stride + c] = from_float<D>(to_float(y[row * stride + c]) + to_float(bias[c]));
    }
}
template <class T> void add_bias_inplace(const launch_context& k, span<const T> bias, matrix<T> y) {
    if (y.size() == 0) return;
    add_bias_kernel<<<std::min(blocks_for(y.size(), 256), 32 * k.multiprocessors), 256, 0, k.stream>>>(
        device(bias.data()), device(y.data), y.stride, y.cols, y.size());
    launched("add_bias");
}
template <class T> void bias_backward(const launch_context& k, matrix<const T> dy, span<float> dbias) {
    if (dy.size() == 0) return;
    add_column_sums(k, bias_term<device_t<T>>{device(dy.data), dy.stride, 1.0f}, dy.rows, dy.cols, dbias.data());
    launched("bias_backward");
}

}  // namespace depthgrow::kernels
