// The run itself: train, grow, evaluate, save, stop cleanly. Templated on the backend, instantiated once for each.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>

#include "depthgrow/train/background_save.hpp"
#include "support/console.hpp"
#include "support/energy_meter.hpp"
#include "support/held_out_scores.hpp"
#include "support/made_by.hpp"
#include "support/product_rate.hpp"
#include "support/run_folder.hpp"
#include "support/stop_signal.hpp"
#include "support/time_limit.hpp"
#include "support/training_data.hpp"
#include "support/training_report.hpp"
#include "support/training_state.hpp"

namespace tools {

template <class T, class Backend, class Optimizer> class training_run {
public:
    training_run(Backend& backend, const resolved_run& run, dg::communicator& comm, const training_watch& watch)
        : run_(run),
          watch_(watch),
          settings_(run.settings),
          backend_(backend),
          comm_(comm),
          data_(load_data(run)),
          folder_(settings_, comm.first()),
          state_(backend, run, comm),
          held_out_(run, data_, state_),
          saver_(comm),
          limit_(seconds_of("--time-limit", settings_.time_limit)) {}

    training_summary operator()() {
        const auto& from = run_.from;
        const std::size_t memory = settings_.quiet ? 0 : planned_memory(run_);
        if (from) state_.resume(*from);
        else state_.begin();
        if (from && !settings_.quiet)
            std::printf("resuming from %s at step %zu with %zu layers\n", from->c_str(), state_.step,
                        trainer().model.layers());
        trainer().recompute(settings_.recompute);
        held_out_.open();
        dg::together(comm_, [&] { folder_.open(state_.step); });  // nothing is written before everything has been read
        if (watch_.begun) watch_.begun(state_.step);
        if (!settings_.quiet) print_plan(run_, data_, memory);
        measure_peak();
        if (!from && !settings_.init.empty()) evaluate();
        catch_stop_signals();
        if (from) look();
        loop();
        finish();
        return so_far();
    }

private:
    static constexpr bool on_gpu = requires(Backend & backend) { backend.memory(); };

    dg::trainer<T, Backend, Optimizer>& trainer() { return state_.trainer(); }
    training_summary& so_far() { return state_.so_far; }

    /// Takes the product of this model's largest shape, no side below 512, where small ones are slow.
    void measure_peak() {
        const std::size_t least = 512, rows = std::max(least, run_.micro_batch * run_.length),
                          in = std::max(least, run_.model.width), out = std::max(least, 2 * run_.model.ffn);
        peak_flops_ = product_rate<T>(backend_, rows, out, in);
        if (!settings_.quiet)
            std::printf(
                "peak       %sFLOP/s, the backend's product%s of %zu x %zu x %zu, measured now; share = training FLOPs "
                "over it, or over the best line so far\n\n",
                human(peak_flops_).c_str(), run_.product.empty() ? "" : (" (" + run_.product + ")").c_str(), rows, out,
                in);
    }

    void loop() {
        progress_bar bar(run_.steps);
        auto& step = state_.step;
        first_step_ = step;
        energy_.begin(step == 0 ? 0.0 : so_far().joules);
        if (!settings_.quiet && step < run_.steps)
            std::printf("%8s %6s %8s %8s %9s %8s %9s %6s %7s\n", "step", "layers", "loss", "norm", "rate", "tok/s",
                        "GFLOP/s", "share", "left");
        dg::token_batch batch, ahead;
        std::size_t sampled = run_.steps + 1;  // the step whose batch is at hand
        stopwatch whole;
        while (step < run_.steps && !agreed_to_stop()) {
            const stopwatch all_of_it;
            for (const std::size_t now = run_.plan.stage_at(step); state_.stage < now;)
                grow_to(run_.plan.stages[++state_.stage], bar);
            follow_order(bar);
            stopwatch watch;
            if (sampled != step) data_.sample(step, run_.batch, batch);
            take_step(batch, [&] { data_.sample(sampled = step + 1, run_.batch, ahead); });
            std::swap(batch, ahead);
            so_far().seconds += watch.seconds(), line_.seconds += watch.seconds();
            report_step(bar, whole.seconds());
            watch_for_outliers(batch, bar);
            const bool stage_ends = step < run_.steps && run_.plan.stage_at(step) != state_.stage;
            const bool evaluates = step % settings_.eval_every == 0 || step == run_.steps;
            const bool looked_at = watch_.moments.count(step) > 0;
            if (evaluates || looked_at) so_far().joules = energy_.pause();
            if (evaluates) bar.clear(), evaluate();
            limit_.took_step(all_of_it.seconds());  // growth before it and evaluation after it included
            if (saver_.busy()) note_save(saver_.poll());
            if (step == run_.steps || stage_ends || looked_at ||
                (settings_.save_every && step % settings_.save_every == 0) ||
                (!save_problem_.empty() && !saver_.busy() && step % settings_.log_every == 0))
                save();
            if (looked_at) bar.clear(), look();
            energy_.resume();
        }
        bar.clear();
        if (step < run_.steps) {
            so_far().joules = energy_.pause();
            save();
            so_far().interrupted = true;
            if (!settings_.quiet)
                std::printf("%sstopped at step %zu; go on with --resume auto --out %s\n",
                            limit_.reached() ? "the time is over: " : "", step, settings_.out.c_str());
        }
    }

    /// Whether any rank was asked to stop, or has no time left.
    bool agreed_to_stop() {
        double asked = stop_requested || watch_.stop() || limit_.reached() ? 1 : 0;
        comm_.sum({&asked, 1});
        return asked > 0;
    }

    /// Shows the watcher the run at a step that it asked for; its checkpoint is the newest.
    void look() {
        if (!watch_.moments.count(state_.step)) return;
        if (saver_.busy()) note_save(saver_.wait());
        watch_.look({state_.step, folder_.checkpoint(state_.step), held_out_.all_now(), so_far(), data_});
    }

    /// One optimiser step on a batch; meanwhile() is called while a device computes.
    template <class Meanwhile> void take_step(dg::token_batch& batch, const Meanwhile& meanwhile) {
        batch.split(inputs_, targets_);
        const dg::training_batch prepared{inputs_, targets_, batch.weights, batch.rows};
        rate_ = run_.rate(static_cast<std::int64_t>(state_.step));
        trainer().skip_above(state_.outliers.norm_limit());
        trainer().start(prepared, run_.micro_batch, rate_);
        meanwhile();
        result_ = trainer().finish();
        if (!std::isfinite(result_.loss) || !std::isfinite(result_.gradient_norm)) diverged(prepared, result_);
        const double flops = dg::step_flops(run_.shape(), run_.layers_run(state_.step), run_.tokens_per_step());
        ++state_.step;
        so_far().loss = result_.loss;
        so_far().flops += flops, line_.flops += flops;
        so_far().tokens += static_cast<double>(run_.tokens_per_step());
        line_.loss += result_.loss, ++line_.steps;
        loss_by_source_ = source_losses(batch);
    }

    /// The step's mean loss of each source that it had tokens of; nothing where there is one source.
    dg::json source_losses(const dg::token_batch& batch) {
        dg::json out = dg::json::object();
        if (data_.sources() < 2) return out;
        const auto losses = trainer().last_losses();
        const auto weights = batch.sums_by_source(data_.sources(), [](std::size_t) { return 1.0; });
        const auto own = trainer().own_rows(batch.rows);
        const std::size_t first = own.first * batch.length, end = first + own.count * batch.length;
        auto sums = batch.sums_by_source(data_.sources(), [&](std::size_t i) {
            return i < first || i >= end || batch.weights[i] == 0 ? 0.0 : static_cast<double>(losses[i - first]);
        });
        comm_.sum(sums);
        for (std::size_t s = 0; s < weights.size(); ++s)
            if (weights[s] > 0) out[data_.name(s)] = sums[s] / weights[s];
        return out;
    }

    /// The step in the log, and now and then a line of what came since the last one. `seconds`: of all steps here.
    void report_step(progress_bar& bar, double seconds) {
        const std::size_t step = state_.step, layers = trainer().model.layers();
        dg::json entry = {{"step", step},         {"layers", layers},
                          {"loss", result_.loss}, {"gradient_norm", result_.gradient_norm},
                          {"lr", rate_},          {"seconds", so_far().seconds}};
        if (!loss_by_source_.empty()) entry["loss_by_source"] = loss_by_source_;
        folder_.log(entry);
        const double left = seconds / static_cast<double>(step - first_step_) * static_cast<double>(run_.steps - step);
        bar.update(step, format("loss %.3f  %s left", result_.loss, duration(left).c_str()));
        if (step % settings_.log_every != 0 && step != run_.steps) return;
        bar.clear();
        const double speed = line_.flops / line_.seconds, steps = static_cast<double>(line_.steps);
        peak_flops_ = std::max(peak_flops_, speed);
        if (!settings_.quiet)
            std::printf("%8zu %6zu %8.4f %8.3f %9.2e %8s %9.1f %5.0f%% %7s\n", step, layers, line_.loss / steps,
                        result_.gradient_norm, rate_,
                        human(steps * static_cast<double>(run_.tokens_per_step()) / line_.seconds).c_str(),
                        speed * 1e-9, 100 * speed / peak_flops_, duration(left).c_str()),
                std::fflush(stdout);
        line_ = {};
    }

    /// Tells of a step that stands out from those before, with what it was trained on.
    void watch_for_outliers(const dg::token_batch& batch, progress_bar& bar) {
        const auto scores = state_.outliers.add(result_.loss, result_.gradient_norm);
        so_far().spikes += scores.spike, so_far().skipped_steps += result_.skipped;
        if (!scores.spike && !result_.skipped) return;
        folder_.log({{"outlier",
                      {{"step", state_.step},
                       {"loss", result_.loss},
                       {"loss_z_score", scores.loss},
                       {"gradient_norm", result_.gradient_norm},
                       {"gradient_norm_z_score", scores.gradient_norm},
                       {"skipped", result_.skipped},
                       {"data_position", (state_.step - 1) * run_.batch},
                       {"sequences", worst_sequences(batch)}}}});
        bar.clear();
        if (!settings_.quiet)
            std::printf("  outlier at step %zu: loss %.4f (%+.1f standard deviations), gradient norm %.3f (%+.1f)%s\n",
                        state_.step, result_.loss, scores.loss, result_.gradient_norm, scores.gradient_norm,
                        result_.skipped ? ": left out" : "");
    }

    /// The three sequences of the last step with the highest mean loss: their rows, sources and losses.
    dg::json worst_sequences(const dg::token_batch& batch) {
        const auto losses = trainer().last_losses();
        const auto own = trainer().own_rows(batch.rows);
        std::vector<double> means(batch.rows, 0.0);
        for (std::size_t row = own.first; row < own.first + own.count; ++row) {
            double sum = 0, weight = 0;
            for (std::size_t t = 0; t < batch.length; ++t) {
                const double w = batch.weights[row * batch.length + t];
                if (w == 0) continue;
                sum += w * static_cast<double>(losses[(row - own.first) * batch.length + t]), weight += w;
            }
            if (weight > 0) means[row] = sum / weight;
        }
        comm_.sum(means);
        std::vector<std::size_t> rows(batch.rows);
        std::iota(rows.begin(), rows.end(), std::size_t{0});
        const auto count = static_cast<std::ptrdiff_t>(std::min<std::size_t>(3, rows.size()));
        std::partial_sort(rows.begin(), rows.begin() + count, rows.end(),
                          [&](std::size_t a, std::size_t b) { return means[a] > means[b]; });
        dg::json out = dg::json::array();
        for (std::ptrdiff_t i = 0; i < count; ++i) {
            const std::size_t row = rows[static_cast<std::size_t>(i)];
            out.push_back({{"row", row}, {"source", data_.name(batch.sources[row])}, {"loss", means[row]}});
        }
        return out;
    }

    /// Lets the trainer run the layers that this step's order names.
    void follow_order(progress_bar& bar) {
        const auto& order = run_.order_at(state_.step);
        if (trainer().run_order() == order) return;
        const double before = held_out_.loss();
        trainer().run_order(order);
        state_.outliers.restart();
        bar.clear();
        if (!settings_.quiet)
            std::printf("  from step %zu on %zu layers run, %zu of their own; held-out loss %.4f -> %.4f\n",
                        state_.step, order.size(), trainer().model.layers(), before, held_out_.loss());
    }

    void grow_to(const dg::growth_stage& stage, progress_bar& bar) {
        const double before = held_out_.loss();
        const std::size_t old_layers = trainer().model.layers();
        dg::growth how = stage.applied();
        if (settings_.optimizer_state == "zero") how.state = dg::state_policy::zero;
        stopwatch watch;
        trainer().grow(how);
        state_.outliers.restart();
        const double seconds = watch.seconds(), after = held_out_.loss();
        bar.clear();
        if (!settings_.quiet)
            std::printf("  grow at step %zu: %zu -> %zu layers by %s: %s; held-out loss %.4f -> %.4f\n", state_.step,
                        old_layers, stage.layers, settings_.growth.c_str(), how.to_string().c_str(), before, after);
        dg::json entry = dg::growth_entry(how, state_.step);
        so_far().growth.push_back(entry);
        entry["layers"] = stage.layers, entry["loss_before"] = before, entry["loss_after"] = after,
        entry["seconds"] = seconds;
        folder_.log({{"growth", entry}});
    }

    [[noreturn]] void diverged(const dg::training_batch& batch, const dg::step_result& result) {
        if (saver_.busy()) note_save(saver_.wait());  // what is on its way is still good
        const std::string bad = trainer().first_bad_tensor(batch, run_.micro_batch);
        const auto aside = folder_.path() / "diverged";
        state_.write(aside);
        dg::fail("the loss is not finite at step ", state_.step + 1, " (loss ", result.loss, ", gradient norm ",
                 result.gradient_norm, "): first bad tensor: ", bad, "; the state before that step is in ",
                 aside.string());
    }

    /// Saves the run; one that fails is told and tried again, and ends the run only where it is over.
    void save() {
        const bool last = state_.step == run_.steps || agreed_to_stop();
        const stopwatch watch;
        if (saved_at_ != state_.step) write();
        if (last && saver_.busy()) note_save(saver_.wait());
        (last ? so_far().last_save_seconds : so_far().save_seconds) += watch.seconds();
        dg::require(!last || save_problem_.empty(), "the run's last checkpoint could not be written: ", save_problem_);
    }
    void write() {
        folder_.write_waiting_lines();
        const auto target = folder_.checkpoint(state_.step);
        const auto publish = [this, step = state_.step] { folder_.publish(step); };
        if (saver_.busy()) note_save(saver_.wait());  // its failure is no reason not to begin
        save_began_ = {}, saved_at_ = saving_ = state_.step;
        so_far().joules = energy_.pause();
        if (on_gpu || settings_.background_save) {
            const auto problem = saver_.begin(target, trainer(), state_.files(), publish);
            if (!problem.empty()) note_save(problem);
            return;
        }
        try {
            state_.write(target);
            dg::together(comm_, [&] {
                if (comm_.first()) publish();
            });
            note_save({});
        } catch (const dg::lost_ranks&) { throw; } catch (const std::exception& problem) {
            note_save(problem.what());
        }
    }
    /// Notes how a save goes: why it has failed; else, where none is on its way any more, that it went well.
    void note_save(const std::string& problem) {
        if (problem.empty() && saver_.busy()) return;
        const bool new_problem = !problem.empty() && save_problem_.empty();
        save_problem_ = problem;
        if (problem.empty()) limit_.took_save(save_began_.seconds());
        else saved_at_ = never;
        if (new_problem && comm_.first())
            std::fprintf(stderr, "warning: no checkpoint at step %zu: %s; the run goes on and tries again\n", saving_,
                         problem.c_str());
    }

    void evaluate() {
        held_out_.score();
        double mean = 0;
        for (const auto& [task, share] : so_far().answer_accuracy)
            mean += share / static_cast<double>(so_far().answer_accuracy.size());
        dg::json line = {{"step", state_.step}, {"validation_loss", so_far().validation_loss}};
        if (held_out_.has_questions()) line["answer_accuracy"] = so_far().answer_accuracy;
        folder_.log(line);
        if (!settings_.quiet)
            std::printf("  held-out at step %zu: loss %.4f%s\n", state_.step, so_far().validation_loss,
                        held_out_.has_questions() ? format(", answers right %.3f", mean).c_str() : ""),
                std::fflush(stdout);
    }

    void finish() {
        auto& s = so_far();
        s.steps = state_.step;
        s.layers = trainer().model.layers();
        s.flops_ratio = run_.flops_ratio();
        s.tokens_per_second = s.seconds > 0 ? s.tokens / s.seconds : 0;
        if (!s.interrupted) {
            held_out_.score_depth();
            folder_.log({{"done", s.to_json()}});
        }
        dg::together(comm_, [&] { folder_.require_logged(); });
        if (s.interrupted) return;
        if (!comm_.first()) return;
        dg::write_file(folder_.path() / "run.json",
                       dg::json_text({{"settings", run_.identity()}, {"result", s.to_json()}}, 2));
        write_training_report(folder_.path(), run_, s);
        if (settings_.quiet) return;
        if constexpr (requires { backend_.memory(); })
            std::printf("\ndevice     %sB in use, libraries and other programs included\n",
                        human(static_cast<double>(backend_.memory().first)).c_str());
        std::printf(
            "\ndone: %zu layers, %.3f of a plain run's FLOPs, held-out loss %.4f, top-5 overlap at the last layer's "
            "input %.3f, swapping the middle blocks adds %.4f\n",
            s.layers, s.flops_ratio, s.validation_loss, s.late_overlap, s.swap_loss);
        std::printf("page: %s\n", (folder_.path() / "report.html").c_str());
    }

    static constexpr std::size_t never = static_cast<std::size_t>(-1);

    const resolved_run& run_;
    const training_watch& watch_;
    const training_settings& settings_;
    Backend& backend_;
    dg::communicator& comm_;
    dg::training_data data_;
    run_folder folder_;
    training_state<T, Backend, Optimizer> state_;
    held_out_scores<T, Backend, Optimizer> held_out_;
    dg::background_save<dg::wide_t<T>> saver_;
    std::string save_problem_;  // of the last save, where it failed
    double peak_flops_ = 1;
    std::size_t first_step_ = 0, saved_at_ = never, saving_ = 0;
    std::vector<dg::token> inputs_, targets_;  // of the last step
    dg::step_result result_;
    time_limit limit_;
    stopwatch save_began_;
    energy_meter energy_{comm_.size() > 1 ? "" : device_bus_id(settings_.backend)};
    double rate_ = 0;
    dg::json loss_by_source_;  // of the last step
    struct {
        std::size_t steps = 0;
        double loss = 0, seconds = 0, flops = 0;
    } line_;  // what the next line of progress sums up
};

}  // namespace tools
