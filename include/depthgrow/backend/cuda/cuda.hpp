// The CUDA backend: device memory, products by cuBLASLt or fused with SwiGLU, RoPE, softmax by ours, attention by
// cuDNN, the rest ours. Assumes one stream and one device an object. Compiles with plain g++; link kernels made by
// depthgrow_add_cuda_kernels(target TYPES float bf16). T is float or bfloat16; statistics, losses, gradients of weights
// and the optimiser's numbers are float. Operations: backend/reference.hpp.
#pragma once

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <utility>
#include <vector>

#include "depthgrow/backend/cuda/cudnn_attention.hpp"
#include "depthgrow/backend/cuda/fp8_maps.hpp"
#include "depthgrow/backend/cuda/launch.hpp"
#include "depthgrow/backend/cuda/products.hpp"
#include "depthgrow/backend/cuda/recording.hpp"
#include "depthgrow/backend/cuda/row_comparisons.hpp"

namespace depthgrow {

struct cuda_options {
    int device = 0;
    bool deterministic = false;  // the same bits from run to run, at a price
    bool tune = true;            // time several algorithms the first time that a large product or attention is met
    bool many_shapes = false;    // an analysis: few runs of many lengths and batches, so that tuning them does not pay
    bool fp8 = false;            // linear maps of the inner layers in e4m3, of their MLPs the gradients of weights too
    bool fuse = true;            // linear maps fused with SwiGLU, RoPE (not with fp8), softmax where a kernel takes it
    bool record = true;          // replay steps as CUDA graphs
    bool decode_steps = true;    // generate by recorded steps, products of few rows by kernels of ours
    std::size_t product_workspace = std::size_t{64} << 20;
};

class cuda {
public:
    explicit cuda(cuda_options options = {})
        : options_(selected(options)),
          stream_(make_stream()),
          products_(options.product_workspace, options.tune && !options.deterministic && !options.many_shapes),
          fp8_(products_, context_),
          attention_(stream_, options.deterministic, options.tune && !options.deterministic, options.many_shapes),
          scratch_(scratch_bytes) {
        int multiprocessors = 1;
        cuda_detail::check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, options.device),
                           "cudaDeviceGetAttribute");
        context_ = {stream_, static_cast<float*>(scratch_.data()), scratch_bytes / sizeof(float),
                    static_cast<unsigned>(multiprocessors), options.deterministic};
    }
    cuda(const cuda&) = delete;
    cuda& operator=(const cuda&) = delete;
    ~cuda() { (void)cudaStreamDestroy(stream_); }

    cudaStream_t stream() const { return stream_; }
    const cuda_options& options() const { return options_; }
    /// Rows of logits that exist at a time in the head.
    std::size_t head_rows() const { return 8192; }
    static constexpr bool wants_many_rows = true;  // rows_at_a_time

    // ---- memory: `allocate` throws out_of_device_memory
    template <class T> T* allocate(std::size_t count) {
        return static_cast<T*>(cuda_detail::allocate(count * sizeof(T)));
    }
    template <class T> void deallocate(T* data, std::size_t n) { fp8_.forget(data, data + n), (void)cudaFree(data); }
    template <class T> void copy(const T* from, T* to, std::size_t count) {
        move(from, to, count * sizeof(T), cudaMemcpyDeviceToDevice);
    }
    template <class T> void from_host(const T* from, T* to, std::size_t count) {
        move(from, to, count * sizeof(T), cudaMemcpyHostToDevice);
    }
    template <class T> void to_host(const T* from, T* to, std::size_t count) {
        move(from, to, count * sizeof(T), cudaMemcpyDeviceToHost);
        synchronize();
    }
    template <class T> void fill(T* data, std::size_t count, T value) {
        static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
        std::uint64_t word = 0;
        std::memcpy(&word, &value, sizeof(T));
        if (word == 0) cuda_detail::check(cudaMemsetAsync(data, 0, count * sizeof(T), stream_), "cudaMemsetAsync");
        else kernels::fill_words(context_, data, count, sizeof(T), word);
    }
    /// How often memory that a recorded step may refer to has moved.
    std::size_t memory_moves() const { return attention_.memory_moves(); }
    /// Bytes in use on the device by everybody, and its size.
    std::pair<std::size_t, std::size_t> memory() const {
        std::size_t free = 0, total = 0;
        cuda_detail::check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
        return {total - free, total};
    }
    void synchronize() { cuda_detail::check(cudaStreamSynchronize(stream_), "work on the device"); }

    // ---- operations
    template <class T, class C>
    void gemm(transpose ta, transpose tb, float alpha, matrix<const T> a, matrix<const T> b, float beta, matrix<C> c) {
        contract::gemm(ta, tb, a, b, c);
        fp8_.forget_copy();
        if (ta == transpose::no && tb == transpose::yes && alpha == 1 && beta == 0 &&
            few_rows_product<T>(a, b, {}, {}, c))
            return;
        if (c.rows > 0 && c.cols > 0)
            products_(stream_, ta == transpose::yes, tb == transpose::yes, alpha, a, b, beta, matrix<const C>(c), c);
    }
    /// out = addend + x wᵀ + bias (empty: none): a linear map whose result joins the residual stream, in one pass.
    template <class T>
    void linear_add(matrix<const T> x, matrix<const T> w, matrix<const T> addend, matrix<T> out,
                    span<const T> bias = {}) {
        check_map("linear_add", x, w, addend, out);
        fp8_.forget_copy();
        if (few_rows_product<T>(x, w, addend, bias, out)) return;
        if (out.rows > 0) products_(stream_, false, true, 1, x, w, 1, addend, out, {bias, nullptr, nullptr, false});
    }
    /// Whether an inner layer's linear map of x to that many columns runs in eight bits; then `linear_fp8` is the map,
    /// `linear_fp8_backward` its gradient by the input. Definitions: linear_add (an empty addend is none) and gemm,
    /// rounded to e4m3.
    template <class T> bool takes_fp8(matrix<const T> x, matrix<const T> w, std::size_t columns) const {
        if constexpr (std::is_same_v<T, bfloat16>) return options_.fp8 && fp8_.takes(x, w, columns);
        else return false;
    }
    void linear_fp8(matrix<const bfloat16> x, matrix<const bfloat16> w, matrix<const bfloat16> addend,
                    matrix<bfloat16> out) {
        check_map("linear_fp8", x, w, addend.data ? addend : matrix<const bfloat16>(out), out);
        fp8_.forward(x, w, addend, out);
    }
    void linear_fp8_backward(matrix<const bfloat16> dy, matrix<const bfloat16> w, float beta, matrix<bfloat16> dx) {
        contract::gemm(transpose::no, transpose::no, dy, w, dx);
        fp8_.backward(dy, w, beta, dx);
    }
    /// Whether an inner layer's MLP of these maps runs in eight bits, the gradients of its weights too; then the
    /// operations of pairs in `fp8` are its parts.
    template <class T> bool takes_fp8_mlp(matrix<const T> x, matrix<const T> in, matrix<const T> out) const {
        if constexpr (std::is_same_v<T, bfloat16>) return options_.fp8 && fp8_.takes_mlp(x, in, out);
        else return false;
    }
    cuda_detail::fp8_maps& fp8() { return fp8_; }
    std::vector<scale_state> scales() const { return fp8_.scales(); }
    void restore_scales(const std::vector<scale_state>& all) { options_.fp8 ? fp8_.restore_scales(all) : void(); }
    /// A linear map fused with SwiGLU: out = silu(gate) * up of (gate, up) = x wᵀ, and `slopes` (M, 2F), the
    /// derivatives of out by gate and by up. Its backward pass from the map after it: dgate_up = slopes * (dy w), where
    /// both halves meet dy w. False: not taken, nothing done; what was taken one way is taken back.
    template <class T> bool linear_swiglu(matrix<const T> x, matrix<const T> w, matrix<T> slopes, matrix<T> out) {
        contract::gemm(transpose::no, transpose::yes, x, w, slopes);
        contract::extents("linear_swiglu", "slopes", slopes, out.rows, 2 * out.cols);
        if constexpr (std::is_same_v<T, bfloat16>)
            return options_.fuse && !options_.fp8 && kernels::linear_swiglu(context_, x, w, slopes, out);
        else return false;
    }
    template <class T>
    void linear_swiglu_backward(matrix<const T> dy, matrix<const T> w, matrix<const T> slopes, matrix<T> dgate_up) {
        contract::extents("linear_swiglu_backward", "w", w, dy.cols, slopes.cols / 2);
        contract::extents("linear_swiglu_backward", "slopes", slopes, dy.rows, 2 * w.cols);
        contract::extents("linear_swiglu_backward", "dgate_up", dgate_up, slopes.rows, slopes.cols);
        bool taken = false;
        if constexpr (std::is_same_v<T, bfloat16>)
            taken = kernels::linear_swiglu_backward(context_, dy, w, slopes, dgate_up);
        require(taken, "[linear_swiglu_backward] expected operands that linear_swiglu takes, got ", dy.rows,
                " rows and ", w.cols, " columns");
    }
    /// out = x wᵀ with queries and keys rotated: gemm, rounded to T, then rope_inplace. False: as above.
    template <class T>
    bool linear_rope(matrix<const T> x, matrix<const T> w, matrix<T> out, std::size_t length, std::size_t heads,
                     matrix<const float> cosine, matrix<const float> sine) {
        contract::gemm(transpose::no, transpose::yes, x, w, out);
        if (!options_.fuse || options_.fp8) return false;
        if (options_.decode_steps &&
            kernels::few_rows_rope<T>(context_, x, w, out, length, heads * 2 * cosine.cols, cosine, sine))
            return true;
        if constexpr (std::is_same_v<T, bfloat16>)
            return kernels::linear_rope(context_, x, w, out, length, heads * 2 * cosine.cols, cosine, sine);
        else return false;
    }
    /// out = silu(gate) * up of (gate, up) = x wᵀ of a few rows, rounded between. False: as above.
    template <class T> bool few_rows_swiglu(matrix<const T> x, matrix<const T> w, matrix<T> out) {
        contract::extents("few_rows_swiglu", "w", w, 2 * out.cols, x.cols);
        contract::extents("few_rows_swiglu", "out", out, x.rows, out.cols);
        return options_.decode_steps && options_.fuse && !options_.fp8 &&
               kernels::few_rows_swiglu<T>(context_, x, w, out);
    }
    template <class T> void embedding_forward(span<const token> ids, matrix<const T> table, matrix<T> out) {
        contract::extents("embedding_forward", "out", out, ids.size(), table.cols);
        fp8_.start_run(table.data);
        kernels::embedding_forward<T>(context_, ids, table, out);
    }
    template <class T> void embedding_backward(span<const token> ids, matrix<const T> dout, matrix<float> dtable) {
        contract::extents("embedding_backward", "dout", dout, ids.size(), dtable.cols);
        kernels::embedding_backward<T>(context_, ids, dout, dtable);
    }
    template <class T>
    void rms_norm_forward(matrix<const T> x, span<const T> gain, float eps, float scale, matrix<T> y,
                          span<float> rstd) {
        contract::rms_norm<T>("rms_norm", x, gain, y, {rstd.data(), rstd.size()});
        with_copy(matrix<const T>(y), false, [&](kernels::fp8_copy copy) {
            return kernels::rms_norm_forward<T>(context_, x, {}, gain, eps, scale, {}, y, rstd, copy);
        });
    }
    template <class T>
    void residual_rms_norm_forward(matrix<const T> h, matrix<const T> a, span<const T> gain, float eps, float scale,
                                   matrix<T> sum, matrix<T> y, span<float> rstd) {
        contract::rms_norm<T>("residual_rms_norm", h, gain, y, {rstd.data(), rstd.size()});
        contract::extents("residual_rms_norm", "sum", sum, h.rows, h.cols);
        contract::extents("residual_rms_norm", "a", a, h.rows, h.cols);
        with_copy(matrix<const T>(y), false, [&](kernels::fp8_copy copy) {
            return kernels::rms_norm_forward<T>(context_, h, a, gain, eps, scale, sum, y, rstd, copy);
        });
    }
    template <class T>
    void rms_norm_backward(matrix<const T> x, span<const T> gain, span<const float> rstd, float scale,
                           matrix<const T> dy, matrix<const T> skip, matrix<T> dx, span<float> dgain) {
        contract::rms_norm<T>("rms_norm_backward", x, gain, dx, rstd);
        with_copy(matrix<const T>(dx), true, [&](kernels::fp8_copy copy) {
            return kernels::rms_norm_backward<T>(context_, x, gain, rstd, scale, dy, skip, dx, dgain, copy);
        });
    }
    template <class T>
    void rope_inplace(matrix<T> x, std::size_t length, std::size_t heads, std::size_t head_width,
                      matrix<const float> cosine, matrix<const float> sine, float sign) {
        contract::rope<T>(x, heads, head_width, cosine, sine);
        kernels::rope_inplace<T>(context_, x, length, heads, head_width, cosine, sine, sign);
    }
    /// lse is (rows, heads), or (B, H, T) where the fused engines run: the backward pass knows.
    template <class T> void attention_forward(matrix<const T> qkv, attention_shape s, matrix<T> out, span<float> lse) {
        contract::attention<T>("attention_forward", qkv, s, out, {lse.data(), lse.size()});
        if (fused<T>(s, qkv.stride, out.stride)) {
            if constexpr (std::is_same_v<T, bfloat16>) attention_.forward(s, qkv, out, lse.data());
        } else {
            kernels::attention_forward<T>(context_, qkv, s, out, lse);
        }
    }
    template <class T>
    void attention_backward(matrix<const T> qkv, attention_shape s, matrix<const T> out, span<const float> lse,
                            matrix<const T> dout, matrix<T> dqkv) {
        attention_rope_backward<T>(qkv, s, out, lse, dout, dqkv, {}, {});
    }
    /// attention_backward, then rope_inplace of sign -1 on dqkv's queries and keys, in fewer passes.
    template <class T>
    void attention_rope_backward(matrix<const T> qkv, attention_shape s, matrix<const T> out, span<const float> lse,
                                 matrix<const T> dout, matrix<T> dqkv, matrix<const float> cosine,
                                 matrix<const float> sine) {
        contract::attention_backward<T>(qkv, s, out, lse, dout, dqkv);
        if (cosine.data) {
            require(cosine.rows >= s.length && sine.rows >= s.length,
                    "[attention_backward] expected a table of at least ", s.length, " positions, got ",
                    std::min(cosine.rows, sine.rows));
            contract::rope<T>(dqkv, s.heads + s.kv_heads, s.head_width, cosine, sine);
        }
        if (fused<T>(s, qkv.stride, out.stride)) {
            require(dqkv.stride == qkv.stride && dout.stride == out.stride,
                    "[attention_backward] expected gradients with the leading dimensions ", qkv.stride, " and ",
                    out.stride, ", got ", dqkv.stride, " and ", dout.stride);
            const bool whole = 2 * cosine.cols == s.head_width;  // the fused backward rotates whole heads
            if constexpr (std::is_same_v<T, bfloat16>)
                attention_.backward(context_, s, qkv, out, lse.data(), dout, dqkv,
                                    whole ? cosine : matrix<const float>{}, whole ? sine : matrix<const float>{});
            if (cosine.data && !whole)
                kernels::rope_inplace<T>(context_, dqkv, s.length, s.heads + s.kv_heads, s.head_width, cosine, sine,
                                         -1);
        } else {
            kernels::attention_backward<T>(context_, qkv, s, out, lse, dout, dqkv);
            if (cosine.data)
                kernels::rope_inplace<T>(context_, dqkv, s.length, s.heads + s.kv_heads, s.head_width, cosine, sine,
                                         -1);
        }
    }
    template <class T>
    void cached_attention(matrix<const T> qkv, attention_shape s, key_value_cache<T> cache, matrix<T> out) {
        contract::cached_attention<T>(qkv, s, cache, out);
        kernels::cached_attention<T>(context_, qkv, s, cache, out);
    }
    // ---- a decoding step: one new position each of many sequences (capabilities.hpp)
    bool decodes_steps() const { return options_.decode_steps && !options_.fp8; }
    void overlap(bool on) { context_.overlap = on; }
    template <class T>
    void step_attention(matrix<const T> qkv, attention_shape s, span<const cached_row<T>> caches,
                        span<const token> positions, matrix<T> out) {
        contract::step_attention<T>(qkv, s, caches, positions, out);
        kernels::step_attention<T>(context_, qkv, s, caches, positions, out);
    }
    void gather_rows(span<const token> rows, matrix<const float> table, matrix<float> out) {
        contract::extents("gather_rows", "out", out, rows.size(), table.cols);
        kernels::gather_rows(context_, rows, table, out);
    }
    void row_best(matrix<const float> logits, span<row_choice> best) {
        contract::length("row_best", "best", best, logits.rows);
        kernels::row_best(context_, logits, best);
    }
    template <class T> void gated_forward(activation kind, matrix<const T> gate_up, matrix<T> out) {
        contract::extents("gated_forward", "gate_up", gate_up, out.rows, 2 * out.cols);
        if (kind != activation::silu)
            return fp8_.forget_copy(), kernels::activation_forward<T>(context_, kind, true, gate_up, out);
        with_copy(matrix<const T>(out), false,
                  [&](kernels::fp8_copy copy) { return kernels::swiglu_forward<T>(context_, gate_up, out, copy); });
    }
    template <class T>
    void gated_backward(activation kind, matrix<const T> gate_up, matrix<const T> dout, matrix<T> dgate_up) {
        contract::extents("gated_backward", "gate_up", gate_up, dout.rows, 2 * dout.cols);
        if (kind != activation::silu)
            return fp8_.forget_copy(), kernels::activation_backward<T>(context_, kind, true, gate_up, dout, dgate_up);
        with_copy(matrix<const T>(dgate_up), true, [&](kernels::fp8_copy copy) {
            return kernels::swiglu_backward<T>(context_, gate_up, dout, dgate_up, copy);
        });
    }
    template <class T> void activation_forward(activation kind, matrix<const T> x, matrix<T> out) {
        contract::extents("activation_forward", "x", x, out.rows, out.cols);
        fp8_.forget_copy();
        kernels::activation_forward<T>(context_, kind, false, x, out);
    }
    template <class T>
    void activation_backward(activation kind, matrix<const T> x, matrix<const T> dout, matrix<T> dx) {
        contract::extents("activation_backward", "x", x, dout.rows, dout.cols);
        fp8_.forget_copy();
        kernels::activation_backward<T>(context_, kind, false, x, dout, dx);
    }
    template <class T>
    void layer_norm_forward(matrix<const T> x, span<const T> gain, span<const T> bias, float eps, float scale,
                            matrix<T> y, span<float> mean, span<float> rstd) {
        contract::layer_norm<T>("layer_norm", x, gain, bias, y, {mean.data(), mean.size()}, {rstd.data(), rstd.size()});
        fp8_.forget_copy();
        kernels::layer_norm_forward<T>(context_, x, gain, bias, eps, scale, y, mean, rstd);
    }
    template <class T>
    void layer_norm_backward(matrix<const T> x, span<const T> gain, span<const float> mean, span<const float> rstd,
                             float scale, matrix<const T> dy, matrix<const T> skip, matrix<T> dx, span<float> dgain,
                             span<float> dbias) {
        contract::layer_norm<T>("layer_norm_backward", x, gain, {}, dx, mean, rstd);
        fp8_.forget_copy();
        kernels::layer_norm_backward<T>(context_, x, gain, mean, rstd, scale, dy, skip, dx, dgain, dbias);
    }
    template <class T> void add_bias_inplace(span<const T> bias, matrix<T> y) {
        contract::length("add_bias", "bias", bias, y.cols);
        fp8_.forget_copy();
        kernels::add_bias_inplace<T>(context_, bias, y);
    }
    template <class T> void bias_backward(matrix<const T> dy, span<float> dbias) {
        contract::length("bias_backward", "dbias", dbias, dy.cols);
        kernels::bias_backward<T>(context_, dy, dbias);
    }
    template <class T> void add(matrix<const T> a, float factor, matrix<const T> b, matrix<T> out) {
        contract::extents("add", "a", a, out.rows, out.cols);
        contract::extents("add", "b", b, out.rows, out.cols);
        kernels::add<T>(context_, a, factor, b, out);
    }
    template <class T> void add_inplace(float factor, matrix<const T> x, matrix<T> y) { add<T>(y, factor, x, y); }
    template <class T>
    void cross_entropy_inplace(matrix<T> logits, span<const token> targets, span<const float> weights, span<float> loss,
                               bool gradient) {
        contract::length("cross_entropy", "targets", targets, logits.rows);
        contract::length("cross_entropy", "loss", loss, logits.rows);
        kernels::cross_entropy_inplace<T>(context_, logits, targets, weights, loss, gradient);
    }
    template <class T> void row_argmax(matrix<const T> logits, span<token> best) {
        contract::length("row_argmax", "best", best, logits.rows);
        kernels::row_argmax<T>(context_, logits, best);
    }
    template <class T> void accumulate_squares(span<const T> x, double* sum) {
        static_assert(std::is_same_v<T, float>, "depthgrow: gradients are float on the CUDA backend");
        const span<const float> one[] = {x};
        kernels::accumulate_squares(context_, {one, 1}, sum);
    }
    template <class T>
    void adamw(span<float> weight, span<const float> gradient, span<float> first, span<float> second, span<T> rounded,
               const adamw_constants* constants, const double* squares) {
        const adamw_operands<T> one[] = {{weight, gradient, first, second, rounded}};
        kernels::adamw<T>(context_, {one, 1}, constants, squares);
    }
    /// accumulate_squares and adamw of every block: few launches for all of them.
    void accumulate_squares_together(span<const span<const float>> blocks, double* sum) {
        kernels::accumulate_squares(context_, blocks, sum);
    }
    template <class T>
    void adamw_together(span<const adamw_operands<T>> blocks, const adamw_constants* constants, const double* squares) {
        kernels::adamw<T>(context_, blocks, constants, squares);
    }
    /// A number that tells arrays apart: Σ (word + 1) (2 i + 1) over their words of four bytes, modulo 2^64.
    template <class T> std::uint64_t word_sum(const T* data, std::size_t count) {
        auto* sum = static_cast<std::uint64_t*>(scratch_.data());
        fill<std::uint64_t>(sum, 1, 0);
        kernels::word_sum(context_, data, count * sizeof(T), sum);
        std::uint64_t host = 0;
        to_host<std::uint64_t>(sum, &host, 1);
        return host;
    }
    template <class T>
    void sgd_nesterov(span<float> weight, span<const float> gradient, span<float> momentum, span<T> rounded,
                      const momentum_constants* constants, const double* squares) {
        contract::length("sgd_nesterov", "rounded", rounded, rounded.empty() ? 0 : weight.size());
        kernels::sgd_nesterov<T>(context_, weight, gradient, momentum, rounded, constants, squares);
    }
    template <class T>
    void muon_direction(span<const float> gradient, span<float> buffer, span<T> direction,
                        const momentum_constants* constants, const double* squares) {
        contract::length("muon_direction", "buffer", buffer, gradient.size());
        contract::length("muon_direction", "direction", direction, gradient.size());
        kernels::muon_direction<T>(context_, gradient, buffer, direction, constants, squares);
    }
    template <class T> void muon_normalize(span<T> x) { kernels::muon_normalize<T>(context_, x); }
    template <class T>
    void muon_apply(span<float> weight, span<const T> x, span<T> rounded, double factor,
                    const momentum_constants* constants, const double* squares) {
        contract::length("muon_apply", "x", x, weight.size());
        contract::length("muon_apply", "rounded", rounded, rounded.empty() ? 0 : weight.size());
        kernels::muon_apply<T>(context_, weight, x, rounded, factor, constants, squares);
    }

    // ---- row operations of the analyses; targets, gold and out of `row_compare` lie on the host
    template <class T>
    void row_changes(matrix<const T> a_run, matrix<const T> m_run, matrix<const T> a, matrix<const T> m,
                     span<float> distance, span<float> norm) {
        kernels::row_changes<T>(context_, a_run, m_run, a, m, distance, norm);
    }
    template <class T> void row_softmax_inplace(matrix<T> logits, span<float> log_sums) {
        kernels::row_softmax_inplace<T>(context_, logits, log_sums);
    }
    template <class T> void row_dots(matrix<const T> x, matrix<const float> y, span<float> out) {
        kernels::row_dots<T>(context_, x, y, out);
    }
    template <class T>
    void row_differences(matrix<const float> x, span<const float> shares, matrix<const float> y, float factor,
                         matrix<T> out) {
        kernels::row_differences<T>(context_, x, shares, y, factor, out);
    }
    template <class T>
    bool linear_softmax(matrix<const T> x, matrix<const T> w, span<const float> averages, matrix<T> e,
                        span<float> shares, span<float> log_sums) {
        contract::gemm(transpose::no, transpose::yes, x, w, e);
        for (const std::size_t n : {averages.size(), shares.size(), log_sums.size()})
            require(n == x.rows, "[linear_softmax] expected ", x.rows, " averages, shares and sums, got ", n);
        fp8_.forget_copy();
        if constexpr (std::is_same_v<T, bfloat16>)
            return options_.fuse && kernels::linear_softmax(context_, x, w, averages, e, shares, log_sums);
        else return false;
    }
    template <class T>
    void row_softmax_distances(matrix<T> logits, matrix<const T> probabilities, span<float> distance) {
        kernels::row_softmax_distances<T>(context_, logits, probabilities, distance);
    }
    template <class T, class Comparison>
    void row_compare(matrix<const T> q, matrix<const T> y, span<const token> targets, std::size_t k,
                     span<Comparison> out) {
        compare_rows_(*this, context_, q, y, targets, k, out);
    }
    template <class T> void row_probability_gradient_inplace(matrix<T> z, span<const token> gold, span<float> value) {
        kernels::row_probability_gradient_inplace<T>(context_, z, gold, value);
    }

    /// A sequence of operations kept as a CUDA graph (backend/replay.hpp).
    using recording = cuda_detail::recording<cuda>;

