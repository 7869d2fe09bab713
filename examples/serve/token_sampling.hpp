// The next token from one row of logits: what a request adds to them, and the draw.
// Order, as vLLM has it: logit_bias, the ban of ends before min_tokens, penalties, temperature, min_p, top_k, top_p.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <utility>
#include <vector>

#include "depthgrow/backend/vector_math.hpp"
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

/// The likeliest of weighted tokens, likeliest first, the first of equal ones: at least `count` of them, which
/// weigh at least `together`. Weights are at most 1; those of zero are none.
inline std::vector<std::pair<float, std::int32_t>> likeliest_tokens(const std::vector<float>& weights,
                                                                    std::size_t count, double together) {
    const auto class_of = [](float weight) {  // by size: exponent and first bits
        std::uint32_t bits = 0;
        std::memcpy(&bits, &weight, sizeof bits);
        return bits >> 19;
    };
    std::array<std::size_t, 2048> counts{};
    std::array<double, 2048> sums{};
    for (const float weight : weights)
        ++counts[class_of(weight)], sums[class_of(weight)] += static_cast<double>(weight);
    std::size_t least = counts.size(), found = 0;
    for (double held = 0; least > 1 && (found < count || held < together);)
        --least, found += counts[least], held += sums[least];
    std::vector<std::pair<float, std::int32_t>> out;
    for (std::size_t v = 0; v < weights.size(); ++v)
        if (weights[v] > 0 && class_of(weights[v]) >= least) out.emplace_back(weights[v], static_cast<std::int32_t>(v));
    std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) {
        return a.first != b.first ? a.first > b.first : a.second < b.second;
    });
    return out;
}

/// The likeliest token at temperature 0, else one drawn. Probabilities are relative to the likeliest token's, in float:
/// in double, 49,152 of them take longer than a step of a model on a GPU.
inline std::int32_t choose_token(const std::vector<double>& z, const token_sampling& how, depthgrow::rng& random) {
    const auto likeliest = std::max_element(z.begin(), z.end());
    const auto best = static_cast<std::int32_t>(likeliest - z.begin());
    const double steepness = 1 / how.temperature, top = *likeliest;
    if (!std::isfinite(steepness)) return best;
    std::vector<float> weights(z.size());  // at most 1, and 1 for the likeliest
    for (std::size_t v = 0; v < z.size(); ++v)
        weights[v] = depthgrow::detail::exp_of(static_cast<float>((z[v] - top) * steepness));
    if (how.min_p > 0)
        for (float& weight : weights)
            if (static_cast<double>(weight) < how.min_p) weight = 0;
    const auto sum_of = [](const auto& numbers, const auto& weight_of) {
        double sum = 0;
        for (const auto& one : numbers) sum += static_cast<double>(weight_of(one));
        return sum;
    };
    double sum = sum_of(weights, [](float weight) { return weight; });
    if (how.top_k == 0 && how.top_p >= 1) {
        double mark = random.uniform() * sum;
        for (std::size_t v = 0; v < weights.size(); ++v)
            if ((mark -= static_cast<double>(weights[v])) < 0) return static_cast<std::int32_t>(v);
        return best;
    }
    const bool few = how.top_k > 0 && how.top_k < weights.size();
    auto tokens = likeliest_tokens(weights, how.top_k, few ? 0 : how.top_p * sum);
    if (few) {
        tokens.resize(std::min(tokens.size(), how.top_k));
        sum = sum_of(tokens, [](const auto& one) { return one.first; });
    }
    if (how.top_p < 1) {
        double held = 0;
        std::size_t kept = 0;
        for (; kept < tokens.size() && (kept == 0 || held < how.top_p * sum); ++kept)
            held += static_cast<double>(tokens[kept].first);
        tokens.resize(kept);
        sum = held;
    }
    double mark = random.uniform() * sum;
    for (const auto& [weight, id] : tokens)
        if ((mark -= static_cast<double>(weight)) < 0) return id;
    return tokens.empty() ? best : tokens.back().second;
}

}  // namespace tools
