// One pass of causal grouped-query attention by cuDNN's fused engines, described as the graph of plain operations that
// it is. Assumes bfloat16 rows of packed queries, keys and values, heads of a multiple of 8 up to 128 channels,
// cuDNN 9. lse is (B, H, T) here. Maths: Dao et al. 2022 (arXiv 2205.14135); backward pass: Dao 2023 (arXiv
// 2307.08691), Algorithm 2.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>
#include <vector>

#include "depthgrow/backend/contract.hpp"
#include "depthgrow/backend/cuda/cudnn_graph.hpp"
#include "depthgrow/core/dtype.hpp"

namespace depthgrow::cuda_detail {

/// One pass of attention for fixed extents.
class attention_plan {
public:
    enum : int { q, k, v, o, stats, scale, masked, dq, dk, dv, d_o, row_sums, one, dq_sums, slots };

    /// `packed` is the leading dimension of the rows of q, k, v (and dq, dk, dv), `out` that of o and d_o.
    /// A deterministic backward pass adds up dq in one order, through dS in the engine's workspace (B H T T numbers).
    /// Where heads share keys and values, dk and dv come apart, a head each: `apart`.
    attention_plan(const attention_shape& s, std::size_t packed, std::size_t out, bool backward, bool deterministic)
        : shape_(s),
          backward_(backward),
          atomic_(backward && !deterministic),
          apart_(backward && s.heads != s.kv_heads) {
        B_ = as(s.batch), H_ = as(s.heads), K_ = as(s.kv_heads), T_ = as(s.length), D_ = as(s.head_width);
        const std::int64_t row = as(packed), out_row = as(out);
        const extents queries{T_ * row, D_, row, 1}, transposed{T_ * row, D_, 1, row},
            outs{T_ * out_row, D_, out_row, 1};
        at_[q] = graph_.tensor(CUDNN_DATA_BFLOAT16, {B_, H_, T_, D_}, queries);
        at_[k] = graph_.tensor(CUDNN_DATA_BFLOAT16, {B_, K_, D_, T_}, transposed);
        at_[v] = backward ? graph_.tensor(CUDNN_DATA_BFLOAT16, {B_, K_, D_, T_}, transposed)
                          : graph_.tensor(CUDNN_DATA_BFLOAT16, {B_, K_, T_, D_}, queries);
        at_[o] = graph_.tensor(CUDNN_DATA_BFLOAT16, {B_, H_, T_, D_}, outs);
        at_[stats] = graph_.tensor(CUDNN_DATA_FLOAT, column(), column_strides());
        at_[scale] = graph_.number();
        at_[masked] = graph_.number();
        if (!backward) {
            describe_forward();
            return;
        }
        at_[d_o] = graph_.tensor(CUDNN_DATA_BFLOAT16, {B_, H_, T_, D_}, outs);
        at_[dq] = graph_.tensor(CUDNN_DATA_BFLOAT16, {B_, H_, T_, D_}, queries);
        const extents own_rows{T_ * H_ * D_, D_, H_ * D_, 1};
        for (int to : {dk, dv})
            at_[to] = graph_.tensor(CUDNN_DATA_BFLOAT16, {B_, H_, T_, D_}, apart_ ? own_rows : queries);
        at_[one] = graph_.number();
        at_[row_sums] = graph_.tensor(CUDNN_DATA_FLOAT, column(), column_strides());
        if (atomic_) at_[dq_sums] = graph_.tensor(CUDNN_DATA_FLOAT, {B_, H_, T_, D_}, {H_ * T_ * D_, T_ * D_, D_, 1});
        describe_backward(row);
    }
    /// With `all`, every plan that cuDNN's heuristics name is built, for `tune`.
    bool build(cudnnHandle_t handle, bool all) {
        tuned_ = !all;
        return graph_.build(handle, all);
    }
    bool tuned() const { return tuned_; }
    /// Keeps the fastest of the plans by running each; run() does one pass and must not change what it reads.
    template <class Run> void tune(cudaStream_t stream, const Run& run) {
        tuned_ = true;
        if (graph_.plans() < 2) return;
        cudaEvent_t begin, end;
        check(cudaEventCreate(&begin), "cudaEventCreate");
        check(cudaEventCreate(&end), "cudaEventCreate");
        std::size_t best = 0;
        float least = INFINITY;
        for (std::size_t i = 0; i < graph_.plans(); ++i) {
            graph_.choose(i);
            for (int repeat = 0; repeat < 3; ++repeat) {
                (void)cudaEventRecord(begin, stream);
                run();
                (void)cudaEventRecord(end, stream);
                check(cudaEventSynchronize(end), "attention");
                float milliseconds = INFINITY;
                (void)cudaEventElapsedTime(&milliseconds, begin, end);
                if (repeat > 0 && milliseconds < least) least = milliseconds, best = i;
            }
        }
        (void)cudaEventDestroy(begin);
        (void)cudaEventDestroy(end);
        graph_.choose(best);
    }
    /// Learns whether the engine itself clears dq's sums before it adds to them, by a run over sums that are not
    /// numbers.
    template <class Run> void ask_about_sums(cudaStream_t stream, void* workspace, const Run& run) {
        if (!atomic_) return;
        clears_ = true;
        check(cudaMemsetAsync(workspace, 0xff, dq_bytes(), stream), "cudaMemsetAsync");
        run();
        std::vector<float> sums(shape_.rows() * shape_.width());
        check(cudaMemcpyAsync(sums.data(), workspace, sums.size() * sizeof(float), cudaMemcpyDeviceToHost, stream),
              "a copy");
        check(cudaStreamSynchronize(stream), "attention");
        clears_ = std::all_of(sums.begin(), sums.end(), [](float x) { return std::isfinite(x); });
    }

