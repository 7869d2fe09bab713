// The page of a run, or of several laid over each other: loss and depth over steps with growth marked.
// Of finished runs, whose log.jsonl has it all.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "depthgrow/io/html_report.hpp"
#include "support/training.hpp"

namespace tools {

struct named_run {
    std::string name;
    dg::json log;  // lines of its log.jsonl, or of thinned_log
};

/// The lines of a run's log.jsonl.
dg::json read_log(const std::filesystem::path& folder);
/// The same with about two hundred lines of training, each the mean of a stretch at one depth.
dg::json thinned_log(const dg::json& log);

/// Sections with plots of the runs' logs.
std::vector<dg::report_section> training_sections(const std::vector<named_run>& runs);

/// OUT/report.html of one run.
void write_training_report(const std::filesystem::path& out, const resolved_run& run, const training_summary& summary);

}  // namespace tools
