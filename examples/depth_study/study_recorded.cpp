#include "depth_study/study_recorded.hpp"

#include <algorithm>
#include <cmath>

#include "depthgrow/io/json.hpp"

namespace study {

namespace fs = std::filesystem;

namespace {

/// Moments as shares of the run to three digits: steps are rounded from them.
std::vector<double> shares_of(const std::vector<std::size_t>& moments) {
    std::vector<double> out;
    for (std::size_t step : moments)
        out.push_back(std::round(1e3 * static_cast<double>(step) / static_cast<double>(moments.back())) / 1e3);
    return out;
}

cell recorded_cell(const fs::path& file, const dg::json& found) {
    const dg::json_fields fields(found, file.string());
    cell out;
    out.variant = fields.string("variant"), out.seed = static_cast<std::size_t>(fields.count("seed"));
    out.file = file, out.description = found.at("description");
    const std::string label = file.string() + ": description";
    out.moments = dg::json_fields(out.description, label).indices("moments");
    const auto measured = found.contains("moments") ? found["moments"].size() : 0;
    dg::require(measured > 0 && measured == out.moments.size(), file.string(), ": expected measurements at ",
                out.moments.size(), " moments, found ", measured);
    return out;
}

void add_seed(study_file& study, const cell& one) {
    auto at = std::find_if(study.variants.begin(), study.variants.end(),
                           [&](const variant& v) { return v.name == one.variant; });
    if (at == study.variants.end()) at = study.variants.insert(at, {one.variant, {}, {}});
    at->seeds.push_back(one.seed);
    if (one.variant == "plain") study.baseline = "plain";
}

}  // namespace

recorded_study read_recorded(const fs::path& folder) {
    const auto cells = folder / "cells";
    std::vector<fs::path> files;
    if (fs::is_directory(cells))
        for (const auto& entry : fs::directory_iterator(cells))
            if (entry.path().extension() == ".json") files.push_back(entry.path());
    dg::require(!files.empty(), "--cells ", folder.string(),
                ": expected a folder of a study, with cells in it, found none");
    std::sort(files.begin(), files.end());
    recorded_study out;
    out.study.label = folder.string(), out.study.name = "Cells of " + folder.string();
    for (const auto& file : files) {
        out.found.push_back(read_cell(file));
        out.cells.push_back(recorded_cell(file, out.found.back()));
        const auto shares = shares_of(out.cells.back().moments);
        if (out.cells.size() == 1) out.study.moments = shares;
        dg::require(shares == out.study.moments, file.string(),
                    ": expected measurements at the shares of the run that ", files.front().filename().string(),
                    " has, found others");
        add_seed(out.study, out.cells.back());
    }
    if (out.study.baseline.empty()) out.study.baseline = out.study.variants.front().name;
    return out;
}

}  // namespace study
