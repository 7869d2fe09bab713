// What `train_smol` and `depth_study` share: the settings of a run, its resolved plan, and the run itself.
// Flags, resolution, memory and the runs on each backend have sources of their own (training_flags, training_resolve,
// ...). The loop is in training_loop.hpp, templated on the backend; this header knows neither tensors nor BLAS.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "depthgrow/growth/schedule.hpp"
#include "depthgrow/io/json.hpp"
#include "depthgrow/io/tokenizer.hpp"
#include "depthgrow/io/tokens.hpp"
#include "depthgrow/io/training_data.hpp"
#include "depthgrow/nn/description.hpp"
#include "depthgrow/nn/shape.hpp"
#include "depthgrow/optim/lr_schedule.hpp"
#include "depthgrow/tasks/primitives.hpp"
#include "support/cli.hpp"

namespace tools {

namespace dg = depthgrow;

/// Every flag of train_smol, unresolved: an empty optional takes the preset's value.
struct training_settings {
    std::string preset, config, init;
    std::optional<std::size_t> layers, width, ffn, heads, kv_heads, context, vocab;
    std::string growth = "none", rounding = "largest_remainder", optimizer_state = "copy", norm, residual_init = "auto",
                growth_plan, optimizer = "adamw";
    std::size_t block = 0, initial_layers = 0;
    double alpha = 1, plateau = 0.85;
    std::string loop, cooldown_loop;
    std::optional<std::size_t> steps, batch, micro_batch, warmup;
    std::optional<double> lr;
    double weight_decay = 0.01, clip = 1;
    std::string precision = "fp32", backend = "blas", product = "auto", tokenizer = "auto", resume, out = "runs/latest",
                json;
    std::string ranks = "1";              // processes: a number, or all GPUs
    double rank_timeout = 600;            // seconds that a rank may keep the others waiting
    std::string time_limit;               // as seconds_of reads it; empty: none
    double spike = 6, skip_outliers = 0;  // z-scores of the loss and of the gradient norm; 0: never
    std::size_t gpus = 8;                 // of --plan
    double link = 0, gpu_rate = 0;        // GB/s, tokens a second; 0: as measured on H100s
    double log_size = 64;                 // MB of log.jsonl before a new one begins; 0: never
    std::size_t eval_every = 0, save_every = 0, keep = 2, log_every = 0, eval_windows = 64, seed = 1;
    int threads = 0;
    std::vector<std::string> data;
    std::string mix, tasks;
    std::string mix_loss;  // token, source; empty: by source with answer_loss
    bool answer_loss = false, dry_run = false, quiet = false, background_save = false, deterministic = false,
         plan = false, recompute = false, init_optimizer = false;
};

/// Adds every flag, with its default in the help.
void add_training_flags(command_line& flags, training_settings& settings);
// Those among them that say what is trained and when it grows, by which growth_plan asks too.
void add_model_flags(command_line& flags, training_settings& settings);
void add_shape_flags(command_line& flags, training_settings& settings);
void add_schedule_flags(command_line& flags, training_settings& settings);

/// Settings with every default filled in and checked.
struct resolved_run {
    training_settings settings;
    dg::decoder_config model;  // at its final depth
    dg::growth_plan plan;
    dg::lr_schedule rate;
    std::size_t steps = 0, batch = 0, micro_batch = 0, length = 0;  // micro_batch: rows at a time, of each rank
    std::size_t ranks = 1;                                          // processes that share every batch
    std::optional<std::filesystem::path> from;                      // the checkpoint to go on from, once it is found
    std::vector<std::string> tasks;                                 // of the built-in corpus
    bool built_in = false;                                          // whether the built-in corpus is among the sources
    int threads = 1;
    std::string product;                                  // who multiplies, once that is settled
    std::vector<std::size_t> loop_order, cooldown_order;  // layers run, when not all once
    std::shared_ptr<const dg::tokenizer> tokenizer;       // null: bytes
    dg::json config_base = dg::json::object(),
             history = dg::json::array();                // of --init: fields of its config.json, growths it records
    std::map<std::string, std::string> tokenizer_files;  // of --init: what belongs to its tokenizer.json, by name

