// What a run is between two steps: the model with its moments, the step, and the counts so far.
// Begun from nothing or from --init, read from a checkpoint of the run, written as one.
// Every random choice is a function of (seed, step), so a checkpoint needs no generator state.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "depthgrow/io/byte_tokenizer.hpp"
#include "depthgrow/io/growth_record.hpp"
#include "depthgrow/io/model_checkpoint.hpp"
#include "depthgrow/train/run_directory.hpp"
#include "depthgrow/train/trainer.hpp"
#include "support/finite.hpp"
#include "support/outlier_watch.hpp"
#include "support/training.hpp"

namespace tools {

template <class T, class Backend, class Optimizer> class training_state {
public:
    using trainer_type = dg::trainer<T, Backend, Optimizer>;
    training_state(Backend& backend, const resolved_run& run, dg::communicator& comm)
        : outliers(run.settings.spike, run.settings.skip_outliers), backend_(backend), run_(run), comm_(comm) {}

    /// Fresh weights, or those of --init (and its moments if asked for): a run of its own from step 0 on.
    void begin() {
        const auto& s = run_.settings;
        if (s.init.empty()) {
            trainer_.emplace(backend_, run_.model.with_depth(run_.plan.stages.front().layers), s.seed,
                             run_.loop_order.empty() ? run_.model.layers : run_.loop_order.size(), constants(), comm_);
            return;
        }
        const std::filesystem::path from = s.init;
        load(dg::checkpoint_reader(from));
        if (s.init_optimizer)
            dg::read_optimizer(from / "optimizer.safetensors", trainer_->model.config(), trainer_->optimizer,
                               dg::sharding(comm_));
        trainer_->run_order(run_.order_at(0));
        so_far.growth = run_.history;
    }

    /// Goes on from a checkpoint; refuses one of other settings.
    void resume(const std::filesystem::path& from) {
        const auto file = from / "trainer_state.json";
        const auto state = dg::read_json_file(file);
        const dg::json_fields fields(state, file.string());
        // another program's run (dg::save_run) tells no settings; its model and its growths must be those of this one
        const dg::json now = state.contains("settings") ? run_.identity() : dg::json::object();
        const dg::json was = state.contains("settings") ? fields.object("settings") : dg::json::object();
        refuse_other_settings(file.string(), was, now, state.value("ranks", std::size_t{1}) == run_.ranks);
        load(dg::checkpoint_reader(from));
        dg::read_optimizer(from / "optimizer.safetensors", trainer_->model.config(), trainer_->optimizer,
                           dg::sharding(comm_));
        dg::restore_scales(state, file.string(), *trainer_);
        step = static_cast<std::size_t>(fields.count("step"));
        trainer_->run_order(run_.order_at(step > 0 ? step - 1 : 0));
        so_far.tokens = state.contains("tokens") ? fields.number("tokens") : 0;
        so_far.loss = state.contains("loss") ? fields.number("loss") : 0;
        so_far.flops = state.contains("flops") ? fields.number("flops") : 0;
        so_far.seconds = state.contains("seconds") ? fields.number("seconds") : 0;
        if (state.contains("joules")) so_far.joules = fields.number("joules");
        so_far.spikes = state.value("loss_spikes", std::size_t{0});
        so_far.skipped_steps = state.value("skipped_steps", std::size_t{0});
        if (const std::string label = file.string() + ", recent"; state.contains("recent"))
            outliers.restore({fields.object("recent"), label});
        so_far.growth = state.value("growth", dg::json::array());
        stage = stage_reached(file.string());
    }

    /// A checkpoint: a whole directory or none.
    void write(const std::filesystem::path& target) { dg::save_run(target, *trainer_, files()); }
    /// What belongs into it beside the numbers.
    dg::run_files files() const {
        dg::run_files files;
        files.config = run_.config_base;
        files.growth = so_far.growth;
        files.state = {{"stage", step < run_.steps ? run_.plan.stage_at(step) : run_.plan.stages.size() - 1},
                       {"step", step},
                       {"tokens", so_far.tokens},
                       {"loss", so_far.loss},
                       {"flops", so_far.flops},
                       {"seconds", so_far.seconds},
                       {"data_position", step * run_.batch},
                       {"random_state", {{"seed", run_.settings.seed}, {"step", step}}},
                       {"product", run_.product},
                       {"ranks", run_.ranks},
                       {"recent", outliers.state()},
                       {"loss_spikes", so_far.spikes},
                       {"skipped_steps", so_far.skipped_steps},
                       {"settings", run_.identity()}};
        if (so_far.joules) files.state["joules"] = *so_far.joules;
        files.more = [&run = run_](const std::filesystem::path& folder) {
            if (run.tokenizer) dg::write_tokenizer(folder, *run.tokenizer);
            else dg::write_byte_tokenizer(folder);
            for (const auto& [name, content] : run.tokenizer_files) dg::write_file(folder / name, content);
        };
        return files;
    }

    /// There once the run has begun or been resumed.
    trainer_type& trainer() { return *trainer_; }

    outlier_watch outliers;
    std::size_t step = 0;   // steps done
    std::size_t stage = 0;  // of the growth plan, that the model is in
    training_summary so_far;

private:
    /// One sentence with the settings that differ, three of them at most; `micro_batch` counts with as many ranks only.
    void refuse_other_settings(const std::string& file, const dg::json& was, const dg::json& now, bool as_many) const {
        std::vector<std::string> others;
        const auto differs = [&](const std::string& key, const std::string& asked) {
            others.push_back(key + " " + (was.contains(key) ? was[key].dump() : "missing") + " where it asks for " +
                             asked);
        };
        for (const char* key :
             {"optimizer", "growth_plan", "mix_loss", "skip_outliers", "residual_init"})  // recorded unless as usual
            if (was.contains(key) && !now.contains(key)) differs(key, "none");
        for (const auto& [key, value] : now.items())
            if ((key != "micro_batch" || as_many) && (!was.contains(key) || was[key] != value))
                differs(key, value.dump());
        if (others.empty()) return;
        std::string told = others[0];
        for (std::size_t i = 1; i < std::min<std::size_t>(3, others.size()); ++i) told += ", " + others[i];
        if (others.size() > 3) told += ", and " + std::to_string(others.size() - 3) + " more";
        const auto& s = run_.settings;
        const bool no_model =
            s.preset.empty() && s.config.empty() && was.value("width", dg::json()) != now.value("width", dg::json());
        dg::fail(file, ": expected the settings of this run, found ", told,
                 no_model ? "; give the --preset or --config that it began with" : "");
    }

    typename Optimizer::constants_type constants() const {
        typename Optimizer::constants_type out;
        out.decay = run_.settings.weight_decay, out.clip = run_.settings.clip;
        return out;
    }
    /// The stage that the model is in: as many growths as are recorded, of a plan by an operator the one of its depth.
    std::size_t stage_reached(const std::string& label) const {
        const auto& stages = run_.plan.stages;
        const std::size_t depth = trainer_->model.layers();
        std::size_t reached = 0;
        if (run_.settings.growth_plan.empty()) {
            while (reached + 1 < stages.size() && stages[reached].layers < depth) ++reached;
            return reached;
        }
        reached = so_far.growth.size() - std::min(so_far.growth.size(), run_.history.size());
        dg::require(reached < stages.size() && stages[reached].layers == depth, label,
                    ": expected a model in a stage of --growth-plan, found one of ", depth, " layers after ", reached,
                    " growths of the run");
        return reached;
    }
    /// A trainer with the weights of a checkpoint, which is this run's model at some depth.
    void load(const dg::checkpoint_reader& checkpoint) {
        auto expected = run_.model.with_depth(checkpoint.config().layers);
        expected.kinds = checkpoint.config().kinds;  // which growth has carried along
        dg::require_model(checkpoint, expected, "as this run's model has it");
        trainer_.emplace(backend_, expected, constants(), comm_);
        dg::read_model(checkpoint, trainer_->model);
        require_finite(trainer_->model, checkpoint);
        if constexpr (trainer_type::mixed) dg::read_model(checkpoint, expected, trainer_->master, dg::sharding(comm_));
    }

    Backend& backend_;
    const resolved_run& run_;
    dg::communicator& comm_;
    std::optional<trainer_type> trainer_;
};

}  // namespace tools
