// Scalings of tensors in eight bits by the place where they are used: whose weight's product comes last, which tensor.
// Assumes one stream. A part of a run that is computed twice (autograd/ops/recompute.hpp) takes the scales of its first
// time once more, from copies made there, and histories move once. A weight that is new, growth's copies among them,
// has no scalings yet: each begins by looking at the numbers.
#pragma once

#include <deque>
#include <map>
#include <tuple>
#include <vector>

#include "depthgrow/backend/cuda/launch.hpp"
#include "depthgrow/backend/cuda/memory.hpp"

namespace depthgrow::cuda_detail {

class fp8_scalings {
public:
    enum class role {
        input,
        weight,
        gradient,
        transposed_weight,
        transposed_input,
        transposed_gradient,
        copied_value,
        copied_gradient,
        gated
    };
    /// The weight of a product, which of its products, the tensor, and its number where several are alike.
    using place = std::tuple<const void*, role, role, std::size_t>;
    struct use {
        kernels::fp8_scaling* scaling;
        bool first;  // it has never been used
    };

    explicit fp8_scalings(const kernels::launch_context& context) : k_(context) {}

    /// What the next kernel scales a tensor by.
    use at(const place& where) {
        if (times_ == part::again && next_ < kept_.size()) return kept_[next_++];
        const auto found = scalings_.find(where);
        const use now = found != scalings_.end() ? use{found->second, false} : use{made(where), true};
        if (times_ == part::first_time) {
            kept_.push_back({copies_.at(kept_.size()), now.first});
            check(cudaMemcpyAsync(kept_.back().scaling, now.scaling, sizeof(*now.scaling), cudaMemcpyDeviceToDevice,
                                  k_.stream),
                  "copying a scaling");
        }
        return now;
    }

    /// A run begins: parts of others are not repeated any more.
    void start_run() { kept_.clear(), times_ = part::once; }
    /// Runs a part that will run once more, and returns what `again` knows it by.
    template <class Body> std::size_t first_time(const Body& body) {
        const std::size_t first = kept_.size();
        times_ = part::first_time;
        body();
        times_ = part::once;
        return first;
    }
    /// Runs it once more, by the scales of its first time. Parts are repeated last first.
    template <class Body> auto again(std::size_t first, const Body& body) {
        next_ = first, times_ = part::again;
        const auto out = body();
        times_ = part::once;
        kept_.resize(std::min(first, kept_.size()));
        return out;
    }
    bool repeats() const { return times_ == part::again; }

private:
    enum class part { once, first_time, again };
    /// Scalings by number, which stay where they are.
    class numbered {
    public:
        kernels::fp8_scaling* at(std::size_t i) {
            while (i >= blocks_.size() * together) blocks_.emplace_back(together * sizeof(kernels::fp8_scaling));
            return static_cast<kernels::fp8_scaling*>(blocks_[i / together].data()) + i % together;
        }

    private:
        static constexpr std::size_t together = 1024;
        std::deque<device_bytes> blocks_;
    };

    kernels::fp8_scaling* made(const place& where) {
        kernels::fp8_scaling* scaling = own_.at(scalings_.size());
        check(cudaMemsetAsync(scaling, 0, sizeof(*scaling), k_.stream), "cudaMemsetAsync");
        scalings_.emplace(where, scaling);
        return scaling;
    }

    const kernels::launch_context& k_;
    std::map<place, kernels::fp8_scaling*> scalings_;
    std::vector<use> kept_;  // copies of scalings as they were before each use of a first time
    numbered own_, copies_;
    part times_ = part::once;
    std::size_t next_ = 0;  // of kept_, for `again`
};

}  // namespace depthgrow::cuda_detail
