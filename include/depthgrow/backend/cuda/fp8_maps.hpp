// Linear maps in eight bits: y = x Wᵀ and dx = dy W with both operands in e4m3, and in an MLP the gradients of weights
// dW = dyᵀ x too. Assumes bfloat16 tensors of whole 16s in every extent. Each operand has a scale that follows its last
// uses (fp8_scalings.hpp). It is quantised where it is used, unless the kernel that wrote it just before has left a
// copy; SwiGLU and its gradient write nothing but eight bits, as they are and transposed. Maths: Micikevicius et al.
// 2022 (arXiv 2209.05433), e4m3 for values and gradients alike.
#pragma once

#include <deque>
#include <utility>

#include "depthgrow/backend/cuda/fp8_scalings.hpp"
#include "depthgrow/backend/cuda/products.hpp"

namespace depthgrow::cuda_detail {

class fp8_maps {
public:
    using eight = matrix<const kernels::e4m3>;

    /// Works with the products and in the context of a backend, which outlive it.
    fp8_maps(products& multiply, const kernels::launch_context& context)
        : multiply_(multiply), k_(context), scalings_(context) {}

    /// Whether the product libraries take these extents, and whether eight bits pay: quantising x in a pass of its own
    /// takes as long as some thousand columns of the result gain (measured on an H100).
    bool takes(matrix<const bfloat16> x, matrix<const bfloat16> w, std::size_t columns) const {
        if (columns < worth_columns && !left(x)) return false;
        return x.rows > 0 && whole(x) && whole(w);
    }
    /// Whether an MLP of these maps, SwiGLU between them, runs with the operations of pairs below: where the second is
    /// wide enough that products of eight bits gain more than transposing x and dy costs.
    bool takes_mlp(matrix<const bfloat16> x, matrix<const bfloat16> in, matrix<const bfloat16> out) const {
        return takes(x, in, in.rows) && whole(out) && out.cols >= worth_columns;
    }
    /// out = addend + x wᵀ; an empty addend is none.
    void forward(matrix<const bfloat16> x, matrix<const bfloat16> w, matrix<const bfloat16> addend,
                 matrix<bfloat16> out) {
        forward(quantized(x, w.data, role::input), w, addend, out);
    }
    void forward(const fp8_pair& x, matrix<const bfloat16> w, matrix<const bfloat16> addend, matrix<bfloat16> out) {
        next_product(w.data, role::input);
        forward(as_is(x), w, addend, out);
    }
    /// dx = dy w + beta * dx.
    void backward(matrix<const bfloat16> dy, matrix<const bfloat16> w, float beta, matrix<bfloat16> dx) {
        backward(quantized(dy, w.data, role::gradient), w, beta, dx);
    }
    void backward(const fp8_pair& dy, matrix<const bfloat16> w, float beta, matrix<bfloat16> dx) {
        next_product(w.data, role::gradient);
        backward(as_is(dy), w, beta, dx);
    }
    /// The gradient of w: dw = dyᵀ x + beta * dw, either of them a pair already.
    void weight_gradient(matrix<const bfloat16> dy, const fp8_pair& x, matrix<const bfloat16> w, float beta,
                         matrix<float> dw) {
        copy_ = {};  // dy's transposed copy takes its place
        weight_gradient(transposed(dy, w.data, role::transposed_gradient, false), transposed(x), beta, dw);
    }
    void weight_gradient(const fp8_pair& dy, matrix<const bfloat16> x, matrix<const bfloat16> w, float beta,
                         matrix<float> dw) {
        weight_gradient(transposed(dy), transposed(x, w.data, role::transposed_input, true), beta, dw);
    }
    /// SwiGLU of (gate, up) into what `w` takes; its gradients by gate and up into those of what `w` gives.
    void gated(matrix<const bfloat16> gate_up, matrix<const bfloat16> w, const fp8_pair& out) {
        copy_ = {};
        const auto [scaling, first] = scaling_of({w.data, role::input}, role::gated, 0);
        kernels::fp8_swiglu(k_, gate_up, out, scaling, first);
    }
    void gated_gradient(matrix<const bfloat16> gate_up, matrix<const bfloat16> dout, matrix<const bfloat16> w,
                        const fp8_pair& d) {
        copy_ = {};
        const auto [scaling, first] = scaling_of({w.data, role::gradient}, role::gated, 0);
        kernels::fp8_swiglu_backward(k_, gate_up, dout, d, scaling, first);
    }

