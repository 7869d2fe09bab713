// Numbers for tests: the same on every machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "depthgrow/core/rng.hpp"

/// `count` numbers of the standard normal distribution.
template <class T> std::vector<T> normal_numbers(std::size_t count, std::uint64_t seed) {
    depthgrow::rng random(seed);
    std::vector<T> out(count);
    for (T& value : out) value = static_cast<T>(random.normal());
    return out;
}
