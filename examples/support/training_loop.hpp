// The run itself: train, grow, evaluate, save, stop cleanly. Templated on the backend, instantiated once for each.
// Every random choice is a function of (seed, step), so a checkpoint needs no generator state.
#pragma once

#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <optional>

#include <unistd.h>

#include "depthgrow/growth/operators.hpp"
#include "depthgrow/io/byte_tokenizer.hpp"
#include "depthgrow/io/growth_record.hpp"
#include "depthgrow/io/model_checkpoint.hpp"
#include "depthgrow/metrics/overlap.hpp"
#include "depthgrow/tasks/corpus.hpp"
#include "depthgrow/train/trainer.hpp"
#include "support/console.hpp"
#include "support/finite.hpp"
#include "support/training.hpp"
#include "support/training_report.hpp"

namespace tools {

/// Set by SIGTERM and SIGINT; a second signal ends the program at once.
inline volatile std::sig_atomic_t stop_requested = 0;
inline void request_stop(int signal) {
    stop_requested = 1;
    std::signal(signal, SIG_DFL);
}

template <class T, class Backend>
class training_run {
public:
    training_run(Backend& backend, const resolved_run& run)
        : run_(run), settings_(run.settings), backend_(backend), data_(load_data(run)), out_(settings_.out) {}

    training_summary operator()() {
        const auto from = checkpoint_to_resume();
        const std::size_t memory = settings_.quiet ? 0 : planned_memory(run_);
        if (from) resume(*from);
        else if (!settings_.init.empty()) begin_from(settings_.init);
        else begin();
        trainer_->recompute(settings_.recompute);
        prepare_evaluation();
        open_folder();  // nothing is written before everything has been read
        if (!settings_.quiet) print_plan(run_, data_, memory);
        measure_peak();
        if (!from && !settings_.init.empty()) evaluate();
        std::signal(SIGTERM, request_stop);
        std::signal(SIGINT, request_stop);
        loop();
        return summary_;
    }

private:
    /// The rate of the backend's own product at this model's largest shape, no side below 512, where small ones are slow:
    /// what shares are shares of. The best of a quarter of a second, since other programs may run too.
    void measure_peak() {
        const std::size_t least = 512, rows = std::max(least, run_.micro_batch * run_.length), in = std::max(least, run_.model.width), out = std::max(least, 2 * run_.model.ffn);
        dg::tensor<T, Backend> x(backend_, {rows, in}), w(backend_, {out, in}), y(backend_, {rows, out});
        x.backend().template fill<T>(x.data(), x.size(), T(1)), w.backend().template fill<T>(w.data(), w.size(), T(1));
        const auto product = [&] { backend_.template gemm<T>(dg::transpose::no, dg::transpose::yes, 1, x.rows(), w.rows(), 0, y.rows()); };
        product();
        double best = 1e30;
        for (const stopwatch whole; whole.seconds() < 0.25;) {
            const stopwatch watch;
            product();
            backend_.synchronize();
            best = std::min(best, watch.seconds());
        }
        peak_flops_ = 2.0 * static_cast<double>(rows * in * out) / best;
        if (!settings_.quiet)
            std::printf("peak       %sFLOP/s, the backend's product of %zu x %zu x %zu, measured now; share = training FLOPs over it, or over the best line so far\n\n", human(peak_flops_).c_str(), rows, out, in);
    }

