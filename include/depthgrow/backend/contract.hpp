// The contract every backend keeps: operation extents, overlap rules and the checks that state them.
// Rows are contiguous with a leading dimension; inputs and outputs never overlap unless an operation says `_inplace`.
// The maths of each operation is written out once, in reference.hpp.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/core/span.hpp"

namespace depthgrow {

using token = std::int32_t;

/// Wide type of reductions and saved statistics: double for double, float for everything narrower.
template <class T> using wide_t = std::conditional_t<std::is_same_v<T, double>, double, float>;

/// Whether an operand is read as it lies or transposed.
enum class transpose { no, yes };

/// Extents of causal attention over packed rows: row b*length + t holds heads queries, kv_heads keys, kv_heads values.
struct attention_shape {
    std::size_t batch = 0;       // B
    std::size_t length = 0;      // T
    std::size_t heads = 0;       // H
    std::size_t kv_heads = 0;    // H_kv, divides H
    std::size_t head_width = 0;  // D
    std::size_t window = 0;      // positions that a query sees, its own the last of them; 0: all up to its own
    double scale = 0;            // of the scores q·k; 0: 1/sqrt(D)

    std::size_t rows() const { return batch * length; }
    std::size_t width() const { return heads * head_width; }
    std::size_t kv_width() const { return kv_heads * head_width; }
    std::size_t packed_width() const { return width() + 2 * kv_width(); }
    std::size_t group() const { return heads / kv_heads; }
    /// The first position that the query at position t sees.
    std::size_t first_seen(std::size_t t) const { return window > 0 && t + 1 > window ? t + 1 - window : 0; }
    template <class T> T score_scale() const {
        return scale > 0 ? static_cast<T>(scale) : T(1) / std::sqrt(static_cast<T>(head_width));
    }
};

/// What stands between an MLP's linear maps. `gelu` is x Φ(x) by the error function, `gelu_tanh` its usual
/// approximation (Hendrycks & Gimpel 2016); `silu` is x σ(x).
enum class activation { silu, gelu, gelu_tanh };

/// Keys and values that a sequence's earlier positions left, (kv_heads, capacity, head_width) each.
template <class T> struct key_value_cache {
    span<T> keys, values;
    std::size_t capacity = 0;  // positions there is room for
    std::size_t length = 0;    // positions that are there
};

/// Where a sequence keeps the keys and values of one layer, (kv_heads, capacity, head_width) each, as a backend reads
/// it in its own memory.
template <class T> struct cached_row {
    T *keys = nullptr, *values = nullptr;
    std::size_t capacity = 0;

    friend bool operator==(const cached_row& a, const cached_row& b) {
        return a.keys == b.keys && a.values == b.values && a.capacity == b.capacity;
    }
};

/// A tensor (rows, cols) in eight bits twice, as it is and transposed (none: null): its numbers are those times
/// *inverse. In the memory of the backend that made it.
struct fp8_pair {
    std::uint8_t *as_is = nullptr, *transposed = nullptr;
    float* inverse = nullptr;
    std::size_t rows = 0, cols = 0;
};

/// What the scale of one use of a weight goes on from, in numbers that mean something to its backend alone.
struct scale_state {
    const void* weight = nullptr;
    std::array<std::size_t, 3> use{};  // of the weight's uses, which
    std::vector<float> numbers;
};

/// The likeliest token of a row of logits and its log-likelihood in nats, which is not finite where a logit is not.
struct row_choice {
    token best = 0;
    float log_likelihood = 0;
};

/// Constants of one AdamW step (Loshchilov & Hutter 2019): decoupled decay first, bias-corrected moments.
struct adamw_constants {
    double rate = 1e-3;
    double beta1 = 0.9;
    double beta2 = 0.95;
    double eps = 1e-8;
    double decay = 0.01;
    double clip = 1.0;  // global gradient norm above which gradients are scaled; 0 = never
    std::int64_t step = 1;
    double skip_above = 0;  // global gradient norm above which the step changes nothing; 0 = never
};

/// Constants of one step of a momentum method: SGD with Nesterov's momentum, or Muon's matrices.
struct momentum_constants {
    double rate = 1e-3;
    double momentum = 0.9;
    double decay = 0.01;
    double clip = 1.0;      // as above
    double skip_above = 0;  // as above
};

/// What an AdamW step reads and changes of one run of weights: equally many numbers each, `rounded` may be empty.
template <class T> struct adamw_operands {
    span<wide_t<T>> weight;
    span<const wide_t<T>> gradient;
    span<wide_t<T>> first, second;
    span<T> rounded;
};

namespace contract {

/// What gradients are scaled by, min(1, clip / (norm + 1e-6)); 0 when the sum of squares is not finite, or the norm
/// above `skip_above`: then nothing changes.
template <class Constants> double clip_scale(const Constants& k, double squares) {
    const double norm = std::sqrt(squares);
    if (!std::isfinite(norm) || (k.skip_above > 0 && norm > k.skip_above)) return 0;
    return k.clip > 0 && k.clip < norm + 1e-6 ? k.clip / (norm + 1e-6) : 1.0;
}

template <class T, class U> bool overlap(const T* a, std::size_t a_count, const U* b, std::size_t b_count) {
    const auto a0 = reinterpret_cast<std::uintptr_t>(a), b0 = reinterpret_cast<std::uintptr_t>(b);
    return a_count && b_count && a0 < b0 + b_count * sizeof(U) && b0 < a0 + a_count * sizeof(T);
}

/// Two matrices share memory when their rows interleave or coincide; column ranges of one matrix may lie side by side.
template <class T, class U> bool overlap(matrix<T> a, matrix<U> b) {
    if (a.rows == 0 || b.rows == 0 || a.cols == 0 || b.cols == 0) return false;
    const std::size_t a_run = (a.rows - 1) * a.stride + a.cols, b_run = (b.rows - 1) * b.stride + b.cols;
    if (!overlap(a.data, a_run, b.data, b_run)) return false;
    if (a.stride != b.stride || sizeof(T) != sizeof(U)) return true;
    const auto difference = reinterpret_cast<std::intptr_t>(b.data) - reinterpret_cast<std::intptr_t>(a.data);
    const auto pitch = static_cast<std::intptr_t>(a.stride * sizeof(T));
    const auto column = static_cast<std::size_t>((difference % pitch + pitch) % pitch) / sizeof(T);
    return column < a.cols || column + b.cols > a.stride;
}

template <class Out, class In> void disjoint(const char* op, matrix<Out> out, matrix<In> in) {
    require(!overlap(out, in), "[", op, "] expected output and input in different memory, got an overlap");
}

template <class T> void extents(const char* op, const char* name, matrix<T> got, std::size_t rows, std::size_t cols) {
    if (got.rows != rows || got.cols != cols)
        fail("[", op, "] expected ", name, " of ", rows, " x ", cols, ", got ", got.rows, " x ", got.cols);
    if (got.stride < got.cols)
        fail("[", op, "] expected ", name, " with a leading dimension of at least ", got.cols, ", got ", got.stride);
}

template <class T> void length(const char* op, const char* name, span<T> got, std::size_t count) {
    if (got.size() != count) fail("[", op, "] expected ", name, " of ", count, " elements, got ", got.size());
}

template <class T, class C> void gemm(transpose ta, transpose tb, matrix<const T> a, matrix<const T> b, matrix<C> c) {
    const std::size_t inner = ta == transpose::no ? a.cols : a.rows;
    extents("gemm", "a", a, ta == transpose::no ? c.rows : inner, ta == transpose::no ? inner : c.rows);
    extents("gemm", "b", b, tb == transpose::no ? inner : c.cols, tb == transpose::no ? c.cols : inner);
    extents("gemm", "c", c, c.rows, c.cols);
    disjoint("gemm", c, a);
    disjoint("gemm", c, b);
}

template <class T>
void rms_norm(const char* op, matrix<const T> x, span<const T> gain, matrix<T> y, span<const wide_t<T>> rstd) {
    extents(op, "y", matrix<const T>(y), x.rows, x.cols);
    if (gain.size() != x.cols)
        fail("[", op, "] expected weight of ", x.cols, " elements (last extent of x), got ", gain.size());
    length(op, "rstd", rstd, x.rows);
}

template <class T>
void layer_norm(const char* op, matrix<const T> x, span<const T> gain, span<const T> bias, matrix<const T> y,
                span<const wide_t<T>> mean, span<const wide_t<T>> rstd) {
    extents(op, "y", y, x.rows, x.cols);
    length(op, "weight", gain, x.cols);
    length(op, "bias", bias, bias.empty() ? 0 : x.cols);
    length(op, "mean", mean, x.rows);
    length(op, "rstd", rstd, x.rows);
}

template <class T>
void rope(matrix<const T> x, std::size_t heads, std::size_t head_width, matrix<const wide_t<T>> cosine,
          matrix<const wide_t<T>> sine) {
    require(x.cols >= heads * head_width, "[rope] expected rows of at least ", heads * head_width, " columns, got ",
            x.cols);
    require(2 * cosine.cols <= head_width, "[rope] expected a table of at most ", head_width / 2,
            " channel pairs, got ", cosine.cols);
    extents("rope", "sine", sine, cosine.rows, cosine.cols);
}

template <class T> void packed_rows(const char* op, matrix<const T> qkv, attention_shape s, matrix<const T> out) {
    require(s.kv_heads > 0 && s.heads % s.kv_heads == 0, "[", op, "] expected kv_heads to divide heads ", s.heads,
            ", got ", s.kv_heads);
    extents(op, "qkv", qkv, s.rows(), s.packed_width());
    extents(op, "out", out, s.rows(), s.width());
    disjoint(op, out, qkv);
}

template <class T>
void attention(const char* op, matrix<const T> qkv, attention_shape s, matrix<const T> out, span<const wide_t<T>> lse) {
    packed_rows(op, qkv, s, out);
    length(op, "lse", lse, s.rows() * s.heads);
}

template <class T>
void attention_backward(matrix<const T> qkv, attention_shape s, matrix<const T> out, span<const wide_t<T>> lse,
                        matrix<const T> dout, matrix<T> dqkv) {
    const char* op = "attention_backward";
    attention<T>(op, qkv, s, out, lse);
    extents(op, "dout", dout, s.rows(), s.width());
    extents(op, "dqkv", dqkv, s.rows(), s.packed_width());
    disjoint(op, matrix<const T>(dqkv), qkv);
}

template <class T>
void cached_attention(matrix<const T> qkv, attention_shape s, const key_value_cache<T>& cache, matrix<const T> out) {
    const char* op = "cached_attention";
    packed_rows(op, qkv, s, out);
    require(s.batch == 1, "[", op, "] expected one sequence, got ", s.batch);
    require(cache.length + s.length <= cache.capacity, "[", op, "] expected at most ", cache.capacity,
            " positions (the cache's capacity), got ", s.length, " behind ", cache.length);
    length(op, "keys", cache.keys, s.kv_width() * cache.capacity);
    length(op, "values", cache.values, s.kv_width() * cache.capacity);
    const auto apart = [&](span<T> part) {
        const matrix<const T> kept(part.data(), 1, part.size());
        disjoint(op, kept, qkv), disjoint(op, out, kept);
    };
    apart(cache.keys), apart(cache.values);
}

/// Row r of qkv is position positions[r], behind as many in caches[r]; what these hold is the caller's care, since they
/// lie in the backend's memory.
template <class T>
void step_attention(matrix<const T> qkv, attention_shape s, span<const cached_row<T>> caches,
                    span<const token> positions, matrix<const T> out) {
    const char* op = "step_attention";
    packed_rows(op, qkv, s, out);
    length(op, "caches", caches, s.rows());
    length(op, "positions", positions, s.rows());
}

}  // namespace contract
}  // namespace depthgrow
