// The growth history that a checkpoint carries: a JSON list of growths in the string map of its weights.
// Assumes entries {"order", "step"}; "mixture" in place of "order" where slots are sums of layers, "layers" (before)
// where that does not tell; "init", "seed" ("zero_new": older spelling of init zero_residual), "state" unless usual.
// Keys: depthgrow.growth, depthgrow.order (__metadata__ holds strings).
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "depthgrow/growth/layer_init.hpp"
#include "depthgrow/growth/lineage.hpp"
#include "depthgrow/io/hf_directory.hpp"
#include "depthgrow/io/weight_files.hpp"

namespace depthgrow {

inline constexpr const char* growth_metadata_key = "depthgrow.growth";
/// Layers that a looped model runs, "0 1 1 2"; absent: all, once.
inline constexpr const char* order_metadata_key = "depthgrow.order";
/// The field of a run's trainer_state.json with the scales of its eight-bit numbers; those of a grown model begin anew.
inline constexpr const char* fp8_scales_field = "fp8_scales";

/// One growth as it is recorded, after `step` steps of training.
inline json growth_entry(const growth& how, std::optional<std::uint64_t> step = {}) {
    json entry = json::object();
    std::size_t named = 0;  // layers that the entry itself tells of
    if (how.layers.is_order()) {
        const layer_order order = how.layers.order();
        entry["order"] = order.sources();
        for (std::size_t source : order) named = std::max(named, source + 1);
    } else {
        entry["mixture"] = how.layers.to_string();
    }
    if (named != how.layers.source_depth()) entry["layers"] = how.layers.source_depth();
    if (step) entry["step"] = *step;
    if (how.init.kind == init_kind::zero_residual) entry["zero_new"] = true;
    else if (how.init != layer_init()) entry["init"] = how.init.to_string();
    if (how.draws()) entry["seed"] = how.seed;
    if (how.state != state_policy::copy) entry["state"] = std::string(name_of(how.state));
    return entry;
}
inline json growth_entry(const layer_order& order, std::optional<std::uint64_t> step = {}, bool zero_new = false) {
    return growth_entry(growth{order, {zero_new ? init_kind::zero_residual : init_kind::copy}}, step);
}

/// A history as the weights record it: without "state", which tells of the optimiser and not of them.
inline json weights_record(json history) {
    for (json& entry : history) entry.erase("state");
    return history;
}

/// Reads an entry back; `before` is the depth that it grew from, if it is known. `label` names it in errors.
inline growth read_growth_entry(const json& entry, std::optional<std::size_t> before, const std::string& label) {
    const json_fields fields(entry, label);
    growth how;
    if (fields.find("mixture")) {
        const auto depth = before ? *before : fields.positive("layers");
        try {
            how.layers = parse_mixture(fields.string("mixture"), depth);
        } catch (const error& problem) { fail(label, ": mixture: ", problem.what()); }
    } else {
        const auto sources = fields.indices("order");
        require(!sources.empty(), label, ": expected growths with a layer order, found an empty one");
        const std::size_t named = *std::max_element(sources.begin(), sources.end()) + 1;
        const std::size_t depth = before ? *before : fields.positive("layers", named);
        require(named <= depth, label, ": expected an order for ", depth, " layers, found one that names layer ",
                named - 1);
        how.layers = layer_order(sources, depth);
    }
    if (fields.boolean("zero_new", false)) how.init.kind = init_kind::zero_residual;
    told_of(label, [&] {
        if (fields.find("init")) how.init = parse_layer_init(fields.string("init"));
        if (fields.find("state")) how.state = parse_state_policy(fields.string("state"));
    });
    how.seed = fields.count("seed", 0);
    return how;
}

/// The recorded growths of a checkpoint, oldest first; an empty list when it records none.
inline json read_growth(const weight_files& weights) {
    const auto found = weights.metadata().find(growth_metadata_key);
    if (found == weights.metadata().end()) return json::array();
    const std::string label = weights.files().front().path().string() + ": " + growth_metadata_key;
    json history = parse_json(found->second, label);
    require(history.is_array(), label, ": expected a list of growths, found ", describe(&history));
    return history;
}
inline json read_growth(const checkpoint_reader& checkpoint) { return read_growth(checkpoint.weights()); }

/// The layers that the checkpoint's model runs, as it was trained; empty: all, once.
inline std::vector<std::size_t> recorded_order(const checkpoint_reader& checkpoint) {
    const safetensors_file& file = checkpoint.files().front();
    const auto found = file.metadata().find(order_metadata_key);
    if (found == file.metadata().end()) return {};
    try {
        return parse_layer_order(found->second, checkpoint.config().layers).sources();
    } catch (const error& problem) { fail(file.path().string(), ": ", order_metadata_key, ": ", problem.what()); }
}

/// The lineage of a checkpoint of `depth` layers from its recorded growths; `label` names it in errors.
inline lineage make_lineage(const json& history, std::size_t depth, const std::string& label) {
    if (history.empty()) return lineage(depth);
    std::optional<lineage> out;
    for (const json& entry : history) {
        const growth how = read_growth_entry(entry, out ? std::optional(out->depth()) : std::nullopt, label);
        if (!out) out.emplace(how.layers.source_depth());
        out->record(how);
    }
    require(out->depth() == depth, label, ": expected growths that end at ", depth, " layers, found ", out->depth());
    return *out;
}

/// The lineage of a checkpoint.
inline lineage read_lineage(const checkpoint_reader& checkpoint) {
    return make_lineage(read_growth(checkpoint), checkpoint.config().layers,
                        checkpoint.files().front().path().string() + ": " + growth_metadata_key);
}

}  // namespace depthgrow
