// What a backend may offer beyond its contract: fused operations, each with a composed definition where it is missing.
// Assumes C++20. Operations ask here and nowhere else; models, trainers and analyses never do.
// `planning_for` counts the memory of a backend's own choice of fused operations.
#pragma once

#include <concepts>
#include <type_traits>

#include "depthgrow/backend/concept.hpp"
#include "depthgrow/backend/planning.hpp"

namespace depthgrow {

/// Adds a linear map to the residual stream in one pass.
template <class Backend, class T>
concept adds_linear_maps = requires(Backend b, matrix<const T> in, matrix<T> out) {
    b.template linear_add<T>(in, in, in, out);
};

/// May run linear maps of inner layers in eight bits.
template <class Backend, class T>
concept maps_in_fp8 = requires(Backend b, matrix<const T> in, matrix<T> out) {
    b.linear_fp8(in, in, in, out);
};

/// May run a gated MLP of inner layers in eight bits, the gradients of its weights too, on tensors that exist as pairs
/// of eight-bit copies alone.
template <class Backend, class T>
concept runs_fp8_mlps = maps_in_fp8<Backend, T> &&
    requires(Backend b, matrix<const T> in, matrix<T> out, fp8_pair pair, matrix<wide_t<T>> gradient) {
    { b.template takes_fp8_mlp<T>(in, in, in) } -> std::same_as<bool>;
    b.fp8().gated(in, in, pair);
    b.fp8().forward(pair, in, in, out);
    b.fp8().gated_gradient(in, in, in, pair);
    b.fp8().backward(pair, in, wide_t<T>(0), out);
    b.fp8().weight_gradient(in, pair, in, wide_t<T>(0), gradient);
    b.fp8().weight_gradient(pair, in, in, wide_t<T>(0), gradient);
};

/// Scales tensors by what they were before, and can run a part of a run once more by the scales of its first time.
template <class Backend>
concept repeats_scales = requires(Backend b, std::size_t part, int (*body)()) {
    { b.fp8().first_time(body) } -> std::same_as<std::size_t>;
    { b.fp8().again(part, body) } -> std::same_as<int>;
};

/// Can say what its scales go on from, and go on from what another one said. Scales go with the memory of weights.
template <class Backend>
concept keeps_scales = requires(Backend b, const std::vector<scale_state>& scales) {
    { b.scales() } -> std::same_as<std::vector<scale_state>>;
    b.restore_scales(scales);
};

/// May fuse linear maps with SwiGLU and RoPE; each call says whether it has.
template <class Backend, class T>
concept fuses_linear_maps = requires(Backend b, matrix<const T> in, matrix<T> out, matrix<const wide_t<T>> table,
                                     std::size_t n) {
    { b.template linear_swiglu<T>(in, in, out, out) } -> std::same_as<bool>;
    { b.template linear_rope<T>(in, in, out, n, n, table, table) } -> std::same_as<bool>;
    b.template linear_swiglu_backward<T>(in, in, in, out);
};

/// May run a gated MLP's first map and SwiGLU as one where rows are few and no backward pass follows; each call says
/// whether it has.
template <class Backend, class T>
concept gates_few_rows = requires(Backend b, matrix<const T> in, matrix<T> out) {
    { b.template few_rows_swiglu<T>(in, in, out) } -> std::same_as<bool>;
};

/// May take one new position each of many sequences, whose places lie in its own memory: what a decoding step needs to
/// be recorded. Whether it does, decodes_steps() says. Between overlap(true) and overlap(false) it may begin an
/// operation before the one ahead has ended: weights, positions, places of caches and what those hold of earlier steps
/// are not written there. Definitions: reference.hpp.
template <class Backend, class T>
concept decodes_steps = requires(Backend b, matrix<const T> in, attention_shape s, span<const cached_row<T>> caches,
                                 span<const token> rows, matrix<T> out, matrix<const wide_t<T>> table,
                                 matrix<wide_t<T>> gathered, span<row_choice> best) {
    { b.decodes_steps() } -> std::same_as<bool>;
    b.overlap(true);
    b.template step_attention<T>(in, s, caches, rows, out);
    b.gather_rows(rows, table, gathered);
    b.row_best(table, best);
};

/// Rotates the gradients of queries and keys back within the backward pass of attention.
template <class Backend, class T>
concept rotates_attention_gradients = requires(Backend b, matrix<const T> in, matrix<T> out, attention_shape s,
                                               span<const wide_t<T>> lse, matrix<const wide_t<T>> table) {
    b.template attention_rope_backward<T>(in, s, in, lse, in, out, table, table);
};

/// Sums squares, and steps AdamW, over many blocks at once.
template <class Backend, class T>
concept updates_together = requires(Backend b, span<const span<const wide_t<T>>> gradients,
                                    span<const adamw_operands<T>> blocks, const adamw_constants* constants,
                                    double* squares) {
    b.accumulate_squares_together(gradients, squares);
    b.template adamw_together<T>(blocks, constants, squares);
};

/// Steps of SGD with Nesterov's momentum.
template <class Backend, class T>
concept steps_with_momentum = requires(Backend b, span<wide_t<T>> x, span<const wide_t<T>> g, span<T> rounded,
                                       const momentum_constants* constants, const double* squares) {
    b.template sgd_nesterov<T>(x, g, x, rounded, constants, squares);
};

/// What Muon needs beside products of matrices.
template <class Backend, class T>
concept steps_with_muon = requires(Backend b, span<wide_t<T>> x, span<const wide_t<T>> g, span<T> u, span<const T> v,
                                   double factor, const momentum_constants* constants, const double* squares) {
    b.template muon_direction<T>(g, x, u, constants, squares);
    b.template muon_normalize<T>(u);
    b.template muon_apply<T>(x, v, u, factor, constants, squares);
};

/// Rows of logits at a time in the head: what the backend asks for, else few enough to stay in a CPU's cache.
template <class Backend> std::size_t head_rows(const Backend& backend) {
    if constexpr (requires { backend.head_rows(); }) return backend.head_rows();
    else return 512;
}

/// Rows that an analysis works on at a time: `given`, or where that is 0 `few` in a CPU's caches, `many` where the
/// backend says that it needs them to be busy, as a device does.
template <class Backend> constexpr std::size_t rows_at_a_time(std::size_t given, std::size_t few, std::size_t many) {
    if (given > 0) return given;
    if constexpr (requires { requires Backend::wants_many_rows; }) return many;
    else return few;
}

/// A planning backend that makes the same choices as `Backend` with numbers of T.
template <class Backend, class T>
using planning_for = std::conditional_t<adds_linear_maps<Backend, T>, joining_planning, planning>;

}  // namespace depthgrow
