// The learning rate over global steps: linear warm-up, plateau, then rate * (1 - sqrt((s - s0) / n)).
// Assumes steps counted from 0; growth never resets it.
// Source: Hägele et al. 2024; Kapl et al. 2025, Appendix A.
#pragma once

#include <cmath>
#include <cstdint>

#include "depthgrow/core/error.hpp"

namespace depthgrow {

struct lr_schedule {
    double peak = 3e-3;
    std::int64_t warmup = 0;   // steps of linear warm-up
    std::int64_t plateau = 0;  // step at which the decay starts
    std::int64_t total = 0;    // steps in all

    /// Learning rate of step `step` (0-based). The first warm-up step already moves: peak / warmup.
    double operator()(std::int64_t step) const {
        if (step < warmup) return peak * static_cast<double>(step + 1) / static_cast<double>(warmup);
        if (step < plateau || total <= plateau) return peak;
        const double done = static_cast<double>(step - plateau) / static_cast<double>(total - plateau);
        return peak * (1.0 - std::sqrt(done < 1.0 ? done : 1.0));
    }
};

}  // namespace depthgrow
