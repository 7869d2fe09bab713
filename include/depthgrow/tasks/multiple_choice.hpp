// Scoring of multiple choice and exact match: accuracy, its standard error, its bootstrap interval, the chance level.
// Assumes log-likelihoods that somebody else computed; no model and no tokenizer here.
// Convention: as lm-evaluation-harness, `acc` by summed and `acc_norm` by length-normalised log-likelihood.
#pragma once

#include <cmath>
#include <cstddef>
#include <string_view>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/core/span.hpp"
#include "depthgrow/metrics/statistics.hpp"

namespace depthgrow {

/// Result of a task.
struct task_score {
    double accuracy = 0;
    std::size_t items = 0;
    double standard_error = 0;  // of the accuracy: sqrt(p (1 - p) / (n - 1))
    double chance = 0;          // mean of 1 / options; 0 for exact match
};

/// Index of the largest log-likelihood, the first one among equals; NaN never wins.
inline std::size_t best_option(span<const double> log_likelihoods) {
    require(!log_likelihoods.empty(), "[multiple_choice] expected at least one option, got 0");
    std::size_t best = 0;
    for (std::size_t i = 1; i < log_likelihoods.size(); ++i)
        if (log_likelihoods[i] > log_likelihoods[best] || std::isnan(log_likelihoods[best])) best = i;
    return best;
}

/// The same after division by the options' lengths (bytes or tokens).
inline std::size_t best_option(span<const double> log_likelihoods, span<const std::size_t> lengths) {
    require(lengths.size() == log_likelihoods.size(), "[multiple_choice] expected ", log_likelihoods.size(),
            " lengths, got ", lengths.size());
    std::vector<double> normalised;
    for (std::size_t i = 0; i < lengths.size(); ++i) {
        require(lengths[i] > 0, "[multiple_choice] expected lengths above 0, got 0");
        normalised.push_back(log_likelihoods[i] / static_cast<double>(lengths[i]));
    }
    return best_option(normalised);
}

/// Counts answers one by one.
class score_counter {
public:
    /// Adds a multiple-choice item: right when the gold option has the largest log-likelihood.
    void add(span<const double> log_likelihoods, std::size_t gold) {
        require(gold < log_likelihoods.size(), "[multiple_choice] expected gold below ", log_likelihoods.size(),
                ", got ", gold);
        count(best_option(log_likelihoods) == gold, 1.0 / static_cast<double>(log_likelihoods.size()));
    }
    /// The same by length-normalised log-likelihood.
    void add(span<const double> log_likelihoods, span<const std::size_t> lengths, std::size_t gold) {
        require(gold < log_likelihoods.size(), "[multiple_choice] expected gold below ", log_likelihoods.size(),
                ", got ", gold);
        count(best_option(log_likelihoods, lengths) == gold, 1.0 / static_cast<double>(log_likelihoods.size()));
    }
    /// Adds an exact-match item.
    void add(bool right) { count(right, 0); }

    task_score score() const {
        task_score out;
        out.items = right_.size();
        if (out.items == 0) return out;
        const double n = static_cast<double>(out.items);
        double right = 0;
        for (double one : right_) right += one;
        out.accuracy = right / n;
        out.chance = chance_ / n;
        if (out.items > 1) out.standard_error = std::sqrt(out.accuracy * (1 - out.accuracy) / (n - 1));
        return out;
    }

    /// The accuracy with its bootstrap interval over the items.
    mean_interval interval(const bootstrap_options& options = {}) const { return bootstrap_mean(right_, options); }
    /// 1 for every item answered right, 0 for every other: what two runs on the same items are compared by.
    const std::vector<double>& answers() const { return right_; }

private:
    void count(bool right, double chance) {
        right_.push_back(right ? 1 : 0);
        chance_ += chance;
    }

    std::vector<double> right_;
    double chance_ = 0;
};

/// Whether a completion is the answer: equal up to blanks around it, the completion cut at its first line end.
inline bool exact_match(std::string_view completion, std::string_view answer) {
    const auto trimmed = [](std::string_view part) {
        const auto first = part.find_first_not_of(" \t\r"), last = part.find_last_not_of(" \t\r");
        return first == part.npos ? std::string_view{} : part.substr(first, last - first + 1);
    };
    return trimmed(completion.substr(0, completion.find('\n'))) == trimmed(answer);
}

}  // namespace depthgrow
