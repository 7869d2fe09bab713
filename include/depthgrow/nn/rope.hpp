// Rotary positions: which share of a head rotates, how fast, and how frequencies are stretched for longer contexts.
// Assumes half-split channel pairs (channel i rotates with channel i + R/2 of R rotary ones).
// Su et al. 2021; scalings: Chen et al. 2023 (linear), Llama 3.1 (Dubey et al. 2024), YaRN (Peng et al. 2023), as
// huggingface/transformers defines them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string_view>
#include <vector>

#include "depthgrow/core/error.hpp"

namespace depthgrow {

enum class rope_scaling { none, linear, llama3, yarn };

inline std::string_view name_of(rope_scaling kind) {
    return kind == rope_scaling::none     ? "default"
           : kind == rope_scaling::linear ? "linear"
           : kind == rope_scaling::llama3 ? "llama3"
                                          : "yarn";
}

/// One way to rotate queries and keys.
struct rope_description {
    double theta = 1e4;  // base of the wavelengths
    double share = 1;    // of a head's channels that rotate
    rope_scaling scaling = rope_scaling::none;
    double factor = 1;                             // all scalings
    double original_context = 0;                   // llama3, yarn: context before stretching
    double low_frequency = 1, high_frequency = 4;  // llama3
    double beta_fast = 32, beta_slow = 1;          // yarn: turns within the original context
    bool truncate = true;                          // yarn: the ramp begins and ends at whole channels
    double attention_factor = 1;                   // yarn: cosines and sines are multiplied by it

    /// Channels of a head that rotate.
    std::size_t channels(std::size_t head_width) const {
        return static_cast<std::size_t>(static_cast<double>(head_width) * share);
    }
    void validate(std::size_t head_width) const {
        require(theta > 0, "[rope] expected rope_theta above 0, got ", theta);
        require(share > 0 && share <= 1, "[rope] expected a rotary share above 0 and at most 1, got ", share);
        require(channels(head_width) > 0 && channels(head_width) % 2 == 0,
                "[rope] expected an even head width for RoPE, got ", channels(head_width));
        require(scaling == rope_scaling::none || factor >= 1, "[rope] expected a scaling factor of at least 1, got ",
                factor);
        if (scaling == rope_scaling::llama3 || scaling == rope_scaling::yarn)
            require(original_context >= 1, "[rope] expected an original context of at least 1, got ", original_context);
        if (scaling == rope_scaling::llama3)
            require(low_frequency > 0 && high_frequency > low_frequency,
                    "[rope] expected 0 < low_freq_factor < high_freq_factor, got ", low_frequency, " and ",
                    high_frequency);
        if (scaling == rope_scaling::yarn)
            require(theta != 1 && beta_fast > 0 && beta_slow > 0 && beta_fast >= beta_slow && attention_factor > 0,
                    "[rope] expected yarn's beta_fast >= beta_slow > 0 and an attention factor above 0, got ",
                    beta_fast, ", ", beta_slow, " and ", attention_factor);
    }
    friend bool operator==(const rope_description& a, const rope_description& b) {
        return a.theta == b.theta && a.share == b.share && a.scaling == b.scaling && a.factor == b.factor &&
               a.original_context == b.original_context && a.low_frequency == b.low_frequency &&
               a.high_frequency == b.high_frequency && a.beta_fast == b.beta_fast && a.beta_slow == b.beta_slow &&
               a.truncate == b.truncate && a.attention_factor == b.attention_factor;
    }
};

/// Radians a position, one a channel pair.
inline std::vector<double> rope_frequencies(const rope_description& rope, std::size_t head_width) {
    constexpr double circle = 6.283185307179586476925;
    const std::size_t channels = rope.channels(head_width);
    const auto width = static_cast<double>(channels);
    std::vector<double> out(channels / 2);
    // yarn: the channel pair that goes round `turns` times within the original context
    const auto pair_of = [&](double turns) {
        return width * std::log(rope.original_context / (turns * circle)) / (2 * std::log(rope.theta));
    };
    double low = rope.scaling == rope_scaling::yarn ? pair_of(rope.beta_fast) : 0,
           high = rope.scaling == rope_scaling::yarn ? pair_of(rope.beta_slow) : 0;
    if (rope.truncate) low = std::floor(low), high = std::ceil(high);
    low = std::max(low, 0.0), high = std::min(high, width - 1);
    if (low == high) high += 0.001;
    for (std::size_t i = 0; i < out.size(); ++i) {
        const double plain = std::pow(rope.theta, -2 * static_cast<double>(i) / width);
        out[i] = plain;
        if (rope.scaling == rope_scaling::linear) out[i] = plain / rope.factor;
        if (rope.scaling == rope_scaling::llama3) {
            const double turns = rope.original_context * plain / circle;  // within the original context
            if (turns < rope.low_frequency) out[i] = plain / rope.factor;
            else if (turns <= rope.high_frequency) {
                const double smooth = (turns - rope.low_frequency) / (rope.high_frequency - rope.low_frequency);
                out[i] = (1 - smooth) * plain / rope.factor + smooth * plain;
            }
        }
        if (rope.scaling == rope_scaling::yarn) {
            const double stretched = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
            out[i] = plain / rope.factor * stretched + plain * (1 - stretched);
        }
    }
    return out;
}

/// Cosines or sines, (context, channels / 2), of the angles position * frequency.
template <class T> struct rope_numbers {
    std::vector<T> cosine, sine;
    std::size_t pairs = 0;
};
template <class T>
rope_numbers<T> make_rope_numbers(const rope_description& rope, std::size_t head_width, std::size_t context) {
    const auto frequencies = rope_frequencies(rope, head_width);
    rope_numbers<T> out{{}, {}, frequencies.size()};
    for (std::size_t t = 0; t < context; ++t)
        for (double frequency : frequencies) {
            const double angle = static_cast<double>(t) * frequency;
            out.cosine.push_back(static_cast<T>(rope.attention_factor * std::cos(angle)));
            out.sine.push_back(static_cast<T>(rope.attention_factor * std::sin(angle)));
        }
    return out;
}

}  // namespace depthgrow
