// Every kernel, and the macro that instantiates their launches for one number type.
// Assumes nvcc; include it in exactly one unit a type, as depthgrow_add_cuda_kernels does.
// Declarations: launch.hpp.
#pragma once

#include "depthgrow/backend/cuda/kernels/activations.cuh"
#include "depthgrow/backend/cuda/kernels/analysis_rows.cuh"
#include "depthgrow/backend/cuda/kernels/attention.cuh"
#include "depthgrow/backend/cuda/kernels/cross_entropy.cuh"
#include "depthgrow/backend/cuda/kernels/decoding.cuh"
#include "depthgrow/backend/cuda/kernels/elementwise.cuh"
#include "depthgrow/backend/cuda/kernels/few_rows.cuh"
#include "depthgrow/backend/cuda/kernels/fp8.cuh"
#include "depthgrow/backend/cuda/kernels/fp8_pairs.cuh"
#include "depthgrow/backend/cuda/kernels/fused_products.cuh"
#include "depthgrow/backend/cuda/kernels/hopper_attention.cuh"
#include "depthgrow/backend/cuda/kernels/layer_norm.cuh"
#include "depthgrow/backend/cuda/kernels/linear_softmax.cuh"
#include "depthgrow/backend/cuda/kernels/muon.cuh"
#include "depthgrow/backend/cuda/kernels/norm.cuh"
#include "depthgrow/backend/cuda/kernels/optimizer.cuh"
#include "depthgrow/backend/cuda/kernels/rope.cuh"

#define DEPTHGROW_INSTANTIATE_CUDA_KERNELS(T)                                                                        \
    namespace depthgrow::kernels {                                                                                   \
    template void embedding_forward<T>(const launch_context&, span<const token>, matrix<const T>, matrix<T>);        \
    template void embedding_backward<T>(const launch_context&, span<const token>, matrix<const T>, matrix<float>);   \
    template bool rms_norm_forward<T>(const launch_context&, matrix<const T>, matrix<const T>, span<const T>, float, \
                                      float, matrix<T>, matrix<T>, span<float>, fp8_copy);                           \
    template bool rms_norm_backward<T>(const launch_context&, matrix<const T>, span<const T>, span<const float>,     \
                                       float, matrix<const T>, matrix<const T>, matrix<T>, span<float>, fp8_copy);   \
    template void rope_inplace<T>(const launch_context&, matrix<T>, std::size_t, std::size_t, std::size_t,           \
                                  matrix<const float>, matrix<const float>, float);                                  \
    template void attention_forward<T>(const launch_context&, matrix<const T>, attention_shape, matrix<T>,           \
                                       span<float>);                                                                 \
    template void attention_backward<T>(const launch_context&, matrix<const T>, attention_shape, matrix<const T>,    \
                                        span<const float>, matrix<const T>, matrix<T>);                              \
    template void cached_attention<T>(const launch_context&, matrix<const T>, attention_shape, key_value_cache<T>,   \
                                      matrix<T>);                                                                    \
    template void step_attention<T>(const launch_context&, matrix<const T>, attention_shape,                         \
                                    span<const cached_row<T>>, span<const token>, matrix<T>);                        \
    template bool few_rows_product<T>(const launch_context&, matrix<const T>, matrix<const T>, matrix<const T>,      \
                                      span<const T>, matrix<T>, matrix<float>);                                      \
    template bool few_rows_swiglu<T>(const launch_context&, matrix<const T>, matrix<const T>, matrix<T>);            \
    template bool few_rows_rope<T>(const launch_context&, matrix<const T>, matrix<const T>, matrix<T>, std::size_t,  \
                                   std::size_t, matrix<const float>, matrix<const float>);                           \
    template bool swiglu_forward<T>(const launch_context&, matrix<const T>, matrix<T>, fp8_copy);                    \
    template bool swiglu_backward<T>(const launch_context&, matrix<const T>, matrix<const T>, matrix<T>, fp8_copy);  \
    template void activation_forward<T>(const launch_context&, activation, bool, matrix<const T>, matrix<T>);        \
    template void activation_backward<T>(const launch_context&, activation, bool, matrix<const T>, matrix<const T>,  \
                                         matrix<T>);                                                                 \
    template void layer_norm_forward<T>(const launch_context&, matrix<const T>, span<const T>, span<const T>, float, \
                                        float, matrix<T>, span<float>, span<float>);                                 \
    template void layer_norm_backward<T>(const launch_context&, matrix<const T>, span<const T>, span<const float>,   \
                                         span<const float>, float, matrix<const T>, matrix<const T>, matrix<T>,      \
                                         span<float>, span<float>);                                                  \
    template void add_bias_inplace<T>(const launch_context&, span<const T>, matrix<T>);                              \
    template void bias_backward<T>(const launch_context&, matrix<const T>, span<float>);                             \
    template void add<T>(const launch_context&, matrix<const T>, float, matrix<const T>, matrix<T>);                 \
    template void cross_entropy_inplace<T>(const launch_context&, matrix<T>, span<const token>, span<const float>,   \
                                           span<float>, bool);                                                       \
    template void row_argmax<T>(const launch_context&, matrix<const T>, span<token>);                                \
    template void adamw<T>(const launch_context&, span<const adamw_operands<T>>, const adamw_constants*,             \
                           const double*);                                                                           \
    template void row_changes<T>(const launch_context&, matrix<const T>, matrix<const T>, matrix<const T>,           \
                                 matrix<const T>, span<float>, span<float>);                                         \
    template void row_softmax_inplace<T>(const launch_context&, matrix<T>, span<float>);                             \
    template void row_dots<T>(const launch_context&, matrix<const T>, matrix<const float>, span<float>);             \
    template void row_differences<T>(const launch_context&, matrix<const float>, span<const float>,                  \
                                     matrix<const float>, float, matrix<T>);                                         \
    template void row_softmax_distances<T>(const launch_context&, matrix<T>, matrix<const T>, span<float>);          \
    template void row_compare<T>(const launch_context&, matrix<const T>, matrix<const T>, span<const token>,         \
                                 std::size_t, span<row_comparison>);                                                 \
    template void row_probability_gradient_inplace<T>(const launch_context&, matrix<T>, span<const token>,           \
                                                      span<float>);                                                  \
    template void sgd_nesterov<T>(const launch_context&, span<float>, span<const float>, span<float>, span<T>,       \
                                  const momentum_constants*, const double*);                                         \
    template void muon_direction<T>(const launch_context&, span<const float>, span<float>, span<T>,                  \
                                    const momentum_constants*, const double*);                                       \
    template void muon_normalize<T>(const launch_context&, span<T>);                                                 \
    template void muon_apply<T>(const launch_context&, span<float>, span<const T>, span<T>, double,                  \
                                const momentum_constants*, const double*);                                           \
    }
