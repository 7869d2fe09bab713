// A cell of a study: one variant with one seed. What it is, where it lies, what is there of it.
// A finished cell is one small JSON file in OUT/cells, never run again; its run's folder is in OUT/runs.
// Two cells are the same where their descriptions are: flags that decide numbers, contents of files, moments, measures.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "depth_study/study_file.hpp"

namespace study {

struct cell {
    std::string variant;
    std::size_t seed = 0;
    tools::flag_list flags;            // all of them, without --out
    tools::resolved_run run;           // its out is the run's folder
    std::vector<std::size_t> moments;  // steps, the last one is the end
    dg::json description;
    std::filesystem::path file;  // OUT/cells/VARIANT-seed-N.json

    std::string name() const { return variant + ", seed " + std::to_string(seed); }
};

/// Cells of a study in a folder: every seed's variants one after the other. Everything is checked that can be before
/// data is read.
std::vector<cell> make_cells(const study_file& study, const std::filesystem::path& out, bool quiet);

/// Every n-th of `cells`, the i-th of them first: "i/n", i from 1.
std::vector<cell> shard_of(const std::vector<cell>& cells, const std::string& shard);

/// The content of a cell's file. Refuses other formats.
dg::json read_cell(const std::filesystem::path& file);

/// The finished cell, if it is there. Refuses one of another description.
std::optional<dg::json> finished(const cell& one);

/// Refuses a file that describes another cell than `one`; `what` says what the file is.
void require_same(const cell& one, const dg::json& found, const std::filesystem::path& file);

/// Moves what is there of cells that the study now describes otherwise to OUT/aside; tells how many.
std::size_t put_aside(const std::vector<cell>& cells, const std::filesystem::path& out);

/// Copies finished cells of other folders of this study; refuses cells that disagree. Tells how many came.
std::size_t merge(const std::vector<cell>& cells, const std::vector<std::string>& folders);

/// The step of the run's newest checkpoint; 0 where there is none.
std::size_t steps_done(const cell& one);

/// The file of an unfinished cell in its run's folder: its description, and the moments measured so far.
std::filesystem::path unfinished_file(const cell& one);

}  // namespace study
