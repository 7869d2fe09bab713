// A file read whole, and sentences about files: what an error quotes of one, and which file it was.
// Assumes files that fit in memory. Needs the standard library only; what reads JSON is in json.hpp.
// Every refusal is one sentence that begins with the file's name.
#pragma once

#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "depthgrow/core/error.hpp"

namespace depthgrow {

namespace detail {

/// Printable ASCII of `message`, at most `limit` bytes: what an error sentence may quote of a foreign file.
inline std::string quotable(std::string_view message, std::size_t limit = 200) {
    std::string out;
    for (char c : message.substr(0, limit)) out += c >= ' ' && c <= '~' ? c : '?';
    if (message.size() > limit) out += "...";
    return out;
}

/// A sentence without the "[where] " that it begins with.
inline std::string_view after_origin(std::string_view sentence) {
    const auto bracket = sentence.find("] ");
    return !sentence.empty() && sentence[0] == '[' && bracket != sentence.npos ? sentence.substr(bracket + 2)
                                                                               : sentence;
}

}  // namespace detail

/// body(), with what it refuses told of `label`: "[grow] expected …" becomes "LABEL: expected …".
template <class Body> auto told_of(std::string_view label, const Body& body) {
    try {
        return body();
    } catch (const error& problem) { fail(label, ": ", detail::after_origin(problem.what())); }
}

/// The whole of a non-empty file.
inline std::string read_text_file(const std::filesystem::path& path) {
    std::error_code ignored;
    const auto status = std::filesystem::status(path, ignored);
    require(std::filesystem::exists(status), path.string(), ": expected a file, found nothing of that name");
    require(!std::filesystem::is_directory(status), path.string(), ": expected a file, found a directory");
    std::FILE* file = std::fopen(path.c_str(), "rb");
    require(file != nullptr, path.string(), ": expected a readable file, found one that cannot be opened");
    std::string content;
    std::vector<char> chunk(1 << 16);
    std::size_t count;
    while ((count = std::fread(chunk.data(), 1, chunk.size(), file)) > 0) content.append(chunk.data(), count);
    const bool broken = std::ferror(file) != 0;
    std::fclose(file);
    require(!broken, path.string(), ": expected a readable file, found a read error");
    require(!content.empty(), path.string(), ": expected content, found an empty file");
    return content;
}

}  // namespace depthgrow
