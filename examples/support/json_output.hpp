// What --json does, in every tool.
#pragma once

#include <cstdio>
#include <string>

#include "depthgrow/io/atomic_file.hpp"
#include "depthgrow/io/json.hpp"
#include "depthgrow/metrics/statistics.hpp"

namespace tools {

/// Writes `value` to `file`, to stdout when it is "-", nowhere when it is empty.
inline void write_json(const std::string& file, const depthgrow::json& value, int indent = 2) {
    const std::string text = depthgrow::json_text(value, indent);
    if (file == "-") std::printf("%s", text.c_str());
    else if (!file.empty()) depthgrow::write_file(file, text);
}

inline depthgrow::json interval_json(const depthgrow::mean_interval& i) {
    return {{"mean", i.mean}, {"low", i.low}, {"high", i.high}};
}

}  // namespace tools
