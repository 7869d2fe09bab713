// The growth history that a checkpoint carries: a JSON list of layer orders in the string map of its weights.
// Assumes entries {"order", "step"} as the trainer writes them; "layers" (before) only where the order does not tell,
// "zero_new" where new layers began as identities. Keys: depthgrow.growth, depthgrow.order (__metadata__ holds strings).
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "depthgrow/growth/lineage.hpp"
#include "depthgrow/io/hf_directory.hpp"

namespace depthgrow {

inline constexpr const char* growth_metadata_key = "depthgrow.growth";
/// Layers that a looped model runs, "0 1 1 2"; absent: all, once.
inline constexpr const char* order_metadata_key = "depthgrow.order";

/// One growth as it is recorded.
inline json growth_entry(const layer_order& order, std::optional<std::uint64_t> step = {}, bool zero_new = false) {
    json entry = {{"order", order.sources()}};
    if (step) entry["step"] = *step;
    if (zero_new) entry["zero_new"] = true;
    const std::size_t named = order.empty() ? 0 : *std::max_element(order.begin(), order.end()) + 1;
    if (named != order.source_depth()) entry["layers"] = order.source_depth();
    return entry;
}

/// The recorded growths of a checkpoint, oldest first; an empty list when it records none.
inline json read_growth(const checkpoint_reader& checkpoint) {
    const safetensors_file& file = checkpoint.files().front();
    const auto found = file.metadata().find(growth_metadata_key);
    if (found == file.metadata().end()) return json::array();
    const std::string label = file.path().string() + ": " + growth_metadata_key;
    json history = parse_json(found->second, label);
    require(history.is_array(), label, ": expected a list of growths, found ", describe(&history));
    return history;
}

/// The layers that the checkpoint's model runs, as it was trained; empty: all, once.
inline std::vector<std::size_t> recorded_order(const checkpoint_reader& checkpoint) {
    const safetensors_file& file = checkpoint.files().front();
    const auto found = file.metadata().find(order_metadata_key);
    if (found == file.metadata().end()) return {};
    try {
        return parse_layer_order(found->second, checkpoint.config().layers).sources();
    } catch (const error& problem) {
        fail(file.path().string(), ": ", order_metadata_key, ": ", problem.what());
    }
}

/// The lineage of a checkpoint of `depth` layers from its recorded growths; `label` names it in errors.
inline lineage make_lineage(const json& history, std::size_t depth, const std::string& label) {
    if (history.empty()) return lineage(depth);
    std::optional<lineage> out;
    for (const json& entry : history) {
        const json_fields fields(entry, label);
        const auto sources = fields.indices("order");
        require(!sources.empty(), label, ": expected growths with a layer order, found an empty one");
        const std::size_t named = *std::max_element(sources.begin(), sources.end()) + 1;
        const std::size_t before = out ? out->depth() : fields.positive("layers", named);
        require(named <= before, label, ": expected an order for ", before, " layers, found one that names layer ", named - 1);
        if (!out) out.emplace(before);
        out->record({sources, before});
    }
    require(out->depth() == depth, label, ": expected growths that end at ", depth, " layers, found ", out->depth());
    return *out;
}

/// The lineage of a checkpoint.
inline lineage read_lineage(const checkpoint_reader& checkpoint) {
    return make_lineage(read_growth(checkpoint), checkpoint.config().layers, checkpoint.files().front().path().string() + ": " + growth_metadata_key);
}

}  // namespace depthgrow
