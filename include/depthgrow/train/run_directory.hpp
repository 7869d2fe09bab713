// A run as a directory that opens in transformers: weights, optimiser state, and what the run has done.
// Assumes a trainer that was grown by trainer::grow, which keeps the history; nothing there is overwritten in part.
// trainer_state.json: format_version, step, layers, growth (io/growth_record.hpp), fp8_scales where the backend keeps
// scales (train/kept_scales.hpp), and what the caller adds.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "depthgrow/io/atomic_file.hpp"
#include "depthgrow/io/byte_tokenizer.hpp"
#include "depthgrow/io/growth_record.hpp"
#include "depthgrow/io/manifest.hpp"
#include "depthgrow/train/kept_scales.hpp"
#include "depthgrow/train/run_writer.hpp"

namespace depthgrow {

/// What a run's directory holds beside weights and optimiser state.
struct run_files {
    json state = json::object();      ///< further fields of trainer_state.json
    std::optional<json> growth = {};  ///< the history, where it is longer than the trainer's own
    json config = json::object();     ///< fields of config.json that are not the library's
    /// Writes the tokenizer (and more) into the directory; otherwise the one of bytes is written where it fits.
    std::function<void(const std::filesystem::path&)> more = {};
};

/// The growths of a trainer as a checkpoint records them.
inline json growth_history(const std::vector<recorded_growth>& growths) {
    json out = json::array();
    for (const auto& one : growths) out.push_back(growth_entry(one.how, one.step));
    return out;
}

/// Refuses a checkpoint of another model than `expected`, by the first field that differs; `whose` says who expects it.
inline void require_model(const checkpoint_reader& checkpoint, const decoder_config& expected,
                          const std::string& whose) {
    const auto wanted = hf_config_fields(expected), found = hf_config_fields(checkpoint.config());
    for (const auto& [key, value] : wanted.items())
        require(found.contains(key) && found[key] == value, (checkpoint.directory() / "config.json").string(),
                ": expected ", key, " ", value.dump(), ", ", whose, ", found ",
                found.contains(key) ? found[key].dump() : "none");
}

/// What goes with a run's weights, taken at one step: config.json, trainer_state.json, and the weights' string map.
struct run_facts {
    decoder_config config;
    json config_fields, state;
    std::map<std::string, std::string> provenance;
    std::function<void(const std::filesystem::path&)> more;
    std::uintmax_t bytes = 0;  ///< of the large files
};
/// Every rank calls it.
template <class T, class Backend, class Optimizer>
run_facts facts_of(trainer<T, Backend, Optimizer>& run, const run_files& files) {
    run_facts out{run.model.config(), files.config, {}, {}, files.more, 0};
    const json history = files.growth ? *files.growth : growth_history(run.growths);
    if (!history.empty()) out.provenance[growth_metadata_key] = weights_record(history).dump();
    if (const auto& order = run.run_order(); !order.empty())
        out.provenance[order_metadata_key] = layer_order(order, run.model.layers()).to_string();
    out.state = {{"format_version", 1}, {"step", run.steps()}, {"layers", run.model.layers()}, {"growth", history}};
    if (json scales = scales_of(run); !scales.is_null()) out.state[fp8_scales_field] = std::move(scales);
    out.state.update(files.state);
    for (const auto& entry : model_entries(out.config, dtype::f32)) out.bytes += entry.bytes();
    for (const auto& entry : optimizer_entries(out.config, run.optimizer.states(), dtype_of<wide_t<T>>::value))
        out.bytes += entry.bytes();
    return out;
}

/// Refuses a place that has no room for `bytes`, before anything is written there.
inline void require_room(const std::filesystem::path& folder, std::uintmax_t bytes) {
    std::error_code problem;
    const auto space = std::filesystem::space(folder, problem);
    const std::uintmax_t needed = bytes + bytes / 100 + (std::uintmax_t{64} << 10);  // headers and small files
    require(problem || space.available >= needed, folder.string(), ": expected room for ", needed >> 10, " KiB, found ",
            space.available >> 10, " KiB free");
}

/// Begins the directory that all ranks will write into, on the first of them, where there is room for it.
inline void open_directory(std::optional<atomic_directory>& folder, const std::filesystem::path& directory,
                           std::uintmax_t bytes, communicator& comm) {
    together(comm, [&] {
        if (!comm.first()) return;
        folder.emplace(directory);
        require_room(folder->path(), bytes);
    });
}

/// The small files and the manifest of a directory that holds a run's weights.
inline void write_facts(const std::filesystem::path& directory, const run_facts& facts) {
    write_hf_config(directory / "config.json", facts.config, facts.config_fields);
    write_file(directory / "trainer_state.json", json_text(facts.state, 2));
    if (facts.more) facts.more(directory);
    else if (facts.config.vocab == 256) write_byte_tokenizer(directory);
    write_manifest(directory);
}

/// Writes the run as `directory`, whole or not at all (a directory of that name is replaced): config.json,
/// model.safetensors, optimizer.safetensors, tokenizer.json, trainer_state.json, manifest.json. `resume_run` and
/// `train_smol --resume` go on from it, `grow_checkpoint` grows it. Of several ranks all call it, on one file system.
template <class T, class Backend, class Optimizer>
void save_run(const std::filesystem::path& directory, trainer<T, Backend, Optimizer>& run,
              const run_files& files = {}) {
    communicator& comm = run.ranks();
    const run_facts facts = facts_of(run, files);
    std::optional<atomic_directory> folder;
    open_directory(folder, directory, facts.bytes, comm);
    together(comm, [&] {
        std::optional<run_writer<wide_t<T>>> writer;
        std::string problem;  // kept until every rank has given its shares
        const auto noting = [&](const auto& write) {
            try {
                if (problem.empty()) write();
            } catch (const std::exception& caught) { problem = caught.what(); }
        };
        noting([&] { writer.emplace(atomic_directory::unfinished(directory), run, facts.provenance); });
        std::vector<wide_t<T>> numbers;
        each_own_block(
            run, [&](std::size_t, std::size_t) -> auto& { return numbers; },
            [&](std::size_t kind, std::size_t block, const auto& now) {
                noting([&] { writer->write(kind, block, now); });
            });
        noting([&] { writer->commit(); });
        if (!problem.empty()) throw error(problem);
    });
    together(comm, [&] {
        if (!comm.first()) return;
        write_facts(folder->path(), facts);
        folder->commit();
    });
}

/// Brings a fresh trainer to where a saved run was: the growths are done again, then weights, optimiser state, step
/// count and a backend's scales are read. `run` must have the depth that the saved run began with. Returns the steps
/// done.
template <class T, class Backend, class Optimizer>
std::size_t resume_run(const std::filesystem::path& directory, trainer<T, Backend, Optimizer>& run) {
    together(run.ranks(), [&] {
        if (run.ranks().first()) require_undamaged(directory);
    });
    const checkpoint_reader checkpoint(directory);
    const std::string label = (directory / "trainer_state.json").string();
    const json state = read_json_file(directory / "trainer_state.json");
    const json_fields fields(state, label);
    const json* history = fields.find("growth");
    require(history && history->is_array(), label, ": expected growth to be a list of growths, found ",
            describe(history));
    const std::size_t began = make_lineage(*history, checkpoint.config().layers, label).initial_depth();
    require(run.model.layers() == began, label, ": expected a trainer of ", began,
            " layers, as the saved run began, got one of ", run.model.layers());
    std::vector<recorded_growth> growths;
    decoder_config expected = run.model.config();
    for (const json& entry : *history) {
        growths.push_back({read_growth_entry(entry, expected.layers, label),
                           static_cast<std::size_t>(json_fields(entry, label).count("step"))});
        expected = told_of(label, [&] { return grown_config(expected, growths.back().how); });
    }
    require_model(checkpoint, expected, "as this trainer's model has it after its growths");
    for (const auto& one : growths) run.grow(one.how);
    run.growths = growths;
    read_model(checkpoint, run.model);
    const sharding shards(run.ranks());
    if constexpr (trainer<T, Backend, Optimizer>::mixed) read_model(checkpoint, run.model.config(), run.master, shards);
    read_optimizer(directory / "optimizer.safetensors", run.model.config(), run.optimizer, shards);
    restore_scales(state, label, run);
    return run.steps();
}

}  // namespace depthgrow
