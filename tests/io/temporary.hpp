// Helpers of the file tests: a folder that goes away with its scope, and the sentence that a call refuses with.
#pragma once

#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

#include "depthgrow/core/error.hpp"

namespace temporary {

struct folder {
    folder() {
        static std::atomic<int> next{0};
        path = std::filesystem::temp_directory_path() /
               ("depthgrow-test-" + std::to_string(::getpid()) + "-" + std::to_string(next++));
        std::filesystem::create_directories(path);
    }
    folder(const folder&) = delete;
    folder& operator=(const folder&) = delete;
    ~folder() {
        std::error_code ignored;
        std::filesystem::remove_all(path, ignored);
    }
    /// Writes a file plainly and returns its path.
    std::filesystem::path file(const std::string& name, std::string_view content) const {
        std::ofstream(path / name, std::ios::binary) << content;
        return path / name;
    }
    std::filesystem::path path;
};

inline std::string content_of(const std::filesystem::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

/// Names in a directory, dot files too.
inline std::size_t entries(const std::filesystem::path& path) {
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(path), {}));
}

/// What the call throws; "nothing thrown" when it throws nothing.
template <class Call> std::string refusal(Call&& call) {
    try {
        call();
    } catch (const depthgrow::error& problem) { return problem.what(); }
    return "nothing thrown";
}

inline bool says(const std::string& sentence, std::string_view part) { return sentence.find(part) != sentence.npos; }

}  // namespace temporary
