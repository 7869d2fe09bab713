// Files and directories that appear whole or not at all: written aside, flushed to disk, renamed.
// Assumes POSIX and one writer for each directory. Names that begin with ".tmp-" or ".old-" belong to this header.
// A rename replaces its target in one step, so that a kill or a full disk leaves the old content.
// A file's name may also be that of a device or FIFO, which is written into, or a link, which is followed.
#pragma once

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "depthgrow/core/error.hpp"

namespace depthgrow {

namespace detail {

[[noreturn]] inline void fail_write(const std::filesystem::path& path, int code) {
    fail(path.string(), ": expected to write it whole, found: ", std::strerror(code),
         " (what was there before is unchanged)");
}

inline std::filesystem::path aside(const std::filesystem::path& path, const char* mark) {
    return path.parent_path() / (mark + path.filename().string());
}

/// Waits until the file or directory is on the disk.
inline void flush_to_disk(const std::filesystem::path& path) {
    const int handle = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (handle < 0) fail_write(path, errno);
    const int status = ::fsync(handle);
    const int code = errno;
    ::close(handle);
    if (status != 0 && code != EINVAL && code != ENOTSUP)
        fail_write(path, code);  // some file systems cannot flush a directory
}

inline void flush_parent(const std::filesystem::path& path) {
    const auto parent = path.parent_path();
    flush_to_disk(parent.empty() ? std::filesystem::path(".") : parent);
}

inline void rename_or_fail(const std::filesystem::path& from, const std::filesystem::path& to) {
    if (std::rename(from.c_str(), to.c_str()) != 0) fail_write(to, errno);
}

}  // namespace detail

namespace detail {

inline constexpr std::size_t longest_mark = 5;  // of ".tmp-" and ".old-"

/// Refuses a path whose names the system cannot hold, marked ones included.
inline void require_short_names(const std::filesystem::path& path) {
    constexpr std::size_t name_limit = NAME_MAX - longest_mark, path_limit = PATH_MAX - longest_mark - 1;
    for (const auto& part : path)
        require(part.native().size() <= name_limit, "\"", part.string().substr(0, 40),
                "...\": expected names of at most ", name_limit, " bytes, found one of ", part.native().size());
    require(path.native().size() <= path_limit, "\"", path.string().substr(0, 40), "...\": expected a path of at most ",
            path_limit, " bytes, found one of ", path.native().size());
}

/// Where the content of a file's name goes: a name to rename to, or something that is written into.
struct file_target {
    std::filesystem::path path;     // links followed
    std::optional<int> descriptor;  // of this process: /dev/stdout, /dev/fd/3
    bool stream = false;            // a character device or FIFO
    bool written_into() const { return stream || descriptor.has_value(); }
};

/// The descriptor that a name in /proc/self/fd stands for.
inline std::optional<int> descriptor_of(const std::filesystem::path& path) {
    std::error_code problem;
    const auto folder = std::filesystem::canonical(path.parent_path(), problem);
    const std::string name = path.filename().string();
    const auto own = std::filesystem::path("/proc") / std::to_string(::getpid());
    const bool known = folder == own / "fd" || (folder.parent_path() == own / "task" && folder.filename() == "fd");
    if (problem || !known || name.empty() || name.size() > 8) return std::nullopt;
    if (name.find_first_not_of("0123456789") != name.npos) return std::nullopt;
    return std::stoi(name);
}

/// Follows the links of a file's name; what cannot be written is refused by one sentence, before anything is.
inline file_target follow_links(const std::filesystem::path& path) {
    require_short_names(path);
    require(path.has_filename(), "\"", path.string(), "\": expected a file, found the name of a directory");
    file_target out{path, std::nullopt, false};
    std::error_code problem;
    for (int links = 0; std::filesystem::is_symlink(out.path, problem); ++links) {
        if ((out.descriptor = descriptor_of(out.path))) return out;
        require(links < 40, path.string(), ": expected a file, found links that lead in a circle");
        const auto next = std::filesystem::read_symlink(out.path, problem);
        if (problem) fail_write(path, problem.value());
        out.path = next.is_absolute() ? next : out.path.parent_path() / next;
    }
    const auto status = std::filesystem::status(out.path, problem);
    using kind = std::filesystem::file_type;
    const bool led = out.path != path;
    require(status.type() != kind::directory, path.string(), ": expected a file, found a directory");
    require(!led || std::filesystem::exists(status), path.string(),
            ": expected a file, found a link that leads nowhere");
    out.stream = status.type() == kind::character || status.type() == kind::fifo;
    const bool plain = status.type() == kind::regular || status.type() == kind::not_found;
    require(plain || out.stream || !std::filesystem::exists(status), path.string(),
            ": expected a file, a FIFO or a character device, found a ",
            status.type() == kind::block ? "block device" : "socket");
    require(!out.stream || ::access(out.path.c_str(), W_OK) == 0, path.string(),
            ": expected it to be writable, found: ", std::strerror(errno));
    return out;
}

/// While alive, writing to a pipe without a reader is an error of this thread and no signal.
class no_broken_pipe {
public:
    no_broken_pipe() {
        sigset_t waiting;
        ::sigpending(&waiting);
        sigemptyset(&only_);
        sigaddset(&only_, SIGPIPE);
        was_pending_ = sigismember(&waiting, SIGPIPE) == 1;
        ::pthread_sigmask(SIG_BLOCK, &only_, &before_);
    }
    no_broken_pipe(const no_broken_pipe&) = delete;
    no_broken_pipe& operator=(const no_broken_pipe&) = delete;
    ~no_broken_pipe() {
        const timespec now{};
        if (!was_pending_)
            while (::sigtimedwait(&only_, nullptr, &now) < 0 && errno == EINTR) {}
        ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    }

private:
    sigset_t only_{}, before_{};
    bool was_pending_ = false;
};

/// Writes all of `content` into what is no file that could be replaced.
inline void write_into(const std::filesystem::path& path, const file_target& target, std::string_view content) {
    const auto refuse = [&](int code) {
        fail(path.string(), ": expected to write all of it, found: ", std::strerror(code));
    };
    std::fflush(stdout);  // what was printed before comes before
    const int handle = target.descriptor ? ::fcntl(*target.descriptor, F_DUPFD_CLOEXEC, 0)
                                         : ::open(target.path.c_str(), O_WRONLY | O_NOCTTY | O_CLOEXEC);
    if (handle < 0) refuse(errno);
    const no_broken_pipe guard;
    int code = 0;
    while (!content.empty() && code == 0) {
        const ssize_t count = ::write(handle, content.data(), content.size());
        if (count < 0 && errno != EINTR) code = errno;
        if (count > 0) content.remove_prefix(static_cast<std::size_t>(count));
    }
    if (::close(handle) != 0 && errno != EINTR && code == 0) code = errno;
    if (code != 0) refuse(code);
}

}  // namespace detail

/// Refuses, before any work, a name that `atomic_file` could not write.
inline void require_output_file(const std::filesystem::path& path) { detail::follow_links(path); }

/// A directory's name without what may end it: "out/", "out//" and "out/." are "out". Refuses names that are too long,
/// those that only point at a directory ("..", "/"), and ".." behind a directory that is not there.
inline std::filesystem::path output_directory(std::filesystem::path path) {
    const std::string given = path.string();
    while ((path.filename().empty() || path.filename() == ".") && path.has_parent_path() && path != path.parent_path())
        path = path.parent_path();
    detail::require_short_names(path);
    const auto name = path.filename();
    require(!name.empty() && name != "." && name != "..", "\"", given,
            "\": expected the name of a directory to write, found one that says only where");
    std::filesystem::path before;
    for (const auto& part : path) {
        require(part != ".." || before.empty() || std::filesystem::is_directory(before), "\"", given,
                "\": expected a directory before \"..\", found none named ", before.string());
        before /= part;
    }
    return path;
}

/// A file written aside and put in place by `commit`; without it the destructor leaves what was there. A link to a
/// file stays, and the file that it leads to is replaced; a link at the name aside is refused. A FIFO or a character
/// device, or a link to one, is never replaced: `commit` writes everything into it.
class atomic_file {
public:
    /// Who writes the file: this object alone; or several processes together, each its own bytes, under the final name
    /// in a directory that is not yet visible.
    enum class writers { one, several };

