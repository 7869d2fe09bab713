// Linear maps in eight bits: y = x Wᵀ and dx = dy W with both operands in e4m3; gradients of weights stay in bfloat16.
// Assumes bfloat16 tensors of whole 16s in every extent. Each operand has a scale that follows its last uses
// (kernels/fp8.cuh). It is quantised where it is used, unless the kernel that wrote it just before has left a copy.
// Maths: Micikevicius et al. 2022 (arXiv 2209.05433), e4m3 for values and gradients alike.
#pragma once

#include <deque>
#include <map>
#include <tuple>
#include <utility>

#include "depthgrow/backend/cuda/launch.hpp"
#include "depthgrow/backend/cuda/products.hpp"

namespace depthgrow::cuda_detail {

class fp8_maps {
public:
    using eight = matrix<const kernels::e4m3>;

    /// Whether the product libraries take these extents, and whether eight bits pay: quantising x in a pass of its own
    /// takes as long as some thousand columns of the result gain (measured on an H100).
    bool takes(matrix<const bfloat16> x, matrix<const bfloat16> w, std::size_t columns) const {
        if (columns < worth_columns && !left(x)) return false;
        const auto whole = [](matrix<const bfloat16> m) {
            return reinterpret_cast<std::uintptr_t>(m.data) % 16 == 0 && m.stride % 16 == 0 && m.rows % 16 == 0 &&
                   m.cols % 16 == 0;
        };
        return x.rows > 0 && whole(x) && whole(w);
    }
    /// out = addend + x wᵀ; an empty addend is none.
    void forward(products& multiply, const kernels::launch_context& k, matrix<const bfloat16> x,
                 matrix<const bfloat16> w, matrix<const bfloat16> addend, matrix<bfloat16> out) {
        const auto a = quantized(k, x, w.data, role::input), b = quantized(k, w, w.data, role::weight);
        multiply(k.stream, false, true, 1, a.numbers, b.numbers, addend.data ? 1 : 0,
                 addend.data ? addend : matrix<const bfloat16>(out), out, {{}, a.inverse, b.inverse, true});
    }
    /// dx = dy w + beta * dx.
    void backward(products& multiply, const kernels::launch_context& k, matrix<const bfloat16> dy,
                  matrix<const bfloat16> w, float beta, matrix<bfloat16> dx) {
        const auto a = quantized(k, dy, w.data, role::gradient), b = quantized(k, w, w.data, role::transposed_weight);
        multiply(k.stream, false, true, 1, a.numbers, b.numbers, beta, matrix<const bfloat16>(dx), dx,
                 {{}, a.inverse, b.inverse, false});
    }

    /// Runs kernel(copy), which writes y, values or gradients, and returns whether it has left the copy. The copy
    /// serves the very next product or none. Its scale goes by y's place in the run: the eight-bit product before it
    /// and how many copies were made since.
    template <class Kernel>
    void with_copy(const kernels::launch_context& k, matrix<const bfloat16> y, bool gradients, const Kernel& kernel) {
        copy_ = {};
        if (y.stride != y.cols || y.rows % 16 != 0 || y.cols % 16 != 0) return void(kernel(kernels::fp8_copy{}));
        const auto [scaling, first] =
            scaling_of(k, last_, gradients ? role::copied_gradient : role::copied_value, 1 + copies_++);
        if (first) {  // looks at the numbers only; the product makes the copy this once
            kernel(kernels::fp8_copy{});
            kernels::start_fp8(k, y, scaling);
            copy_ = {y.data, {eight(nullptr, y.rows, y.cols), nullptr}};
            return;
        }
        auto* to = static_cast<kernels::e4m3*>(memory(false, y.size()));
        if (kernel(kernels::fp8_copy{to, scaling})) copy_ = {y.data, {eight(to, y.rows, y.cols), &scaling->inverse}};
    }
    /// Another product has run: what was copied is no longer what the next one takes.
    void forget_copy() { copy_ = {}; }

private:
    enum class role { input, weight, gradient, transposed_weight, copied_value, copied_gradient };
    struct operand {
        eight numbers;
        const float* inverse;
    };

    /// Whether the kernel before leaves copies of x.
    bool left(matrix<const bfloat16> x) const {
        return copy_.of == x.data && copy_.is.numbers.rows == x.rows && copy_.is.numbers.cols == x.cols;
    }

    using product_place = std::pair<const void*, role>;  // whose weight, which way

    operand quantized(const kernels::launch_context& k, matrix<const bfloat16> x, const bfloat16* weight, role of) {
        const bool transposed = of == role::transposed_weight, right = transposed || of == role::weight;
        if (!right) {
            last_ = {weight, of}, copies_ = 0;
            const bool made = left(x) && copy_.is.inverse;
            const operand copy = std::exchange(copy_, {}).is;
            if (made) return copy;
        }
        auto* to = static_cast<kernels::e4m3*>(memory(right, x.size()));
        const auto [scaling, first] = scaling_of(k, {weight, of}, of, 0);
        if (first) kernels::start_fp8(k, x, scaling);
        if (transposed) kernels::quantize_fp8_transposed(k, x, to, scaling);
        else kernels::quantize_fp8(k, x, to, scaling);
        return {transposed ? eight(to, x.cols, x.rows) : eight(to, x.rows, x.cols), &scaling->inverse};
    }
    /// The scaling of a place, and whether it has never been used.
    std::pair<kernels::fp8_scaling*, bool> scaling_of(const kernels::launch_context& k, product_place after, role of,
                                                      std::size_t copies) {
        const auto [found, missing] = scalings_.try_emplace({after, of, copies}, nullptr);
        if (missing) {
            if (scalings_.size() > blocks_.size() * together) {
                blocks_.emplace_back(together * sizeof(kernels::fp8_scaling));
                check(cudaMemsetAsync(blocks_.back().data(), 0, blocks_.back().size(), k.stream), "cudaMemsetAsync");
            }
            found->second =
                static_cast<kernels::fp8_scaling*>(blocks_.back().data()) + (scalings_.size() - 1) % together;
        }
        return {found->second, missing};
    }
    /// Room for one operand. What was handed out before stays: a recorded step may still use it.
    void* memory(bool right, std::size_t bytes) {
        auto& held = held_[right];
        if (held.empty() || held.back().size() < bytes) held.emplace_back(bytes);
        return held.back().data();
    }

    struct left_copy {
        const bfloat16* of = nullptr;
        operand is{};
    };

    static constexpr std::size_t worth_columns = 1024, together = 1024;
    left_copy copy_;
    product_place last_{nullptr, role::input};
    std::size_t copies_ = 0;  // since the last product
    std::map<std::tuple<product_place, role, std::size_t>, kernels::fp8_scaling*> scalings_;
    std::deque<device_bytes> blocks_, held_[2];
};

}  // namespace depthgrow::cuda_detail
