// cuDNN's graph API as C++: descriptors that free themselves, tensors and operations by number, a plan that runs.
// Assumes cuDNN 9. A graph is described once, built for a device, and run with addresses.
// Source: the cuDNN backend API reference (graph API, descriptors and attributes).
#pragma once

#include <cudnn.h>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <vector>

#include "depthgrow/backend/cuda/memory.hpp"

namespace depthgrow::cuda_detail {

inline void check(cudnnStatus_t status, const char* what) {
    if (status != CUDNN_STATUS_SUCCESS) fail("[cuda] ", what, " failed: ", cudnnGetErrorString(status));
}

/// One descriptor of cuDNN's graph API.
class graph_descriptor {
public:
    explicit graph_descriptor(cudnnBackendDescriptorType_t type) {
        check(cudnnBackendCreateDescriptor(type, &handle_), "cudnnBackendCreateDescriptor");
    }
    graph_descriptor(graph_descriptor&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
    graph_descriptor& operator=(graph_descriptor&& other) noexcept {
        std::swap(handle_, other.handle_);
        return *this;
    }
    ~graph_descriptor() {
        if (handle_) (void)cudnnBackendDestroyDescriptor(handle_);
    }
    cudnnBackendDescriptor_t handle() const { return handle_; }

    template <class Value>
    graph_descriptor& set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                          std::initializer_list<Value> values) {
        return set(name, type, values.begin(), values.size());
    }
    template <class Value>
    graph_descriptor& set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, const Value* values,
                          std::size_t count) {
        check(cudnnBackendSetAttribute(handle_, name, type, static_cast<std::int64_t>(count), values),
              "cudnnBackendSetAttribute");
        return *this;
    }
    graph_descriptor& link(cudnnBackendAttributeName_t name, const graph_descriptor& other) {
        const cudnnBackendDescriptor_t handle = other.handle();
        return set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, &handle, 1);
    }
    /// False when cuDNN has nothing for what was described.
    bool finalize() { return cudnnBackendFinalize(handle_) == CUDNN_STATUS_SUCCESS; }
    void finish(const char* what) { check(cudnnBackendFinalize(handle_), what); }

private:
    cudnnBackendDescriptor_t handle_ = nullptr;
};

/// A graph of operations that one fused engine runs: its tensors by number, its operations in order, then a plan.
class fused_graph {
public:
    using extents = std::array<std::int64_t, 4>;

