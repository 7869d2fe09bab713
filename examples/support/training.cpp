#include "support/training.hpp"

#include <algorithm>
#include <cstdio>
#include <fstream>

#include <unistd.h>

#include "depthgrow/backend/blas.hpp"
#include "depthgrow/backend/planning.hpp"
#include "depthgrow/io/bpe_trainer.hpp"
#include "depthgrow/io/growth_record.hpp"
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
    const std::string wanted = s.preset.empty() ? "small" : s.preset;
    if (!s.config.empty()) {
        auto config = dg::read_hf_config(s.config).model;
        config.name = "config.json";
        return config;
    }
    std::vector<std::string> names;
    for (const auto& preset : dg::presets()) {
        if (preset.name == wanted) return preset;
        names.push_back(preset.name);
    }
    std::string all;
    for (const auto& name : names) all += (all.empty() ? "" : ", ") + name;
    dg::fail("--preset: expected one of ", all, ", found \"", wanted, "\"; did you mean ", nearest(wanted, names), "?");
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

/// Loop(e - L x k - d): own layers, shared ones and how often these run, own layers.
struct loop_shape {
    std::size_t own_first = 0, shared = 0, times = 0, own_last = 0;
    std::size_t layers() const { return own_first + shared + own_last; }
};

/// Digits at `at`, moved past them; false when there are none.
bool read_number(const std::string& text, std::size_t& at, std::size_t& value) {
    const std::size_t first = at;
    for (value = 0; at < text.size() && text[at] >= '0' && text[at] <= '9' && at - first < 6; ++at) value = value * 10 + static_cast<std::size_t>(text[at] - '0');
    return at > first;
}

/// "4-4x6-4" or "4x6"; nothing for an empty flag.
std::optional<loop_shape> parse_loop(const std::string& flag) {
    if (flag.empty()) return std::nullopt;
    loop_shape out;
    std::size_t at = 0;
    bool good = read_number(flag, at, out.shared);
    if (good && at < flag.size() && flag[at] == '-') out.own_first = out.shared, good = read_number(flag, ++at, out.shared);
    good = good && at < flag.size() && flag[at] == 'x' && read_number(flag, ++at, out.times);
    if (good && at < flag.size() && flag[at] == '-') good = read_number(flag, ++at, out.own_last);
    dg::require(good && at == flag.size() && out.shared > 0 && out.times > 0, "--loop: expected own-shared x times-own like 4-4x6-4, or 4x6, found \"", flag, "\"");
    return out;
}

/// "8:4" or "8:4x2" as the order of a stack of `depth` layers.
std::vector<std::size_t> parse_cooldown_loop(const std::string& flag, std::size_t depth) {
    std::size_t at = 0, start = 0, length = 0, more = 1;
    bool good = read_number(flag, at, start) && at < flag.size() && flag[at] == ':' && read_number(flag, ++at, length);
    if (good && at < flag.size() && flag[at] == 'x') good = read_number(flag, ++at, more);
    dg::require(good && at == flag.size() && more > 0 && length > 0 && start + length <= depth, "--cooldown-loop: expected start:length or start:lengthxtimes within ", depth, " layers, found \"", flag, "\"");
    return dg::loop(depth, start, length, more).sources();
}

/// The built-in corpus of a run.
dg::primitive_corpus built_in_corpus(const training_settings& s, const std::vector<std::string>& tasks, std::size_t length) {
    dg::corpus_options options;
    for (const auto& task : tasks) options.tasks.emplace_back(task, 1.0);
    options.items = item_sizes(length);
    return dg::primitive_corpus(s.seed, options);
}