    explicit atomic_file(std::filesystem::path path, writers who = writers::one)
        : path_(std::move(path)),
          target_(detail::follow_links(path_)),
          temporary_(who == writers::one ? detail::aside(target_.path, ".tmp-") : target_.path) {
        if (target_.written_into()) return;
        const int begin = who == writers::one ? O_TRUNC : 0;
        handle_ = ::open(temporary_.c_str(), O_RDWR | O_CREAT | begin | O_CLOEXEC | O_NOFOLLOW, 0666);
        if (handle_ < 0) detail::fail_write(path_, errno);
    }
    atomic_file(const atomic_file&) = delete;
    atomic_file& operator=(const atomic_file&) = delete;
    ~atomic_file() { abandon(); }

    /// Appends `bytes` bytes.
    void write(const void* data, std::size_t bytes) { write_at(end_, data, bytes); }
    void write(std::string_view content) { write(content.data(), content.size()); }

    /// Writes at a position; a gap before it reads as zeros.
    void write_at(std::uint64_t position, const void* data, std::size_t bytes) {
        const auto* next = static_cast<const char*>(data);
        if (target_.written_into() && bytes > 0) {
            const auto first = static_cast<std::size_t>(position);
            if (content_.size() < first + bytes) content_.resize(first + bytes);
            std::memcpy(content_.data() + first, data, bytes);
            position += bytes, bytes = 0;
        }
        while (bytes > 0) {
            const ssize_t count = ::pwrite(handle_, next, bytes, static_cast<off_t>(position));
            if (count < 0 && errno == EINTR) continue;
            if (count <= 0) detail::fail_write(path_, count < 0 ? errno : ENOSPC);
            next += count;
            bytes -= static_cast<std::size_t>(count);
            position += static_cast<std::uint64_t>(count);
        }
        end_ = std::max(end_, position);
    }