    // ---- the loop
    void loop() {
        progress_bar bar(run_.steps);
        if (!settings_.quiet && step_ < run_.steps)
            std::printf("%8s %6s %8s %8s %9s %8s %9s %6s %7s\n", "step", "layers", "loss", "norm", "rate", "tok/s", "GFLOP/s", "share", "left");
        dg::token_batch batch, ahead;
        std::vector<dg::token> inputs, targets;
        std::size_t logged_steps = 0;
        double logged_loss = 0, line_seconds = 0;
        stopwatch whole;
        double flops_since_line = 0;
        while (step_ < run_.steps && !stop_requested) {
            if (const auto& stage = run_.plan.stages[run_.plan.stage_at(step_)]; trainer_->model.layers() < stage.layers) grow_to(stage, bar);
            follow_order(bar);
            stopwatch step_watch;
            if (sampled_ != step_) data_.sample(step_, run_.batch, batch);
            const auto prepared = unpack(batch, inputs, targets);
            const double rate = run_.rate(static_cast<std::int64_t>(step_));
            trainer_->start(prepared, run_.micro_batch, rate);
            data_.sample(sampled_ = step_ + 1, run_.batch, ahead);  // while a device computes
            const auto result = trainer_->finish();
            if (!std::isfinite(result.loss) || !std::isfinite(result.gradient_norm)) diverged(prepared, result);
            std::swap(batch, ahead);
            const std::size_t layers = trainer_->model.layers();
            const double flops = dg::step_flops(run_.shape(), run_.layers_run(step_), run_.tokens_per_step());
            ++step_;
            summary_.loss = result.loss;
            summary_.flops += flops;
            flops_since_line += flops;
            summary_.tokens += static_cast<double>(run_.tokens_per_step());
            training_seconds_ += step_watch.seconds();
            line_seconds += step_watch.seconds();
            log({{"step", step_}, {"layers", layers}, {"loss", result.loss}, {"gradient_norm", result.gradient_norm}, {"lr", rate},
                 {"seconds", training_seconds_}});
            logged_loss += result.loss;
            ++logged_steps;
            const double left = whole.seconds() / static_cast<double>(step_ - first_step_) * static_cast<double>(run_.steps - step_);
            bar.update(step_, format("loss %.3f  %s left", result.loss, duration(left).c_str()));
            if (step_ % settings_.log_every == 0 || step_ == run_.steps) {
                bar.clear();
                const double seconds = line_seconds;
                peak_flops_ = std::max(peak_flops_, flops_since_line / seconds);
                if (!settings_.quiet)
                    std::printf("%8zu %6zu %8.4f %8.3f %9.2e %8s %9.1f %5.0f%% %7s\n", step_, layers, logged_loss / static_cast<double>(logged_steps), result.gradient_norm, rate,
                                human(static_cast<double>(logged_steps * run_.tokens_per_step()) / seconds).c_str(), flops_since_line / seconds * 1e-9, 100 * flops_since_line / seconds / peak_flops_, duration(left).c_str()),
                        std::fflush(stdout);
                logged_loss = 0, logged_steps = 0, flops_since_line = 0, line_seconds = 0;
            }
            if (step_ % settings_.eval_every == 0 || step_ == run_.steps) {
                bar.clear();
                evaluate();
            }
            const bool stage_ends = step_ < run_.steps && run_.plan.layers_at(step_) != layers;
            if (step_ == run_.steps || stage_ends || (settings_.save_every && step_ % settings_.save_every == 0)) save();
        }
        bar.clear();
        if (stop_requested && step_ < run_.steps) {
            save();
            summary_.interrupted = true;
            if (!settings_.quiet) std::printf("stopped at step %zu; go on with --resume auto --out %s\n", step_, settings_.out.c_str());
        }
        finish();
    }

    /// Lets the trainer run the layers that this step's order names.
    void follow_order(progress_bar& bar) {
        const auto& order = run_.order_at(step_);
        if (trainer_->run_order() == order) return;
        const double before = held_out_loss();
        trainer_->run_order(order);
        bar.clear();
        if (!settings_.quiet) std::printf("  from step %zu on %zu layers run, %zu of their own; held-out loss %.4f -> %.4f\n", step_, order.size(), trainer_->model.layers(), before, held_out_loss());
    }
    /// The layers that the model runs now, one by one.
    std::vector<std::size_t> layers_now() const {
        if (!trainer_->run_order().empty()) return trainer_->run_order();
        return dg::layer_order::identity(trainer_->model.layers()).sources();
    }

    void grow_to(const dg::growth_stage& stage, progress_bar& bar) {
        const double before = held_out_loss();
        const std::size_t old_layers = trainer_->model.layers();
        trainer_->grow(stage.order, settings_.optimizer_state == "zero" ? dg::state_policy::zero : dg::state_policy::copy);
        const double after = held_out_loss();
        bar.clear();
        if (!settings_.quiet)
            std::printf("  grow at step %zu: %zu -> %zu layers by %s: %s; held-out loss %.4f -> %.4f\n", step_, old_layers, stage.layers, settings_.growth.c_str(),
                        stage.order.to_string().c_str(), before, after);
        log({{"growth", {{"step", step_}, {"layers", stage.layers}, {"order", stage.order.sources()}, {"loss_before", before}, {"loss_after", after}}}});
        summary_.growth.push_back({{"step", step_}, {"order", stage.order.sources()}});
    }

