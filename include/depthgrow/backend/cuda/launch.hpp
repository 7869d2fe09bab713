// Declarations of the kernel launches: what the CUDA backend calls and a unit compiled by nvcc provides.
// Assumes device pointers and extents that the backend has checked; T is float or bfloat16, statistics are float.
// Meaning of each operation: backend/reference.hpp and analysis/row_operations.hpp. Explicit instantiations:
// launch.cuh.
#pragma once

#include <cuda_runtime_api.h>

#include "depthgrow/backend/contract.hpp"
#include "depthgrow/core/dtype.hpp"

namespace depthgrow::kernels {

/// Where a launch runs and the memory it may use for partial sums.
struct launch_context {
    cudaStream_t stream = nullptr;
    float* scratch = nullptr;
    std::size_t scratch_floats = 0;
    unsigned multiprocessors = 1;
    bool deterministic = false;
    bool overlap = false;  // small kernels of a decoding step may start while the one before still runs
};

/// A number of eight bits: sign, 4 of exponent, 3 of mantissa, up to 448 (Micikevicius et al. 2022, arXiv 2209.05433).
struct e4m3 {
    std::uint8_t bits;
};
/// Scaling of one tensor from use to use, in device memory: values times `scale` are stored, products are multiplied by
/// `inverse`. A power of two that follows the largest magnitude of the last uses (delayed scaling).
struct alignas(16) fp8_scaling {
    static constexpr unsigned remembered = 16;
    float inverse, scale;    // of the last use (cuBLASLt reads it: 16 bytes aligned), of the next one
    unsigned largest, done;  // bits of the largest magnitude so far in this use; blocks that have finished
    unsigned uses;
    float history[remembered];
};
/// A second, eight-bit copy of what a kernel writes; empty: none.
struct fp8_copy {
    e4m3* out = nullptr;
    fp8_scaling* scaling = nullptr;
};
/// Scaling from the magnitudes at hand: what a first use needs.
void start_fp8(const launch_context&, matrix<const bfloat16> x, fp8_scaling* scaling);
/// out (rows, cols) = x in eight bits.
void quantize_fp8(const launch_context&, matrix<const bfloat16> x, e4m3* out, fp8_scaling* scaling);

/// x; silu(gate) * up; its gradients by gate and up: in eight bits, as they are and transposed. `first`: of a scaling
/// that has never been used.
void fp8_pair_of(const launch_context&, matrix<const bfloat16> x, fp8_pair out, fp8_scaling* scaling, bool first);
void fp8_swiglu(const launch_context&, matrix<const bfloat16> gate_up, fp8_pair out, fp8_scaling* scaling, bool first);
void fp8_swiglu_backward(const launch_context&, matrix<const bfloat16> gate_up, matrix<const bfloat16> dout,
                         fp8_pair out, fp8_scaling* scaling, bool first);

/// out = silu(gate) * up of (gate, up) = x wᵀ, and its slopes by gate and up; dgate_up = dy w times the slopes;
/// out = x wᵀ with `rotated` of its columns rotated by RoPE, sequences of `length` rows. False: operands that a fused
/// kernel does not take, or no code for them; nothing is done.
bool linear_swiglu(const launch_context&, matrix<const bfloat16> x, matrix<const bfloat16> w, matrix<bfloat16> slopes,
                   matrix<bfloat16> out);
bool linear_swiglu_backward(const launch_context&, matrix<const bfloat16> dy, matrix<const bfloat16> w,
                            matrix<const bfloat16> slopes, matrix<bfloat16> dgate_up);
bool linear_rope(const launch_context&, matrix<const bfloat16> x, matrix<const bfloat16> w, matrix<bfloat16> out,
                 std::size_t length, std::size_t rotated, matrix<const float> cosine, matrix<const float> sine);

/// e = softmax(x wᵀ) but for a factor a row, shares[r], and log Σ exp of every row's logits, of which averages[r] is
/// some average: where one is more than some 115 below the largest, all products are made twice. False: as above.
bool linear_softmax(const launch_context&, matrix<const bfloat16> x, matrix<const bfloat16> w,
                    span<const float> averages, matrix<bfloat16> e, span<float> shares, span<float> log_sums);

void fill_words(const launch_context&, void* to, std::size_t count, std::size_t word_bytes, std::uint64_t word);
/// *sum += the squares of all numbers of all blocks.
void accumulate_squares(const launch_context&, span<const span<const float>> blocks, double* sum);

/// *sum += Σ (word + 1) (2 i + 1) over words of four bytes; a last half word is left out.
void word_sum(const launch_context&, const void* data, std::size_t bytes, std::uint64_t* sum);

template <class T>
void embedding_forward(const launch_context&, span<const token> ids, matrix<const T> table, matrix<T> out);
template <class T>
void embedding_backward(const launch_context&, span<const token> ids, matrix<const T> dout, matrix<float> dtable);
/// `a` empty: y = RMSNorm(h); else sum = h + a, y = RMSNorm(sum). Returns whether the copy of y was made (as below).
template <class T>
bool rms_norm_forward(const launch_context&, matrix<const T> h, matrix<const T> a, span<const T> gain, float eps,
                      float scale, matrix<T> sum, matrix<T> y, span<float> rstd, fp8_copy copy);
template <class T>
bool rms_norm_backward(const launch_context&, matrix<const T> x, span<const T> gain, span<const float> rstd,
                       float scale, matrix<const T> dy, matrix<const T> skip, matrix<T> dx, span<float> dgain,
                       fp8_copy copy);
template <class T>
void rope_inplace(const launch_context&, matrix<T> x, std::size_t length, std::size_t heads, std::size_t head_width,
                  matrix<const float> cosine, matrix<const float> sine, float sign);
/// dqkv's keys and values = the sums of dk and dv (rows, H*D) over the heads that share them; with a table, its queries
/// and keys are rotated back by RoPE. Head widths of multiples of 8, rows at multiples of 16 bytes.
void finish_attention_gradients(const launch_context&, attention_shape, const bfloat16* dk, const bfloat16* dv,
                                matrix<bfloat16> dqkv, matrix<const float> cosine, matrix<const float> sine);
/// Whether the kernels for heads of 64 channels take these operands; attention's backward pass by them, into rows of
/// packed dq, dk, dv, with `facts` to work in. With a table, queries' and keys' are rotated back by RoPE.
bool takes_attention_backward(const attention_shape&, matrix<const bfloat16> qkv, matrix<const bfloat16> out,
                              matrix<const bfloat16> dout, matrix<bfloat16> dqkv, matrix<const float> cosine,
                              matrix<const float> sine);
inline std::size_t attention_facts_bytes(const attention_shape& s) { return (s.rows() * s.heads + 1) * 8; }
void attention_backward_64(const launch_context&, const attention_shape&, matrix<const bfloat16> qkv,
                           matrix<const bfloat16> out, const float* lse, matrix<const bfloat16> dout,
                           matrix<bfloat16> dqkv, matrix<const float> cosine, matrix<const float> sine, void* facts);
template <class T>
void attention_forward(const launch_context&, matrix<const T> qkv, attention_shape, matrix<T> out, span<float> lse);
template <class T>
void attention_backward(const launch_context&, matrix<const T> qkv, attention_shape, matrix<const T> out,
                        span<const float> lse, matrix<const T> dout, matrix<T> dqkv);
template <class T>
void cached_attention(const launch_context&, matrix<const T> qkv, attention_shape, key_value_cache<T> cache,
                      matrix<T> out);
/// Row r of qkv is position positions[r] of the sequence behind caches[r] (contract::step_attention).
template <class T>
void step_attention(const launch_context&, matrix<const T> qkv, attention_shape, span<const cached_row<T>> caches,
                    span<const token> positions, matrix<T> out);
/// out[r] = table[rows[r]].
void gather_rows(const launch_context&, span<const token> rows, matrix<const float> table, matrix<float> out);
void row_best(const launch_context&, matrix<const float> logits, span<row_choice> best);
/// Products of a few rows with all of a weight (few_rows.cuh): addend + x wᵀ + bias, each of which may be empty, into
/// `out` or `wide`, whichever has numbers; silu(gate) * up of (gate, up) = x wᵀ; x wᵀ with heads rotated, row r by row
/// r % length of the tables. False: too many rows or operands that cannot be read in vectors; nothing is done.
template <class T>
bool few_rows_product(const launch_context&, matrix<const T> x, matrix<const T> w, matrix<const T> addend,
                      span<const T> bias, matrix<T> out, matrix<float> wide);
template <class T> bool few_rows_swiglu(const launch_context&, matrix<const T> x, matrix<const T> w, matrix<T> out);
template <class T>
bool few_rows_rope(const launch_context&, matrix<const T> x, matrix<const T> w, matrix<T> out, std::size_t length,
                   std::size_t rotated, matrix<const float> cosine, matrix<const float> sine);
template <class T> bool swiglu_forward(const launch_context&, matrix<const T> gate_up, matrix<T> out, fp8_copy copy);
template <class T>
bool swiglu_backward(const launch_context&, matrix<const T> gate_up, matrix<const T> dout, matrix<T> dgate_up,
                     fp8_copy copy);
/// Activations other than SwiGLU's; x holds gate and up side by side when `gated`.
template <class T>
void activation_forward(const launch_context&, activation, bool gated, matrix<const T> x, matrix<T> out);
template <class T>
void activation_backward(const launch_context&, activation, bool gated, matrix<const T> x, matrix<const T> dout,
                         matrix<T> dx);
template <class T>
void layer_norm_forward(const launch_context&, matrix<const T> x, span<const T> gain, span<const T> bias, float eps,
                        float scale, matrix<T> y, span<float> mean, span<float> rstd);
template <class T>
void layer_norm_backward(const launch_context&, matrix<const T> x, span<const T> gain, span<const float> mean,
                         span<const float> rstd, float scale, matrix<const T> dy, matrix<const T> skip, matrix<T> dx,
                         span<float> dgain, span<float> dbias);
template <class T> void add_bias_inplace(const launch_context&, span<const T> bias, matrix<T> y);
template <class T> void bias_backward(const launch_context&, matrix<const T> dy, span<float> dbias);
/// out = a + factor * b; `a` and `out` may be one matrix.
template <class T> void add(const launch_context&, matrix<const T> a, float factor, matrix<const T> b, matrix<T> out);
template <class T>
void cross_entropy_inplace(const launch_context&, matrix<T> logits, span<const token> targets,
                           span<const float> weights, span<float> loss, bool gradient);
template <class T> void row_argmax(const launch_context&, matrix<const T> logits, span<token> best);
template <class T>
void adamw(const launch_context&, span<const adamw_operands<T>> blocks, const adamw_constants*, const double* squares);
template <class T>
void sgd_nesterov(const launch_context&, span<float> weight, span<const float> gradient, span<float> momentum,
                  span<T> rounded, const momentum_constants*, const double* squares);
template <class T>
void muon_direction(const launch_context&, span<const float> gradient, span<float> buffer, span<T> direction,
                    const momentum_constants*, const double* squares);
template <class T> void muon_normalize(const launch_context&, span<T> x);
template <class T>
void muon_apply(const launch_context&, span<float> weight, span<const T> x, span<T> rounded, double factor,
                const momentum_constants*, const double* squares);

/// How a row's distribution differs from another's, on the device; analysis/row_operations.hpp says what each is.
struct row_comparison {
    float kl_lens_final, kl_final_lens, cross_entropy, overlap, agrees, hits;
};
template <class T>
void row_changes(const launch_context&, matrix<const T> a_run, matrix<const T> m_run, matrix<const T> a,
                 matrix<const T> m, span<float> distance, span<float> norm);
template <class T> void row_softmax_inplace(const launch_context&, matrix<T> logits, span<float> log_sums);
template <class T> void row_dots(const launch_context&, matrix<const T> x, matrix<const float> y, span<float> out);
template <class T>
void row_differences(const launch_context&, matrix<const float> x, span<const float> shares, matrix<const float> y,
                     float factor, matrix<T> out);
template <class T>
void row_softmax_distances(const launch_context&, matrix<T> logits, matrix<const T> probabilities,
                           span<float> distance);
template <class T>
void row_compare(const launch_context&, matrix<const T> q, matrix<const T> y, span<const token> targets, std::size_t k,
                 span<row_comparison> out);
template <class T>
void row_probability_gradient_inplace(const launch_context&, matrix<T> z, span<const token> gold, span<float> value);

}  // namespace depthgrow::kernels
