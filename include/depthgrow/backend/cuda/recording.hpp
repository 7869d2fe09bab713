// A training step as a CUDA graph: run twice as it is, recorded the third time, replayed from then on.
// Assumes the body only hands work to the backend's stream, allocates nothing by its third run, and does the same work
// whenever its key is the same.
// Source: CUDA programming guide, "CUDA graphs", stream capture.
#pragma once

#include <array>

#include "depthgrow/backend/cuda/memory.hpp"

namespace depthgrow::cuda_detail {

template <class Backend> class recording {
public:
    recording() = default;
    recording(const recording&) = delete;
    recording& operator=(const recording&) = delete;
    ~recording() { forget(); }

    template <std::size_t N, class Body>
    void run(const std::array<std::size_t, N>& key, Backend& backend, const Body& body) {
        static_assert(N == 5);
        if (!backend.options().record) return body();
        if (key != key_ || backend.memory_moves() != moves_) forget(), key_ = key;
        if (seen_ < 2) {
            ++seen_;
            body();
            moves_ = backend.memory_moves();
            return;
        }
        if (!graph_) record(backend.stream(), body);
        check(cudaGraphLaunch(graph_, backend.stream()), "launching the recorded step");
    }

private:
    template <class Body> void record(cudaStream_t stream, const Body& body) {
        cudaGraph_t graph = nullptr;
        check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "recording a step");
        try {
            body();
        } catch (...) {
            (void)cudaStreamEndCapture(stream, &graph);
            if (graph) (void)cudaGraphDestroy(graph);
            throw;
        }
        check(cudaStreamEndCapture(stream, &graph), "recording a step");
        const cudaError_t made = cudaGraphInstantiate(&graph_, graph, 0);
        (void)cudaGraphDestroy(graph);
        check(made, "preparing the recorded step");
    }
    void forget() {
        if (graph_) (void)cudaGraphExecDestroy(graph_);
        graph_ = nullptr;
        seen_ = 0;
    }

    std::array<std::size_t, 5> key_{};
    std::size_t moves_ = 0;
    int seen_ = 0;
    cudaGraphExec_t graph_ = nullptr;
};

}  // namespace depthgrow::cuda_detail
