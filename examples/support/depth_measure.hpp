// What `depth_report` measures on one checkpoint, as plain numbers: no tensors, no backend.
// Definitions: the headers of depthgrow/analysis, each with its paper; JSON keys are those of the test fixtures.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "depthgrow/analysis/contributions.hpp"
#include "depthgrow/analysis/effects.hpp"
#include "depthgrow/analysis/lens_statistics.hpp"
#include "depthgrow/analysis/local_effects.hpp"
#include "depthgrow/analysis/sweeps.hpp"
#include "depthgrow/io/json.hpp"
#include "support/depth_files.hpp"

namespace tools {

class measuring_ranks;

/// Which effects of skipping are measured: current and future ones of the unit, future ones of layers alone, none.
enum class skip_parts { all, future, none };

/// Which measurements are made; the rest of a report's settings.
struct report_settings {
    std::vector<std::string> models, names, lenses;  // names as model_names has them; no lens, or one a model
    std::string order, prompts, unit = "layer", boundaries, sweeps = "standard", gradients, json, html,
                                backend = "blas", precision = "fp32", tokenizer = "auto";
    std::optional<std::size_t> block;
    std::size_t max_rows = 0, sweep_prompts = 5, gradient_steps = 256, resamples = 2000, seed = 12345;
    int threads = 0;
    bool local = true, quiet = false;
    bool contributions = true, logit_lens = true, similarity = true;
    skip_parts skips = skip_parts::all;
    const measuring_ranks* ranks = nullptr;  // which share the prompts; null: this process measures alone
};

struct path_gradients {
    std::size_t prompt = 0, layer = 0;
    std::vector<double> value;  // (T)
};

/// Everything measured on one checkpoint, or what can be told from arrays of its activations.
struct depth_measurement {
    std::string name, path;
    bool from_arrays = false;  // then sweeps and weights are not there, the lens and skips where arrays were given
    dg::decoder_config config;
    std::size_t prompts = 0, sweep_prompts = 0, block = 0;
    dg::skip_unit unit = dg::skip_unit::layer;
    dg::contribution_report contribution;
    dg::skip_effects_result skip;                 // of the unit
    std::optional<dg::effects> future_of_layers;  // when the unit is not the layer, or skip is not measured
    dg::local_effects_result local;
    dg::lens_report logit_lens;
    std::optional<dg::lens_report> tuned_lens;
    std::vector<std::vector<double>> similarity;  // empty: the block does not divide the layers
    std::optional<dg::lineage> grown;             // the growth that the checkpoint records
    std::vector<dg::intervention> interventions;
    dg::sample_table losses;  // clean, then one column an intervention
    std::vector<path_gradients> gradients;
    std::vector<std::pair<std::string, double>> seconds;  // by part
    dg::json growth = dg::json::array();                  // recorded growths, oldest first
    std::vector<std::size_t> order;                       // layers run; empty: as stored

    /// Future effects of whole layers: what depth scores are made of.
    const dg::effects& layer_future() const { return future_of_layers ? *future_of_layers : skip.future; }
    bool has_current() const { return skip.current.layers > 0; }
    bool has_future() const { return layer_future().layers > 0; }
    bool has_lens() const { return logit_lens.depth > 0; }
    bool has_next_tokens() const { return logit_lens.next_tokens.prompts() > 0; }
    const dg::lens_report& lens() const { return tuned_lens ? *tuned_lens : logit_lens; }
    /// Top-5 overlap at the last layer's input.
    dg::mean_interval late_overlap() const {
        constexpr auto overlap = dg::lens_quantity::top5_overlap;
        return lens().table(overlap).interval(lens().column(overlap, config.layers - 1));
    }
    /// Of the model itself, nats per token, on all prompts.
    dg::mean_interval loss() const {
        constexpr auto entropy = dg::lens_quantity::cross_entropy;
        return logit_lens.table(entropy).interval(logit_lens.column(entropy, config.layers));
    }
};

/// Measures settings.models[index] on the CPU; `progress(part)` is called before each part. Throws a sentence on bad
/// input.
depth_measurement measure_depth(const report_settings& settings, std::size_t index,
                                const std::function<void(const std::string&)>& progress);

/// The report of one measurement.
dg::json depth_json(const depth_measurement& measured, const report_settings& settings);
/// Differences of `other` from `first` on the same prompts, paired, with intervals; layer by layer at equal depths.
dg::json compare_json(const depth_measurement& first, const depth_measurement& other);

/// "swap:1,2;reverse:4;loop:4x2", "standard" or "none" as interventions on a stack of `depth` layers.
std::vector<dg::intervention> parse_sweeps(const std::string& flag, const std::string& list, std::size_t depth);

}  // namespace tools
