// The page of a run, or of several laid over each other: loss and depth over steps with growth marked.
// Reads log.jsonl and run.json of finished runs.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "depthgrow/io/html_report.hpp"
#include "support/training.hpp"

namespace tools {

struct named_run {
    std::string name;
    std::filesystem::path folder;
};

/// Sections with plots of the runs' logs.
std::vector<dg::report_section> training_sections(const std::vector<named_run>& runs);

/// OUT/report.html of one run.
void write_training_report(const std::filesystem::path& out, const resolved_run& run, const training_summary& summary);

}  // namespace tools