    [[noreturn]] void diverged(const dg::training_batch& batch, const dg::step_result& result) {
        const std::string bad = trainer_->first_bad_tensor(batch, run_.micro_batch);
        const auto aside = out_ / "diverged";
        write_checkpoint(aside);
        dg::fail("the loss is not finite at step ", step_ + 1, " (loss ", result.loss, ", gradient norm ", result.gradient_norm, "): first bad tensor: ", bad,
                 "; the state before that step is in ", aside.string());
    }

    dg::training_batch unpack(const dg::token_batch& batch, std::vector<dg::token>& inputs, std::vector<dg::token>& targets) const {
        inputs.resize(batch.rows * batch.length);
        targets.resize(inputs.size());
        for (std::size_t row = 0; row < batch.rows; ++row) {
            const auto* from = batch.tokens.data() + row * (batch.length + 1);
            std::copy_n(from, batch.length, inputs.data() + row * batch.length);
            std::copy_n(from + 1, batch.length, targets.data() + row * batch.length);
        }
        return {inputs, targets, batch.weights, batch.rows};
    }

    // ---- evaluation
    struct question_set {
        std::string task;
        std::size_t questions = 0, length = 0;   // T: the longest question
        std::vector<dg::token> inputs, targets;  // (questions, T); targets only on the answer, else -1
    };

    /// Held-out windows of every source, in proportion to nothing: each source's mean counts by its windows.
    void prepare_evaluation() {
        dg::token_batch part;
        const std::size_t share = std::max<std::size_t>(1, settings_.eval_windows / data_.sources());
        for (std::size_t source = 0; source < data_.sources(); ++source) {
            const std::size_t available = data_.held_out_windows(source);
            data_.held_out(source, 0, available ? std::min(share, available) : share, part);
            held_out_.tokens.insert(held_out_.tokens.end(), part.tokens.begin(), part.tokens.end());
            held_out_.weights.insert(held_out_.weights.end(), part.weights.begin(), part.weights.end());
            held_out_.rows += part.rows;
            held_out_.length = part.length;
        }
        held_out_batch_ = unpack(held_out_, held_out_inputs_, held_out_targets_);
        if (!run_.built_in) return;
        for (const auto& task : run_.tasks) questions_.push_back(make_questions(task, 64));
    }
    /// The tokens of an item, and how many at their end are its answer.
    struct tokenized_item {
        std::vector<dg::token> tokens;
        std::size_t answer = 0;
    };
    std::vector<tokenized_item> tokenized(const std::vector<dg::evaluation_item>& items) const {
        const auto encode = run_.encoder();
        std::vector<tokenized_item> out(items.size());
        for (std::size_t i = 0; i < items.size(); ++i) {
            encode(items[i].prompt, out[i].tokens);
            const std::size_t before = out[i].tokens.size();
            encode(items[i].item.answer + std::string(dg::answer_end), out[i].tokens);
            out[i].answer = out[i].tokens.size() - before;
        }
        return out;
    }
    question_set make_questions(const std::string& task, std::size_t count) const {
        const auto sizes = item_sizes(run_.length);
        std::size_t shots = 5;
        for (; shots > 0; --shots)
            if (longest(tokenized(dg::evaluation_set(task, 16, shots, 12345, sizes))) <= run_.length) break;
        const auto items = tokenized(dg::evaluation_set(task, count, shots, 12345, sizes));
        const std::size_t length = std::min(run_.length, longest(items));
        question_set set{task, count, length, std::vector<dg::token>(count * length, 0), std::vector<dg::token>(count * length, -1)};
        for (std::size_t i = 0; i < count; ++i) {
            const auto& whole = items[i].tokens;
            const std::size_t skip = whole.size() > length + 1 ? whole.size() - length - 1 : 0;
            for (std::size_t p = skip; p + 1 < whole.size(); ++p) {
                set.inputs[i * length + p - skip] = whole[p];
                if (p + 1 + items[i].answer >= whole.size()) set.targets[i * length + p - skip] = whole[p + 1];
            }
        }
        return set;
    }
    /// Inputs of the longest item.
    static std::size_t longest(const std::vector<tokenized_item>& items) {
        std::size_t longest = 0;
        for (const auto& item : items) longest = std::max(longest, item.tokens.size() - 1);
        return longest;
    }

    double held_out_loss(dg::span<const std::size_t> order = {}) { return trainer_->loss(held_out_batch_, run_.micro_batch, order); }