/// --tokenizer: null for bytes, else the file's, or one trained on the data files (on generated text without any).
std::shared_ptr<const dg::tokenizer> make_tokenizer(const training_settings& s) {
    if (s.tokenizer == "bytes") return nullptr;
    if (s.tokenizer.rfind("train:", 0) != 0) return std::make_shared<const dg::tokenizer>(dg::read_tokenizer(s.tokenizer));
    const std::string size = s.tokenizer.substr(6);
    dg::require(!size.empty() && size.size() < 8 && size.find_first_not_of("0123456789") == size.npos, "--tokenizer: expected train: and a number of tokens, found \"", s.tokenizer, "\"");
    std::vector<std::string> files = s.data;
    for (const auto& entry : s.mix.empty() ? std::vector<dg::mix_entry>{} : dg::parse_mix(s.mix))
        if (entry.source != "built-in") files.push_back(entry.source);
    std::erase_if(files, [](const std::string& file) { return file.ends_with(".bin"); });
    std::size_t bytes = 0;
    auto texts = read_texts(files, bytes);
    if (texts.empty()) {
        const auto corpus = built_in_corpus(s, dg::primitive_names(), 1024);
        for (std::uint64_t i = 0; i < 4000; ++i) texts.push_back(corpus.document(i).text);
    }
    return std::make_shared<const dg::tokenizer>(dg::train_bpe(texts, {std::stoul(size), {"<|endoftext|>"}, true, 2, resolve_threads(s.threads)}));
}

std::string spaced(const std::vector<std::size_t>& numbers) {
    std::string out;
    for (std::size_t n : numbers) out += (out.empty() ? "" : " ") + std::to_string(n);
    return out;
}

/// What a run takes from --init, and the flags that it refuses beside it.
void take_from(const dg::checkpoint_reader& init, resolved_run& run) {
    auto& s = run.settings;
    const std::pair<const char*, bool> shape[] = {{"--preset", !s.preset.empty()}, {"--config", !s.config.empty()}, {"--width", s.width.has_value()}, {"--ffn", s.ffn.has_value()},
                                                  {"--heads", s.heads.has_value()}, {"--kv-heads", s.kv_heads.has_value()}, {"--vocab", s.vocab.has_value()}, {"--norm", !s.norm.empty()}};
    for (const auto& [flag, given] : shape) dg::require(!given, flag, ": expected none beside --init, whose model has its own shape, found one");
    const std::size_t depth = init.config().layers;
    const std::string of_init = dg::text("the ", depth, " layers of --init ", s.init), asked = s.layers ? std::to_string(*s.layers) : "none";
    if (s.growth == "none") {
        dg::require(!s.layers || *s.layers == depth, "--layers: expected ", of_init, " (more need --growth), found ", asked);
    } else {
        dg::require(s.layers && *s.layers > depth, "--layers: expected a final depth above ", of_init, ", found ", asked);
        dg::require(s.initial_layers == 0 || s.initial_layers == depth, "--initial-layers: expected ", of_init, ", found ", s.initial_layers);
        s.initial_layers = depth;
    }
    dg::require(!s.init_optimizer || std::filesystem::exists(init.directory() / "optimizer.safetensors"), "--init-optimizer: expected optimizer.safetensors in ", s.init, ", found none");
    run.model = init.config();
    run.model.name = std::filesystem::absolute(init.directory() / "").lexically_normal().parent_path().filename().string();
    run.config_base = init.config_fields();
    run.history = dg::read_growth(init);
    dg::read_lineage(init);  // refuses a record that does not end at its depth
    const auto tokenizer = init.directory() / "tokenizer.json";
    if (s.tokenizer != "auto" || !std::filesystem::exists(tokenizer)) return;
    s.tokenizer = tokenizer.string();
    for (const char* name : {"tokenizer_config.json", "special_tokens_map.json", "generation_config.json"})
        if (std::filesystem::exists(init.directory() / name)) run.tokenizer_files[name] = dg::read_text_file(init.directory() / name);
}

}  // namespace

dg::primitive_options item_sizes(std::size_t length) {
    dg::primitive_options sizes;
    if (length < 1024) sizes = {6, 3, 4, 9, true};
    return sizes;
}

