// What several models are called on the screen, in JSON and on pages: labels that were given, or the ends of their
// paths. Assumes paths as people give them; links are not followed. Of runs/plain/seed-1 and runs/lidas/seed-1 the
// shortest ends that differ are plain/seed-1 and lidas/seed-1.
#pragma once

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include "depthgrow/core/error.hpp"

namespace tools {

namespace detail {

/// The last `count` names of a path; all of them when it has fewer.
inline std::string path_end(const std::vector<std::string>& parts, std::size_t count) {
    std::string out;
    for (std::size_t i = parts.size() - std::min(count, parts.size()); i < parts.size(); ++i)
        out += (out.empty() ? "" : "/") + parts[i];
    return out;
}

inline std::vector<std::string> path_parts(const std::string& path) {
    std::error_code ignored;
    std::vector<std::string> out;
    for (const auto& part : std::filesystem::absolute(path, ignored).lexically_normal().relative_path())
        if (!part.empty()) out.push_back(part.string());
    if (out.empty()) out.push_back(path);
    return out;
}

}  // namespace detail

/// A name for every model directory, no two alike: `labels` (none, or one a model, refused when two are alike), else
/// the shortest end of its path that no other has; the same directory given twice is numbered.
inline std::vector<std::string> model_names(const std::vector<std::string>& paths,
                                            const std::vector<std::string>& labels = {}) {
    namespace dg = depthgrow;
    if (!labels.empty()) {
        dg::require(labels.size() == paths.size(), "--label: expected one for each of ", paths.size(),
                    " --model, found ", labels.size());
        for (std::size_t i = 0; i < labels.size(); ++i) {
            dg::require(!labels[i].empty(), "--label: expected a name, found none");
            dg::require(std::find(labels.begin(), labels.begin() + static_cast<std::ptrdiff_t>(i), labels[i]) ==
                            labels.begin() + static_cast<std::ptrdiff_t>(i),
                        "--label: expected names that differ, found ", labels[i], " twice");
        }
        return labels;
    }
    std::vector<std::vector<std::string>> parts;
    for (const auto& path : paths) parts.push_back(detail::path_parts(path));
    std::vector<std::size_t> counts(paths.size(), 1);
    std::vector<std::string> names(paths.size());
    for (bool longer = true; longer;) {
        longer = false;
        for (std::size_t i = 0; i < paths.size(); ++i) names[i] = detail::path_end(parts[i], counts[i]);
        const auto shared = [&](std::size_t i) {
            for (std::size_t j = 0; j < paths.size(); ++j)
                if (names[j] == names[i] && parts[j] != parts[i]) return counts[i] < parts[i].size();
            return false;
        };
        std::vector<bool> unclear;
        for (std::size_t i = 0; i < paths.size(); ++i) unclear.push_back(shared(i));
        for (std::size_t i = 0; i < paths.size(); ++i)
            if (unclear[i]) ++counts[i], longer = true;
    }
    for (std::size_t i = 0; i < paths.size(); ++i) {
        if (std::count(parts.begin(), parts.end(), parts[i]) == 1) continue;
        const auto place = parts.begin() + static_cast<std::ptrdiff_t>(i);
        names[i] += " (" + std::to_string(std::count(parts.begin(), place, *place) + 1) + ")";
    }
    return names;
}

}  // namespace tools