    /// Bytes that a run needs: the engine's own, and in the backward pass the row sums, dq's sums, and dk and dv if
    /// apart.
    std::size_t workspace_bytes() const {
        return engine_bytes() + (backward_ ? sums_bytes() + dq_bytes() + 2 * apart_bytes() : 0);
    }
    /// dk (B*T, H*D) and dv of the last run where they come apart, else null.
    const bfloat16* dk_apart(const void* workspace) const {
        return apart_ ? reinterpret_cast<const bfloat16*>(static_cast<const unsigned char*>(workspace) + dq_bytes() +
                                                          sums_bytes())
                      : nullptr;
    }
    const bfloat16* dv_apart(const void* workspace) const {
        return apart_ ? dk_apart(workspace) + apart_bytes() / sizeof(bfloat16) : nullptr;
    }

    void forward(cudnnHandle_t handle, const bfloat16* qkv, bfloat16* out, float* lse, void* workspace) const {
        const float root = shape_.score_scale<float>(), low = lowest;
        graph_.run(handle,
                   {{at_[q], qkv},
                    {at_[k], qkv + shape_.width()},
                    {at_[v], qkv + shape_.width() + shape_.kv_width()},
                    {at_[o], out},
                    {at_[stats], lse},
                    {at_[scale], &root},
                    {at_[masked], &low}},
                   workspace);
    }
    void backward(cudnnHandle_t handle, cudaStream_t stream, const bfloat16* qkv, const bfloat16* out, const float* lse,
                  const bfloat16* dout, bfloat16* dqkv, void* workspace) const {
        const float root = shape_.score_scale<float>(), low = lowest, unit = 1;
        const std::size_t values = shape_.width() + shape_.kv_width();
        auto* bytes = static_cast<unsigned char*>(workspace);
        std::vector<std::pair<int, const void*>> places{{at_[q], qkv},
                                                        {at_[k], qkv + shape_.width()},
                                                        {at_[v], qkv + values},
                                                        {at_[o], out},
                                                        {at_[stats], lse},
                                                        {at_[scale], &root},
                                                        {at_[masked], &low},
                                                        {at_[d_o], dout},
                                                        {at_[dq], dqkv},
                                                        {at_[dk], apart_ ? dk_apart(bytes) : dqkv + shape_.width()},
                                                        {at_[dv], apart_ ? dv_apart(bytes) : dqkv + values},
                                                        {at_[one], &unit},
                                                        {at_[row_sums], bytes + dq_bytes()}};
        if (atomic_) {
            if (!clears_) check(cudaMemsetAsync(bytes, 0, dq_bytes(), stream), "cudaMemsetAsync");
            places.emplace_back(at_[dq_sums], bytes);
        }
        graph_.run(handle, places, bytes + dq_bytes() + sums_bytes() + 2 * apart_bytes());
    }

private:
    using extents = fused_graph::extents;
    static constexpr float lowest = -3.4028234663852886e38f;
    static std::int64_t as(std::size_t n) { return static_cast<std::int64_t>(n); }
    static std::size_t rounded(std::size_t bytes) { return (bytes + 255) / 256 * 256; }
    std::size_t engine_bytes() const { return rounded(graph_.workspace_bytes()); }
    std::size_t sums_bytes() const { return rounded(shape_.rows() * shape_.heads * sizeof(float)); }
    std::size_t dq_bytes() const { return atomic_ ? rounded(shape_.rows() * shape_.width() * sizeof(float)) : 0; }
    std::size_t apart_bytes() const { return apart_ ? rounded(shape_.rows() * shape_.width() * sizeof(bfloat16)) : 0; }

    extents square() const { return {B_, H_, T_, T_}; }
    extents square_strides() const { return {H_ * T_ * T_, T_ * T_, T_, 1}; }
    extents column() const { return {B_, H_, T_, 1}; }
    extents column_strides() const { return {H_ * T_, T_, 1, 1}; }
    int scores(cudnnDataType_t type = CUDNN_DATA_FLOAT) { return graph_.inside(type, square(), square_strides()); }
    int rows() { return graph_.inside(CUDNN_DATA_FLOAT, column(), column_strides()); }