void add_training_flags(command_line& f, training_settings& s) {
    f.group("Model");
    f.add("--preset", s.preset, "Model shape: tiny, small, mini, smollm-135m, smollm-360m or smollm-1.7b (default: small)");
    f.add("--config", s.config, "A Hugging Face config.json instead of a preset");
    f.add("--init", s.init, "A Hugging Face directory whose weights the run starts from, in its shape and with its tokenizer; --growth deepens it to --layers");
    f.add_switch("--init-optimizer", s.init_optimizer, "Start from its optimizer.safetensors too, not from fresh moments");
    f.add("--layers", s.layers, "Final number of layers");
    f.add("--width", s.width, "Width of the residual stream");
    f.add("--ffn", s.ffn, "Width of the MLP");
    f.add("--heads", s.heads, "Attention heads");
    f.add("--kv-heads", s.kv_heads, "Key-value heads");
    f.add("--context", s.context, "Tokens in a sequence (default: the model's)");
    f.add("--vocab", s.vocab, "Vocabulary");
    f.add_choice("--norm", s.norm, {"pre", "ln_scaling", "mix"}, "Norm placement (default: the model's, pre in presets)");
    f.group("Growth");
    f.add_choice("--growth", s.growth, {"none", "midas", "lidas", "gradual", "doubling", "interleave"}, "Operator that deepens the model while it trains");
    f.add("--block", s.block, "Layers added at a growth (0: the preset's)");
    f.add("--initial-layers", s.initial_layers, "Layers to start with (0: one block, or those of --init)");
    f.add("--alpha", s.alpha, "Stage lengths go as i^alpha (PROP-alpha)");
    f.add_choice("--rounding", s.rounding, {"largest_remainder", "floor"}, "Rounding of stage lengths; floor is the paper's Table 7");
    f.add("--plateau", s.plateau, "Share of the steps after which growth has ended and the cooldown starts");
    f.add_choice("--optimizer-state", s.optimizer_state, {"copy", "zero"}, "Moments that new layers start with");
    f.add("--loop", s.loop, "Looped model instead of growth: 4-4x6-4 is 4 own layers, 4 shared ones run 6 times, 4 own; 4x6 has no own ones");
    f.add("--cooldown-loop", s.cooldown_loop, "Retrofitted recurrence: 8:4 runs layers 8 to 11 once more in the cooldown, 8:4x2 twice more");
    f.group("Data");
    f.add("--data", s.data, "Files: .txt, .jsonl with \"text\", or .bin tokens; none: the built-in generated corpus");
    f.add("--mix", s.mix, "Sources and weights, for example built-in:0.4,FILE:0.6");
    f.add("--tasks", s.tasks, "Tasks of the built-in corpus, comma-separated (default: by context)");
    f.add_switch("--answer-loss", s.answer_loss, "Loss of the generated items on their answers only");
    f.add("--tokenizer", s.tokenizer, "bytes, a tokenizer.json, train:4096 (a vocabulary of that size, from the data), or auto: that of --init, else bytes");
    f.group("Training");
    f.add("--steps", s.steps, "Optimiser steps");
    f.add("--batch", s.batch, "Sequences in a step");
    f.add("--micro-batch", s.micro_batch, "Sequences at a time; the rest accumulates gradients");
    f.add("--lr", s.lr, "Peak learning rate");
    f.add("--warmup", s.warmup, "Steps of linear warm-up");
    f.add("--weight-decay", s.weight_decay, "Decoupled weight decay, on every tensor");
    f.add("--clip", s.clip, "Global gradient norm to clip at (0: never)");
    f.add_choice("--precision", s.precision, {"fp32", "bf16", "fp8"}, "Arithmetic; bf16 needs --backend cuda, as fp8 does: bf16 with the inner layers' linear maps in e4m3");
    f.add_choice("--backend", s.backend, {"blas", "cuda"}, "Where to compute");
    f.add_switch("--deterministic", s.deterministic, "The same losses bit for bit on a GPU too, at a price (a CPU always gives them)");
    f.add_switch("--recompute", s.recompute, "Keep one activation a layer and compute the rest again on the way back: less memory, a third more work");
    f.add_threads(s.threads);
    f.add("--seed", s.seed, "Seed of weights, data order and generated items");
    f.group("Run");
    f.add("--out", s.out, "Folder of the run: checkpoints, log.jsonl, run.json, report.html");
    f.add("--resume", s.resume, "auto: go on from the newest checkpoint in --out; DIR: go on from that checkpoint by the flags of its run (--init starts a new one)");
    f.add("--eval-every", s.eval_every, "Steps between held-out evaluations (0: ten in a run)");
    f.add("--eval-windows", s.eval_windows, "Held-out windows in an evaluation");
    f.add("--save-every", s.save_every, "Steps between checkpoints (0: at growths' ends and at the end)");
    f.add("--keep", s.keep, "Checkpoints to keep");
    f.add("--log-every", s.log_every, "Steps between lines (0: forty in a run)");
    f.add_json(s.json);
    f.add_switch("--dry-run", s.dry_run, "Print configuration, plan, FLOPs and memory, and stop");
    f.add_quiet(s.quiet);
}

