// Steps whose loss or gradient norm stands far above those of the steps before: told, and left out where that is asked.
// Assumes every step of a run in order; growth begins afresh, since it moves both.
// Z-scores over the last 128 steps: depthgrow/train/outliers.hpp, with its source.
#pragma once

#include <cstddef>

#include "depthgrow/io/json.hpp"
#include "depthgrow/train/outliers.hpp"

namespace tools {

namespace dg = depthgrow;

class outlier_watch {
public:
    /// Loss z-scores from which a step is a spike, gradient norms' from which it is left out; 0: never.
    outlier_watch(double spike_from, double skip_from) : spike_from_(spike_from), skip_from_(skip_from) {}

    /// The gradient norm above which the coming step is to change nothing; 0: none.
    double norm_limit() const { return skip_from_ > 0 ? norms_.at_z_score(skip_from_) : 0; }

    struct scores {
        double loss = 0, gradient_norm = 0;  // standard deviations above the mean of the steps before
        bool spike = false;
    };
    /// A step's scores; the steps to come are compared with it too.
    scores add(double loss, double gradient_norm) {
        scores out{losses_.z_score(loss), norms_.z_score(gradient_norm), false};
        out.spike = spike_from_ > 0 && out.loss >= spike_from_;
        losses_.add(loss), norms_.add(gradient_norm);
        return out;
    }
    void restart() { losses_.clear(), norms_.clear(); }

    /// What a checkpoint keeps of it.
    dg::json state() const { return {{"losses", losses_.numbers()}, {"gradient_norms", norms_.numbers()}}; }
    void restore(const dg::json_fields& state) {
        losses_.restore(state.numbers("losses")), norms_.restore(state.numbers("gradient_norms"));
    }

private:
    double spike_from_, skip_from_;
    dg::recent_numbers losses_, norms_;
};

}  // namespace tools