    /// Flushes and renames into place; the file is whole from here on.
    void commit() {
        if (target_.written_into()) return detail::write_into(path_, target_, content_);
        if (::fsync(handle_) != 0 && errno != EINVAL) detail::fail_write(path_, errno);
        const int handle = std::exchange(handle_, -1);
        if (::close(handle) != 0 && errno != EINTR) {
            const int code = errno;
            ::unlink(temporary_.c_str());
            detail::fail_write(path_, code);
        }
        if (std::rename(temporary_.c_str(), target_.path.c_str()) != 0) {
            const int code = errno;
            ::unlink(temporary_.c_str());
            detail::fail_write(path_, code);
        }
        detail::flush_parent(target_.path);
    }

private:
    void abandon() {
        if (handle_ < 0) return;
        ::close(std::exchange(handle_, -1));
        ::unlink(temporary_.c_str());
    }

    std::filesystem::path path_;
    detail::file_target target_;
    std::filesystem::path temporary_;
    std::string content_;  // of what is written into
    int handle_ = -1;
    std::uint64_t end_ = 0;
};

/// Replaces `path` by a file of this content, whole or not at all; as `atomic_file` does it.
inline void write_file(const std::filesystem::path& path, std::string_view content) {
    atomic_file file(path);
    file.write(content);
    file.commit();
}

/// Puts the file `from` also at `to` (a second name for the same bytes where possible, else a copy), in one step.
/// Neither may be edited in place afterwards; everything in this library replaces files instead.
inline void publish_file(const std::filesystem::path& from, const std::filesystem::path& to) {
    const auto temporary = detail::aside(to, ".tmp-");
    std::error_code problem;
    std::filesystem::remove(temporary, problem);
    std::filesystem::create_hard_link(from, temporary, problem);
    if (problem) {
        problem.clear();
        std::filesystem::copy_file(from, temporary, std::filesystem::copy_options::overwrite_existing, problem);
        if (problem) {
            std::error_code ignored;
            std::filesystem::remove(temporary, ignored);
            detail::fail_write(to, problem.value());
        }
        detail::flush_to_disk(temporary);
    }
    if (std::rename(temporary.c_str(), to.c_str()) != 0) detail::fail_write(to, errno);
    std::filesystem::remove(temporary, problem);  // rename of two names of one file leaves both
    detail::flush_parent(to);
}

/// A directory filled aside (write into `path()`) and put in place by `commit`; without it nothing stays, neither the
/// directory nor the folders around it that were made.
class atomic_directory {
public:
    /// Where a directory is filled before it has its name: one place for every process.
    static std::filesystem::path unfinished(std::filesystem::path target) {
        return detail::aside(output_directory(std::move(target)), ".tmp-");
    }

    explicit atomic_directory(std::filesystem::path target)
        : target_(output_directory(std::move(target))), temporary_(detail::aside(target_, ".tmp-")) {
        std::error_code problem;
        for (auto folder = target_.parent_path(); !folder.empty() && !std::filesystem::exists(folder, problem);
             folder = folder.parent_path())
            parents_.push_back(folder);
        std::filesystem::remove_all(temporary_, problem);
        std::filesystem::create_directories(temporary_, problem);
        if (problem) {
            remove_what_was_made();
            detail::fail_write(target_, problem.value());
        }
    }
    atomic_directory(const atomic_directory&) = delete;
    atomic_directory& operator=(const atomic_directory&) = delete;
    ~atomic_directory() {
        if (!done_) remove_what_was_made();
    }

    /// Where to write.
    const std::filesystem::path& path() const { return temporary_; }