resolved_run resolve(const training_settings& given) {
    resolved_run run;
    run.settings = given;
    auto& s = run.settings;
    auto& m = run.model;
    std::optional<dg::checkpoint_reader> init;
    if (s.init.empty()) {
        dg::require(!s.init_optimizer, "--init-optimizer: expected --init, found none");
        m = base_config(s);
    } else {
        dg::require(s.resume.empty() || s.resume == "auto", "--init, --resume: expected one of the two (or --resume auto, to go on with the run that --init began), found both");
        take_from(init.emplace(s.init), run);
    }
    if (s.tokenizer == "auto") s.tokenizer = "bytes";
    const auto* preset = std::find_if(std::begin(defaults), std::end(defaults), [&](const auto& d) { return m.name == d.name; });
    const preset_defaults& d = preset == std::end(defaults) || init ? defaults[1] : *preset;
    m.layers = s.layers.value_or(m.layers);
    const auto looped = parse_loop(s.loop);
    if (looped) {
        dg::require(s.growth == "none", "--loop: expected --growth none, found ", s.growth);
        dg::require(!s.layers || *s.layers == looped->layers(), "--layers: expected ", looped->layers(), " for --loop ", s.loop, ", found ", s.layers.value_or(0));
        dg::require(!init || init->config().layers == looped->layers(), "--loop: expected one of the ", m.layers, " layers of --init ", s.init, ", found one of ", looped->layers());
        m.layers = looped->layers();
    }
    m.width = s.width.value_or(m.width);
    m.ffn = s.ffn.value_or(m.ffn);
    m.heads = s.heads.value_or(m.heads);
    m.kv_heads = s.kv_heads.value_or(s.heads ? std::min(m.kv_heads, m.heads) : m.kv_heads);
    run.length = s.context.value_or(m.context);
    dg::require(!init || (run.length >= 2 && run.length <= m.context), "--context: expected 2 to ", m.context, " (the context of --init ", s.init, "), found ", run.length);
    if (!init) m.context = run.length;
    run.tokenizer = make_tokenizer(s);
    const bool byte_files = s.tokenizer == "bytes" && std::none_of(s.data.begin(), s.data.end(), [](const auto& f) { return f.ends_with(".bin"); });
    if (!init) m.vocab = s.vocab.value_or(run.tokenizer ? run.tokenizer->size() : byte_files ? 256 : m.vocab);
    if (!s.norm.empty()) m.norms = s.norm == "pre" ? dg::norm_placement::pre : s.norm == "mix" ? dg::norm_placement::mix : dg::norm_placement::ln_scaling;
    m = m.with_depth(m.layers);
    m.validate();
    dg::require(s.precision == "fp32" || s.backend == "cuda", "--precision ", s.precision, ": expected --backend cuda, found --backend ", s.backend);
    dg::require(!run.tokenizer || m.vocab >= run.tokenizer->size(), init ? "--init: expected a vocabulary of at least " : "--vocab: expected at least ", run.tokenizer ? run.tokenizer->size() : 0, " (the tokenizer's), found ", m.vocab);
    dg::require(m.vocab >= 256 || !byte_files, "--vocab: expected at least 256 for bytes, found ", m.vocab);

    run.steps = s.steps.value_or(d.steps);
    run.batch = s.batch.value_or(d.batch);
    run.micro_batch = s.micro_batch.value_or(std::min(d.micro_batch, run.batch));
    dg::require(run.steps > 0 && run.batch > 0, "--steps, --batch: expected at least 1, found ", run.steps, " and ", run.batch);
    dg::require(run.steps <= 1'000'000'000, "--steps: expected at most 1000000000, found ", run.steps);
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
    if (looped) run.loop_order = dg::loop(m.layers, looped->own_first, looped->shared, looped->times - 1).sources();
    if (init) {
        const auto trained = dg::recorded_order(*init);
        dg::require(trained.empty() || trained == run.loop_order, "--loop: expected one that runs the layers ", spaced(trained), ", as --init ", s.init, " was trained, found ", s.loop.empty() ? "none" : s.loop);
    }
    if (!s.cooldown_loop.empty()) run.cooldown_order = parse_cooldown_loop(s.cooldown_loop, m.layers);
    dg::require(run.loop_order.empty() || run.cooldown_order.empty(), "--loop, --cooldown-loop: expected one of the two, found both");
    run.threads = resolve_threads(s.threads);
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
    dg::json out = {{"vocab", model.vocab}, {"width", model.width}, {"ffn", model.ffn}, {"layers", model.layers}, {"heads", model.heads},
            {"kv_heads", model.kv_heads}, {"context", length}, {"norm", dg::name_of(model.norms)}, {"growth", s.growth}, {"block", s.block},
            {"stages", stages}, {"optimizer_state", s.optimizer_state}, {"steps", steps}, {"batch", batch}, {"micro_batch", micro_batch},
            {"lr", rate.peak}, {"warmup", rate.warmup}, {"plateau", rate.plateau}, {"weight_decay", s.weight_decay}, {"clip", s.clip},
            {"precision", s.precision}, {"seed", s.seed}, {"data", s.data}, {"mix", s.mix}, {"tasks", tasks}, {"answer_loss", s.answer_loss},
            {"loop", loop_order}, {"cooldown_loop", cooldown_order},
            {"tokenizer", tokenizer ? format("%zu tokens, %016zx", tokenizer->size(), std::hash<std::string>()(tokenizer->text())) : s.tokenizer}};
    if (!s.init.empty()) out["init"] = s.init, out["init_optimizer"] = s.init_optimizer;
    return out;
}

double resolved_run::flops() const {
    double sum = 0;
    for (std::size_t step = 0; step < steps; ++step) sum += dg::step_flops(shape(), layers_run(step), tokens_per_step());
    return sum;
}

dg::encode_function resolved_run::encoder() const {
    if (!tokenizer) return dg::encode_bytes;
    return [held = tokenizer](std::string_view text, std::vector<std::int32_t>& out) { held->encode(text, out); };
}

std::vector<std::string> read_texts(const std::vector<std::string>& files, std::size_t& bytes) {
    std::vector<std::string> out;
    for (const auto& file : files)
        dg::each_text(file, "\n\n", [&](const std::string&, std::string_view text) {
            out.emplace_back(text);
            bytes += text.size();
        });
    return out;
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
            const auto corpus = built_in_corpus(s, run.tasks, run.length);
            data.add_documents("built-in", [corpus](std::uint64_t i) { return corpus.document(i); },
                               [corpus](std::uint64_t i) { return corpus.held_out_document(i); }, entry.weight, s.answer_loss, run.encoder());
            continue;
        }
        dg::token_options options;
        options.vocab = run.model.vocab;
        options.encode = run.encoder();
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

/// Memory that this process holds now.
std::size_t resident_bytes() {
    std::size_t all = 0, resident = 0;
    std::ifstream file("/proc/self/statm");
    if (!(file >> all >> resident)) return 15'000'000;
    return resident * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

template <class T, class Planning>
std::size_t counted_memory(const resolved_run& run, std::size_t head_rows) {
    Planning counter(head_rows);
    dg::trainer<T, Planning> trainer(counter, run.model);
    const std::size_t tokens = run.batch * run.length;
    const std::vector<dg::token> ids(tokens, 0);
    const std::vector<float> weights(tokens, 1);
    trainer.run_order(run.order_at(run.steps));
    trainer.recompute(run.settings.recompute);
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
        const std::size_t context = std::size_t{770} << 20;  // the driver's, with the libraries' code, as seen on an H100
        const std::size_t counted = run.settings.precision == "fp32" ? counted_memory<float, dg::joining_planning>(run, 8192) : counted_memory<dg::bfloat16, dg::joining_planning>(run, 8192) + attention;
        const std::size_t copies = run.settings.precision == "fp8" ? (rows + run.model.width) * (run.model.width + 3 * run.model.ffn) : 0;  // in eight bits, of the widest operands met
        return counted + workspaces + context + copies;
    }
    const dg::attention_shape shape{run.micro_batch, run.length, run.model.heads, run.model.kv_heads, run.model.head_width()};
    const std::size_t attention = static_cast<std::size_t>(run.threads) * dg::blas::attention_backward_numbers<float>(shape) * sizeof(float);
    const std::size_t program = resident_bytes();  // code, libraries and data, before anything is allocated for the model
    return counted_memory<float, dg::planning>(run, 512) + attention + program;
}

training_summary train(const resolved_run& run) {
#if DEPTHGROW_USES_CUDA
    if (run.settings.backend == "cuda") return train_on_cuda(run);
#endif
    dg::require(run.settings.backend == "blas", "--backend cuda: expected a build with CUDA (cmake -DDEPTHGROW_CUDA=ON), found one without");
    return train_on_cpu(run);
}

void print_plan(const resolved_run& run, const dg::training_data& data, std::size_t memory) {
    const auto& m = run.model;
    const auto& s = run.settings;
    const auto number = [](std::size_t n) { return static_cast<double>(n); };
    std::printf("model      %s: %zu layers, width %zu, ffn %zu, heads %zu/%zu, vocabulary %zu, context %zu, norm %s\n", m.name.c_str(), m.layers, m.width, m.ffn,
                m.heads, m.kv_heads, m.vocab, m.context, std::string(dg::name_of(m.norms)).c_str());
    if (!s.init.empty())
        std::printf("init       %s: weights%s of %zu layers, %zu growths recorded\n", s.init.c_str(), s.init_optimizer ? " and moments" : "", run.plan.stages.front().layers, run.history.size());
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
    if (!run.loop_order.empty()) std::printf("loop       %s: %zu layers run, %zu of their own\n", spaced(run.loop_order).c_str(), run.loop_order.size(), m.layers);
    if (!run.cooldown_order.empty()) std::printf("cooldown   %s\n", spaced(run.cooldown_order).c_str());
    const double flops = run.flops();
    std::printf("           %sFLOP in all, %.3f of a plain run's %sFLOP (%.1f %% saved)\n", human(flops).c_str(), flops / plain, human(plain).c_str(), 100 * (1 - flops / plain));
    std::printf("memory     %sB for the program, weights, gradients, moments and activations of %zu sequences at %zu layers\n", human(number(memory)).c_str(), run.micro_batch, m.layers);
    std::printf("backend    %s, %d threads, %s\n", s.backend.c_str(), run.threads, s.precision.c_str());
}

}  // namespace tools