    /// Runs kernel(copy), which writes y, values or gradients, and returns whether it has left the copy. The copy
    /// serves the very next product or none. Its scale goes by y's place in the run: the eight-bit product before it
    /// and how many copies were made since.
    template <class Kernel> void with_copy(matrix<const bfloat16> y, bool gradients, const Kernel& kernel) {
        copy_ = {};
        if (y.stride != y.cols || y.rows % 16 != 0 || y.cols % 16 != 0) return void(kernel(kernels::fp8_copy{}));
        const auto [scaling, first] =
            scaling_of(last_, gradients ? role::copied_gradient : role::copied_value, 1 + copies_++);
        if (first) {  // looks at the numbers only; the product makes the copy this once
            kernel(kernels::fp8_copy{});
            kernels::start_fp8(k_, y, scaling);
            copy_ = {y.data, {eight(nullptr, y.rows, y.cols), nullptr}};
            return;
        }
        auto* to = static_cast<kernels::e4m3*>(memory(false, y.size()));
        if (kernel(kernels::fp8_copy{to, scaling})) copy_ = {y.data, {eight(to, y.rows, y.cols), &scaling->inverse}};
    }
    /// A run of a model begins, with its table of embeddings: the first place of it.
    void start_run(const void* table) {
        scalings_.start_run();
        copy_ = {};
        next_product(table, role::input);
    }
    /// Runs a part of a run that will run once more, and returns what `again` knows it by.
    template <class Body> std::size_t first_time(const Body& body) { return scalings_.first_time(body); }
    /// Runs it once more, by the scales of its first time; what comes after it finds all as it was before.
    template <class Body> auto again(std::size_t part, const Body& body) {
        const auto copy = std::exchange(copy_, {});
        const auto last = last_;
        const auto copies = copies_;
        const auto out = scalings_.again(part, body);
        copy_ = copy, last_ = last, copies_ = copies;
        return out;
    }
    /// What scalings go on from; memory that is given back, and its scalings with it.
    std::vector<scale_state> scales() const { return scalings_.states(); }
    void restore_scales(const std::vector<scale_state>& scales) { scalings_.restore(scales); }
    void forget(const void* begin, const void* end) { scalings_.forget(begin, end); }
    /// Another product has run: what was copied is no longer what the next one takes.
    void forget_copy() { copy_ = {}; }

private:
    using role = fp8_scalings::role;
    using product_place = std::pair<const void*, role>;  // whose weight, which way
    struct operand {
        eight numbers;
        const float* inverse;
    };

    static bool whole(matrix<const bfloat16> m) {
        return reinterpret_cast<std::uintptr_t>(m.data) % 16 == 0 && m.stride % 16 == 0 && m.rows % 16 == 0 &&
               m.cols % 16 == 0;
    }
    static const kernels::e4m3* numbers(const std::uint8_t* bits) {
        return reinterpret_cast<const kernels::e4m3*>(bits);
    }
    static operand as_is(const fp8_pair& x) { return {eight(numbers(x.as_is), x.rows, x.cols), x.inverse}; }
    static operand transposed(const fp8_pair& x) { return {eight(numbers(x.transposed), x.cols, x.rows), x.inverse}; }

    void forward(const operand& x, matrix<const bfloat16> w, matrix<const bfloat16> addend, matrix<bfloat16> out) {
        const auto b = quantized(w, w.data, role::weight);
        multiply_(k_.stream, false, true, 1, x.numbers, b.numbers, addend.data ? 1 : 0,
                  addend.data ? addend : matrix<const bfloat16>(out), out, {{}, x.inverse, b.inverse, true});
    }
    void backward(const operand& dy, matrix<const bfloat16> w, float beta, matrix<bfloat16> dx) {
        const auto b = transposed(w, w.data, role::transposed_weight, true);
        multiply_(k_.stream, false, true, 1, dy.numbers, b.numbers, beta, matrix<const bfloat16>(dx), dx,
                  {{}, dy.inverse, b.inverse, false});
    }
    void weight_gradient(const operand& dy, const operand& x, float beta, matrix<float> dw) {
        multiply_(k_.stream, false, true, 1, dy.numbers, x.numbers, beta, matrix<const float>(dw), dw,
                  {{}, dy.inverse, x.inverse, false});
    }

    /// Whether the kernel before leaves copies of x.
    bool left(matrix<const bfloat16> x) const {
        return copy_.of == x.data && copy_.is.numbers.rows == x.rows && copy_.is.numbers.cols == x.cols;
    }

    /// From here on copies are those after this product.
    void next_product(const void* weight, role of) { last_ = {weight, of}, copies_ = 0; }
    operand quantized(matrix<const bfloat16> x, const bfloat16* weight, role of) {
        const bool right = of == role::weight;
        if (!right) {
            next_product(weight, of);
            const bool made = left(x) && copy_.is.inverse;
            const operand copy = std::exchange(copy_, {}).is;
            if (made) return copy;
        }
        auto* to = static_cast<kernels::e4m3*>(memory(right, x.size()));
        const auto [scaling, first] = scaling_of({weight, of}, of, 0);
        if (first) kernels::start_fp8(k_, x, scaling);
        kernels::quantize_fp8(k_, x, to, scaling);
        return {eight(to, x.rows, x.cols), &scaling->inverse};
    }
    operand transposed(matrix<const bfloat16> x, const bfloat16* weight, role of, bool right) {
        const auto [scaling, first] = scaling_of({weight, of}, of, 0);
        fp8_pair made{nullptr, static_cast<std::uint8_t*>(memory(right, x.size())), &scaling->inverse, x.rows, x.cols};
        kernels::fp8_pair_of(k_, x, made, scaling, first);
        return transposed(made);
    }
    /// What a tensor of a product is scaled by.
    fp8_scalings::use scaling_of(product_place after, role of, std::size_t copies) {
        return scalings_.at({after.first, after.second, of, copies});
    }
    /// Room for one operand. What was handed out before stays: a recorded step may still use it, and a copy may wait
    /// while a part is repeated.
    void* memory(bool right, std::size_t bytes) {
        auto& held = held_[right ? 2 : scalings_.repeats()];
        if (held.empty() || held.back().size() < bytes) held.emplace_back(bytes);
        return held.back().data();
    }

    struct left_copy {
        const bfloat16* of = nullptr;
        operand is{};
    };

    static constexpr std::size_t worth_columns = 1024;
    products& multiply_;
    const kernels::launch_context& k_;
    left_copy copy_;
    product_place last_{nullptr, role::input};
    std::size_t copies_ = 0;  // since the last product
    fp8_scalings scalings_;
    std::deque<device_bytes> held_[3];  // left operands, the same in a part that is repeated, right operands
};

}  // namespace depthgrow::cuda_detail
