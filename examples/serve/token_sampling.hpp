// The next token from one row of logits: what a request adds to them, and the draw.
// Order, as vLLM has it: logit_bias, the ban of ends before min_tokens, penalties, temperature, min_p, top_k, top_p.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <numeric>
#include <utility>
#include <vector>

#include "depthgrow/core/rng.hpp"
#include "depthgrow/core/span.hpp"

namespace tools {

/// How a request wants its tokens chosen; the defaults change nothing.
struct token_sampling {
    double temperature = 1, top_p = 1, min_p = 0;
    std::size_t top_k = 0;  // 0: all
    double frequency_penalty = 0, presence_penalty = 0, repetition_penalty = 1;
    std::map<std::int32_t, double> bias;

    /// Whether the likeliest token may be another than the model's.
    bool changes_logits() const {
        return frequency_penalty != 0 || presence_penalty != 0 || repetition_penalty != 1 || !bias.empty();
    }
};

/// What has been read and written so far, as the penalties count it: times made of every token seen, 0 for those of the
/// prompt alone.
class token_counts {
public:
    explicit token_counts(const std::vector<std::int32_t>& prompt) {
        for (const std::int32_t id : prompt) made_.emplace(id, 0);
    }
    void add(std::int32_t id) { ++made_[id]; }
    const std::map<std::int32_t, std::size_t>& seen() const { return made_; }

private:
    std::map<std::int32_t, std::size_t> made_;
};

/// Changes a row of logits as the request says; `banned` tokens cannot be chosen afterwards.
inline void change_logits(std::vector<double>& z, const token_sampling& how, const token_counts& counts,
                          const std::vector<std::int32_t>& banned) {
    for (const auto& [id, added] : how.bias) z[static_cast<std::size_t>(id)] += added;
    for (const auto& [id, times] : counts.seen()) {
        double& value = z[static_cast<std::size_t>(id)];
        if (how.repetition_penalty != 1)
            value = value > 0 ? value / how.repetition_penalty : value * how.repetition_penalty;
        if (times > 0) value -= how.frequency_penalty * static_cast<double>(times) + how.presence_penalty;
    }
    for (const std::int32_t id : banned) z[static_cast<std::size_t>(id)] = -std::numeric_limits<double>::infinity();
}

/// The likeliest token at temperature 0, else one drawn.
inline std::int32_t choose_token(const std::vector<double>& z, const token_sampling& how, depthgrow::rng& random) {
    const auto likeliest = std::max_element(z.begin(), z.end());
    const auto best = static_cast<std::int32_t>(likeliest - z.begin());
    if (how.temperature == 0) return best;
    using weighted = std::pair<double, std::int32_t>;
    std::vector<weighted> weights;
    for (std::size_t v = 0; v < z.size(); ++v) {
        const double weight = std::exp((z[v] - *likeliest) / how.temperature);  // at most 1, and 1 for the likeliest
        if (weight > 0 && weight >= how.min_p) weights.emplace_back(weight, static_cast<std::int32_t>(v));
    }
    const bool few = how.top_k > 0 && how.top_k < weights.size();
    if (few || how.top_p < 1)
        std::sort(weights.begin(), weights.end(), [](const weighted& a, const weighted& b) {
            return a.first != b.first ? a.first > b.first : a.second < b.second;
        });
    if (few) weights.resize(how.top_k);
    const auto add = [](double sum, const weighted& one) { return sum + one.first; };
    double sum = std::accumulate(weights.begin(), weights.end(), 0.0, add);
    if (how.top_p < 1) {
        double held = 0;
        std::size_t kept = 0;
        while (kept < weights.size() && held < how.top_p * sum) held += weights[kept++].first;
        weights.resize(std::max<std::size_t>(kept, 1));
        sum = held;
    }
    double mark = random.uniform() * sum;
    for (const auto& [weight, id] : weights)
        if ((mark -= weight) < 0) return id;
    return weights.empty() ? best : weights.back().second;
}

}  // namespace tools
