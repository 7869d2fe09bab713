// libtorch's tensors as layers, alone or inside structs and containers: copies are leaves with memory of their own.
// Assumes libtorch 1.13 or newer. Sums of tensors are made in double and rounded once.
// A new leaf has no gradient until its first backward pass.
#pragma once

#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/growth/grow.hpp"

namespace depthgrow {

namespace detail {

/// A leaf with memory of its own; dtype, device, strides and requires_grad are the source's.
inline torch::Tensor clone_tensor(const torch::Tensor& source) {
    if (!source.defined()) return source;
    torch::Tensor copy = source.detach().clone();
    copy.set_requires_grad(source.requires_grad());
    return copy;
}

/// The sum of coefficient * tensor over tensors of one shape, in the dtype of the first.
inline torch::Tensor mix_tensors(const std::vector<std::pair<const torch::Tensor*, double>>& terms) {
    const torch::NoGradGuard no_grad;
    const torch::Tensor& first = *terms.front().first;
    torch::Tensor sum;
    for (const auto& [tensor, coefficient] : terms) {
        require(tensor->defined() == first.defined() && (!first.defined() || tensor->sizes() == first.sizes()),
                "[mix] expected tensors of one shape, got tensors that differ in theirs");
        if (!first.defined()) continue;
        const torch::Tensor part = tensor->detach().to(torch::kDouble).mul(coefficient);
        sum = sum.defined() ? sum.add(part) : part;
    }
    if (!first.defined()) return {};
    if (!first.is_floating_point()) sum = sum.round();
    torch::Tensor mixed = torch::empty_like(first).copy_(sum);
    mixed.set_requires_grad(first.requires_grad());
    return mixed;
}

/// Adds normal noise, `sigma` times the tensor's root mean square; the draws are those of `begin_stream`, in row-major
/// order of the elements. Tensors of whole numbers stay as they are.
inline void add_tensor_noise(torch::Tensor tensor, double sigma, rng random) {
    if (!tensor.defined() || !tensor.is_floating_point() || tensor.numel() == 0) return;
    const torch::NoGradGuard no_grad;
    std::vector<double> draws(static_cast<std::size_t>(tensor.numel()));
    for (double& draw : draws) draw = random.normal();
    const torch::Tensor value = tensor.detach().to(torch::kCPU, torch::kDouble);
    const double scale = sigma * std::sqrt(value.square().mean().item<double>());
    const torch::Tensor noise = torch::from_blob(draws.data(), value.sizes(), torch::kDouble);
    tensor.copy_(value + noise * scale);
}

}  // namespace detail

/// Copies, sums and noise of tensors. A copy is a leaf; one that is undefined stays so.
template <> struct layer_traits<torch::Tensor> {
    static torch::Tensor clone(const torch::Tensor& layer) { return detail::clone_tensor(layer); }
    static torch::Tensor mix(const std::vector<std::pair<const torch::Tensor*, double>>& terms) {
        return detail::mix_tensors(terms);
    }
    static void begin(torch::Tensor& layer, const layer_init& init, std::uint64_t seed, std::size_t slot) {
        if (init.kind != init_kind::noise) detail::refuse_beginning(init);
        detail::add_tensor_noise(layer, init.sigma, begin_stream(seed, slot, ""));
    }
};

}  // namespace depthgrow
