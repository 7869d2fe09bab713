// Causal grouped-query attention by cuDNN: plans by shape and the workspace they share. The backward pass of heads of
// 64 channels is our own where it can (kernels/hopper_attention.cuh): faster, and the same bits every time.
// Assumes what cudnn_attention_plan.hpp does, and one stream. A plan is built once a shape; large ones are chosen by
// running them. Keys' and values' gradients that come a head each are summed over their group by a kernel of ours,
// which undoes RoPE too.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <utility>

#include "depthgrow/backend/cuda/cudnn_attention_plan.hpp"
#include "depthgrow/backend/cuda/launch.hpp"

namespace depthgrow::cuda_detail {

/// Plans by shape, the workspace they share, and whether cuDNN can be used at all.
class cudnn_attention {
public:
    /// `tune`: for large extents, all plans are built and the fastest is kept. `many_shapes`: a plan takes half a
    /// second to build, so batches go in powers of two and short sequences are left to others.
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
        if (!handle_ || (s.window > 0 && s.window < s.length) || s.length < (many_shapes_ ? 512 : 16) ||
            s.head_width % 8 != 0 || s.head_width > 128 || packed % 8 != 0 || out % 8 != 0)
            return false;
        return plan(piece(s, s.batch), packed, out, false) != nullptr;
    }
    void forward(const attention_shape& s, matrix<const bfloat16> qkv, matrix<bfloat16> out, float* lse) {
        each_piece(s, [&](const attention_shape& part, std::size_t first) {
            auto* p = wanted(part, qkv.stride, out.stride, false);
            run(*p, [&] {
                p->forward(handle_, qkv.row(first), out.row(first), lse + first * s.heads,
                           workspace(p->workspace_bytes()));
            });
        });
    }
    /// With a table, the gradients of queries and keys are rotated back by RoPE too; the context's stream is this
    /// one's.
    void backward(const kernels::launch_context& context, const attention_shape& s, matrix<const bfloat16> qkv,
                  matrix<const bfloat16> out, const float* lse, matrix<const bfloat16> dout, matrix<bfloat16> dqkv,
                  matrix<const float> cosine, matrix<const float> sine) {
        if (kernels::takes_attention_backward(s, qkv, out, dout, dqkv, cosine, sine))
            return kernels::attention_backward_64(context, s, qkv, out, lse, dout, dqkv, cosine, sine,
                                                  workspace(kernels::attention_facts_bytes(s)));
        each_piece(s, [&](const attention_shape& part, std::size_t first) {
            auto* p = wanted(part, qkv.stride, out.stride, true);
            run(*p, [&] {
                p->backward(handle_, stream_, qkv.row(first), out.row(first), lse + first * s.heads, dout.row(first),
                            dqkv.row(first), workspace(p->workspace_bytes()));
            });
            const auto done = dqkv.row_range(first, part.rows());
            if (const bfloat16* dk = p->dk_apart(workspace_.data()))
                kernels::finish_attention_gradients(context, part, dk, p->dv_apart(workspace_.data()), done, cosine,
                                                    sine);
            else if (cosine.data)
                kernels::rope_inplace<bfloat16>(context, done, s.length, s.heads + s.kv_heads, s.head_width, cosine,
                                                sine, -1);
        });
    }
    std::size_t memory_moves() const { return memory_moves_; }

private:
    using key = std::pair<std::array<std::size_t, 8>, double>;
    /// The next sequences of `left` that are run together.
    attention_shape piece(const attention_shape& s, std::size_t left) const {
        attention_shape part = s;
        part.batch = left;
        if (many_shapes_)
            for (part.batch = 1; 2 * part.batch <= left;) part.batch *= 2;
        return part;
    }
    template <class Body> void each_piece(const attention_shape& s, const Body& body) const {
        for (std::size_t done = 0; done < s.batch;) {
            const attention_shape part = piece(s, s.batch - done);
            body(part, done * s.length);
            done += part.batch;
        }
    }
    attention_plan* wanted(const attention_shape& s, std::size_t packed, std::size_t out, bool backward) {
        auto* p = plan(s, packed, out, backward);
        require(p != nullptr, "[attention] expected cuDNN to have an engine for ",
                backward ? "the backward pass of " : "", s.batch, " x ", s.length, " tokens and ", s.heads,
                " heads of ", s.head_width, ", found none");
        return p;
    }
    template <class Pass> void run(attention_plan& p, const Pass& pass) {
        if (!p.tuned()) {
            p.tune(stream_, pass);
            p.ask_about_sums(stream_, workspace(p.workspace_bytes()), pass);
        }
        pass();
    }
    attention_plan* plan(const attention_shape& s, std::size_t packed, std::size_t out, bool backward) {
        const key extents{{s.batch, s.length, s.heads, s.kv_heads, s.head_width, packed, out, backward}, s.scale};
        auto found = plans_.find(extents);
        if (found == plans_.end()) {
            auto made = std::make_unique<attention_plan>(s, packed, out, backward, deterministic_);
            if (!made->build(handle_, tune_ && s.rows() >= 8192)) made.reset();
            found = plans_.emplace(extents, std::move(made)).first;
        }
        return found->second.get();
    }
    /// Cleared when it grows: initcheck does not see the stores in bulk by which cuDNN writes there.
    void* workspace(std::size_t bytes) {
        if (bytes > workspace_.size()) {
            workspace_.resize(bytes);
            check(cudaMemsetAsync(workspace_.data(), 0, bytes, stream_), "cudaMemsetAsync");
            ++memory_moves_;
        }
        return workspace_.data();
    }

    cudnnHandle_t handle_ = nullptr;
    cudaStream_t stream_;
    bool deterministic_, tune_, many_shapes_;
    std::map<key, std::unique_ptr<attention_plan>> plans_;  // null: no fused engine
    device_bytes workspace_;
    std::size_t memory_moves_ = 0;
};

}  // namespace depthgrow::cuda_detail
