#include "support/training.hpp"

#include <algorithm>
#include <cstdio>
#include <thread>

#include "depthgrow/backend/planning.hpp"
#include "depthgrow/io/hf_directory.hpp"
#include "depthgrow/tasks/corpus.hpp"
#include "depthgrow/train/trainer.hpp"
#include "support/console.hpp"

namespace tools {

namespace {

/// Steps, batch and learning rate that suit a preset; bigger ones are the paper's.
struct preset_defaults {
    const char* name;
    std::size_t steps, batch, micro_batch, warmup, block;
    double lr;
};
constexpr preset_defaults defaults[] = {
    {"tiny", 200, 8, 8, 10, 2, 3e-3},          {"small", 1000, 8, 8, 50, 3, 3e-3},        {"mini", 2000, 128, 16, 100, 4, 3e-3},
    {"smollm-135m", 200000, 512, 4, 2000, 5, 3e-3}, {"smollm-360m", 200000, 512, 4, 2000, 4, 3e-3}, {"smollm-1.7b", 200000, 1024, 2, 2000, 4, 5e-4},
};

dg::llama_config base_config(const training_settings& s) {
    if (!s.config.empty()) {
        auto config = dg::read_hf_config(s.config).model;
        config.name = "config.json";
        return config;
    }
    std::vector<std::string> names;
    for (const auto& preset : dg::presets()) {
        if (preset.name == s.preset) return preset;
        names.push_back(preset.name);
    }
    std::string all;
    for (const auto& name : names) all += (all.empty() ? "" : ", ") + name;
    dg::fail("--preset: expected one of ", all, ", found \"", s.preset, "\"; did you mean ", nearest(s.preset, names), "?");
}

std::vector<std::string> split(const std::string& list) {
    std::vector<std::string> parts;
    for (std::size_t first = 0; first < list.size();) {
        const std::size_t end = std::min(list.find(',', first), list.size());
        if (end > first) parts.push_back(list.substr(first, end - first));
        first = end + 1;
    }
    return parts;
}

}  // namespace

dg::primitive_options item_sizes(std::size_t length) {
    dg::primitive_options sizes;
    if (length < 1024) sizes = {6, 3, 4, 9, true};
    return sizes;
}

void add_training_flags(command_line& f, training_settings& s) {
    f.group("Model");
    f.add("--preset", s.preset, "Model shape: tiny, small, mini, smollm-135m, smollm-360m or smollm-1.7b");
    f.add("--config", s.config, "A Hugging Face config.json instead of a preset");
    f.add("--layers", s.layers, "Final number of layers");
    f.add("--width", s.width, "Width of the residual stream");
    f.add("--ffn", s.ffn, "Width of the MLP");
    f.add("--heads", s.heads, "Attention heads");
    f.add("--kv-heads", s.kv_heads, "Key-value heads");
    f.add("--context", s.context, "Tokens in a sequence");
    f.add("--vocab", s.vocab, "Vocabulary");
    f.add_choice("--norm", s.norm, {"pre", "ln_scaling", "mix"}, "Norm placement");
    f.group("Growth");
    f.add_choice("--growth", s.growth, {"none", "midas", "lidas", "gradual", "doubling", "interleave"}, "Operator that deepens the model while it trains");
    f.add("--block", s.block, "Layers added at a growth (0: the preset's)");
    f.add("--initial-layers", s.initial_layers, "Layers to start with (0: one block)");
    f.add("--alpha", s.alpha, "Stage lengths go as i^alpha (PROP-alpha)");
    f.add_choice("--rounding", s.rounding, {"largest_remainder", "floor"}, "Rounding of stage lengths; floor is the paper's Table 7");
    f.add("--plateau", s.plateau, "Share of the steps after which growth has ended and the cooldown starts");
    f.add_choice("--optimizer-state", s.optimizer_state, {"copy", "zero"}, "Moments that new layers start with");
    f.group("Data");
    f.add("--data", s.data, "Files: .txt, .jsonl with \"text\", or .bin tokens; none: the built-in generated corpus");
    f.add("--mix", s.mix, "Sources and weights, for example built-in:0.4,FILE:0.6");
    f.add("--tasks", s.tasks, "Tasks of the built-in corpus, comma-separated (default: by context)");
    f.add_switch("--answer-loss", s.answer_loss, "Loss of the generated items on their answers only");
    f.add("--tokenizer", s.tokenizer, "bytes");
    f.group("Training");
    f.add("--steps", s.steps, "Optimiser steps");
    f.add("--batch", s.batch, "Sequences in a step");
    f.add("--micro-batch", s.micro_batch, "Sequences at a time; the rest accumulates gradients");
    f.add("--lr", s.lr, "Peak learning rate");
    f.add("--warmup", s.warmup, "Steps of linear warm-up");
    f.add("--weight-decay", s.weight_decay, "Decoupled weight decay, on every tensor");
    f.add("--clip", s.clip, "Global gradient norm to clip at (0: never)");
    f.add_choice("--precision", s.precision, {"fp32", "bf16"}, "Arithmetic; bf16 needs --backend cuda");
    f.add_choice("--backend", s.backend, {"blas", "cuda"}, "Where it runs");
    f.add_switch("--deterministic", s.deterministic, "The same losses bit for bit on a GPU too, at a price (a CPU always gives them)");
    f.add("--threads", s.threads, "CPU threads (0: all)");
    f.add("--seed", s.seed, "Seed of weights, data order and generated items");
    f.group("Run");
    f.add("--out", s.out, "Folder of the run: checkpoints, log.jsonl, run.json, report.html");
    f.add("--resume", s.resume, "auto: go on from the newest checkpoint in --out; DIR: start from that checkpoint");
    f.add("--eval-every", s.eval_every, "Steps between held-out evaluations (0: ten in a run)");
    f.add("--eval-windows", s.eval_windows, "Held-out windows in an evaluation");
    f.add("--save-every", s.save_every, "Steps between checkpoints (0: at growths' ends and at the end)");
    f.add("--keep", s.keep, "Checkpoints to keep");
    f.add("--log-every", s.log_every, "Steps between lines (0: forty in a run)");
    f.add("--json", s.json, "Write the summary to this file (-: stdout)");
    f.add_switch("--dry-run", s.dry_run, "Print configuration, plan, FLOPs and memory, and stop");
    f.add_switch("--quiet", s.quiet, "Print errors only");
}

resolved_run resolve(const training_settings& given) {
    resolved_run run;
    run.settings = given;
    auto& s = run.settings;
    run.model = base_config(s);
    auto& m = run.model;
    const auto* preset = std::find_if(std::begin(defaults), std::end(defaults), [&](const auto& d) { return m.name == d.name; });
    const preset_defaults& d = preset == std::end(defaults) ? defaults[1] : *preset;
    m.layers = s.layers.value_or(m.layers);
    m.width = s.width.value_or(m.width);
    m.ffn = s.ffn.value_or(m.ffn);
    m.heads = s.heads.value_or(m.heads);
    m.kv_heads = s.kv_heads.value_or(s.heads ? std::min(m.kv_heads, m.heads) : m.kv_heads);
    m.context = s.context.value_or(m.context);
    dg::require(s.tokenizer == "bytes", "--tokenizer: expected bytes, found \"", s.tokenizer, "\"");
    const bool byte_files = s.tokenizer == "bytes" && std::none_of(s.data.begin(), s.data.end(), [](const auto& f) { return f.ends_with(".bin"); });
    m.vocab = s.vocab.value_or(byte_files ? 256 : m.vocab);
    m.norms = s.norm == "pre" ? dg::norm_placement::pre : s.norm == "mix" ? dg::norm_placement::mix : dg::norm_placement::ln_scaling;
    m = m.with_depth(m.layers);
    m.validate();
    dg::require(s.precision == "fp32" || s.backend == "cuda", "--precision bf16: expected --backend cuda, found --backend ", s.backend);
    dg::require(m.vocab >= 256 || !byte_files, "--vocab: expected at least 256 for bytes, found ", m.vocab);

    run.steps = s.steps.value_or(d.steps);
    run.batch = s.batch.value_or(d.batch);
    run.micro_batch = s.micro_batch.value_or(std::min(d.micro_batch, run.batch));
    run.length = m.context;
    dg::require(run.steps > 0 && run.batch > 0, "--steps, --batch: expected at least 1, found ", run.steps, " and ", run.batch);
    dg::require(run.micro_batch > 0 && run.batch % run.micro_batch == 0, "--micro-batch: expected a divisor of the batch of ", run.batch, ", found ", run.micro_batch);
    dg::require(s.plateau > 0 && s.plateau <= 1, "--plateau: expected a share above 0 and at most 1, found ", s.plateau);
    const auto whole = [](std::size_t n) { return static_cast<std::int64_t>(n); };
    const std::size_t plateau = std::max<std::size_t>(1, static_cast<std::size_t>(static_cast<double>(run.steps) * s.plateau + 0.5));
    run.rate = {s.lr.value_or(d.lr), whole(s.warmup.value_or(std::min(d.warmup, run.steps / 10))), whole(plateau), whole(run.steps)};
    dg::require(run.rate.peak > 0, "--lr: expected a rate above 0, found ", run.rate.peak);

    if (s.block == 0) s.block = d.block;
    if (s.growth == "none") {
        run.plan = dg::plan_plain(m.layers, run.steps);
    } else {
        const auto rounding = s.rounding == "floor" ? dg::step_rounding::floor : dg::step_rounding::largest_remainder;
        const std::size_t initial = s.initial_layers ? s.initial_layers : std::min(s.block, m.layers);
        if (s.growth == "midas")
            dg::require(m.layers % s.block == 0, "--layers: expected a multiple of the block ", s.block, " for midas, found ", m.layers);
        run.plan = dg::plan_growth(dg::make_operator(s.growth, s.block), {initial, m.layers, plateau, run.steps, s.alpha, rounding});
    }
    run.threads = s.threads > 0 ? s.threads : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
    run.built_in = s.data.empty() && s.mix.empty();
    for (const auto& entry : s.mix.empty() ? std::vector<dg::mix_entry>{} : dg::parse_mix(s.mix)) run.built_in = run.built_in || entry.source == "built-in";
    run.tasks = split(s.tasks);
    if (run.tasks.empty() && run.length < 1024) run.tasks = {"arithmetic", "psm", "copy_words", "assign_basic_0"};
    if (run.tasks.empty()) run.tasks = dg::primitive_names();
    for (const auto& task : run.tasks) dg::require_primitive(task);
    if (s.eval_every == 0) s.eval_every = std::max<std::size_t>(1, run.steps / 10);
    if (s.log_every == 0) s.log_every = std::max<std::size_t>(1, run.steps / 40);
    return run;
}

dg::json resolved_run::identity() const {
    const auto& s = settings;
    dg::json stages = dg::json::array();
    for (const auto& stage : plan.stages) stages.push_back({{"layers", stage.layers}, {"first_step", stage.first_step}});
    return {{"vocab", model.vocab}, {"width", model.width}, {"ffn", model.ffn}, {"layers", model.layers}, {"heads", model.heads},
            {"kv_heads", model.kv_heads}, {"context", model.context}, {"norm", s.norm}, {"growth", s.growth}, {"block", s.block},
            {"stages", stages}, {"optimizer_state", s.optimizer_state}, {"steps", steps}, {"batch", batch}, {"micro_batch", micro_batch},
            {"lr", rate.peak}, {"warmup", rate.warmup}, {"plateau", rate.plateau}, {"weight_decay", s.weight_decay}, {"clip", s.clip},
            {"precision", s.precision}, {"seed", s.seed}, {"data", s.data}, {"mix", s.mix}, {"tasks", tasks}, {"answer_loss", s.answer_loss}};
}

dg::training_data load_data(const resolved_run& run) {
    const auto& s = run.settings;
    dg::training_data data(s.seed, run.length);
    std::vector<dg::mix_entry> entries;
    if (!s.mix.empty()) entries = dg::parse_mix(s.mix);
    for (const auto& file : s.data) entries.push_back({file, 0});
    if (entries.empty()) entries.push_back({"built-in", 1});
    for (const auto& entry : entries) {
        if (entry.source == "built-in") {
            dg::corpus_options options;
            for (const auto& task : run.tasks) options.tasks.emplace_back(task, 1.0);
            options.items = item_sizes(run.length);
            const dg::primitive_corpus corpus(s.seed, options);
            data.add_documents("built-in", [corpus](std::uint64_t i) { return corpus.document(i); },
                               [corpus](std::uint64_t i) { return corpus.held_out_document(i); }, entry.weight, s.answer_loss);
            continue;
        }
        dg::token_options options;
        options.vocab = run.model.vocab;
        auto tokens = dg::load_tokens(entry.source, options);
        const double weight = entry.weight > 0 ? entry.weight : static_cast<double>(tokens.size());
        data.add_tokens(entry.source, std::move(tokens), weight);
    }
    return data;
}

dg::json training_summary::to_json() const {
    return {{"steps", steps}, {"tokens", tokens}, {"layers", layers}, {"loss", loss}, {"validation_loss", validation_loss}, {"flops", flops},
            {"flops_ratio", flops_ratio}, {"tokens_per_second", tokens_per_second}, {"seconds", seconds}, {"growth", growth},
            {"answer_accuracy", answer_accuracy}, {"late_top5_overlap", late_overlap}, {"swap_loss_added", swap_loss}, {"interrupted", interrupted}};
}

namespace {

template <class T, class Planning>
std::size_t counted_memory(const resolved_run& run, std::size_t head_rows) {
    Planning counter(head_rows);
    dg::trainer<T, Planning> trainer(counter, run.model);
    const std::size_t tokens = run.batch * run.length;
    const std::vector<dg::token> ids(tokens, 0);
    const std::vector<float> weights(tokens, 1);
    for (int step = 0; step < 2; ++step) trainer.step({ids, ids, weights, run.batch}, run.micro_batch, 0);
    return counter.peak_bytes();
}

}  // namespace

std::size_t planned_memory(const resolved_run& run) {
    const std::size_t rows = run.micro_batch * run.length;
    if (run.settings.backend == "cuda") {
        // attention's way back: dq and row sums in float, and with grouped heads dk and dv of every head
        const bool grouped = run.model.kv_heads < run.model.heads;
        const std::size_t attention = rows * (run.model.width * (grouped ? 8 : 4) + run.model.heads * sizeof(float)), workspaces = std::size_t{80} << 20;
        const std::size_t counted = run.settings.precision == "bf16" ? counted_memory<dg::bfloat16, dg::joining_planning>(run, 8192) + attention : counted_memory<float, dg::joining_planning>(run, 8192);
        return counted + workspaces;
    }
    const std::size_t attention = static_cast<std::size_t>(run.threads) * 2 * std::min<std::size_t>(128, run.length) * run.length * sizeof(float);
    constexpr std::size_t program = 15'000'000;  // code, libraries and what the product library packs: resident size less the rest, small and mini
    return counted_memory<float, dg::planning>(run, 512) + attention + program;
}

training_summary train(const resolved_run& run) {
#if DEPTHGROW_USES_CUDA
    if (run.settings.backend == "cuda") return train_on_cuda(run);
#endif
    dg::require(run.settings.backend == "blas", "--backend cuda: expected a build with CUDA (cmake -DDEPTHGROW_CUDA=ON), found one without");
    return train_on_cpu(run);
}

void print_plan(const resolved_run& run, const dg::training_data& data) {
    const auto& m = run.model;
    const auto& s = run.settings;
    const auto number = [](std::size_t n) { return static_cast<double>(n); };
    std::printf("model      %s: %zu layers, width %zu, ffn %zu, heads %zu/%zu, vocabulary %zu, context %zu, norm %s\n", m.name.c_str(), m.layers, m.width, m.ffn,
                m.heads, m.kv_heads, m.vocab, m.context, s.norm.c_str());
    std::printf("parameters %s in all, %s without embeddings\n", human(number(m.parameters())).c_str(), human(number(m.parameters() - m.outer_parameters())).c_str());
    for (std::size_t i = 0; i < data.sources(); ++i)
        std::printf("data       %s%s\n", data.name(i).c_str(),
                    data.training_tokens(i) ? format(": %s training tokens, %zu held-out windows", human(number(data.training_tokens(i))).c_str(), data.held_out_windows(i)).c_str()
                                            : ": generated reasoning primitives, training and held-out items disjoint");
    std::printf("training   %zu steps of %zu sequences (%zu at a time) x %zu tokens = %s tokens; peak rate %g, warm-up %lld, cooldown from step %lld; seed %zu\n",
                run.steps, run.batch, run.micro_batch, run.length, human(number(run.steps * run.tokens_per_step())).c_str(), run.rate.peak,
                static_cast<long long>(run.rate.warmup), static_cast<long long>(run.rate.plateau), s.seed);
    const double plain = dg::training_flops(run.shape(), run.steps, run.tokens_per_step());
    std::printf("growth     %s%s\n", s.growth.c_str(), s.growth == "none" ? "" : format(", block %zu, PROP-%g, optimiser state: %s", s.block, s.alpha, s.optimizer_state.c_str()).c_str());
    std::printf("           stage  layers   steps from       to     FLOPs\n");
    for (std::size_t i = 0; i < run.plan.stages.size(); ++i) {
        const auto& stage = run.plan.stages[i];
        const double flops = static_cast<double>(stage.steps) * dg::step_flops(run.shape(), stage.layers, run.tokens_per_step());
        std::printf("           %5zu  %6zu   %10zu %8zu  %8s\n", i + 1, stage.layers, stage.first_step, stage.first_step + stage.steps, human(flops).c_str());
    }
    const double flops = dg::training_flops(run.shape(), run.plan, run.tokens_per_step());
    std::printf("           %sFLOP in all, %.3f of a plain run's %sFLOP (%.1f %% saved)\n", human(flops).c_str(), flops / plain, human(plain).c_str(), 100 * (1 - flops / plain));
    std::printf("memory     %sB for the program, weights, gradients, moments and activations of %zu sequences at %zu layers\n", human(number(planned_memory(run))).c_str(), run.micro_batch, m.layers);
    std::printf("backend    %s, %d threads, %s\n", s.backend.c_str(), run.threads, s.precision.c_str());
}

}  // namespace tools
