// Runs a study: variants of one model over several seeds, measured at several moments; one table, one page.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <set>

#include "depth_study/study_measure.hpp"
#include "depth_study/study_page.hpp"
#include "depth_study/study_recorded.hpp"
#include "depth_study/study_run.hpp"
#include "depthgrow/io/atomic_file.hpp"
#include "support/console.hpp"
#include "support/json_output.hpp"
#include "support/stop_signal.hpp"

namespace {

namespace dg = depthgrow;
namespace fs = std::filesystem;

/// The flags of depth_study itself.
struct study_settings {
    std::string file, variants, shard, baseline, figures, cells;
    std::optional<std::size_t> seeds;
    double budget = 0;
    std::vector<std::string> set, merge;
    bool list = false, table = false, put_aside = false;
};

std::map<std::string, std::string> values_of(const std::vector<std::string>& set) {
    std::map<std::string, std::string> out;
    for (const auto& one : set) {
        const auto equals = one.find('=');
        dg::require(equals != one.npos && equals > 0, "--set: expected NAME=VALUE, found ", one);
        out[one.substr(0, equals)] = one.substr(equals + 1);
    }
    return out;
}

study::study_file make_study(const study_settings& s, const tools::training_settings& common, tools::flag_list flags) {
    for (const char* flag : {"--out", "--json", "--quiet", "--dry-run", "--resume"}) flags.erase(flag);
    for (const char* flag : {"--plan", "--time-limit"})
        dg::require(!flags.find(flag), flag, ": expected none beside a study (--list, --budget), found one");
    const bool seeded = s.seeds || flags.find("--seed") || s.file.empty();
    flags.erase("--seed");
    study::study_file out;
    if (s.file.empty()) {
        dg::require(s.set.empty(), "--set: expected a study's file, whose parameters it sets, found none");
        out.label = "--variants", out.name = "Plain and grown, side by side", out.flags = flags, out.moments = {1};
    } else {
        out = study::read_study(s.file, values_of(s.set), flags);
    }
    if (s.file.empty() || !s.variants.empty())
        study::compare_operators(out, s.variants.empty() ? "none,lidas" : s.variants);
    if (seeded) study::set_seeds(out, common.seed, s.seeds.value_or(1));
    if (!s.baseline.empty()) study::set_baseline(out, s.baseline);
    return out;
}

/// What a cell is doing: "done", "at step 600", "not begun".
std::string state_of(const study::cell& one) {
    if (fs::exists(one.file)) return "done";
    const auto step = study::steps_done(one);
    return step ? tools::format("at step %zu", step) : "not begun";
}

void list_cells(const std::vector<study::cell>& cells, const std::string& json) {
    dg::json record = dg::json::array();
    std::size_t widest = 4;
    for (const auto& one : cells) widest = std::max(widest, one.name().size());
    const auto line = [&](const std::string& name, const std::string& steps, const std::string& tokens,
                          const std::string& flops, const std::string& state) {
        if (json != "-")
            std::printf("%-*s %8s %9s %9s   %s\n", static_cast<int>(widest), name.c_str(), steps.c_str(),
                        tokens.c_str(), flops.c_str(), state.c_str());
    };
    line("cell", "steps", "tokens", "FLOPs", "state");
    double tokens = 0, flops = 0, left = 0;
    for (const auto& one : cells) {
        const double all = one.run.flops(), count = static_cast<double>(one.run.steps * one.run.tokens_per_step());
        const std::string state = state_of(one);
        tokens += count, flops += all;
        if (state != "done") left += all - one.run.flops_until(study::steps_done(one));
        line(one.name(), std::to_string(one.run.steps), tools::human(count), tools::human(all), state);
        record.push_back({{"variant", one.variant},
                          {"seed", one.seed},
                          {"steps", one.run.steps},
                          {"tokens", count},
                          {"flops", all},
                          {"moments", one.moments},
                          {"state", state},
                          {"command", "train_smol " + one.flags.text()}});
    }
    line(tools::format("%zu cells", cells.size()), "", tools::human(tokens), tools::human(flops),
         tools::human(left) + "FLOPs left");
    tools::write_json(json, record);
}

/// Plans as train_smol --dry-run has them, of the first seed of each variant.
void print_plans(const std::vector<study::cell>& cells, bool quiet, const std::string& json) {
    dg::json record = dg::json::array();
    std::set<std::string> seen;
    for (const auto& one : cells) {
        if (!seen.insert(one.variant).second) continue;
        if (!quiet) std::printf("== %s\n", one.name().c_str());
        record.push_back(
            {{"variant", one.variant}, {"folder", one.run.settings.out}, {"plan", tools::dry_run(one.run)}});
        if (!quiet) std::printf("\n");
    }
    tools::write_json(json, record);
}

/// Runs what is not finished; false when it was stopped. A cell that fails (a loss that is not finite) lets the others
/// run, and its sentence ends the study. A budget that is shorter than reading the data still lets one
/// step, or one measurement, be done.
bool run_cells(const study::study_file& study, const std::vector<study::cell>& cells, double budget, bool quiet,
               std::vector<std::string>& failures) {
    const tools::stopwatch watch;
    bool asked = false;
    const auto stop = [&] {
        const bool over = budget > 0 && watch.seconds() >= budget && asked;
        asked = true;
        return tools::stop_requested || over;
    };
    tools::catch_stop_signals(), tools::catch_warning_signal();
    for (const auto& one : cells) {
        if (study::finished(one)) {
            if (!quiet) std::printf("== %s: done before\n", one.name().c_str());
            continue;
        }
        if (asked && stop()) return false;
        if (!quiet) std::printf("== %s\n", one.name().c_str());
        try {
            if (!study::run_cell(one, study.measure, study.keep_models, stop)) return false;
        } catch (const dg::error& problem) {
            failures.push_back(one.name() + ": " + problem.what());
            if (!quiet) std::printf("failed: %s\n", failures.back().c_str());
        }
        if (!quiet) std::printf("\n");
    }
    return true;
}

void show(const study::study_file& study, const std::vector<study::cell>& cells,
          const std::vector<study::cell_result>& results, const fs::path& out, const std::string& figures,
          const std::string& json, bool quiet) {
    const auto record = study::results_json(study, cells, results);
    if (!results.empty()) {
        std::filesystem::create_directories(out);
        dg::write_file(out / "results.json", dg::json_text(record, 1));
        study::write_page(out / "report.html", study, cells, results);
        if (!quiet) {
            study::print_table(study, study::make_table(study, cells, results, study.moments.size() - 1));
            std::printf("\npage: %s\n", (out / "report.html").c_str());
        }
        if (!figures.empty()) {
            const fs::path folder = dg::output_directory(figures);
            const auto count = study::write_figures(folder, study, cells, results);
            if (!quiet) std::printf("%zu figures: %s\n", count, folder.c_str());
        }
    }
    tools::write_json(json, record);
}

/// --cells: table and page of what a folder's cells record.
void show_recorded(const study_settings& s, const tools::training_settings& common, bool out_given) {
    dg::require(s.file.empty() && s.merge.empty() && s.shard.empty() && s.variants.empty(),
                "--cells: expected no study's file, --merge, --shard or --variants beside it, found one");
    auto recorded = study::read_recorded(s.cells);
    if (!s.baseline.empty()) study::set_baseline(recorded.study, s.baseline);
    std::vector<study::cell_result> results;
    for (std::size_t c = 0; c < recorded.cells.size(); ++c)
        results.push_back({&recorded.cells[c], std::move(recorded.found[c])});
    const fs::path out = dg::output_directory(out_given ? common.out : s.cells);
    show(recorded.study, recorded.cells, results, out, s.figures, common.json, common.quiet || common.json == "-");
}

void run(const study_settings& s, const tools::training_settings& common, const tools::flag_list& flags) {
    const bool quiet = common.quiet || common.json == "-";
    if (!s.cells.empty()) return show_recorded(s, common, flags.find("--out") != nullptr);
    const fs::path out = dg::output_directory(common.out);
    if (!s.figures.empty()) dg::output_directory(s.figures);  // refused before anything runs
    const auto study = make_study(s, common, flags);
    const auto cells = study::make_cells(study, out, quiet);
    const auto mine = study::shard_of(cells, s.shard);
    if (s.list) return list_cells(mine, common.json);
    if (common.dry_run) return print_plans(mine, quiet, common.json);
    if (s.put_aside) {
        const std::size_t moved = study::put_aside(cells, out);
        if (!quiet && moved > 0) std::printf("%zu cells moved to %s\n", moved, (out / "aside").c_str());
    }
    study::require_measures(cells.front(), study.measure);
    for (const auto& one : cells) study::finished(one);  // refuses cells that are described otherwise now
    if (!s.merge.empty()) {
        const std::size_t count = study::merge(cells, s.merge);
        if (!quiet) std::printf("%zu cells came from %zu folders\n", count, s.merge.size());
    }
    const bool only_table = s.table || !s.merge.empty();
    if (!only_table) tools::require_backend(mine.front().run.settings.backend, mine.front().run.settings.precision);
    std::vector<std::string> failures;
    const bool all = only_table || run_cells(study, mine, s.budget, quiet, failures);
    std::vector<study::cell_result> results;
    for (const auto& one : cells)
        if (auto found = study::finished(one)) results.push_back({&one, std::move(*found)});
    show(study, cells, results, out, s.figures, common.json, quiet);
    const auto done = std::count_if(cells.begin(), cells.end(), [](const auto& one) { return fs::exists(one.file); });
    if (!quiet && (!all || only_table))
        std::printf("%s%td of %zu cells are done%s\n", all ? "" : "stopped; ", done, cells.size(),
                    all ? "" : ", the same command goes on");
    dg::require(failures.empty(), failures.empty() ? "" : failures.front(),
                failures.size() > 1 ? dg::text(" (and ", failures.size() - 1, " more cells)") : "");
}

}  // namespace

