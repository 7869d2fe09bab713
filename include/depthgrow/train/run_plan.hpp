// A whole run in one call, for programs that want no loop of their own: train, grow, evaluate, save.
// Assumes data that gives the batch of a step by its number, so that a run that goes on needs no more than its step.
// Growth: Kapl et al. 2025, section 3: the step count, the learning rate and the data go on.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <functional>

#include "depthgrow/growth/schedule.hpp"
#include "depthgrow/io/training_data.hpp"
#include "depthgrow/optim/lr_schedule.hpp"
#include "depthgrow/train/run_directory.hpp"

namespace depthgrow {

/// What a run tells of itself, in the order in which it happens.
struct run_event {
    enum class kind { trained, grown, evaluated, saved };
    kind what = kind::trained;
    std::size_t step = 0;    // steps done
    std::size_t layers = 0;  // of the model now
    double loss = 0;         // nats per token: of the step, or held out
    double rate = 0;         // learning rate of the step
    growth how = {};         // of `grown`
};

/// One line an event; of the steps only every hundredth.
inline void print_event(const run_event& event) {
    switch (event.what) {
        case run_event::kind::trained:
            if (event.step % 100 == 0) std::printf("step %6zu: loss %.4f\n", event.step, event.loss);
            break;
        case run_event::kind::grown:
            std::printf("step %6zu: grown to %zu layers, %s\n", event.step, event.layers,
                        event.how.to_string().c_str());
            break;
        case run_event::kind::evaluated:
            std::printf("step %6zu: held-out loss %.4f\n", event.step, event.loss);
            break;
        case run_event::kind::saved:
            std::printf("step %6zu: saved\n", event.step);
            break;
    }
}

/// How `run_plan` trains.
struct run_options {
    lr_schedule rate = {};
    std::size_t batch = 8;           ///< sequences of an optimiser step
    std::size_t micro = 0;           ///< sequences that pass the model together; 0: all of the batch
    std::size_t held_out = 32;       ///< rows of each source that the held-out loss is of
    std::size_t evaluate_every = 0;  ///< steps; 0: at the end alone
    std::size_t save_every = 0;      ///< steps; 0: at the end alone
    std::filesystem::path out = {};  ///< the run's directory, replaced at each save; empty: nothing is written
    run_files files = {};            ///< what goes into it beside model and optimiser
    std::function<void(const run_event&)> report = print_event;
};

/// The mean held-out loss over the sources, nats per token, each of `rows` rows.
template <class T, class Backend, class Optimizer>
double held_out_loss(trainer<T, Backend, Optimizer>& run, const training_data& data, std::size_t rows,
                     std::size_t micro = 0) {
    double sum = 0;
    token_batch batch;
    for (std::size_t source = 0; source < data.sources(); ++source) {
        data.held_out(source, 0, rows, batch);
        sum += run.loss(batch, micro);
    }
    return sum / static_cast<double>(data.sources());
}

/// Trains `run` from the step it is at to the end of the plan: growths come before the first step of their stage.
/// Returns the held-out loss at the end. A trainer that `resume_run` has filled goes on exactly. Throws where the
/// trainer's depth is not the plan's at that step, and at a loss that is not finite, whose step changes nothing.
template <class T, class Backend, class Optimizer>
double run_plan(trainer<T, Backend, Optimizer>& run, const growth_plan& plan, const training_data& data,
                const run_options& options) {
    const std::size_t first = run.steps(), total = plan.total_steps();
    const std::size_t micro = options.micro ? options.micro : options.batch;
    require(first <= total, "[run_plan] expected a trainer of at most ", total, " steps, got one of ", first);
    const auto report = [&](run_event event) {
        event.step = run.steps(), event.layers = run.model.layers();
        if (options.report) options.report(event);
    };
    const auto due = [&](std::size_t every) { return run.steps() == total || (every && run.steps() % every == 0); };
    double held_out = 0;
    token_batch rows;
    for (std::size_t step = first; step < total; ++step) {
        if (const auto how = plan.growth_before(step)) {
            run.grow(*how);
            report({run_event::kind::grown, 0, 0, 0, 0, *how});
        }
        require(run.model.layers() == plan.layers_at(step), "[run_plan] expected a trainer of ", plan.layers_at(step),
                " layers at step ", step, " of the plan, got one of ", run.model.layers());
        data.sample(step, options.batch, rows);
        const double rate = options.rate(static_cast<std::int64_t>(step));
        const step_result result = run.step(rows, rate, micro);
        require(std::isfinite(result.loss) && std::isfinite(result.gradient_norm),
                "[run_plan] expected a finite loss and gradient at step ", step + 1, ", got ", result.loss, " and ",
                result.gradient_norm);
        report({run_event::kind::trained, 0, 0, result.loss, rate});
        if (due(options.evaluate_every)) {
            held_out = held_out_loss(run, data, options.held_out, micro);
            report({run_event::kind::evaluated, 0, 0, held_out, rate});
        }
        if (!options.out.empty() && due(options.save_every)) {
            save_run(options.out, run, options.files);
            report({run_event::kind::saved});
        }
    }
    return first == total ? held_out_loss(run, data, options.held_out, micro) : held_out;
}

}  // namespace depthgrow
