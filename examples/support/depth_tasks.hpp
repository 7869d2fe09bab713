// The items of `evaluate`: built-in primitives and the general scorers over files, as text, and how answers count.
// Formats: tasks.hpp of the library for the primitives; choices, lambada and generate files are JSON lines.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "depthgrow/tasks/multiple_choice.hpp"
#include "depthgrow/tasks/primitives.hpp"

namespace tools {

namespace dg = depthgrow;

/// How an item is answered.
enum class answer_kind { choice, last_word, completion };

/// One question.
struct question {
    std::string context;
    std::vector<std::string> options;  // choice: what follows the context; last_word: the one word with its space
    std::size_t gold = 0;
    std::string answer, stop;  // completion: what must come, what ends it
    std::string where;         // for errors
};

/// A task with its questions.
struct task {
    std::string name;
    answer_kind kind = answer_kind::choice;
    std::vector<question> questions;
};

/// How items are made.
struct task_settings {
    std::size_t items = 1000, shots = 5, context = 0;
    std::uint64_t seed = 1;
};

/// A task by its name: a primitive, or choices=FILE, lambada=FILE, generate=FILE. Errors name file and line.
task make_task(const std::string& name, const task_settings& settings);

/// The names of tasks and the formats of their files, for --help.
std::string task_help();

/// Whether a completion is the answer: the last number of it when the answer is a number, else the text before `stop`.
bool completes(const std::string& completion, const question& item);

/// Result of a task; what does not apply is 0.
struct task_result {
    std::string task;
    dg::score_counter plain, normalised;  // normalised: choices by log-likelihood a byte
    std::vector<double> log_likelihoods;  // lambada: of every item's last word
    dg::task_score score() const { return plain.score(); }
};

}  // namespace tools