    /// Share of questions whose every answer token is the model's first choice.
    double accuracy(const question_set& set) {
        const std::size_t length = set.length, rows = std::max<std::size_t>(1, run_.micro_batch * run_.length / length);
        std::size_t right = 0;
        for (std::size_t first = 0; first < set.questions; first += rows) {
            const std::size_t count = std::min(rows, set.questions - first);
            const dg::span<const dg::token> inputs(set.inputs.data() + first * length, count * length), targets(set.targets.data() + first * length, count * length);
            const auto ids = dg::tensor<dg::token, Backend>::from_host(backend_, {inputs.size()}, inputs), wanted = dg::tensor<dg::token, Backend>::from_host(backend_, {targets.size()}, targets);
            const auto scores = dg::score_tokens(trainer_->model, trainer_->workspace(), ids.flat(), wanted.flat(), count, trainer_->run_order());
            for (std::size_t q = 0; q < count; ++q) {
                bool all = true;
                for (std::size_t t = q * length; t < (q + 1) * length; ++t) all = all && (targets[t] < 0 || targets[t] == scores.best[t]);
                right += all ? 1 : 0;
            }
        }
        return static_cast<double>(right) / static_cast<double>(set.questions);
    }

    void evaluate() {
        summary_.validation_loss = held_out_loss();
        double mean = 0;
        for (const auto& set : questions_) mean += (summary_.answer_accuracy[set.task] = accuracy(set)) / static_cast<double>(questions_.size());
        dg::json line = {{"step", step_}, {"validation_loss", summary_.validation_loss}};
        if (!questions_.empty()) line["answer_accuracy"] = summary_.answer_accuracy;
        log(line);
        if (!settings_.quiet)
            std::printf("  held-out at step %zu: loss %.4f%s\n", step_, summary_.validation_loss, questions_.empty() ? "" : format(", answers right %.3f", mean).c_str()),
                std::fflush(stdout);
    }

    /// Top-5 overlap of the logit lens at the last layer's input with the head (metrics.md 5), over held-out windows.
    double late_overlap() {
        const auto all = layers_now();
        if (all.size() < 2) return 1;
        const std::vector<std::size_t> early(all.begin(), all.end() - 1);
        const std::size_t rows = std::min({std::size_t{16}, held_out_.rows, std::max<std::size_t>(1, 8192 / run_.length)}), tokens = rows * run_.length;
        const auto ids = dg::tensor<dg::token, Backend>::from_host(backend_, {tokens}, {held_out_inputs_.data(), tokens});
        const auto host = [&](dg::span<const std::size_t> order) {
            const auto out = dg::logits(trainer_->model, trainer_->workspace(), ids.flat(), rows, order);
            std::vector<T> values(out.size());
            backend_.template to_host<T>(out.data, values.data(), values.size());
            std::vector<float> wide(values.size());
            std::transform(values.begin(), values.end(), wide.begin(), [](T x) { return static_cast<float>(x); });
            return wide;
        };
        const auto full = host(all), lens = host(early);
        const std::size_t vocab = run_.model.vocab;
        double sum = 0;
        for (std::size_t t = 0; t < tokens; ++t)
            sum += dg::top_k_overlap(dg::span<const float>(lens.data() + t * vocab, vocab), dg::span<const float>(full.data() + t * vocab, vocab), 5);
        return sum / static_cast<double>(tokens);
    }

    void finish() {
        summary_.steps = step_;
        summary_.layers = trainer_->model.layers();
        summary_.flops_ratio = run_.flops_ratio();
        summary_.seconds = training_seconds_;
        summary_.tokens_per_second = training_seconds_ > 0 ? summary_.tokens / training_seconds_ : 0;
        if (summary_.interrupted) return;
        if (summary_.validation_loss == 0) summary_.validation_loss = held_out_loss();
        const dg::layer_order all(layers_now(), trainer_->model.layers());
        const std::size_t depth = all.size(), block = std::min(settings_.block, depth / 2);
        if (block > 0) summary_.swap_loss = held_out_loss(dg::compose(dg::swap_blocks(depth, depth / 2 - block, block), all).sources()) - held_out_loss();
        summary_.late_overlap = late_overlap();
        log({{"done", summary_.to_json()}});
        dg::write_file(out_ / "run.json", dg::json_text({{"settings", run_.identity()}, {"result", summary_.to_json()}}, 2));
        write_training_report(out_, run_, summary_);
        if (settings_.quiet) return;
        if constexpr (requires { backend_.memory(); })
            std::printf("\ndevice     %sB in use, libraries and other programs included\n", human(static_cast<double>(backend_.memory().first)).c_str());
        std::printf("\ndone: %zu layers, %.3f of a plain run's FLOPs, held-out loss %.4f, top-5 overlap at the last layer's input %.3f, swapping the middle blocks adds %.4f\n",
                    summary_.layers, summary_.flops_ratio, summary_.validation_loss, summary_.late_overlap, summary_.swap_loss);
        std::printf("page: %s\n", (out_ / "report.html").c_str());
    }

