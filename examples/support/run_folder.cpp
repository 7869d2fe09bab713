#include "support/run_folder.hpp"

#include <cstdio>

#include "depthgrow/io/manifest.hpp"
#include "depthgrow/io/model_checkpoint.hpp"

namespace tools {

namespace {

namespace fs = std::filesystem;

/// A link that changes from one target to the next without a moment in between.
void link(const fs::path& target, const fs::path& name) {
    std::error_code problem;
    if (fs::is_symlink(name) && fs::read_symlink(name, problem) == target) return;
    const fs::path aside = name.parent_path() / (".tmp-link-" + name.filename().string());
    fs::remove(aside, problem);
    fs::create_symlink(target, aside, problem);
    if (!problem) fs::rename(aside, name, problem);
    dg::require(!problem, name.string(), ": expected a link that can be made, found: ", problem.message());
}

}  // namespace

fs::path run_folder::checkpoint(std::size_t step) const { return path_ / "checkpoints" / dg::checkpoint_name(step); }

std::optional<fs::path> run_folder::checkpoint_to_resume(dg::communicator& comm) const {
    std::optional<fs::path> from;
    dg::together(comm, [&] {
        if (comm.first()) from = newest_whole_checkpoint();
    });
    std::vector<double> found = {from ? 1.0 : 0.0, 0.0};
    if (from && resume_ == "auto") found[1] = static_cast<double>(dg::checkpoint_step(*from));
    comm.sum(found);  // of the first rank alone
    if (found[0] == 0) return std::nullopt;
    return resume_ == "auto" ? checkpoint(static_cast<std::size_t>(found[1])) : fs::path(resume_);
}

std::optional<fs::path> run_folder::newest_whole_checkpoint() const {
    dg::detail::require_short_names(path_ / "checkpoints" / dg::checkpoint_name(0) / "optimizer.safetensors");
    const auto checkpoints = path_ / "checkpoints", lines = path_ / "log.jsonl";
    const bool used = fs::exists(lines) || fs::exists(checkpoints);
    dg::require(!used || resume_ == "auto", path_.string(),
                ": expected a new folder, found another run; go on with --resume auto or choose another --out");
    dg::require(fs::exists(lines) || !fs::is_symlink(lines), lines.string(),
                ": expected a file, found a link that leads nowhere");
    if (resume_.empty()) return std::nullopt;
    if (resume_ != "auto") {
        dg::require_undamaged(resume_);
        return resume_;
    }
    if (writes_) dg::clean_leftovers(checkpoints);
    const auto all = dg::list_checkpoints(checkpoints);
    std::string newest_damage;
    for (auto one = all.rbegin(); one != all.rend(); ++one) {
        const auto damage = dg::damage_in(one->path);
        if (damage.empty()) return one->path;
        std::fprintf(stderr, "warning: %s; the checkpoint is left out\n", damage.c_str());
        if (newest_damage.empty()) newest_damage = damage;
    }
    dg::require(all.empty(), path_.string(), ": expected a whole checkpoint to go on from, found ", all.size(),
                all.size() == 1 ? " that is damaged (" : " that are damaged (the newest: ", newest_damage,
                "); a new run needs another --out");
    return std::nullopt;
}

std::vector<fs::path> log_files(const fs::path& run) {
    std::vector<fs::path> out;
    for (std::size_t i = 1;; ++i) {
        const auto older = run / dg::text("log.", i, ".jsonl");
        if (!fs::exists(older)) break;
        out.push_back(older);
    }
    if (const auto newest = run / "log.jsonl"; fs::exists(newest)) out.push_back(newest);
    return out;
}

void run_folder::open(std::size_t step) {
    if (!writes_) return;
    std::error_code problem;
    fs::create_directories(path_ / "checkpoints", problem);
    dg::require(!problem, path_.string(), ": expected a folder that can be written, found: ", problem.message());
    cut_log(step);
    log_.emplace(path_ / "log.jsonl");
    events_.emplace(path_, step);
}

/// Drops lines of steps that the checkpoint does not know, so that the log is that of one unbroken run.
void run_folder::cut_log(std::size_t step) const {
    auto files = log_files(path_);
    for (auto file = files.rbegin(); file != files.rend(); ++file) {
        std::ifstream in(*file);
        std::string kept, line;
        bool cut = false;
        while (std::getline(in, line)) {
            const auto value = dg::json::parse(line, nullptr, false);
            bool keep = !value.is_discarded() && !value.contains("done");
            if (keep) {
                const bool growth = value.contains("growth");
                const auto& holder = growth ? value["growth"] : value.contains("outlier") ? value["outlier"] : value;
                const std::size_t at = holder.value("step", std::size_t{0});
                keep = at < step || (at == step && !growth);
            }
            if (keep) kept += line + "\n";
            cut = cut || !keep;
        }
        in.close();
        if (!cut && !kept.empty()) return;  // older files hold older steps
        if (kept.empty() && file->filename() != "log.jsonl") fs::remove(*file);
        else dg::write_file(*file, kept);
    }
}

void run_folder::begin_next_log() {
    std::size_t next = 1;
    while (fs::exists(path_ / dg::text("log.", next, ".jsonl"))) ++next;
    std::error_code problem;  // no reason to end the run: the log grows on
    fs::rename(path_ / "log.jsonl", path_ / dg::text("log.", next, ".jsonl"), problem);
    if (!problem) log_->reopen();
}

namespace {

/// The numbers of a line of the log by the tags that TensorBoard shows.
dg::event_file::scalars scalars_of(const dg::json& line) {
    dg::event_file::scalars out;
    const auto add = [&](const std::string& group, const dg::json& values) {
        for (const auto& [key, value] : values.items())
            if (value.is_number() && key != "step" && key != "seed") out.emplace_back(group + key, value.get<double>());
    };
    add(line.contains("loss_after") ? "growth/" : "train/", line);
    if (line.contains("loss_by_source")) add("train/loss_by_source/", line["loss_by_source"]);
    if (line.contains("answer_accuracy")) add("answers/", line["answer_accuracy"]);
    return out;
}

}  // namespace

void run_folder::log(const dg::json& line) {
    if (!writes_) return;
    if (log_bytes_ > 0 && log_->size() >= log_bytes_ && log_->problem().empty()) begin_next_log();
    const bool went_well = log_->problem().empty();
    if (!log_->add(dg::json_line(line)) && went_well)
        std::fprintf(stderr, "warning: %s: expected room for a line, found: %s; the run goes on and tries again\n",
                     log_->path().c_str(), log_->problem().c_str());
    const auto& numbers = line.contains("growth") ? line["growth"] : line;
    if (!numbers.contains("step")) return;
    if (const auto scalars = scalars_of(numbers); !scalars.empty())
        events_->add(numbers["step"].get<std::size_t>(), scalars);
}

void run_folder::write_waiting_lines() {
    if (writes_ && !log_->problem().empty()) (void)log_->add({});
}

void run_folder::require_logged() {
    if (!writes_) return;
    log_->require_whole();
    events_->require_whole();
}

void run_folder::publish(std::size_t step) const {
    link(fs::path("checkpoints") / dg::checkpoint_name(step), path_ / "latest");
    for (const char* name :
         {"config.json", "model.safetensors", "optimizer.safetensors", "tokenizer.json", "tokenizer_config.json",
          "special_tokens_map.json", "generation_config.json", "trainer_state.json", "manifest.json"})
        if (fs::exists(path_ / "latest" / name)) link(fs::path("latest") / name, path_ / name);
    dg::keep_checkpoints(path_ / "checkpoints", keep_);
}

}  // namespace tools
