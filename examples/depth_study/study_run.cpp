#include "depth_study/study_run.hpp"

#include <algorithm>
#include <cstdio>

#include "depth_study/study_measure.hpp"
#include "depthgrow/core/config.hpp"
#include "depthgrow/io/atomic_file.hpp"
#include "support/made_by.hpp"
#include "support/training_report.hpp"

namespace study {

namespace fs = std::filesystem;

namespace {

/// The measurements of a cell so far, on disk after each.
class moment_book {
public:
    explicit moment_book(const cell& one) : cell_(one), file_(unfinished_file(one)) {
        if (!fs::exists(file_)) return;
        const auto found = dg::read_json_file(file_);
        require_same(one, found, file_);
        moments_ = found.at("moments");
    }
    /// A run that goes on at `step` does what comes after it again.
    void begin(std::size_t step) {
        dg::json kept = dg::json::array();
        for (const auto& moment : moments_)
            if (moment.at("step").get<std::size_t>() <= step) kept.push_back(moment);
        moments_ = std::move(kept);
        write();
    }
    bool has(std::size_t step) const {
        return std::any_of(moments_.begin(), moments_.end(), [&](const auto& m) { return m.at("step") == step; });
    }
    bool complete() const {
        return std::all_of(cell_.moments.begin(), cell_.moments.end(), [&](std::size_t step) { return has(step); });
    }
    void add(dg::json moment) {
        moments_.push_back(std::move(moment));
        write();
    }
    const dg::json& all() const { return moments_; }

private:
    void write() const {
        dg::write_file(
            file_,
            dg::json_text({{"format_version", 1}, {"description", cell_.description}, {"moments", moments_}}, 1));
    }

    const cell& cell_;
    fs::path file_;
    dg::json moments_ = dg::json::array();
};

/// Sources by their files' names, whatever folders they lie in.
dg::json by_file_name(const dg::json& by_source) {
    dg::json out = dg::json::object();
    for (const auto& [source, value] : by_source.items()) out[fs::path(source).filename().string()] = value;
    return out;
}

dg::json measure_moment(const cell& one, const measures& measure, const tools::training_moment& now) {
    const auto& run = one.run;
    dg::json out = {{"step", now.step},
                    {"share", static_cast<double>(now.step) / static_cast<double>(run.steps)},
                    {"tokens", now.step * run.tokens_per_step()},
                    {"flops", run.flops_until(now.step)},
                    {"seconds", now.so_far.seconds},
                    {"layers", run.plan.stages[run.plan.stage_at(now.step - 1)].layers},
                    {"held_out", now.held_out}};
    out["held_out"]["loss_by_source"] = by_file_name(now.held_out.at("loss_by_source"));
    if (now.so_far.joules) out["joules"] = *now.so_far.joules;
    measure_model(one, measure, now, out);
    return out;
}

void write_cell(const cell& one, const tools::training_summary& result, const dg::json& moments) {
    const auto& s = one.run.settings;
    auto command = one.flags;
    command.set("--out", {s.out});
    const dg::json out = {{"format_version", 1},
                          {"variant", one.variant},
                          {"seed", one.seed},
                          {"description", one.description},
                          {"made", tools::made_by("train_smol " + command.text(), s.backend)},
                          {"plan",
                           {{"steps", one.run.steps},
                            {"tokens", one.run.steps * one.run.tokens_per_step()},
                            {"flops", one.run.flops()},
                            {"parameters", one.run.model.parameters()},
                            {"stages", tools::stages_json(one.run)},
                            {"growth", tools::growths_json(one.run)}}},
                          {"result", result.to_json()},
                          {"moments", moments},
                          {"log", tools::thinned_log(tools::read_log(s.out))}};
    fs::create_directories(one.file.parent_path());
    dg::write_file(one.file, dg::json_line(out));
}

/// What is left of a run without its models: its log and events, run.json, report.html.
void remove_models(const fs::path& folder) {
    for (const auto& entry : fs::directory_iterator(folder))
        if (entry.is_symlink()) fs::remove(entry.path());
    fs::remove_all(folder / "checkpoints");
}

}  // namespace

bool run_cell(const cell& one, const measures& measure, bool keep_models, const std::function<bool()>& stop) {
    moment_book book(one);
    tools::training_watch watch;
    watch.moments = {one.moments.begin(), one.moments.end()};
    watch.begun = [&](std::size_t step) { book.begin(step); };
    watch.stop = stop;
    watch.look = [&](const tools::training_moment& now) {
        if (!book.has(now.step) && !stop()) book.add(measure_moment(one, measure, now));
    };
    const auto result = tools::train(one.run, watch);
    if (result.interrupted || !book.complete()) return false;
    write_cell(one, result, book.all());
    fs::remove(unfinished_file(one));
    if (!keep_models) remove_models(one.run.settings.out);
    return true;
}

}  // namespace study
