// The library's own depth report and tuned lens for Python: any model directory that the tools read, measured on the
// CPU. Assumes nanobind, oneTBB, a CBLAS and nlohmann_json; built where they are and -DDEPTHGROW_PYTHON_MEASURE=ON
// asks. Definitions: the headers of depthgrow/analysis, each with its paper.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <string>
#include <vector>

#include "fit_lens/lens_table.hpp"
#include "support/depth_measure.hpp"

namespace nb = nanobind;
using namespace nb::literals;

NB_MODULE(_measure, m) {
    m.def(
        "depth_report",
        [](const std::string& directory, const std::string& prompts, const std::string& unit, const std::string& lens,
           const std::string& sweeps, std::optional<std::size_t> block, std::size_t seed, std::size_t resamples,
           bool local, int threads) {
            nb::gil_scoped_release unlocked;
            tools::report_settings settings;
            settings.models = settings.names = {directory};
            if (!lens.empty()) settings.lenses = {lens};
            settings.prompts = prompts, settings.unit = unit, settings.sweeps = sweeps, settings.block = block;
            settings.seed = seed, settings.resamples = resamples, settings.local = local, settings.threads = threads;
            settings.quiet = true;
            const auto measured = tools::measure_depth(settings, 0, [](const std::string&) {});
            return tools::depth_json(measured, settings).dump();
        },
        "directory"_a, "prompts"_a, "unit"_a, "lens"_a, "sweeps"_a, "block"_a.none(), "seed"_a, "resamples"_a,
        "local"_a, "threads"_a);
    m.def(
        "fit_lens",
        [](const std::string& directory, const std::string& out, const std::vector<std::string>& data,
           std::size_t steps, std::size_t tokens_per_step, std::size_t context, const std::string& optimizer,
           double rate, std::size_t held_out, std::size_t seed, int threads) {
            nb::gil_scoped_release unlocked;
            tools::lens_table_settings settings;
            settings.model = directory, settings.out = out, settings.data = data, settings.steps = steps;
            settings.tokens_per_step = tokens_per_step, settings.context = context, settings.optimizer = optimizer;
            settings.rate = rate, settings.held_out = held_out, settings.seed = seed, settings.threads = threads;
            settings.progress = settings.told = false;
            return tools::fit_and_tell(settings).dump();
        },
        "directory"_a, "out"_a, "data"_a, "steps"_a, "tokens_per_step"_a, "context"_a, "optimizer"_a, "rate"_a,
        "held_out"_a, "seed"_a, "threads"_a);
}
