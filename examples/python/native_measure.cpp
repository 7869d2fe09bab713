// The library's own depth report for Python: any model directory that the tools read, measured on the CPU.
// Assumes nanobind, oneTBB, a CBLAS and nlohmann_json; built where they are and -DDEPTHGROW_PYTHON_MEASURE=ON asks.
// Definitions: the headers of depthgrow/analysis, each with its paper.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <optional>
#include <string>

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
}