    /// Flushes every file and puts the directory in place; one of the same name moves aside first and is deleted
    /// last (`clean_leftovers` brings it back when a kill falls between).
    void commit() {
        try {
            for (const auto& entry : std::filesystem::recursive_directory_iterator(temporary_))
                if (entry.is_regular_file() || entry.is_directory()) detail::flush_to_disk(entry.path());
        } catch (const std::filesystem::filesystem_error& problem) {
            detail::fail_write(target_, problem.code().value());
        }
        detail::flush_to_disk(temporary_);
        const auto old = detail::aside(target_, ".old-");
        std::error_code problem;
        const bool replaces = std::filesystem::exists(target_, problem);
        if (replaces) {
            std::filesystem::remove_all(old, problem);
            detail::rename_or_fail(target_, old);
        }
        if (std::rename(temporary_.c_str(), target_.c_str()) != 0) {
            const int code = errno;
            if (replaces) detail::rename_or_fail(old, target_);
            detail::fail_write(target_, code);
        }
        done_ = true;
        detail::flush_parent(target_);
        if (replaces) std::filesystem::remove_all(old, problem);
    }

private:
    void remove_what_was_made() {
        std::error_code ignored;
        std::filesystem::remove_all(temporary_, ignored);
        for (const auto& folder : parents_) std::filesystem::remove(folder, ignored);  // the empty ones only
    }

    std::filesystem::path target_, temporary_;
    std::vector<std::filesystem::path> parents_;  // made for this one, the innermost first
    bool done_ = false;
};

/// Removes a directory such that it is never seen half removed under its name.
inline void remove_directory(const std::filesystem::path& path) {
    const auto temporary = detail::aside(path, ".tmp-");
    std::error_code ignored;
    std::filesystem::remove_all(temporary, ignored);
    if (std::rename(path.c_str(), temporary.c_str()) == 0) std::filesystem::remove_all(temporary, ignored);
}

/// Clears what killed writers left in a directory; what a replacement had moved aside comes back.
inline void clean_leftovers(const std::filesystem::path& directory) {
    std::error_code ignored;
    std::vector<std::filesystem::path> entries;
    for (const auto& entry : std::filesystem::directory_iterator(directory, ignored)) entries.push_back(entry.path());
    for (const auto& path : entries) {
        const std::string name = path.filename().string();
        if (name.rfind(".old-", 0) == 0) {
            const auto original = directory / name.substr(5);
            if (std::filesystem::exists(original, ignored)) std::filesystem::remove_all(path, ignored);
            else detail::rename_or_fail(path, original);
        } else if (name.rfind(".tmp-", 0) == 0) {
            std::filesystem::remove_all(path, ignored);
        }
    }
}

/// One checkpoint directory `step-00000120`.
struct checkpoint_entry {
    std::uint64_t step = 0;
    std::filesystem::path path;
};

/// "step-00000120".
inline std::string checkpoint_name(std::uint64_t step) {
    char name[32];
    std::snprintf(name, sizeof name, "step-%08llu", static_cast<unsigned long long>(step));
    return name;
}

/// The step of such a name; 0 where it is none.
inline std::uint64_t checkpoint_step(const std::filesystem::path& directory) {
    unsigned long long step = 0;
    return std::sscanf(directory.filename().c_str(), "step-%llu", &step) == 1 ? step : 0;
}

/// The whole checkpoints in a directory, oldest first; none when there is no such directory.
inline std::vector<checkpoint_entry> list_checkpoints(const std::filesystem::path& directory) {
    std::vector<checkpoint_entry> found;
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator(directory, ignored)) {
        const std::string name = entry.path().filename().string();
        if (name.rfind("step-", 0) != 0 || name.size() > 24 || name.size() < 13 || !entry.is_directory(ignored))
            continue;
        if (name.find_first_not_of("0123456789", 5) != name.npos) continue;
        found.push_back({std::stoull(name.substr(5)), entry.path()});
    }
    std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.step < b.step; });
    return found;
}

/// The newest whole checkpoint in a directory.
inline std::optional<checkpoint_entry> latest_checkpoint(const std::filesystem::path& directory) {
    auto found = list_checkpoints(directory);
    if (found.empty()) return std::nullopt;
    return found.back();
}

/// Deletes the oldest checkpoints beyond `keep` (at least one stays). Call it after the newest is in place.
inline void keep_checkpoints(const std::filesystem::path& directory, std::size_t keep) {
    const auto found = list_checkpoints(directory);
    const std::size_t kept = std::max<std::size_t>(keep, 1);
    for (std::size_t i = 0; i + kept < found.size(); ++i) remove_directory(found[i].path);
}

}  // namespace depthgrow