private:
    static constexpr std::size_t scratch_bytes = std::size_t{16} << 20;
    static const cuda_options& selected(const cuda_options& options) {
        const cudaError_t status = cudaSetDevice(options.device);
        require(status == cudaSuccess, "[cuda] expected a usable device ", options.device,
                ", found none: ", cudaGetErrorString(status), " (nvidia-smi lists what the driver sees)");
        return options;
    }
    static cudaStream_t make_stream() {
        cudaStream_t stream = nullptr;
        cuda_detail::check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
        return stream;
    }
    void move(const void* from, void* to, std::size_t bytes, cudaMemcpyKind kind) {
        if (bytes > 0) cuda_detail::check(cudaMemcpyAsync(to, from, bytes, kind, stream_), "a copy");
    }
    template <class T>
    static void check_map(const char* op, matrix<const T> x, matrix<const T> w, matrix<const T> addend, matrix<T> out) {
        contract::gemm(transpose::no, transpose::yes, x, w, out);
        contract::extents(op, "addend", addend, out.rows, out.cols);
        require(addend.stride == out.stride, "[", op, "] expected an addend with the output's leading dimension ",
                out.stride, ", got ", addend.stride);
    }
    /// addend + x wᵀ + bias, where there are so few rows that a kernel of ours is faster; else nothing.
    template <class T, class C>
    bool few_rows_product(matrix<const T> x, matrix<const T> w, matrix<const T> addend, span<const T> bias,
                          matrix<C> out) {
        if (!options_.decode_steps) return false;
        if constexpr (std::is_same_v<T, C>) return kernels::few_rows_product<T>(context_, x, w, addend, bias, out, {});
        else return kernels::few_rows_product<T>(context_, x, w, addend, bias, {}, out);
    }
    /// Runs a kernel that writes y and may leave an eight-bit copy for the product after it.
    template <class T, class Kernel> void with_copy(matrix<const T> y, bool gradients, const Kernel& kernel) {
        if constexpr (std::is_same_v<T, bfloat16>)
            if (options_.fp8) return fp8_.with_copy(y, gradients, kernel);
        kernel(kernels::fp8_copy{});
    }
    template <class T> bool fused(const attention_shape& s, std::size_t packed, std::size_t out) {
        if constexpr (std::is_same_v<T, bfloat16>) return attention_.takes(s, packed, out);
        else return false;
    }

    cuda_options options_;
    cudaStream_t stream_;
    cuda_detail::products products_;
    cuda_detail::fp8_maps fp8_;
    cuda_detail::cudnn_attention attention_;
    cuda_detail::device_bytes scratch_;
    cuda_detail::row_comparisons compare_rows_;
    kernels::launch_context context_;
};

}  // namespace depthgrow
