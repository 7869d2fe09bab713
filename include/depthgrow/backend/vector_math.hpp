// Loops that compilers vectorise: dot products, attention of a query, exponentials (float by range reduction, double by
// the library). Assumes round-to-nearest; the float version is within 2 units in the last place on [-60, 88]. Below it
// is zero, so that softmax weights and gates never become subnormal, which processors multiply a hundred times more
// slowly. Source: Cody & Waite range reduction; minimax coefficients of e^r on |r| <= ln(2)/2.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "depthgrow/core/config.hpp"

namespace depthgrow {
namespace detail {

/// e^x for x in [-60, 88] alone; F: float or a vector of floats, I: 32-bit integers to match.
template <class F, class I> inline F exp_within(F x) {
    const F shifted = x * 1.44269504088896341f + 12582912.0f;  // rounds to an integer in the low bits
    const F n = shifted - 12582912.0f;
    F r = x - n * 0.693145751953125f;
    r = r - n * 1.42860682030941723212e-6f;
    F p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    I bits;
    std::memcpy(&bits, &shifted, sizeof(bits));
    const I power = (bits + 127) << 23;
    F scale;
    std::memcpy(&scale, &power, sizeof(scale));
    return p * scale;
}
inline float exp_within(float x) { return exp_within<float, std::int32_t>(x); }

inline float exp_of(float x) {
    const float keep = x < -60.0f ? 0.0f : 1.0f;
    return exp_within(x < -60.0f ? -60.0f : (x > 88.0f ? 88.0f : x)) * keep;
}

inline double exp_of(double x) { return std::exp(x); }

/// 1 / (1 + e^-x); in float no smaller than e^-60. (Clamped on both sides at once: g++ 12 turns a clamp on top of
/// exp_of's own into masked lanes that divide garbage, ten times slower.)
inline float sigmoid_of(float x) { return 1.0f / (1.0f + exp_within(x < -60.0f ? 60.0f : (x > 60.0f ? -60.0f : -x))); }
inline double sigmoid_of(double x) { return 1.0 / (1.0 + exp_of(-x)); }

/// out[i] = x . w_i for four rows w of the given leading dimension; the four after them are asked for meanwhile.
template <class T> void four_dots(const T* x, const T* w, std::size_t stride, std::size_t count, T* out) {
    constexpr std::size_t lanes = 64 / sizeof(T);
    typedef T vector __attribute__((vector_size(64)));
    vector sums[4] = {}, left, right;
    std::size_t i = 0;
    for (; i + lanes <= count; i += lanes) {
        std::memcpy(&left, x + i, sizeof left);
        for (std::size_t r = 0; r < 4; ++r) {
            __builtin_prefetch(w + (r + 4) * stride + i);
            std::memcpy(&right, w + r * stride + i, sizeof right);
            sums[r] += left * right;
        }
    }
    for (std::size_t r = 0; r < 4; ++r) {
        T sum = 0;
        for (std::size_t lane = 0; lane < lanes; ++lane) sum += sums[r][lane];
        for (std::size_t j = i; j < count; ++j) sum += x[j] * w[r * stride + j];
        out[r] = sum;
    }
}
template <class T> T dot(const T* DEPTHGROW_RESTRICT x, const T* DEPTHGROW_RESTRICT w, std::size_t count) {
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::size_t i = 0; i < count; ++i) sum += x[i] * w[i];
    return sum;
}

/// out = Σ softmax(scale q · k_t) v_t over `count` keys and values of D numbers, one behind the other; scores: room for
/// `count`.
template <class T>
void attend(const T* q, const T* k, const T* v, std::size_t count, std::size_t D, T scale, T* scores,
            T* DEPTHGROW_RESTRICT out) {
    T largest = -std::numeric_limits<T>::infinity();
    for (std::size_t t = 0; t < count; ++t) {
        scores[t] = scale * dot(q, k + t * D, D);
        largest = std::max(largest, scores[t]);
    }
    T total = 0;
    for (std::size_t t = 0; t < count; ++t) total += scores[t] = exp_of(scores[t] - largest);
    std::fill_n(out, D, T(0));
    std::size_t t = 0;
    for (; t + 4 <= count; t += 4) {  // four at a time: what they add up to is read and written once
        const T *w = scores + t, *u = v + t * D;
#pragma omp simd
        for (std::size_t i = 0; i < D; ++i)
            out[i] += w[0] * u[i] + w[1] * u[D + i] + w[2] * u[2 * D + i] + w[3] * u[3 * D + i];
    }
    for (; t < count; ++t)
#pragma omp simd
        for (std::size_t i = 0; i < D; ++i) out[i] += scores[t] * v[t * D + i];
#pragma omp simd
    for (std::size_t i = 0; i < D; ++i) out[i] /= total;
}

}  // namespace detail
}  // namespace depthgrow