int main(int argc, char** argv) {
    return tools::run_tool([&] {
        tools::training_settings common;
        common.out = "runs/study";
        study_settings s;
        std::string operators;
        for (const auto& name : dg::operator_names(true)) operators += ", " + name;
        tools::command_line flags("depth_study [STUDY.json] [FLAGS] [FLAGS of train_smol]",
                                  "Trains variants of one model over several seeds, measures each at several moments: "
                                  "one table, one page.");
        flags.group("Study");
        flags.add_positional("STUDY.json", s.file,
                             "A file that names variants, seeds and what is measured; its README explains it");
        flags.add("--variants", s.variants,
                  "Growth operators to compare, comma-separated, in place of a file's variants (default without a "
                  "file: none,lidas): none" +
                      operators);
        flags.add("--seeds", s.seeds,
                  "Seeds of each variant, --seed, --seed + 1, ..., in place of a file's (default without a file: 1)");
        flags.add("--set", s.set, "Values of the file's parameters: NAME=VALUE ...");
        flags.add("--shard", s.shard, "Only every n-th cell, from the i-th on: i/n");
        flags.add("--budget", s.budget,
                  "Stop after about so many seconds, between two steps; the same command goes on (0: never)");
        flags.add_switch("--list", s.list, "Show cells with steps, tokens, FLOPs and what is done, and stop");
        flags.add_switch("--table", s.table, "Table and page of the cells that are done, without running any");
        flags.add("--cells", s.cells,
                  "Table and page of the finished cells in a study's folder (default of --out: the same), without its "
                  "file and data");
        flags.add("--baseline", s.baseline,
                  "Variant from which differences are taken and FLOPs counted, in place of the file's");
        flags.add("--figures", s.figures,
                  "Folder to write the page's plots of measurements to as well, one .svg file each");
        flags.add("--merge", s.merge,
                  "Folders of the same study, from other machines or days: take their cells; then as --table");
        flags.add_switch("--put-aside", s.put_aside,
                         "Move cells that the file now describes otherwise to OUT/aside and run them anew");
        tools::add_training_flags(flags, common);
        flags.examples(
            {"depth_study examples/depth_study/quickstart.json               # plain beside grown, the built-in corpus",
             "depth_study --variants none,midas,lidas --seeds 3 --data book.txt     # the same without a file",
             "depth_study study.json --set data=book.txt --out runs/book --list     # what it would do",
             "depth_study study.json --out runs/book --shard 1/2 --budget 540       # half of it, nine minutes at a "
             "time",
             "depth_study study.json --out runs/book --merge runs/other-machine     # cells of another folder too"},
            "A cell is a variant with a seed. It trains as train_smol would, into OUT/runs/VARIANT/seed-N, and leaves "
            "OUT/cells/VARIANT-seed-N.json, after which it is never run again. A study that was stopped or killed "
            "goes on by the same command.\nFlags of train_smol win over the file's common flags, a variant's own "
            "flags win over both.");
        if (!flags.parse(argc, argv)) return;
        dg::require(common.resume.empty() || common.resume == "auto",
                    "--resume: expected none, since a study goes on by itself, found ", common.resume);
        run(s, common, tools::flag_list(flags.given("Study"), "the command line"));
    });
}
