// A file that grows piece by piece and outlives a full disk: what finds no room waits in memory for the next piece.
// Assumes one writer. A piece stands in the file whole or not at all, and none overtakes another.
// Used by event_file.hpp and by logs of runs.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <limits>
#include <string>
#include <string_view>
#include <utility>

#include "depthgrow/core/error.hpp"

namespace depthgrow {

class appended_file {
public:
    /// Goes on at the end of `file`, which is made where it is missing. Throws where it cannot be written.
    explicit appended_file(std::filesystem::path file) : path_(std::move(file)) {
        require(try_open(), path_.string(), ": expected a file that can be written, found: ", problem_);
    }
    appended_file(const appended_file&) = delete;
    appended_file& operator=(const appended_file&) = delete;
    ~appended_file() { close(); }

    const std::filesystem::path& path() const { return path_; }
    /// Bytes of whole pieces in the file.
    std::uint64_t size() const { return size_ == unknown ? 0 : size_; }

    /// Appends what waits and `piece`. False: writing failed, all of it waits.
    bool add(std::string_view piece) {
        waiting_ += piece;
        if (descriptor_ < 0 && !try_open()) return false;
        for (std::size_t done = 0; done < waiting_.size();) {
            const ssize_t written = ::write(descriptor_, waiting_.data() + done, waiting_.size() - done);
            if (written > 0) done += static_cast<std::size_t>(written);
            else if (errno != EINTR) return give_up();
        }
        size_ += waiting_.size();
        waiting_.clear(), problem_.clear();
        return true;
    }
    /// Goes on with the file that now has its name, a new one where there is none.
    void reopen() {
        close();
        size_ = unknown;
    }
    /// Why pieces wait; empty: none does.
    const std::string& problem() const { return problem_; }
    /// Throws unless all that was added stands in the file.
    void require_whole() {
        require(waiting_.empty() || add({}), path_.string(), ": expected room for ", waiting_.size(),
                " bytes, found: ", problem_);
    }

private:
    static constexpr std::uint64_t unknown = std::numeric_limits<std::uint64_t>::max();

    /// Opens the file behind its last whole piece: what a failed write has left there is cut off.
    bool try_open() {
        descriptor_ = ::open(path_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
        struct stat facts {};
        if (descriptor_ < 0 || ::fstat(descriptor_, &facts) != 0) return give_up();
        const auto found = static_cast<std::uint64_t>(facts.st_size);
        size_ = std::min(size_, found);
        return found == size_ || ::ftruncate(descriptor_, static_cast<off_t>(size_)) == 0 || give_up();
    }
    /// Takes back what was written in part, now where that succeeds, else before the next piece.
    bool give_up() {
        problem_ = std::strerror(errno);
        if (descriptor_ >= 0 && size_ != unknown) (void)!::ftruncate(descriptor_, static_cast<off_t>(size_));
        close();
        return false;
    }
    void close() {
        if (descriptor_ >= 0) (void)::close(descriptor_);
        descriptor_ = -1;
    }

    std::filesystem::path path_;
    int descriptor_ = -1;
    std::uint64_t size_ = unknown;
    std::string waiting_, problem_;
};

}  // namespace depthgrow
