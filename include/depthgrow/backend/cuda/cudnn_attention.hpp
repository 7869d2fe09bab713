// Causal grouped-query attention by cuDNN's fused engines, described as the graph of plain operations that it is.
// Assumes bfloat16 rows of packed queries, keys and values, heads of a multiple of 8 up to 128 channels, cuDNN 9.
// A plan is built once a shape. lse is (B, H, T) here. Maths: Dao et al. 2022 (arXiv 2205.14135); way back: Dao 2023
// (arXiv 2307.08691), Algorithm 2.
#pragma once

#include <cmath>
#include <map>
#include <memory>

#include "depthgrow/backend/contract.hpp"
#include "depthgrow/backend/cuda/cudnn_graph.hpp"
#include "depthgrow/core/dtype.hpp"

namespace depthgrow::cuda_detail {

/// One pass of attention for fixed extents.
class attention_plan {
public:
    enum : int { q, k, v, o, stats, scale, masked, dq, dk, dv, d_o, row_sums, one, dq_sums, slots };

    /// `packed` is the leading dimension of the rows of q, k, v (and dq, dk, dv), `out` that of o and d_o.
    /// A deterministic way back adds up dq in one order, through dS in the engine's workspace (B H T T numbers).
    attention_plan(const attention_shape& s, std::size_t packed, std::size_t out, bool backward, bool deterministic)
        : shape_(s), backward_(backward), atomic_(backward && !deterministic) {
        B_ = as(s.batch), H_ = as(s.heads), K_ = as(s.kv_heads), T_ = as(s.length), D_ = as(s.head_width);
        const std::int64_t row = as(packed), out_row = as(out);
        const extents queries{T_ * row, D_, row, 1}, turned{T_ * row, D_, 1, row}, outs{T_ * out_row, D_, out_row, 1};
        at_[q] = graph_.tensor(CUDNN_DATA_BFLOAT16, {B_, H_, T_, D_}, queries);
        at_[k] = graph_.tensor(CUDNN_DATA_BFLOAT16, {B_, K_, D_, T_}, turned);
        at_[v] = backward ? graph_.tensor(CUDNN_DATA_BFLOAT16, {B_, K_, D_, T_}, turned) : graph_.tensor(CUDNN_DATA_BFLOAT16, {B_, K_, T_, D_}, queries);
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
        at_[dk] = graph_.tensor(CUDNN_DATA_BFLOAT16, {B_, K_, T_, D_}, queries);
        at_[dv] = graph_.tensor(CUDNN_DATA_BFLOAT16, {B_, K_, T_, D_}, queries);
        at_[one] = graph_.number();
        at_[row_sums] = graph_.tensor(CUDNN_DATA_FLOAT, column(), column_strides());
        if (atomic_) at_[dq_sums] = graph_.tensor(CUDNN_DATA_FLOAT, {B_, H_, T_, D_}, {H_ * T_ * D_, T_ * D_, D_, 1});
        describe_backward(row);
    }
    /// With `all`, every plan that cuDNN's heuristics name is built, for `tune`.
    bool build(cudnnHandle_t handle, bool all, const graph_descriptor* device = nullptr) {
        tuned_ = !all;
        return graph_.build(handle, device, all);
    }
    bool tuned() const { return tuned_; }
    /// Keeps the fastest of the plans by running each; run() does one pass and must not change what it reads.
    template <class Run>
    void tune(cudaStream_t stream, const Run& run) {
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

    /// Bytes that a run needs: the engine's own, and on the way back the row sums and dq's sums, which must be zero.
    std::size_t workspace_bytes() const { return engine_bytes() + (backward_ ? sums_bytes() + dq_bytes() : 0); }

    void forward(cudnnHandle_t handle, const bfloat16* qkv, bfloat16* out, float* lse, void* workspace) const {
        const float root = 1.0f / std::sqrt(static_cast<float>(shape_.head_width)), low = lowest;
        graph_.run(handle, {{at_[q], qkv}, {at_[k], qkv + shape_.width()}, {at_[v], qkv + shape_.width() + shape_.kv_width()}, {at_[o], out},
                            {at_[stats], lse}, {at_[scale], &root}, {at_[masked], &low}}, workspace);
    }
    void backward(cudnnHandle_t handle, cudaStream_t stream, const bfloat16* qkv, const bfloat16* out, const float* lse, const bfloat16* dout, bfloat16* dqkv, void* workspace) const {
        const float root = 1.0f / std::sqrt(static_cast<float>(shape_.head_width)), low = lowest, unit = 1;
        const std::size_t values = shape_.width() + shape_.kv_width();
        auto* bytes = static_cast<unsigned char*>(workspace);
        std::vector<std::pair<int, const void*>> places{{at_[q], qkv}, {at_[k], qkv + shape_.width()}, {at_[v], qkv + values}, {at_[o], out}, {at_[stats], lse}, {at_[scale], &root}, {at_[masked], &low},
                                                        {at_[d_o], dout}, {at_[dq], dqkv}, {at_[dk], dqkv + shape_.width()}, {at_[dv], dqkv + values}, {at_[one], &unit},
                                                        {at_[row_sums], bytes + dq_bytes()}};
        if (atomic_) {
            check(cudaMemsetAsync(bytes, 0, dq_bytes(), stream), "cudaMemsetAsync");
            places.emplace_back(at_[dq_sums], bytes);
        }
        graph_.run(handle, places, bytes + dq_bytes() + sums_bytes());
    }

private:
    using extents = fused_graph::extents;
    static constexpr float lowest = -3.4028234663852886e38f;
    static std::int64_t as(std::size_t n) { return static_cast<std::int64_t>(n); }
    static std::size_t rounded(std::size_t bytes) { return (bytes + 255) / 256 * 256; }
    std::size_t engine_bytes() const { return rounded(graph_.workspace_bytes()); }
    std::size_t sums_bytes() const { return rounded(shape_.rows() * shape_.heads * sizeof(float)); }
    std::size_t dq_bytes() const { return atomic_ ? rounded(shape_.rows() * shape_.width() * sizeof(float)) : 0; }

    extents square() const { return {B_, H_, T_, T_}; }
    extents square_strides() const { return {H_ * T_ * T_, T_ * T_, T_, 1}; }
    extents column() const { return {B_, H_, T_, 1}; }
    extents column_strides() const { return {H_ * T_, T_, 1, 1}; }
    int scores(cudnnDataType_t type = CUDNN_DATA_FLOAT) { return graph_.inside(type, square(), square_strides()); }
    int rows() { return graph_.inside(CUDNN_DATA_FLOAT, column(), column_strides()); }

    /// x where the key is no later than the query, else a number whose exponential is zero.
    int causal(int x) {
        const int row = scores(CUDNN_DATA_INT32), col = scores(CUDNN_DATA_INT32), seen = scores(CUDNN_DATA_BOOLEAN), out = scores();
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
        const int seen = causal(scaled), top = rows(), shifted = scores(), weight = scores(), sum = rows(), log_sum = rows(), p = scores(CUDNN_DATA_BFLOAT16);
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
        const extents wide{B_, H_, T_, D_}, wide_strides{H_ * T_ * D_, T_ * D_, D_, 1}, turned_strides{H_ * T_ * T_, T_ * T_, 1, T_};
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
        // dV = Pᵀ dO, summed over the heads of a group
        const int p_turned = graph_.inside(CUDNN_DATA_BFLOAT16, square(), turned_strides);
        graph_.reshape(p, p_turned);
        by_group(p_turned, at_[d_o], at_[dv], wide, wide_strides);
        // dS = scale · P ∘ (dO Vᵀ − δ)
        const int dp = scores(), centred = scores(), weighted = scores(), ds = scores();
        graph_.matmul(at_[d_o], at_[v], dp);
        graph_.pointwise(CUDNN_POINTWISE_SUB, dp, at_[row_sums], centred);
        graph_.pointwise(CUDNN_POINTWISE_MUL, centred, p, weighted);
        graph_.pointwise(CUDNN_POINTWISE_MUL, weighted, at_[scale], ds);
        // dK = dSᵀ Q, dQ = dS K
        const int ds_turned = graph_.inside(CUDNN_DATA_BFLOAT16, square(), turned_strides);
        graph_.reshape(ds, ds_turned);
        by_group(ds_turned, at_[q], at_[dk], wide, wide_strides);
        const int keys = graph_.inside(CUDNN_DATA_FLOAT, {B_, K_, T_, D_}, {T_ * row, D_, row, 1});
        graph_.reshape(at_[k], keys);
        graph_.matmul(ds, keys, at_[atomic_ ? dq_sums : dq]);
        if (atomic_) graph_.pointwise(CUDNN_POINTWISE_IDENTITY, at_[dq_sums], -1, at_[dq]);
    }
    void by_group(int a, int b, int out, const extents& wide, const extents& wide_strides) {
        if (H_ == K_) return graph_.matmul(a, b, out);
        const int all = graph_.inside(CUDNN_DATA_BFLOAT16, wide, wide_strides);
        graph_.matmul(a, b, all);
        graph_.reduce(CUDNN_REDUCE_TENSOR_ADD, all, out);
    }

    attention_shape shape_;
    bool backward_, atomic_, tuned_ = false;
    std::int64_t B_ = 0, H_ = 0, K_ = 0, T_ = 0, D_ = 0;
    std::array<int, slots> at_{};
    fused_graph graph_;
};

/// Plans by shape, the workspace they share, and whether cuDNN can be used at all.
class cudnn_attention {
public:
    /// `tune`: for large extents, all plans are built and the fastest is kept. `many_shapes`: a plan takes a second to
    /// build, so batches go in powers of two and short sequences are left to others.
    cudnn_attention(cudaStream_t stream, bool deterministic, bool tune, bool many_shapes)
        : stream_(stream), deterministic_(deterministic), tune_(tune && !many_shapes), many_shapes_(many_shapes) {
        if (cudnnCreate(&handle_) != CUDNN_STATUS_SUCCESS) handle_ = nullptr;
        else check(cudnnSetStream(handle_, stream), "cudnnSetStream");
    }
    cudnn_attention(const cudnn_attention&) = delete;
    cudnn_attention& operator=(const cudnn_attention&) = delete;
    ~cudnn_attention() {
        plans_.clear();
        if (handle_) (void)cudnnDestroy(handle_);
    }
    /// Whether these extents run on fused engines. Rows must start at multiples of 16 bytes.
    bool takes(const attention_shape& s, std::size_t packed, std::size_t out) {
        if (!handle_ || s.length < (many_shapes_ ? 512 : 16) || s.head_width % 8 != 0 || s.head_width > 128 || packed % 8 != 0 || out % 8 != 0) return false;
        return plan(piece(s, s.batch), packed, out, false) != nullptr;
    }
    void forward(const attention_shape& s, matrix<const bfloat16> qkv, matrix<bfloat16> out, float* lse) {
        each_piece(s, [&](const attention_shape& part, std::size_t first) {
            auto* p = wanted(part, qkv.stride, out.stride, false);
            run(*p, [&] { p->forward(handle_, qkv.row(first), out.row(first), lse + first * s.heads, workspace(p->workspace_bytes())); });
        });
    }
    void backward(const attention_shape& s, matrix<const bfloat16> qkv, matrix<const bfloat16> out, const float* lse, matrix<const bfloat16> dout, matrix<bfloat16> dqkv) {
        each_piece(s, [&](const attention_shape& part, std::size_t first) {
            auto* p = wanted(part, qkv.stride, out.stride, true);
            run(*p, [&] { p->backward(handle_, stream_, qkv.row(first), out.row(first), lse + first * s.heads, dout.row(first), dqkv.row(first), workspace(p->workspace_bytes())); });
        });
    }

private:
    using key = std::array<std::size_t, 8>;
    /// The next sequences of `left` that are run together.
    attention_shape piece(const attention_shape& s, std::size_t left) const {
        attention_shape part = s;
        part.batch = left;
        if (many_shapes_)
            for (part.batch = 1; 2 * part.batch <= left;) part.batch *= 2;
        return part;
    }
    template <class Body>
    void each_piece(const attention_shape& s, const Body& body) const {
        for (std::size_t done = 0; done < s.batch;) {
            const attention_shape part = piece(s, s.batch - done);
            body(part, done * s.length);
            done += part.batch;
        }
    }
    attention_plan* wanted(const attention_shape& s, std::size_t packed, std::size_t out, bool backward) {
        auto* p = plan(s, packed, out, backward);
        require(p != nullptr, "[attention] expected cuDNN to have an engine for ", backward ? "the way back of " : "", s.batch, " x ", s.length, " tokens and ", s.heads, " heads of ", s.head_width, ", found none");
        return p;
    }
    template <class Pass>
    void run(attention_plan& p, const Pass& pass) {
        if (!p.tuned()) p.tune(stream_, pass);
        pass();
    }
    attention_plan* plan(const attention_shape& s, std::size_t packed, std::size_t out, bool backward) {
        const key extents{s.batch, s.length, s.heads, s.kv_heads, s.head_width, packed, out, backward};
        auto found = plans_.find(extents);
        if (found == plans_.end()) {
            auto made = std::make_unique<attention_plan>(s, packed, out, backward, deterministic_);
            if (!made->build(handle_, tune_ && s.rows() >= 8192)) made.reset();
            found = plans_.emplace(extents, std::move(made)).first;
        }
        return found->second.get();
    }
    void* workspace(std::size_t bytes) {
        workspace_.resize(bytes);
        return workspace_.data();
    }

    cudnnHandle_t handle_ = nullptr;
    cudaStream_t stream_;
    bool deterministic_, tune_, many_shapes_;
    std::map<key, std::unique_ptr<attention_plan>> plans_;  // null: no fused engine
    device_bytes workspace_;
};

}  // namespace depthgrow::cuda_detail
