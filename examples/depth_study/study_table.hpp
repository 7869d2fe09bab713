// What a study found, as numbers: every quantity of every variant at every moment, its mean over seeds with a 95 %
// interval, and its difference from the baseline, paired seed by seed.
// Intervals: Student's t over seeds (metrics/statistics.hpp); one seed has none.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "depth_study/study_cell.hpp"
#include "depthgrow/metrics/statistics.hpp"

namespace study {

/// A finished cell.
struct cell_result {
    const cell* what = nullptr;
    dg::json found;
};

/// A number that a cell has at a moment.
struct quantity {
    std::string key, title;
    int digits = 3;
    double value = 0;
};

/// The numbers of a cell at its m-th moment, in the order of the table. FLOPs are told as multiples of
/// `baseline_flops`.
std::vector<quantity> quantities(const dg::json& found, std::size_t moment, double baseline_flops);

/// One quantity of one variant.
struct table_entry {
    std::map<std::size_t, double> values;  // by seed
    dg::mean_interval mean;
    std::optional<dg::mean_interval> difference;  // from the baseline
    std::size_t pairs = 0;                        // seeds that both have
};

/// A quantity at a moment, variant by variant.
struct table_row {
    std::string key, title;
    int digits = 3;
    std::vector<table_entry> variants;  // as the study has them; no values: not measured
};

/// Mean of a − b over the seeds that both have, with its interval; nothing where there is no such seed.
std::optional<dg::mean_interval> paired_by_seed(const std::map<std::size_t, double>& a,
                                                const std::map<std::size_t, double>& b);

/// The table at the m-th moment.
std::vector<table_row> make_table(const study_file& study, const std::vector<cell>& cells,
                                  const std::vector<cell_result>& results, std::size_t moment);

/// Rows of text, the first one the heading: the baseline, and of the other
/// variants that have numbers `count` from the first-th on.
std::vector<std::vector<std::string>> text_table(const study_file& study, const std::vector<table_row>& table,
                                                 std::size_t first, std::size_t count);

/// Prints a table, its variants in groups that fit a screen.
void print_table(const study_file& study, const std::vector<table_row>& table);

/// Everything, for programs.
dg::json results_json(const study_file& study, const std::vector<cell>& cells, const std::vector<cell_result>& results);

}  // namespace study
