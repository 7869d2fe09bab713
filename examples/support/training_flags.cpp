#include "depthgrow/growth/operators.hpp"
#include "depthgrow/optim/optimizer.hpp"
#include "support/cpu_backend.hpp"
#include "support/training.hpp"

namespace tools {

void add_model_flags(command_line& f, training_settings& s) {
    f.add("--preset", s.preset,
          "Model shape: tiny, small, mini, smollm-135m, smollm-360m or smollm-1.7b (default: small)");
    f.add("--config", s.config, "A Hugging Face config.json instead of a preset");
}

void add_shape_flags(command_line& f, training_settings& s) {
    f.add("--layers", s.layers, "Final number of layers");
    f.add("--width", s.width, "Width of the residual stream");
    f.add("--ffn", s.ffn, "Width of the MLP");
    f.add("--heads", s.heads, "Attention heads");
    f.add("--kv-heads", s.kv_heads, "Key-value heads");
    f.add("--context", s.context, "Tokens in a sequence (default: the model's)");
    f.add("--vocab", s.vocab, "Vocabulary");
}

void add_schedule_flags(command_line& f, training_settings& s) {
    auto growths = depthgrow::operator_names(true);
    growths.insert(growths.begin(), "none");
    f.add_choice("--growth", s.growth, growths, "Operator that deepens the model while it trains");
    f.add("--block", s.block, "Layers added at a growth (0: the preset's)");
    f.add("--initial-layers", s.initial_layers,
          "Layers to start with (0: one block, or those of the checkpoint it starts from)");
    f.add("--growth-plan", s.growth_plan,
          "A file in place of --growth: a line STEP GROWTH for each, GROWTH as in \"lidas block=2\", \"0 1 1 2\" or "
          "\"0 0.5*0+0.5*1 1 init=copy state=zero\"; init= and state= as "
          "grow_checkpoint has --init and --optimizer-state, seed= for draws; # comments");
    f.add("--alpha", s.alpha, "Stage lengths go as i^alpha (PROP-alpha)");
    f.add_choice("--rounding", s.rounding, {"largest_remainder", "floor"},
                 "Rounding of stage lengths; floor is the paper's Table 7");
    f.add("--plateau", s.plateau, "Share of the steps after which growth has ended and the cooldown starts");
}

void add_training_flags(command_line& f, training_settings& s) {
    f.group("Model");
    add_model_flags(f, s);
    f.add("--init", s.init,
          "A Hugging Face directory whose weights the run starts from, in its shape and with its tokenizer; --growth "
          "deepens it to --layers");
    f.add_switch("--init-optimizer", s.init_optimizer,
                 "Start from its optimizer.safetensors too, not from fresh moments");
    add_shape_flags(f, s);
    f.add_choice("--norm", s.norm, {"pre", "ln_scaling", "mix"},
                 "Norm placement (default: the model's, pre in presets)");
    f.add_choice("--residual-init", s.residual_init, {"auto", "plain", "scaled"},
                 "Deviation of new matrices that write to the residual stream: 1/sqrt(width), or that over sqrt(2 "
                 "layers); auto: plain with --norm ln_scaling, else scaled");
    f.group("Growth");
    add_schedule_flags(f, s);
    f.add_choice("--optimizer-state", s.optimizer_state, {"copy", "zero"},
                 "Optimiser state that new layers start with");
    f.add("--loop", s.loop,
          "Looped model instead of growth: 4-4x6-4 is 4 own layers, 4 shared ones run 6 times, 4 own; 4x6 has no own "
          "ones");
    f.add("--cooldown-loop", s.cooldown_loop,
          "Retrofitted recurrence: 8:4 runs layers 8 to 11 once more in the cooldown, 8:4x2 twice more");
    f.group("Data");
    f.add("--data", s.data, "Files: .txt, .jsonl with \"text\", or .bin tokens; none: the built-in generated corpus");
    f.add("--mix", s.mix, "Sources and weights, for example built-in:0.4,FILE:0.6");
    f.add("--tasks", s.tasks, "Tasks of the built-in corpus, comma-separated (default: by context)");
    f.add_choice(
        "--mix-loss", s.mix_loss, {"token", "source"},
        "How losses of several sources add up: one mean over tokens, or each source's mean by its share of the "
        "mix; by source with --answer-loss, else by token");
    f.add_switch("--answer-loss", s.answer_loss, "Loss of the generated items on their answers only");
    f.add("--tokenizer", s.tokenizer,
          "bytes, a tokenizer.json, train:4096 (a vocabulary of that size, from the data), or auto: that of --init, "
          "else bytes");
    f.group("Training");
    f.add("--steps", s.steps, "Optimiser steps");
    f.add("--batch", s.batch, "Sequences in a step");
    f.add("--micro-batch", s.micro_batch, "Sequences at a time; the rest accumulates gradients");
    std::vector<std::string> optimizers;
    std::string what;
    for (const auto& entry : dg::optimizer_table()) {
        optimizers.emplace_back(entry.name);
        what += dg::text(what.empty() ? "Optimiser: " : "; ", entry.name, ", ", entry.help);
    }
    f.add_choice("--optimizer", s.optimizer, optimizers, what);
    f.add("--lr", s.lr, "Peak learning rate");
    f.add("--warmup", s.warmup, "Steps of linear warm-up");
    f.add("--weight-decay", s.weight_decay,
          "Weight decay on every tensor, decoupled (sgd_nesterov: added to the gradient)");
    f.add("--clip", s.clip, "Global gradient norm to clip at (0: never)");
    f.add_choice(
        "--precision", s.precision, {"fp32", "bf16", "fp8"},
        "Arithmetic; fp8 needs --backend cuda: bf16 with the inner layers' linear maps in e4m3; bf16 on a CPU: "
        "products of operands in bfloat16, where the processor has them");
    f.add_choice("--backend", s.backend, {"blas", "cuda"},
                 "Where to compute; cuda: in a build with -DDEPTHGROW_CUDA=ON");
    std::vector<std::string> products = {"auto"};
    for (const auto& one : cpu_products()) products.push_back(one.name);
    f.add_choice("--product", s.product, products,
                 "Library that multiplies matrices on the CPU; auto: the fastest on this model's shapes, measured");
    f.add_switch("--deterministic", s.deterministic,
                 "The same losses bit for bit on a GPU too, at a price (a CPU always gives them)");
    f.add_switch(
        "--recompute", s.recompute,
        "Keep one activation a layer and compute the rest again in the backward pass: less memory, a third more work");
    f.add_threads(s.threads);
    f.add_ranks(s.ranks, "every batch and the optimiser's state");
    f.add("--rank-timeout", s.rank_timeout,
          "Seconds that one of them may keep the others waiting; on GPUs choose more than a step takes");
    f.add("--seed", s.seed, "Seed of weights, data order and generated items");
    f.group("Run");
    f.add("--out", s.out, "Folder of the run: checkpoints, log.jsonl, events for TensorBoard, run.json, report.html");
    f.add("--resume", s.resume,
          "auto: go on from the newest checkpoint in --out; DIR: go on from that checkpoint; give the flags that its "
          "run had "
          "(--init starts a new one)");
    f.add("--eval-every", s.eval_every, "Steps between held-out evaluations (0: ten in a run)");
    f.add("--eval-windows", s.eval_windows, "Held-out windows in an evaluation");
    f.add("--save-every", s.save_every, "Steps between checkpoints (0: at growths' ends and at the end)");
    f.add_switch("--background-save", s.background_save,
                 "Write checkpoints from a copy in memory while the run goes on, as on a GPU is done anyway");
    f.add("--time-limit", s.time_limit,
          "Save and end, with status 0, before so much time has passed: 90 (seconds), 45m, 12:00:00, 1-00:00:00; "
          "SIGUSR1 asks for the same at once");
    f.add("--spike", s.spike,
          "Report a step whose loss lies so many standard deviations above that of the last 128 (0: none)");
    f.add("--skip-outliers", s.skip_outliers,
          "Let a step change nothing whose gradient norm lies so many standard deviations above that of the last 128 "
          "(0: none; 6 is usual)");
    f.add("--log-size", s.log_size, "Megabytes of log.jsonl after which it becomes log.1.jsonl, ... (0: never)");
    f.add("--keep", s.keep, "Checkpoints to keep");
    f.add("--log-every", s.log_every, "Steps between lines (0: forty in a run)");
    f.add_json(s.json);
    f.add_switch("--dry-run", s.dry_run, "Print configuration, plan, FLOPs and memory, and stop");
    f.add_switch("--plan", s.plan,
                 "Print what the run would take on 1, 2, 4, ... --gpus GPUs, and stop: memory, exchanges, tokens a "
                 "second, days");
    f.add("--gpus", s.gpus, "GPUs of --plan, a divisor of the batch");
    f.add("--link", s.link,
          "GB/s at which each GPU exchanges with the others (0: as two H100 do over NVLink, 45 above 8 GPUs)");
    f.add("--gpu-rate", s.gpu_rate, "Tokens a second of one GPU (0: as measured on an H100, for presets)");
    f.add_quiet(s.quiet);
}

}  // namespace tools