    // ---- how it begins
    dg::adamw_constants constants() const { return {.decay = settings_.weight_decay, .clip = settings_.clip}; }
    void begin() {
        trainer_.emplace(backend_, run_.model.with_depth(run_.plan.stages.front().layers), settings_.seed, run_.loop_order.empty() ? run_.model.layers : run_.loop_order.size(), constants());
    }
    /// Weights of another run, and its moments if asked for; a run of its own from step 0 on.
    void begin_from(const std::filesystem::path& directory) {
        load(dg::checkpoint_reader(directory));
        if (settings_.init_optimizer) dg::read_optimizer(directory / "optimizer.safetensors", trainer_->model.config(), trainer_->optimizer);
        trainer_->run_order(run_.order_at(0));
        summary_.growth = run_.history;
    }
    /// A trainer with the weights of a checkpoint, which is this run's model at some depth.
    void load(const dg::checkpoint_reader& checkpoint) {
        const auto expected = run_.model.with_depth(checkpoint.config().layers);
        const auto wanted = dg::hf_config_fields(expected), found = dg::hf_config_fields(checkpoint.config());
        for (const auto& [key, value] : wanted.items())
            dg::require(found.contains(key) && found[key] == value, (checkpoint.directory() / "config.json").string(), ": expected ", key, " ", value.dump(), ", as this run's model has it, found ",
                        found.contains(key) ? found[key].dump() : "none");
        trainer_.emplace(backend_, expected, constants());
        dg::read_model(checkpoint, trainer_->model);
        require_finite(trainer_->model, checkpoint);
        if constexpr (dg::trainer<T, Backend>::mixed) dg::read_model(checkpoint, expected, trainer_->optimizer.master);
    }

    // ---- the folder
    /// The checkpoint to go on from, if any; refuses a folder that is another run's.
    std::optional<std::filesystem::path> checkpoint_to_resume() const {
        namespace fs = std::filesystem;
        const auto checkpoints = out_ / "checkpoints", lines = out_ / "log.jsonl";
        const bool used = fs::exists(lines) || fs::exists(checkpoints);
        dg::require(!used || settings_.resume == "auto", out_.string(), ": expected a new folder, found another run; go on with --resume auto or choose another --out");
        dg::require(fs::exists(lines) || !fs::is_symlink(lines), lines.string(), ": expected a file, found a link that leads nowhere");
        if (settings_.resume.empty()) return std::nullopt;
        if (settings_.resume != "auto") return settings_.resume;
        dg::clean_leftovers(checkpoints);
        if (const auto newest = dg::latest_checkpoint(checkpoints)) return newest->path;
        return std::nullopt;
    }
    void open_folder() {
        std::error_code problem;
        std::filesystem::create_directories(out_ / "checkpoints", problem);
        dg::require(!problem, out_.string(), ": expected a folder that can be written, found: ", problem.message());
        cut_log();
        log_.open(out_ / "log.jsonl", std::ios::app);
        dg::require(log_.good(), (out_ / "log.jsonl").string(), ": expected a file that can be written, found that it cannot");
    }
    void resume(const std::filesystem::path& from) {
        const auto file = from / "trainer_state.json";
        const auto state = dg::read_json_file(file);
        const dg::json_fields fields(state, file.string());
        const auto& was = fields.object("settings");
        const auto now = run_.identity();
        for (const auto& [key, value] : now.items())
            dg::require(was.contains(key) && was[key] == value, file.string(), ": expected the settings of this run, found ", key, " ",
                        was.contains(key) ? was[key].dump() : "missing", " where it asks for ", value.dump());
        load(dg::checkpoint_reader(from));
        dg::read_optimizer(from / "optimizer.safetensors", trainer_->model.config(), trainer_->optimizer);
        step_ = first_step_ = static_cast<std::size_t>(fields.count("step"));
        trainer_->run_order(run_.order_at(step_ > 0 ? step_ - 1 : 0));
        summary_.tokens = fields.number("tokens");
        summary_.flops = fields.number("flops");
        training_seconds_ = fields.number("seconds");
        summary_.growth = state.value("growth", dg::json::array());
        if (!settings_.quiet) std::printf("resuming from %s at step %zu with %zu layers\n", from.c_str(), step_, trainer_->model.layers());
    }
    /// Drops lines of steps that the checkpoint does not know, so that the log is that of one unbroken run.
    void cut_log() const {
        const auto path = out_ / "log.jsonl";
        std::ifstream in(path);
        if (!in) return;
        std::string kept, line;
        while (std::getline(in, line)) {
            const auto value = dg::json::parse(line, nullptr, false);
            if (value.is_discarded() || value.contains("done")) continue;
            const auto& holder = value.contains("growth") ? value["growth"] : value;
            const std::size_t step = holder.value("step", std::size_t{0});
            if (step < step_ || (step == step_ && !value.contains("growth"))) kept += line + "\n";
        }
        in.close();
        dg::write_file(path, kept);
    }
    void log(const dg::json& line) {
        log_ << dg::json_line(line);
        log_.flush();
        dg::require(log_.good(), (out_ / "log.jsonl").string(), ": expected room for a line, found that writing fails (disk full?)");
    }