    /// x where the key is no later than the query, else a number whose exponential is zero.
    int causal(int x) {
        const int row = scores(CUDNN_DATA_INT32), col = scores(CUDNN_DATA_INT32), seen = scores(CUDNN_DATA_BOOLEAN),
                  out = scores();
        graph_.pointwise(CUDNN_POINTWISE_GEN_INDEX, x, -1, row, -1, 2);
        graph_.pointwise(CUDNN_POINTWISE_GEN_INDEX, x, -1, col, -1, 3);
        graph_.pointwise(CUDNN_POINTWISE_CMP_GE, row, col, seen);
        graph_.pointwise(CUDNN_POINTWISE_BINARY_SELECT, x, at_[masked], out, seen);
        return out;
    }
    void describe_forward() {
        const int s = scores(), scaled = scores();
        graph_.matmul(at_[q], at_[k], s);
        graph_.pointwise(CUDNN_POINTWISE_MUL, s, at_[scale], scaled);
        const int seen = causal(scaled), top = rows(), shifted = scores(), weight = scores(), sum = rows(),
                  log_sum = rows(), p = scores(CUDNN_DATA_BFLOAT16);
        graph_.reduce(CUDNN_REDUCE_TENSOR_MAX, seen, top);
        graph_.pointwise(CUDNN_POINTWISE_SUB, seen, top, shifted);
        graph_.pointwise(CUDNN_POINTWISE_EXP, shifted, -1, weight);
        graph_.reduce(CUDNN_REDUCE_TENSOR_ADD, weight, sum);
        graph_.pointwise(CUDNN_POINTWISE_LOG, sum, -1, log_sum);
        graph_.pointwise(CUDNN_POINTWISE_ADD, top, log_sum, at_[stats]);
        graph_.pointwise(CUDNN_POINTWISE_DIV, weight, sum, p);
        graph_.matmul(p, at_[v], at_[o]);
    }
    void describe_backward(std::int64_t row) {
        const extents wide{B_, H_, T_, D_}, transposed_strides{H_ * T_ * T_, T_ * T_, 1, T_};
        // δ = Σ dO · O of each row
        const int product = graph_.inside(CUDNN_DATA_FLOAT, wide, {T_ * H_ * D_, T_ * D_, H_ * D_, 1}), delta = rows();
        graph_.pointwise(CUDNN_POINTWISE_MUL, at_[d_o], at_[o], product);
        graph_.reduce(CUDNN_REDUCE_TENSOR_ADD, product, delta);
        graph_.pointwise(CUDNN_POINTWISE_MUL, delta, at_[one], at_[row_sums]);
        // P = exp(scale · QKᵀ − lse)
        const int s = scores(), scaled = scores(), shifted = scores();
        graph_.matmul(at_[q], at_[k], s);
        graph_.pointwise(CUDNN_POINTWISE_MUL, s, at_[scale], scaled);
        graph_.pointwise(CUDNN_POINTWISE_SUB, scaled, at_[stats], shifted);
        const int seen = causal(shifted), p = scores();
        graph_.pointwise(CUDNN_POINTWISE_EXP, seen, -1, p);
        // dV = Pᵀ dO
        const int p_transposed = graph_.inside(CUDNN_DATA_BFLOAT16, square(), transposed_strides);
        graph_.reshape(p, p_transposed);
        graph_.matmul(p_transposed, at_[d_o], at_[dv]);
        // dS = scale · P ∘ (dO Vᵀ − δ)
        const int dp = scores(), centred = scores(), weighted = scores(), ds = scores();
        graph_.matmul(at_[d_o], at_[v], dp);
        graph_.pointwise(CUDNN_POINTWISE_SUB, dp, at_[row_sums], centred);
        graph_.pointwise(CUDNN_POINTWISE_MUL, centred, p, weighted);
        graph_.pointwise(CUDNN_POINTWISE_MUL, weighted, at_[scale], ds);
        // dK = dSᵀ Q, dQ = dS K
        const int ds_transposed = graph_.inside(CUDNN_DATA_BFLOAT16, square(), transposed_strides);
        graph_.reshape(ds, ds_transposed);
        graph_.matmul(ds_transposed, at_[q], at_[dk]);
        const int keys = graph_.inside(CUDNN_DATA_FLOAT, {B_, K_, T_, D_}, {T_ * row, D_, row, 1});
        graph_.reshape(at_[k], keys);
        graph_.matmul(ds, keys, at_[atomic_ ? dq_sums : dq]);
        if (atomic_) graph_.pointwise(CUDNN_POINTWISE_IDENTITY, at_[dq_sums], -1, at_[dq]);
    }

    attention_shape shape_;
    bool backward_, atomic_, apart_, tuned_ = false;
    bool clears_ = false;  // the engine clears dq's sums itself; known of tuned plans alone
    std::int64_t B_ = 0, H_ = 0, K_ = 0, T_ = 0, D_ = 0;
    std::array<int, slots> at_{};
    fused_graph graph_;
};

}  // namespace depthgrow::cuda_detail