    /// A tensor in memory, or (`inside`) one that exists only within the fused kernel.
    int tensor(cudnnDataType_t type, extents dims, extents strides, bool inside = false, bool by_value = false) {
        const auto id = static_cast<std::int64_t>(tensors_.size()), alignment = std::int64_t{16};
        auto& t = tensors_.emplace_back(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
        t.set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, {type})
            .set(CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, dims.data(), 4);
        t.set(CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, strides.data(), 4)
            .set(CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, {id});
        t.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, {alignment})
            .set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, {inside});
        t.set(CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, {by_value}).finish("a tensor descriptor");
        return static_cast<int>(id);
    }
    int inside(cudnnDataType_t type, extents dims, extents strides) { return tensor(type, dims, strides, true); }
    int number() { return tensor(CUDNN_DATA_FLOAT, {1, 1, 1, 1}, {1, 1, 1, 1}, false, true); }

    void matmul(int a, int b, int c) {
        graph_descriptor kind(CUDNN_BACKEND_MATMUL_DESCRIPTOR);
        kind.set(CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, {CUDNN_DATA_FLOAT}).finish("a product descriptor");
        auto& op = operations_.emplace_back(CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR);
        op.link(CUDNN_ATTR_OPERATION_MATMUL_ADESC, at(a))
            .link(CUDNN_ATTR_OPERATION_MATMUL_BDESC, at(b))
            .link(CUDNN_ATTR_OPERATION_MATMUL_CDESC, at(c));
        op.link(CUDNN_ATTR_OPERATION_MATMUL_DESC, kind).finish("a product");
        kinds_.push_back(std::move(kind));
    }
    /// y = mode(x), mode(x, b) or mode(x, b, selector); `axis` for index generation.
    void pointwise(cudnnPointwiseMode_t mode, int x, int b, int y, int selector = -1, std::int64_t axis = -1) {
        graph_descriptor kind(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
        kind.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, {mode})
            .set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, {CUDNN_DATA_FLOAT});
        if (axis >= 0) kind.set(CUDNN_ATTR_POINTWISE_AXIS, CUDNN_TYPE_INT64, {axis});
        kind.finish("a pointwise descriptor");
        auto& op = operations_.emplace_back(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
        op.link(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, kind).link(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, at(x));
        if (b >= 0) op.link(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, at(b));
        if (selector >= 0) op.link(CUDNN_ATTR_OPERATION_POINTWISE_TDESC, at(selector));
        op.link(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, at(y)).finish("a pointwise operation");
        kinds_.push_back(std::move(kind));
    }
    void reduce(cudnnReduceTensorOp_t mode, int x, int y) {
        graph_descriptor kind(CUDNN_BACKEND_REDUCTION_DESCRIPTOR);
        kind.set(CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE, {mode})
            .set(CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, {CUDNN_DATA_FLOAT})
            .finish("a reduction descriptor");
        auto& op = operations_.emplace_back(CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
        op.link(CUDNN_ATTR_OPERATION_REDUCTION_DESC, kind)
            .link(CUDNN_ATTR_OPERATION_REDUCTION_XDESC, at(x))
            .link(CUDNN_ATTR_OPERATION_REDUCTION_YDESC, at(y))
            .finish("a reduction");
        kinds_.push_back(std::move(kind));
    }
    void reshape(int x, int y) {
        auto& op = operations_.emplace_back(CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR);
        op.link(CUDNN_ATTR_OPERATION_RESHAPE_XDESC, at(x))
            .link(CUDNN_ATTR_OPERATION_RESHAPE_YDESC, at(y))
            .finish("a reshape");
    }

    /// Finds engines and builds their plans: the heuristics' first choice, or with `all` every one. False: cuDNN has
    /// no fused engine for these extents.
    bool build(cudnnHandle_t handle, bool all) {
        std::vector<cudnnBackendDescriptor_t> handles;
        for (const auto& op : operations_) handles.push_back(op.handle());
        graph_descriptor graph(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
        graph.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, handles.data(), handles.size());
        graph.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, {handle});
        if (!graph.finalize()) return false;
        graph_descriptor heuristics(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
        heuristics.link(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph)
            .set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, {CUDNN_HEUR_MODE_A});
        if (!heuristics.finalize()) return false;
        constexpr std::size_t most = 8;
        std::vector<graph_descriptor> configs;
        std::array<cudnnBackendDescriptor_t, most> raw{};
        for (auto& r : raw) r = configs.emplace_back(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR).handle();
        std::int64_t found = 0;
        check(cudnnBackendGetAttribute(heuristics.handle(), CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                       CUDNN_TYPE_BACKEND_DESCRIPTOR, most, &found, raw.data()),
              "cuDNN's heuristics");
        for (std::int64_t i = 0; i < std::min<std::int64_t>(found, most) && (all || plans_.empty()); ++i) {
            graph_descriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
            plan.link(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, configs[static_cast<std::size_t>(i)]);
            plan.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, {handle});
            if (!plan.finalize()) continue;
            std::int64_t bytes = 0, one = 0;
            check(cudnnBackendGetAttribute(plan.handle(), CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1,
                                           &one, &bytes),
                  "the plan's workspace size");
            plans_.push_back({std::move(plan), static_cast<std::size_t>(bytes)});
        }
        return !plans_.empty();
    }
    std::size_t plans() const { return plans_.size(); }
    /// Which plan `run` and `workspace_bytes` speak of.
    void choose(std::size_t index) { chosen_ = index; }
    std::size_t workspace_bytes() const { return plans_.empty() ? 0 : plans_[chosen_].workspace_bytes; }
    void run(cudnnHandle_t handle, const std::vector<std::pair<int, const void*>>& places, void* workspace) const {
        std::vector<std::int64_t> ids;
        std::vector<const void*> pointers;
        for (const auto& [id, pointer] : places) ids.push_back(id), pointers.push_back(pointer);
        graph_descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
        pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, ids.data(), ids.size());
        pack.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, pointers.data(), pointers.size());
        pack.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, {static_cast<const void*>(workspace)})
            .finish("a variant pack");
        check(cudnnBackendExecute(handle, plans_[chosen_].plan.handle(), pack.handle()), "cudnnBackendExecute");
    }

private:
    const graph_descriptor& at(int tensor) const { return tensors_[static_cast<std::size_t>(tensor)]; }
    struct built {
        graph_descriptor plan;
        std::size_t workspace_bytes;
    };
    std::vector<graph_descriptor> tensors_, operations_, kinds_;
    std::vector<built> plans_;
    std::size_t chosen_ = 0;
};

}  // namespace depthgrow::cuda_detail
