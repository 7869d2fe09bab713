// What --loop and --cooldown-loop mean.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace tools {

/// Loop(e - L x k - d): own layers, shared ones and how often these run, own layers.
struct loop_shape {
    std::size_t own_first = 0, shared = 0, times = 0, own_last = 0;
    std::size_t layers() const { return own_first + shared + own_last; }
};

/// "4-4x6-4" or "4x6"; nothing for an empty flag.
std::optional<loop_shape> parse_loop(const std::string& flag);

/// "8:4" or "8:4x2" as the order of a stack of `depth` layers.
std::vector<std::size_t> parse_cooldown_loop(const std::string& flag, std::size_t depth);

}  // namespace tools
