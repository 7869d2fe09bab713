// What a run measures of itself on held-out tokens: loss, answers, what its depth is worth.
// Each is measured once a step; the numbers go into the run's summary.
#pragma once

#include <algorithm>
#include <vector>

#include "depthgrow/growth/operators.hpp"
#include "support/held_out.hpp"
#include "support/training_data.hpp"
#include "support/training_state.hpp"

namespace tools {

template <class T, class Backend, class Optimizer> class held_out_scores {
public:
    held_out_scores(const resolved_run& run, const dg::training_data& data,
                    training_state<T, Backend, Optimizer>& state)
        : run_(run), data_(data), state_(state) {}

    /// Takes windows and questions from the data, before anything is measured.
    void open() {
        windows_ = make_windows(run_, data_);
        questions_ = make_question_sets(run_);
    }
    bool has_questions() const { return !questions_.empty(); }

    /// The loss now, of layers in another order if one is given.
    double loss(dg::span<const std::size_t> order = {}) {
        return trainer().loss({windows_.inputs, windows_.targets, windows_.weights, windows_.windows}, run_.micro_batch,
                              order);
    }

    /// Loss and answers, once a step.
    void score() {
        if (scored_at_ == state_.step) return;
        state_.so_far.validation_loss = loss();
        for (const auto& set : questions_)
            state_.so_far.answer_accuracy[set.task] = accuracy(trainer(), set, run_.micro_batch * run_.length);
        scored_at_ = state_.step;
    }

    /// What exchanging the middle blocks costs, and how much of the output the last layer still decides, with
    /// what `score` measures; once a step.
    void score_depth() {
        auto& s = state_.so_far;
        if (depth_scored_at_ == state_.step) return;
        score();
        const dg::layer_order all(layers_now(trainer()), trainer().model.layers());
        const std::size_t depth = all.size(), block = std::min(run_.settings.block, depth / 2);
        if (block > 0)
            s.swap_loss =
                loss(dg::compose(dg::swap_blocks(depth, depth / 2 - block, block), all).sources()) - s.validation_loss;
        s.late_overlap = late_overlap(trainer(), windows_);
        depth_scored_at_ = state_.step;
    }

    /// Everything that the run itself measures on held-out tokens, now.
    dg::json all_now() {
        score_depth();
        const auto& s = state_.so_far;
        dg::json out = {{"validation_loss", s.validation_loss},
                        {"answer_accuracy", s.answer_accuracy},
                        {"late_top5_overlap", s.late_overlap},
                        {"swap_loss_added", s.swap_loss}};
        std::size_t first = 0;
        for (std::size_t source = 0; source < windows_.of_source.size(); ++source) {
            const std::size_t count = windows_.of_source[source], from = first * run_.length,
                              size = count * run_.length;
            first += count;
            const auto part = [&](const auto& all) { return dg::span(all.data() + from, size); };
            out["loss_by_source"][data_.name(source)] =
                trainer().loss({part(windows_.inputs), part(windows_.targets), part(windows_.weights), count},
                               std::min(count, run_.micro_batch));
        }
        return out;
    }

private:
    static constexpr std::size_t never = static_cast<std::size_t>(-1);
    dg::trainer<T, Backend, Optimizer>& trainer() { return state_.trainer(); }

    const resolved_run& run_;
    const dg::training_data& data_;
    training_state<T, Backend, Optimizer>& state_;
    held_out_windows windows_;
    std::vector<question_set> questions_;
    std::size_t scored_at_ = never, depth_scored_at_ = never;
};

}  // namespace tools
