// A checkpoint that answers tasks, whole, early through a lens, or in another order of layers: what evaluate and
// depth_study share, without tensors.
// Scoring: depthgrow/analysis/scoring.hpp, as lm-evaluation-harness does it; items: depth_tasks.hpp.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "support/depth_tasks.hpp"
#include "support/text_tokens.hpp"

namespace tools {

class measuring_ranks;

struct task_run_settings {
    std::string model, lens, order, tokenizer = "auto", backend = "blas", precision = "fp32";
    std::size_t max_rows = 0, max_tokens = 64;  // rows: tokens of one batch; 0: what suits the backend
    int threads = 0;
    const measuring_ranks* ranks = nullptr;  // which share every task's items; null: this process answers alone
};

/// The model, opened.
struct task_model {
    std::size_t layers = 0, slots = 0, context = 0;  // slots: layers that run
    std::vector<std::size_t> order;                  // layers that run, when not all once
    bool tuned = false;                              // whether there is a lens of its own
    const text_tokens* text = nullptr;
    /// The task's score, answering at the end; an `order` in place of the model's own where one is given.
    std::function<task_result(const task& which, const std::vector<std::size_t>& order)> answer;
    /// Its scores when it answers from the input of each layer of `exits`, in one run where the task offers options.
    std::function<std::vector<task_result>(const task& which, const std::vector<std::size_t>& exits)> answer_early;
};

/// Opens the model and calls body(model). Throws a sentence on bad input.
void with_task_model(const task_run_settings& settings, const std::function<void(const task_model&)>& body);

/// Refuses a task with a question that does not fit the model's context.
void require_fitting(const task& which, const task_model& model);

}  // namespace tools