    /// Growths of a --growth-plan, "STEP GROWTH" a line, operators written out.
    std::string plan_lines() const;
    /// The deepest that the model gets.
    std::size_t most_layers() const;
    /// Tokens of text.
    dg::encode_function encoder() const;
    std::size_t tokens_per_step() const { return batch * length; }
    /// Layers run in a step; empty: all, once.
    const std::vector<std::size_t>& order_at(std::size_t step) const {
        return step >= static_cast<std::size_t>(rate.plateau) && !cooldown_order.empty() ? cooldown_order : loop_order;
    }
    /// How many layers a step runs.
    std::size_t layers_run(std::size_t step) const {
        return order_at(step).empty() ? plan.layers_at(step) : order_at(step).size();
    }
    /// FLOPs of the first steps, and of the whole run.
    double flops_until(std::size_t step) const;
    double flops() const { return flops_until(steps); }
    dg::model_shape shape() const { return dg::shape_of(model, length); }
    /// FLOPs of the run over those of a plain run of as many steps.
    double flops_ratio() const { return flops() / dg::training_flops(shape(), steps, tokens_per_step()); }
    /// Whether each source's mean loss counts by its share of the mix: of several sources, as --mix-loss asks.
    bool losses_by_source() const;
    /// What must be equal for a resumed run to give the same losses.
    dg::json identity() const;
};

/// The model of --preset or --config as it is stated there, other flags left aside.
dg::decoder_config stated_model(const training_settings& settings);

/// Fills in defaults and checks everything that can be checked before data is read; throws a sentence.
resolved_run resolve(const training_settings& settings);

/// What a run leaves behind, also written as run.json.
struct training_summary {
    std::size_t steps = 0, layers = 0;
    double tokens = 0, loss = 0, validation_loss = 0, flops = 0, flops_ratio = 1, seconds = 0, tokens_per_second = 0;
    std::map<std::string, double> answer_accuracy;  // task -> share of held-out answers right
    double late_overlap = 0;  // top-5 overlap of the logit lens at the last layer's input with the model's own head
    double swap_loss = 0;     // held-out loss added by exchanging the two middle blocks
    std::size_t spikes = 0, skipped_steps = 0;
    double save_seconds = 0;       // that checkpoints kept the run from its steps, beside `seconds`
    double last_save_seconds = 0;  // of the last checkpoint, which no step hides
    std::optional<double> joules;  // of the device while it trained, where its driver tells
    bool interrupted = false;
    dg::json growth = dg::json::array();
    dg::json to_json() const;
};

/// A moment at which a program looks at a run in training: its newest checkpoint, and what the run itself measured.
struct training_moment {
    std::size_t step = 0;
    std::filesystem::path checkpoint;
    dg::json held_out;  // validation_loss, loss_by_source, answer_accuracy, late_top5_overlap, swap_loss_added
    const training_summary& so_far;
    const dg::training_data& data;
};

/// How a program follows a run between its steps; as it stands, not at all.
struct training_watch {
    std::set<std::size_t> moments;                      // steps after which look() is called
    std::function<void(std::size_t)> begun;             // the step that the run begins or goes on at
    std::function<void(const training_moment&)> look;   // also where a run goes on at such a step
    std::function<bool()> stop = [] { return false; };  // true: save and end, as SIGTERM does
};

/// Trains on the backend that the settings name. Prints progress unless settings.quiet. Throws depthgrow::error with a
/// sentence on bad input.
training_summary train(const resolved_run& run, const training_watch& watch = {});
training_summary train_on_cpu(const resolved_run& run, const training_watch& watch);
training_summary train_on_cuda(const resolved_run& run, const training_watch& watch);  // in builds with CUDA

/// Bytes of memory a run takes on its backend at its largest, found by running the training code on the planning
/// backend.
std::size_t planned_memory(const resolved_run& run);

/// Stages of a run's plan, and its growths: layers, steps, floating-point operations; orders as --growth-plan has them.
dg::json stages_json(const resolved_run& run);
dg::json growths_json(const resolved_run& run);

/// Prints configuration, parameters, growth plan, FLOPs and memory (planned_memory, asked before a model is there).
void print_plan(const resolved_run& run, const dg::training_data& data, std::size_t memory);
/// The same for programs; what a finished run also says has the same keys.
dg::json plan_json(const resolved_run& run, const dg::training_data& data, std::size_t memory);
/// What --dry-run does instead of training: prints the plan unless settings.quiet, and returns it.
dg::json dry_run(const resolved_run& run);

}  // namespace tools
