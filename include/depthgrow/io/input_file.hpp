// A file that is open for reading at any position, and closes itself.
// Assumes POSIX; it moves and is not copied. Errors are one sentence that begins with the path.
// No maths here.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>
#include <utility>

#include "depthgrow/core/error.hpp"

namespace depthgrow {

/// An open regular file. `kind` says in the refusals what was expected: "a safetensors file".
class input_file {
public:
    input_file(std::filesystem::path path, const char* kind) : path_(std::move(path)) {
        std::error_code ignored;
        const auto status = std::filesystem::status(path_, ignored);
        require(std::filesystem::exists(status), label(), ": expected ", kind, ", found nothing of that name");
        require(std::filesystem::is_regular_file(status), label(), ": expected ", kind,
                ", found something that is no file");
        handle_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
        require(handle_ >= 0, label(), ": expected a readable file, found: ", std::strerror(errno));
    }
    input_file(input_file&& other) noexcept
        : path_(std::move(other.path_)), handle_(std::exchange(other.handle_, -1)) {}
    input_file& operator=(input_file&&) = delete;
    ~input_file() {
        if (handle_ >= 0) ::close(handle_);
    }

    const std::filesystem::path& path() const { return path_; }
    std::string label() const { return path_.string(); }

    /// Size and times as they are now.
    struct ::stat facts() const {
        struct ::stat found;
        require(::fstat(handle_, &found) == 0, label(), ": expected a readable file, found: ", std::strerror(errno));
        return found;
    }

    /// Bytes [position, position + bytes), all of them.
    void read_at(std::uint64_t position, void* out, std::size_t bytes) const {
        auto* next = static_cast<char*>(out);
        while (bytes > 0) {
            const ssize_t count =
                ::pread(handle_, next, std::min<std::size_t>(bytes, 1u << 30), static_cast<off_t>(position));
            if (count < 0 && errno == EINTR) continue;
            require(count > 0, label(), ": expected ", bytes, " more bytes at position ", position, ", found ",
                    count < 0 ? std::strerror(errno) : "the end of the file");
            next += count;
            bytes -= static_cast<std::size_t>(count);
            position += static_cast<std::uint64_t>(count);
        }
    }

private:
    std::filesystem::path path_;
    int handle_ = -1;
};

}  // namespace depthgrow
