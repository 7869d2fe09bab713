// Random tokens to train on: what the benchmarks feed a model where only the time counts.
// Assumes a trainer's batch; the same tokens on every call.
// Targets are the inputs moved by one.
#pragma once

#include <vector>

#include "depthgrow/core/rng.hpp"
#include "depthgrow/train/trainer.hpp"

struct random_tokens {
    random_tokens(const depthgrow::decoder_config& config, std::size_t sequences, std::size_t length)
        : ids(sequences * length), targets(ids.size()), weights(ids.size(), 1.0f), count(sequences) {
        depthgrow::rng random(4);
        for (auto& id : ids) id = static_cast<depthgrow::token>(random.below(config.vocab));
        for (std::size_t i = 0; i < ids.size(); ++i) targets[i] = ids[(i + 1) % ids.size()];
    }
    depthgrow::training_batch batch() const { return {ids, targets, weights, count}; }
    std::vector<depthgrow::token> ids, targets;
    std::vector<float> weights;
    std::size_t count;
};
