#include <algorithm>
#include <filesystem>
#include <numeric>

#include "depthgrow/growth/plan_text.hpp"
#include "depthgrow/io/growth_record.hpp"
#include "depthgrow/io/hf_directory.hpp"
#include "depthgrow/nn/presets.hpp"
#include "support/loop_flags.hpp"
#include "support/ranks.hpp"
#include "support/time_limit.hpp"
#include "support/training_data.hpp"

namespace tools {

namespace {

/// Steps, batch and learning rate that suit a preset; bigger ones are the paper's.
struct preset_defaults {
    const char* name;
    std::size_t steps, batch, micro_batch, warmup, block;
    double lr;
};
constexpr preset_defaults defaults[] = {
    {"tiny", 200, 8, 8, 10, 2, 3e-3},
    {"small", 1000, 8, 8, 50, 3, 3e-3},
    {"mini", 2000, 128, 16, 100, 4, 3e-3},
    {"smollm-135m", 200000, 512, 4, 2000, 5, 3e-3},
    {"smollm-360m", 200000, 512, 4, 2000, 4, 3e-3},
    {"smollm-1.7b", 200000, 1024, 2, 2000, 4, 5e-4},
};

dg::hf_config base_config(const training_settings& s) {
    const std::string wanted = s.preset.empty() ? "small" : s.preset;
    if (!s.config.empty()) {
        auto read = dg::read_hf_config(s.config);
        read.model.name = "config.json";
        for (const char* key : {"bos_token_id", "eos_token_id", "pad_token_id"})
            read.fields.erase(key);  // another vocabulary's
        return read;
    }
    std::vector<std::string> names;
    for (const auto& preset : dg::presets()) {
        if (preset.name == wanted) return {preset, {}};
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

/// What a run takes from --init, and the flags that it refuses beside it.
void take_from(const dg::checkpoint_reader& init, resolved_run& run) {
    auto& s = run.settings;
    const std::pair<const char*, bool> shape[] = {
        {"--preset", !s.preset.empty()},  {"--config", !s.config.empty()},  {"--width", s.width.has_value()},
        {"--ffn", s.ffn.has_value()},     {"--heads", s.heads.has_value()}, {"--kv-heads", s.kv_heads.has_value()},
        {"--vocab", s.vocab.has_value()}, {"--norm", !s.norm.empty()}};
    for (const auto& [flag, given] : shape)
        dg::require(!given, flag, ": expected none beside --init, whose model has its own shape, found one");
    const std::size_t depth = init.config().layers;
    const std::string of_init = dg::text("the ", depth, " layers of --init ", s.init),
                      asked = s.layers ? std::to_string(*s.layers) : "none";
    if (!s.growth_plan.empty()) {
        dg::require(s.initial_layers == 0 || s.initial_layers == depth, "--initial-layers: expected ", of_init,
                    ", found ", s.initial_layers);
        s.initial_layers = depth;
    } else if (s.growth == "none") {
        dg::require(!s.layers || *s.layers == depth, "--layers: expected ", of_init, " (more need --growth), found ",
                    asked);
    } else {
        dg::require(s.layers && *s.layers > depth, "--layers: expected a final depth above ", of_init, ", found ",
                    asked);
        dg::require(s.initial_layers == 0 || s.initial_layers == depth, "--initial-layers: expected ", of_init,
                    ", found ", s.initial_layers);
        s.initial_layers = depth;
    }
    dg::require(!s.init_optimizer || std::filesystem::exists(init.directory() / "optimizer.safetensors"),
                "--init-optimizer: expected optimizer.safetensors in ", s.init, ", found none");
    run.model = init.config();
    run.model.name =
        std::filesystem::absolute(init.directory() / "").lexically_normal().parent_path().filename().string();
    run.config_base = init.config_fields();
    run.history = dg::read_growth(init);
    dg::read_lineage(init);  // refuses a record that does not end at its depth
    const auto tokenizer = init.directory() / "tokenizer.json";
    if (s.tokenizer != "auto" || !std::filesystem::exists(tokenizer)) return;
    s.tokenizer = tokenizer.string();
    for (const char* name : {"tokenizer_config.json", "special_tokens_map.json", "generation_config.json"})
        if (std::filesystem::exists(init.directory() / name))
            run.tokenizer_files[name] = dg::read_text_file(init.directory() / name);
}

/// Layers, widths and vocabulary; of --init but for what flags may change of it.
void resolve_shape(const dg::checkpoint_reader* init, const std::optional<loop_shape>& looped, resolved_run& run) {
    auto& s = run.settings;
    auto& m = run.model;
    m.layers = s.layers.value_or(m.layers);
    if (looped) {
        dg::require(s.growth_plan.empty(), "--loop: expected no --growth-plan, found one");
        dg::require(s.growth == "none", "--loop: expected --growth none, found ", s.growth);
        dg::require(!s.layers || *s.layers == looped->layers(), "--layers: expected ", looped->layers(), " for --loop ",
                    s.loop, ", found ", s.layers.value_or(0));
        dg::require(!init || init->config().layers == looped->layers(), "--loop: expected one of the ", m.layers,
                    " layers of --init ", s.init, ", found one of ", looped->layers());
        m.layers = looped->layers();
    }
    m.width = s.width.value_or(m.width);
    m.ffn = s.ffn.value_or(m.ffn);
    m.heads = s.heads.value_or(m.heads);
    m.kv_heads = s.kv_heads.value_or(s.heads ? std::min(m.kv_heads, m.heads) : m.kv_heads);
    run.length = s.context.value_or(m.context);
    dg::require(!init || (run.length >= 2 && run.length <= m.context), "--context: expected 2 to ", m.context,
                " (the context of --init ", s.init, "), found ", run.length);
    if (!init) m.context = run.length;
    run.tokenizer = make_tokenizer(s);
    const bool no_text = s.plan && s.data.empty() && s.mix.empty();  // a plan on paper has the model's own vocabulary
    const bool byte_files =
        s.tokenizer == "bytes" && !no_text &&
        std::none_of(s.data.begin(), s.data.end(), [](const auto& f) { return f.ends_with(".bin"); });
    if (!init) m.vocab = s.vocab.value_or(run.tokenizer ? run.tokenizer->size() : byte_files ? 256 : m.vocab);
    if (!s.norm.empty())
        m.norms = s.norm == "pre"   ? dg::norm_placement::pre
                  : s.norm == "mix" ? dg::norm_placement::mix
                                    : dg::norm_placement::ln_scaling;
    if (s.residual_init != "auto") m.scaled_init = s.residual_init == "scaled";
    m = m.with_depth(m.layers);
    m.validate();
    dg::require(!run.tokenizer || m.vocab >= run.tokenizer->size(),
                init ? "--init: expected a vocabulary of at least " : "--vocab: expected at least ",
                run.tokenizer ? run.tokenizer->size() : 0, " (the tokenizer's), found ", m.vocab);
    dg::require(m.vocab >= 256 || !byte_files, "--vocab: expected at least 256 for bytes, found ", m.vocab);
}

/// Who computes, and in which numbers.
void require_device(const training_settings& s) {
    if (s.backend != "cuda") require_backend(s.backend, s.precision);
    dg::require(s.product == "auto" || (s.backend == "blas" && s.precision == "fp32"), "--product ", s.product,
                ": expected --backend blas --precision fp32, found --backend ", s.backend, " --precision ",
                s.precision);
}

/// Steps, batches and the learning rate; gives the steps at the peak rate.
std::size_t resolve_steps(const preset_defaults& d, resolved_run& run) {
    const auto& s = run.settings;
    run.steps = s.steps.value_or(d.steps);
    run.batch = s.batch.value_or(d.batch);
    run.ranks = launched().size;
    const std::size_t rows = run.batch / run.ranks;  // of each rank
    dg::require(rows * run.ranks == run.batch && rows > 0, "--batch: expected a multiple of the ", run.ranks,
                " ranks, found ", run.batch);
    run.micro_batch = s.micro_batch.value_or(std::gcd(std::min(d.micro_batch, rows), rows));
    dg::require(run.steps > 0 && run.batch > 0, "--steps, --batch: expected at least 1, found ", run.steps, " and ",
                run.batch);
    dg::require(run.steps <= 1'000'000'000, "--steps: expected at most 1000000000, found ", run.steps);
    dg::require(run.micro_batch > 0 && rows % run.micro_batch == 0,
                "--micro-batch: expected a divisor of the batch of ", run.batch,
                run.ranks > 1 ? dg::text(" on ", run.ranks, " ranks") : std::string(), ", found ", run.micro_batch);
    dg::require(s.rank_timeout > 0, "--rank-timeout: expected seconds above 0, found ", s.rank_timeout);
    dg::require(s.plateau > 0 && s.plateau <= 1, "--plateau: expected a share above 0 and at most 1, found ",
                s.plateau);
    const auto whole = [](std::size_t n) { return static_cast<std::int64_t>(n); };
    const std::size_t plateau =
        std::max<std::size_t>(1, static_cast<std::size_t>(static_cast<double>(run.steps) * s.plateau + 0.5));
    run.rate = {s.lr.value_or(d.lr), whole(s.warmup.value_or(std::min(d.warmup, run.steps / 10))), whole(plateau),
                whole(run.steps)};
    dg::require(run.rate.peak > 0, "--lr: expected a rate above 0, found ", run.rate.peak);
    return plateau;
}

/// When the model grows, and how.
void resolve_growth(const preset_defaults& d, std::size_t plateau, resolved_run& run) {
    auto& s = run.settings;
    auto& m = run.model;
    if (s.block == 0) s.block = d.block;
    if (!s.growth_plan.empty()) {
        const std::size_t initial = s.initial_layers ? s.initial_layers : std::min(s.block, m.layers);
        try {
            run.plan = dg::parse_growth_plan(dg::read_text_file(s.growth_plan), initial, run.steps, {.block = s.block});
        } catch (const dg::error& problem) {
            const std::string sentence = problem.what();
            dg::fail(sentence.find("[growth_plan] ") == 0 ? s.growth_plan + ": " + sentence.substr(14) : sentence);
        }
        const std::size_t last = run.plan.final_layers();
        dg::require(!s.layers || *s.layers == last, "--layers: expected ", last, ", the depth that ", s.growth_plan,
                    " ends at, found ", s.layers.value_or(0));
        m = m.with_depth(last);
        s.growth = "plan";
    } else if (s.growth == "none") {
        run.plan = dg::plan_plain(m.layers, run.steps);
    } else {
        const auto rounding = s.rounding == "floor" ? dg::step_rounding::floor : dg::step_rounding::largest_remainder;
        const std::size_t initial = s.initial_layers ? s.initial_layers : std::min(s.block, m.layers);
        if (s.growth == "midas")
            dg::require(m.layers % s.block == 0, "--layers: expected a multiple of the block ", s.block,
                        " for midas, found ", m.layers);
        run.plan = dg::plan_growth(dg::make_operator(s.growth, s.block),
                                   {initial, m.layers, plateau, run.steps, s.alpha, rounding});
    }
}

/// Orders of layers that are run more than once.
void resolve_loops(const dg::checkpoint_reader* init, const std::optional<loop_shape>& looped, resolved_run& run) {
    const auto& s = run.settings;
    const auto& m = run.model;
    if (looped) run.loop_order = dg::loop(m.layers, looped->own_first, looped->shared, looped->times - 1).sources();
    if (init) {
        const auto trained = dg::recorded_order(*init);
        dg::require(trained.empty() || trained == run.loop_order, "--loop: expected one that runs the layers ",
                    dg::layer_order(trained, m.layers).to_string(), ", as --init ", s.init, " was trained, found ",
                    s.loop.empty() ? "none" : s.loop);
    }
    if (!s.cooldown_loop.empty()) run.cooldown_order = parse_cooldown_loop(s.cooldown_loop, m.layers);
    dg::require(run.loop_order.empty() || run.cooldown_order.empty(),
                "--loop, --cooldown-loop: expected one of the two, found both");
}

/// What is trained on and asked beside the text.
void resolve_tasks(resolved_run& run) {
    const auto& s = run.settings;
    run.built_in = s.data.empty() && s.mix.empty();
    for (const auto& entry : s.mix.empty() ? std::vector<dg::mix_entry>{} : dg::parse_mix(s.mix))
        run.built_in = run.built_in || entry.source == "built-in";
    run.tasks = split(s.tasks);
    if (run.tasks.empty() && run.length < 1024) run.tasks = {"arithmetic", "psm", "copy_words", "assign_basic_0"};
    if (run.tasks.empty()) run.tasks = dg::primitive_names();
    for (const auto& task : run.tasks) dg::require_primitive(task);
}

/// What keeps an eye on a long run.
void require_long_run_flags(const training_settings& s) {
    seconds_of("--time-limit", s.time_limit);
    dg::require(s.spike >= 0, "--spike: expected a z-score of at least 0, found ", s.spike);
    dg::require(s.skip_outliers >= 0, "--skip-outliers: expected a z-score of at least 0, found ", s.skip_outliers);
    dg::require(s.link >= 0, "--link: expected GB/s of at least 0, found ", s.link);
    dg::require(s.gpu_rate >= 0, "--gpu-rate: expected tokens a second of at least 0, found ", s.gpu_rate);
    dg::require(s.log_size >= 0, "--log-size: expected megabytes of at least 0, found ", s.log_size);
}

}  // namespace

dg::decoder_config stated_model(const training_settings& settings) { return base_config(settings).model; }

resolved_run resolve(const training_settings& given) {
    resolved_run run;
    run.settings = given;
    auto& s = run.settings;
    auto& m = run.model;
    std::optional<dg::checkpoint_reader> init;
    s.out = dg::output_directory(s.out).string();
    dg::require(s.growth_plan.empty() || s.growth == "none",
                "--growth, --growth-plan: expected one of the two, found both");
    dg::require(s.growth_plan.empty() || s.optimizer_state == "copy",
                "--optimizer-state: expected state= in the lines of --growth-plan instead, found ", s.optimizer_state);
    if (s.init.empty()) {
        dg::require(!s.init_optimizer, "--init-optimizer: expected --init, found none");
        auto base = base_config(s);
        m = std::move(base.model);
        run.config_base = std::move(base.fields);
    } else {
        dg::require(s.resume.empty() || s.resume == "auto",
                    "--init, --resume: expected one of the two (or --resume auto, to go on with the run that --init "
                    "began), found both");
        take_from(init.emplace(s.init), run);
    }
    if (s.tokenizer == "auto") s.tokenizer = "bytes";
    const auto* preset =
        std::find_if(std::begin(defaults), std::end(defaults), [&](const auto& d) { return m.name == d.name; });
    const preset_defaults& d = preset == std::end(defaults) || init ? defaults[1] : *preset;
    const auto* begins = init ? &*init : nullptr;
    const auto looped = parse_loop(s.loop);
    resolve_shape(begins, looped, run);
    require_device(s);
    const std::size_t plateau = resolve_steps(d, run);
    resolve_growth(d, plateau, run);
    resolve_loops(begins, looped, run);
    resolve_tasks(run);
    run.threads = own_threads(s.threads);
    require_long_run_flags(s);
    if (s.eval_every == 0) s.eval_every = std::max<std::size_t>(1, run.steps / 10);
    if (s.log_every == 0) s.log_every = std::max<std::size_t>(1, run.steps / 40);
    return run;
}

}  // namespace tools
