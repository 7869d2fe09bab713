// What a run would take on many GPUs, on paper: memory, what they exchange, tokens a second, days.
// Assumes data-parallel ranks with their shares of the optimiser's state (ZeRO, stage 1), a GPU each, and speeds that
// are measured: of one GPU, and of an exchange among them. Floors and the formulas: examples/train_smol/README.md.
#pragma once

#include <cstddef>
#include <vector>

#include "support/training.hpp"

namespace tools {

/// One number of GPUs.
struct scale_row {
    std::size_t gpus = 0, rows = 0, memory = 0;  // rows: sequences of a step on each; memory: bytes of one
    double exchanged = 0;                        // bytes that each sends in a step at the final depth
    double exchange_seconds = 0, exposed_seconds = 0, step_seconds = 0;  // at the final depth
    double tokens_per_second = 0, efficiency = 0;                        // at the final depth; 1: as many times one GPU
    double days = 0;                                                     // of the whole run, growth included
};

/// Speeds that the rows are made of.
struct scale_figures {
    double gpu_rate = 0;             // tokens a second of one GPU at the final depth
    std::size_t rows = 0;            // sequences of a step when that was measured
    double host_link = 0, link = 0;  // bytes a second: among GPUs of one host, among hosts
    std::size_t gpus_of_host = 8;
};

/// The figures that the flags name, or those measured for the preset on H100s. Throws a sentence where there are none.
scale_figures scale_figures_of(const resolved_run& run);

/// A row for 1, 2, 4, ... and `gpus` GPUs; numbers that do not divide the batch are left out.
std::vector<scale_row> scale_rows(const resolved_run& run, const scale_figures& figures, std::size_t gpus);

/// What --plan does instead of training: prints the rows unless settings.quiet, and returns them.
dg::json scale_plan(const resolved_run& run);

}  // namespace tools
