// Scalings of tensors in eight bits by the place where they are used: whose weight's product comes last, which tensor.
// Assumes one stream. A part of a run that is computed twice (autograd/ops/recompute.hpp) takes the scales of its first
// time once more, from copies made there, and histories move once. A weight that is new, growth's copies among them,
// has no scalings yet: each begins by looking at the numbers; those of a weight whose memory is given back are gone.
#pragma once

#include <algorithm>
#include <deque>
#include <map>
#include <tuple>
#include <vector>

#include "depthgrow/backend/cuda/launch.hpp"
#include "depthgrow/backend/cuda/memory.hpp"

namespace depthgrow::cuda_detail {

class fp8_scalings {
public:
    enum class role {  // their numbers are in the files of runs
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

    /// Memory from `begin` to `end` is given back: weights that come to lie there begin anew.
    void forget(const void* begin, const void* end) {
        const auto first = scalings_.lower_bound({begin, role{}, role{}, 0}),
                   last = scalings_.lower_bound({end, role{}, role{}, 0});
        for (auto one = first; one != last; ++one) free_.push_back(one->second);
        scalings_.erase(first, last);
    }
    /// All scalings between two runs: the next scale, then the magnitudes that it follows, oldest first.
    std::vector<scale_state> states() const {
        constexpr std::size_t remembered = kernels::fp8_scaling::remembered;
        std::vector<scale_state> out;
        for (const auto& [where, scaling] : scalings_) {
            kernels::fp8_scaling now{};
            move(&now, scaling, cudaMemcpyDeviceToHost);
            const auto [weight, product, tensor, number] = where;
            out.push_back({weight, {static_cast<std::size_t>(product), static_cast<std::size_t>(tensor), number}, {}});
            out.back().numbers.push_back(now.scale);
            for (std::size_t i = 0; i < remembered; ++i)
                out.back().numbers.push_back(now.history[(now.uses + i) % remembered]);
        }
        return out;
    }
    void restore(const std::vector<scale_state>& states) {
        constexpr std::size_t roles = static_cast<std::size_t>(role::gated) + 1;
        for (const scale_state& one : states) {
            require(one.use[0] < roles && one.use[1] < roles, "[fp8] expected uses of weights below ", roles,
                    ", found ", one.use[0], " and ", one.use[1]);
            require(one.numbers.size() == 1 + kernels::fp8_scaling::remembered, "[fp8] expected ",
                    1 + kernels::fp8_scaling::remembered, " numbers of a scale, found ", one.numbers.size());
            kernels::fp8_scaling now{};
            now.scale = one.numbers[0];
            std::copy(one.numbers.begin() + 1, one.numbers.end(), now.history);
            const place where{one.weight, static_cast<role>(one.use[0]), static_cast<role>(one.use[1]), one.use[2]};
            const auto found = scalings_.find(where);
            move(found != scalings_.end() ? found->second : made(where), &now, cudaMemcpyHostToDevice);
        }
    }

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

    void move(void* to, const void* from, cudaMemcpyKind kind) const {
        check(cudaMemcpyAsync(to, from, sizeof(kernels::fp8_scaling), kind, k_.stream), "copying a scaling");
        check(cudaStreamSynchronize(k_.stream), "copying a scaling");
    }
    kernels::fp8_scaling* made(const place& where) {
        if (free_.empty()) free_.push_back(own_.at(scalings_.size()));
        kernels::fp8_scaling* scaling = free_.back();
        free_.pop_back();
        check(cudaMemsetAsync(scaling, 0, sizeof(*scaling), k_.stream), "cudaMemsetAsync");
        scalings_.emplace(where, scaling);
        return scaling;
    }

    const kernels::launch_context& k_;
    std::map<place, kernels::fp8_scaling*> scalings_;
    std::vector<kernels::fp8_scaling*> free_;  // of weights that are gone
    std::vector<use> kept_;                    // copies of scalings as they were before each use of a first time
    numbered own_, copies_;
    part times_ = part::once;
    std::size_t next_ = 0;  // of kept_, for `again`
};

}  // namespace depthgrow::cuda_detail
