// A file that grows piece by piece and outlives a full disk: what finds no room waits in memory for the next piece.
// Assumes one writer. A piece stands in the file whole or not at all, and none overtakes another.
// Used by event_file.hpp and by logs of runs.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
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
    /// Bytes in the file.
    std::uintmax_t size() const { return size_; }

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
        size_ = 0;
    }
    /// Why pieces wait; empty: none does.
    const std::string& problem() const { return problem_; }
    /// Throws unless all that was added stands in the file.
    void require_whole() {
        require(waiting_.empty() || add({}), path_.string(), ": expected room for ", waiting_.size(),
                " bytes, found: ", problem_);
    }

private:
    bool try_open() {
        descriptor_ = ::open(path_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
        if (descriptor_ < 0) return problem_ = std::strerror(errno), false;
        std::error_code none;
        size_ = std::filesystem::file_size(path_, none);
        return true;
    }
    /// Takes back what was written in part; the next piece tries again, with a file opened anew.
    bool give_up() {
        problem_ = std::strerror(errno);
        (void)!::ftruncate(descriptor_, static_cast<off_t>(size_));
        close();
        return false;
    }
    void close() {
        if (descriptor_ >= 0) (void)::close(descriptor_);
        descriptor_ = -1;
    }

    std::filesystem::path path_;
    int descriptor_ = -1;
    std::uintmax_t size_ = 0;
    std::string waiting_, problem_;
};

}  // namespace depthgrow
