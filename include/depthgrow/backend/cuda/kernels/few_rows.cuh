// Products of a few rows with a whole weight, as decoding takes them: a warp reads a row of the weight once for all
// rows of x, and finishes the numbers that it makes. Assumes operands that can be read 16 bytes at a time. Sums in
// float, in an order that does not depend on how many rows there are. Bound by reading the weight: rows of x stay in
// the caches. The first pieces of the weight are asked for while the kernel before still runs.
#pragma once

#include "depthgrow/backend/cuda/kernels/elementwise.cuh"
#include "depthgrow/backend/cuda/kernels/rope.cuh"

namespace depthgrow::kernels {

namespace few {

constexpr std::size_t most = 4;  // rows; above, the product library's kernels are faster
constexpr int warps = 8;

/// Warp `task` of the launch makes P columns of all R rows, finish.column(task, 0 … P - 1), and lane r finishes row r.
template <int R, class D, class Finish>
static __global__ void __launch_bounds__(32 * warps)
    kernel(const D* x, std::size_t x_stride, std::size_t rows, const D* w, std::size_t w_stride, std::size_t inner,
           std::size_t tasks, Finish finish) {
    constexpr int n = widest<D>, P = Finish::columns, ahead = 8 / P;
    let_next_start();
    const std::size_t task = blockIdx.x * std::size_t{warps} + threadIdx.x / 32;
    if (task >= tasks) return;
    const std::size_t lane = threadIdx.x % 32;
    const D* from[P];
#pragma unroll
    for (int p = 0; p < P; ++p) from[p] = w + finish.column(task, p) * w_stride;
    const auto ask = [&](std::size_t c, pack<D, n>(&b)[P]) {
#pragma unroll
        for (int p = 0; p < P; ++p) b[p] = *reinterpret_cast<const pack<D, n>*>(from[p] + c);
    };
    float sum[P][R] = {};
    const auto add = [&](std::size_t c, const pack<D, n>(&b)[P]) {
        pack<D, n> a[R];
#pragma unroll
        for (int r = 0; r < R; ++r)
            a[r] = *reinterpret_cast<const pack<D, n>*>(x + (r < static_cast<int>(rows) ? r : 0) * x_stride + c);
#pragma unroll
        for (int p = 0; p < P; ++p)
#pragma unroll
            for (int r = 0; r < R; ++r)
#pragma unroll
                for (int i = 0; i < n; ++i) sum[p][r] += a[r].get(i) * b[p].get(i);
    };
    const auto column = [&](int piece) { return (lane + static_cast<std::size_t>(piece) * 32) * n; };
    pack<D, n> first[ahead][P];
#pragma unroll
    for (int i = 0; i < ahead; ++i)
        if (column(i) < inner) ask(column(i), first[i]);
    wait_for_inputs();
#pragma unroll
    for (int i = 0; i < ahead; ++i)
        if (column(i) < inner) add(column(i), first[i]);
#pragma unroll 4
    for (std::size_t c = column(ahead); c < inner; c += 32 * n) {
        pack<D, n> b[P];
        ask(c, b), add(c, b);
    }
    float own[P] = {};
#pragma unroll
    for (int p = 0; p < P; ++p)
#pragma unroll
        for (int r = 0; r < R; ++r) {
            const float whole = warp_sum(sum[p][r]);
            if (lane == static_cast<std::size_t>(r)) own[p] = whole;
        }
    if (lane < rows) finish(task, lane, own);
}

/// addend + the product + bias.
template <class D> struct plain {
    static constexpr int columns = 1;
    const D *addend, *bias;
    std::size_t addend_stride, stride;
    D* out;
    float* wide;

    __device__ std::size_t column(std::size_t task, int) const { return task; }
    __device__ void operator()(std::size_t c, std::size_t r, const float (&y)[1]) const {
        float sum = y[0];
        if (addend) sum += to_float(addend[r * addend_stride + c]);
        if (bias) sum += to_float(bias[c]);
        if (wide) wide[r * stride + c] = sum;
        else out[r * stride + c] = from_float<D>(sum);
    }
};
/// silu(gate) * up, both rounded before.
template <class D> struct gated {
    static constexpr int columns = 2;
    D* out;
    std::size_t stride, hidden;

    __device__ std::size_t column(std::size_t task, int p) const { return task + p * hidden; }
    __device__ void operator()(std::size_t c, std::size_t r, const float (&y)[2]) const {
        float gate = to_float(from_float<D>(y[0])), up = to_float(from_float<D>(y[1]));
        out[r * stride + c] = from_float<D>(swiglu_slopes<D>(gate, up));
    }
};
/// Pairs of channels i and i + half of a head, rounded and then rotated where the head's columns are below `rotated`.
template <class D> struct rotated_heads {
    static constexpr int columns = 2;
    D* out;
    const float *cosine, *sine;
    std::size_t stride, rotated, length, half, table_stride;

    __device__ std::size_t column(std::size_t task, int p) const {
        return task / half * 2 * half + task % half + p * half;
    }
    __device__ void operator()(std::size_t task, std::size_t r, const float (&y)[2]) const {
        const std::size_t low = column(task, 0), at = r % length * table_stride + task % half;
        float a = to_float(from_float<D>(y[0])), b = to_float(from_float<D>(y[1]));
        if (low < rotated) rotate(a, b, cosine[at], sine[at]);
        out[r * stride + low] = from_float<D>(a), out[r * stride + low + half] = from_float<D>(b);
    }
};

template <class T> bool takes(matrix<const T> x, matrix<const T> w) {
    constexpr std::size_t n = widest<device_t<T>>;
    return x.rows > 0 && x.rows <= most && aligned(x, n) && aligned(w, n);
}
template <class T, class Finish>
void run(const launch_context& k, matrix<const T> x, matrix<const T> w, std::size_t tasks, const Finish& finish) {
    const auto go = [&](auto r) {
        launch(k, blocks_for(tasks, warps), 32 * warps, kernel<decltype(r)::value, device_t<T>, Finish>, device(x.data),
               x.stride, x.rows, device(w.data), w.stride, x.cols, tasks, finish);
    };
    if (x.rows == 1) go(std::integral_constant<int, 1>());
    else if (x.rows == 2) go(std::integral_constant<int, 2>());
    else go(std::integral_constant<int, 4>());
    launched("few_rows");
}

}  // namespace few

template <class T>
bool few_rows_product(const launch_context& k, matrix<const T> x, matrix<const T> w, matrix<const T> addend,
                      span<const T> bias, matrix<T> out, matrix<float> wide) {
    if (!few::takes(x, w)) return false;
    few::run(k, x, w, w.rows,
             few::plain<device_t<T>>{device(addend.data), device(bias.data()), addend.stride,
                                     wide.data ? wide.stride : out.stride, device(out.data), wide.data});
    return true;
}
template <class T> bool few_rows_swiglu(const launch_context& k, matrix<const T> x, matrix<const T> w, matrix<T> out) {
    if (!few::takes(x, w)) return false;
    few::run(k, x, w, out.cols, few::gated<device_t<T>>{device(out.data), out.stride, out.cols});
    return true;
}
template <class T>
bool few_rows_rope(const launch_context& k, matrix<const T> x, matrix<const T> w, matrix<T> out, std::size_t length,
                   std::size_t rotated, matrix<const float> cosine, matrix<const float> sine) {
    const std::size_t half = cosine.cols;
    if (!few::takes(x, w) || out.cols % (2 * half) != 0 || cosine.stride != sine.stride) return false;
    few::run(k, x, w, out.cols / 2,
             few::rotated_heads<device_t<T>>{device(out.data), cosine.data, sine.data, out.stride, rotated, length,
                                             half, cosine.stride});
    return true;
}

}  // namespace depthgrow::kernels
