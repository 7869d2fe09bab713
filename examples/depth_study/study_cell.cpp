#include "depth_study/study_cell.hpp"

#include <algorithm>
#include <cmath>

#include "depthgrow/io/atomic_file.hpp"
#include "depthgrow/io/manifest.hpp"
#include "depthgrow/train/run_directory.hpp"
#include "support/console.hpp"

namespace study {

namespace fs = std::filesystem;

namespace {

/// Flags that change where and how a run computes, not what.
constexpr const char* of_the_machine[] = {"--backend",    "--threads",   "--product", "--log-every",
                                          "--save-every", "--recompute", "--seed"};

/// A file as descriptions have it: its name and the hash of its content, whatever folder it lies in.
class file_names {
public:
    std::string operator()(const std::string& file) {
        auto& known = known_[file];
        if (known.empty()) {
            known = fs::path(file).filename().string();
            if (fs::is_regular_file(file)) known += " " + dg::file_hash(file);
        }
        return known;
    }

private:
    std::map<std::string, std::string> known_;
};

std::vector<std::size_t> steps_of(const std::vector<double>& moments, std::size_t steps, const std::string& label) {
    std::vector<std::size_t> out;
    for (double moment : moments) {
        const double at = moment > 1 ? moment : std::round(moment * static_cast<double>(steps));
        dg::require(at <= static_cast<double>(steps), label, ": expected checkpoints within the run of ", steps,
                    " steps, found ", moment);
        const auto step = std::max<std::size_t>(1, static_cast<std::size_t>(at));
        dg::require(out.empty() || step > out.back(), label, ": expected checkpoints at different steps of the ", steps,
                    ", found two at step ", step);
        out.push_back(step);
    }
    return out;
}

dg::json describe(const cell& one, const measures& measure, file_names& names) {
    auto flags = one.flags.with_files([&](const std::string& file) { return names(file); });
    for (const char* flag : of_the_machine) flags.erase(flag);
    dg::json out = measure.to_json();
    out["flags"] = flags.to_json(), out["seed"] = one.seed, out["moments"] = one.moments;
    for (const auto& [name, file] : measure.prompt_files) out["prompts"][name] = names(file);
    return out;
}

/// "found steps 1800 where it has 2000": the first difference of two descriptions.
std::string difference(const dg::json& wanted, const dg::json& found) {
    for (const auto& part : {wanted.flatten(), found.flatten()})
        for (const auto& [key, ignored] : part.items()) {
            const dg::json::json_pointer at(key);
            const auto text = [&](const dg::json& value) {
                return value.contains(at) ? dg::detail::quotable(value.at(at).dump(), 60) : std::string("nothing");
            };
            if (text(wanted) != text(found))
                return "found " + text(found) + " where the study has " + text(wanted) + " for " + key.substr(1);
        }
    return "found another";
}

/// Whether two lists of measurements have the same numbers, times and energy aside.
bool agree(dg::json a, dg::json b) {
    for (auto* moments : {&a, &b})
        for (auto& moment : *moments)
            for (const char* key : {"seconds", "joules"}) moment.erase(key);
    return a == b;
}

bool same(const cell& one, const dg::json& found) { return found.at("description") == one.description; }

}  // namespace

dg::json read_cell(const fs::path& file) {
    auto value = dg::read_json_file(file);
    const dg::json_fields fields(value, file.string());
    dg::require(fields.count("format_version") == 1, file.string(), ": expected format_version 1, found ",
                fields.count("format_version"));
    fields.object("description");
    return value;
}

fs::path unfinished_file(const cell& one) { return fs::path(one.run.settings.out) / "cell.json"; }

std::vector<cell> make_cells(const study_file& study, const fs::path& out, bool quiet) {
    std::vector<std::size_t> seeds;
    for (const auto& v : study.variants)
        for (std::size_t seed : v.seeds)
            if (std::find(seeds.begin(), seeds.end(), seed) == seeds.end()) seeds.push_back(seed);
    file_names names;
    std::vector<cell> cells;
    for (std::size_t seed : seeds)
        for (const auto& v : study.variants) {
            if (std::find(v.seeds.begin(), v.seeds.end(), seed) == v.seeds.end()) continue;
            const std::string label = study.label + ": variant " + v.name, number = std::to_string(seed);
            cell one;
            one.variant = v.name, one.seed = seed, one.flags = study.flags;
            one.flags.set(v.flags);
            one.flags.set("--seed", {number});
            auto settings = tools::read_training_flags(one.flags, label);
            settings.out = (out / "runs" / v.name / ("seed-" + number)).string();
            settings.resume = "auto", settings.keep = 1, settings.quiet = quiet;
            try {
                one.run = tools::resolve(settings);
            } catch (const dg::error& problem) { dg::fail(label, ": ", problem.what()); }
            one.moments = steps_of(study.moments, one.run.steps, label);
            one.description = describe(one, study.measure, names);
            one.file = out / "cells" / (v.name + "-seed-" + number + ".json");
            cells.push_back(std::move(one));
        }
    return cells;
}

std::vector<cell> shard_of(const std::vector<cell>& cells, const std::string& shard) {
    if (shard.empty()) return cells;
    const auto slash = shard.find('/');
    const auto number = [&](const std::string& text) {
        const bool good = !text.empty() && text.size() < 8 && text.find_first_not_of("0123456789") == text.npos;
        return good ? std::stoul(text) : 0;
    };
    const std::size_t i = slash == shard.npos ? 0 : number(shard.substr(0, slash)),
                      n = slash == shard.npos ? 0 : number(shard.substr(slash + 1));
    dg::require(i >= 1 && i <= n, "--shard: expected i/n with i from 1 to n, like 1/3, found ",
                dg::detail::quotable(shard, 40));
    std::vector<cell> out;
    for (std::size_t c = i - 1; c < cells.size(); c += n) out.push_back(cells[c]);
    return out;
}

void require_same(const cell& one, const dg::json& found, const fs::path& file) {
    dg::require(same(one, found), file.string(), ": expected the cell ", one.name(), " as the study describes it now, ",
                difference(one.description, found.at("description")),
                "; --put-aside moves such cells away and runs them anew");
}

std::optional<dg::json> finished(const cell& one) {
    if (!fs::exists(one.file)) return std::nullopt;
    auto found = read_cell(one.file);
    require_same(one, found, one.file);
    return found;
}

std::size_t put_aside(const std::vector<cell>& cells, const fs::path& out) {
    std::size_t moved = 0;
    for (const auto& one : cells) {
        const auto differs = [&](const fs::path& file) { return fs::exists(file) && !same(one, read_cell(file)); };
        if (!differs(one.file) && !differs(unfinished_file(one))) continue;
        fs::path aside;
        for (std::size_t n = 1;
             fs::exists(aside = out / "aside" / (one.file.stem().string() + "-" + std::to_string(n)));)
            ++n;
        fs::create_directories(aside);
        if (fs::exists(one.file)) fs::rename(one.file, aside / "cell.json");
        if (fs::exists(one.run.settings.out)) fs::rename(one.run.settings.out, aside / "run");
        ++moved;
    }
    return moved;
}

std::size_t merge(const std::vector<cell>& cells, const std::vector<std::string>& folders) {
    std::vector<std::pair<fs::path, fs::path>> copies;
    std::map<fs::path, std::pair<dg::json, fs::path>> known;  // by target: moments, and where they were found
    for (const auto& folder : folders) {
        dg::require(fs::is_directory(fs::path(folder) / "cells"), "--merge ", folder,
                    ": expected a folder of a study, with cells in it, found none");
        for (const auto& one : cells) {
            const auto from = fs::path(folder) / "cells" / one.file.filename();
            if (!fs::exists(from)) continue;
            const auto found = read_cell(from);
            require_same(one, found, from);
            if (const auto here = known.count(one.file) ? std::nullopt : finished(one))
                known[one.file] = {here->at("moments"), one.file};
            const auto [other, fresh] = known.try_emplace(one.file, found.at("moments"), from);
            dg::require(fresh || agree(other->second.first, found.at("moments")), from.string(),
                        ": expected the results of ", other->second.second.string(), " for the cell ", one.name(),
                        ", found others");
            if (fresh) copies.emplace_back(from, one.file);
        }
    }
    for (const auto& [from, to] : copies) {
        fs::create_directories(to.parent_path());
        dg::write_file(to, dg::read_text_file(from));
    }
    return copies.size();
}

std::size_t steps_done(const cell& one) {
    const auto newest = dg::latest_checkpoint(fs::path(one.run.settings.out) / "checkpoints");
    return newest ? newest->step : 0;
}

}  // namespace study
