// Prompts of the diagnostics: tokens, the boundaries of future skip effects, weights of losses, and their checks.
// Assumes one prompt is one sequence without padding; nothing is masked out of means, position 0 is never skipped.
// Boundaries: as in the public code of Csordás et al. 2025 (arXiv 2505.13898): up to 4 of 8, 16, 24, … below T − 4.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "depthgrow/backend/contract.hpp"
#include "depthgrow/core/error.hpp"
#include "depthgrow/core/rng.hpp"

namespace depthgrow {

/// One sequence and the boundaries t of its future effects: skipped before t, measured from t on.
struct prompt {
    std::vector<token> tokens;
    std::vector<std::size_t> boundaries;  // empty: drawn by `draw_boundaries`
    std::string name;                     // for errors, "prompts.jsonl line 3"; empty: "prompt 2"
    std::vector<double> weights{};        // (T) or none: weight of each token's loss in `order_losses`
};

/// Up to `count` of 8, 16, 24, … below length − 4, without replacement, ascending; a function of (seed, index).
inline std::vector<std::size_t> draw_boundaries(std::size_t length, std::uint64_t seed, std::size_t index,
                                                std::size_t count = 4) {
    std::vector<std::size_t> candidates;
    for (std::size_t t = 8; t + 4 < length; t += 8) candidates.push_back(t);
    rng random(seed, index);
    random.shuffle(candidates);
    candidates.resize(std::min(count, candidates.size()));
    std::sort(candidates.begin(), candidates.end());
    return candidates;
}

namespace detail {

inline std::string prompt_name(const prompt& p, std::size_t index) {
    return p.name.empty() ? text("prompt ", index) : p.name;
}

/// How much each prediction counts, (T - 1): the weights of all tokens but the first, which nothing predicts; or ones.
inline std::vector<double> prediction_weights(const prompt& p) {
    if (p.weights.empty()) return std::vector<double>(p.tokens.size() - 1, 1.0);
    return {p.weights.begin() + 1, p.weights.end()};
}

/// Refuses what no diagnostic can use: fewer than two tokens, more than the context, ids outside the vocabulary,
/// weights that are not one a token, below 0 or all 0.
inline void check_prompt(const prompt& p, std::size_t index, std::size_t context, std::size_t vocab) {
    const std::string name = prompt_name(p, index);
    require(p.tokens.size() >= 2, name, ": expected at least 2 tokens, found ", p.tokens.size());
    require(p.tokens.size() <= context, name, ": expected at most ", context, " tokens (the model's context), found ",
            p.tokens.size());
    for (std::size_t u = 0; u < p.tokens.size(); ++u)
        require(p.tokens[u] >= 0 && static_cast<std::size_t>(p.tokens[u]) < vocab, name,
                ": expected token ids below the vocabulary of ", vocab, ", found ", p.tokens[u], " at position ", u);
    if (p.weights.empty()) return;
    require(p.weights.size() == p.tokens.size(), name, ": expected one weight for each of its ", p.tokens.size(),
            " tokens, found ", p.weights.size());
    for (std::size_t u = 0; u < p.weights.size(); ++u)
        require(std::isfinite(p.weights[u]) && p.weights[u] >= 0, name, ": expected weights of at least 0, found ",
                p.weights[u], " at position ", u);
    const auto counted = prediction_weights(p);
    require(std::any_of(counted.begin(), counted.end(), [](double w) { return w > 0; }), name,
            ": expected a weight above 0 after the first token, found none");
}

/// The prompt's own boundaries, or drawn ones; each must leave a skipped and a measured position, 2 <= t < T.
inline std::vector<std::size_t> boundaries_of(const prompt& p, std::size_t index, std::uint64_t seed) {
    const std::string name = prompt_name(p, index);
    const std::size_t length = p.tokens.size();
    auto out = p.boundaries.empty() ? draw_boundaries(length, seed, index) : p.boundaries;
    require(!out.empty(), name,
            ": expected at least 13 tokens to draw a boundary from (or boundaries of its own), found ", length);
    for (std::size_t t : out)
        require(t >= 2 && t < length, name, ": expected boundaries from 2 to ", length - 1,
                " (its last position), found ", t);
    return out;
}

}  // namespace detail
}  // namespace depthgrow
