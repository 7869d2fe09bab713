// A run as a directory that opens in transformers: weights, optimiser state, and what the run has done.
// Assumes a trainer that was grown by trainer::grow, which keeps the history; nothing there is overwritten in part.
// trainer_state.json: format_version, step, layers, growth (io/growth_record.hpp), and what the caller adds.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "depthgrow/io/atomic_file.hpp"
#include "depthgrow/io/byte_tokenizer.hpp"
#include "depthgrow/io/growth_record.hpp"
#include "depthgrow/io/model_checkpoint.hpp"
#include "depthgrow/train/trainer.hpp"

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

/// Writes the run as `directory`, whole or not at all (a directory of that name is replaced): config.json,
/// model.safetensors, optimizer.safetensors, tokenizer.json, trainer_state.json. `resume_run` and
/// `train_smol --resume` go on from it, `grow_checkpoint` grows it.
template <class T, class Backend, class Optimizer>
void save_run(const std::filesystem::path& directory, trainer<T, Backend, Optimizer>& run,
              const run_files& files = {}) {
    atomic_directory folder(directory);
    const decoder_config& config = run.model.config();
    const json history = files.growth ? *files.growth : growth_history(run.growths);
    std::map<std::string, std::string> provenance;
    if (!history.empty()) provenance[growth_metadata_key] = weights_record(history).dump();
    if (const auto& order = run.run_order(); !order.empty())
        provenance[order_metadata_key] = layer_order(order, run.model.layers()).to_string();
    write_model(folder.path(), config, run.trained(), dtype::f32, provenance, files.config);
    write_optimizer(folder.path() / "optimizer.safetensors", config, run.optimizer);
    json state = {{"format_version", 1}, {"step", run.steps()}, {"layers", run.model.layers()}, {"growth", history}};
    state.update(files.state);
    write_file(folder.path() / "trainer_state.json", json_text(state, 2));
    if (files.more) files.more(folder.path());
    else if (config.vocab == 256) write_byte_tokenizer(folder.path());
    folder.commit();
}

/// Brings a fresh trainer to where a saved run was: the growths are done again, then weights, optimiser state and step
/// count are read. `run` must have the depth that the saved run began with. Returns the steps done.
template <class T, class Backend, class Optimizer>
std::size_t resume_run(const std::filesystem::path& directory, trainer<T, Backend, Optimizer>& run) {
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
    if constexpr (trainer<T, Backend, Optimizer>::mixed) read_model(checkpoint, run.model.config(), run.master);
    read_optimizer(directory / "optimizer.safetensors", run.model.config(), run.optimizer);
    return run.steps();
}

}  // namespace depthgrow