    void write_checkpoint(const std::filesystem::path& target) {
        dg::atomic_directory folder(target);
        std::map<std::string, std::string> provenance;
        if (!summary_.growth.empty()) provenance[dg::growth_metadata_key] = summary_.growth.dump();
        if (const auto& order = trainer_->run_order(); !order.empty()) provenance[dg::order_metadata_key] = dg::layer_order(order, trainer_->model.layers()).to_string();
        dg::write_model(folder.path(), trainer_->model.config(), trainer_->trained(), dg::dtype::f32, provenance, run_.config_base);
        dg::write_optimizer(folder.path() / "optimizer.safetensors", trainer_->model.config(), trainer_->optimizer);
        if (run_.tokenizer) dg::write_tokenizer(folder.path(), *run_.tokenizer);
        else dg::write_byte_tokenizer(folder.path());
        for (const auto& [name, content] : run_.tokenizer_files) dg::write_file(folder.path() / name, content);
        dg::write_file(folder.path() / "trainer_state.json",
                       dg::json_text({{"format_version", 1}, {"step", step_}, {"layers", trainer_->model.layers()}, {"stage", step_ < run_.steps ? run_.plan.stage_at(step_) : run_.plan.stages.size() - 1},
                                      {"tokens", summary_.tokens}, {"flops", summary_.flops}, {"seconds", training_seconds_}, {"data_position", step_ * run_.batch},
                                      {"random_state", {{"seed", settings_.seed}, {"step", step_}}}, {"growth", summary_.growth}, {"settings", run_.identity()}}, 2));
        folder.commit();
    }
    /// A whole checkpoint beside the others, then the names in the run's folder that point at the newest, then the oldest go.
    void save() {
        const auto checkpoints = out_ / "checkpoints";
        write_checkpoint(checkpoints / dg::checkpoint_name(step_));
        link(std::filesystem::path("checkpoints") / dg::checkpoint_name(step_), out_ / "latest");
        for (const char* name : {"config.json", "model.safetensors", "optimizer.safetensors", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json", "trainer_state.json"})
            if (std::filesystem::exists(out_ / "latest" / name)) link(std::filesystem::path("latest") / name, out_ / name);
        dg::keep_checkpoints(checkpoints, settings_.keep);
    }
    static void link(const std::filesystem::path& target, const std::filesystem::path& name) {
        std::error_code problem;
        if (std::filesystem::is_symlink(name) && std::filesystem::read_symlink(name, problem) == target) return;
        const std::filesystem::path aside = name.parent_path() / (".tmp-link-" + name.filename().string());
        std::filesystem::remove(aside, problem);
        std::filesystem::create_symlink(target, aside, problem);
        if (!problem) std::filesystem::rename(aside, name, problem);
        dg::require(!problem, name.string(), ": expected a link that can be made, found: ", problem.message());
    }

    resolved_run run_;
    const training_settings& settings_ = run_.settings;
    Backend& backend_;
    dg::training_data data_;
    std::filesystem::path out_;
    std::optional<dg::trainer<T, Backend>> trainer_;
    std::ofstream log_;
    std::size_t step_ = 0, first_step_ = 0, sampled_ = static_cast<std::size_t>(-1);  // whose batch is at hand
    double training_seconds_ = 0, peak_flops_ = 1;
    training_summary summary_;
    dg::token_batch held_out_;
    std::vector<dg::token> held_out_inputs_, held_out_targets_;
    dg::training_batch held_out_batch_;
    std::vector<question_set> questions_;
};

}  // namespace tools
