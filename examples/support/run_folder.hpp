// The output folder of a run: its checkpoints, its log, and the names that point at the newest checkpoint.
// Refuses a folder that is another run's; nothing is written before open().
#pragma once

#include <filesystem>
#include <optional>

#include "depthgrow/comm/communicator.hpp"
#include "depthgrow/io/event_file.hpp"
#include "support/training.hpp"

namespace tools {

/// The files of a run's log, oldest first: log.1.jsonl, log.2.jsonl, ..., log.jsonl, as many as there are.
std::vector<std::filesystem::path> log_files(const std::filesystem::path& run);

class run_folder {
public:
    /// `writes`: whether this process writes there; others only read.
    explicit run_folder(const training_settings& settings, bool writes = true)
        : path_(settings.out),
          resume_(settings.resume),
          keep_(settings.keep),
          log_bytes_(static_cast<std::uintmax_t>(settings.log_size * 1e6)),
          writes_(writes) {}

    const std::filesystem::path& path() const { return path_; }
    /// Where the checkpoint of a step goes.
    std::filesystem::path checkpoint(std::size_t step) const;
    /// The checkpoint to go on from, if any: the newest whole one, as the first rank finds it. Refuses a folder that
    /// holds damaged ones alone.
    std::optional<std::filesystem::path> checkpoint_to_resume(dg::communicator& comm) const;

    /// Makes the folder and opens the log, which keeps only what a run at `step` has done.
    void open(std::size_t step);
    /// A line of log.jsonl, and its numbers as events for TensorBoard. Where the disk is full the lines wait for the
    /// next one, and a warning is given once.
    void log(const dg::json& line);
    /// Tries lines again that wait, so that a checkpoint is not ahead of the log where there is room.
    void write_waiting_lines();
    /// Fails unless all lines stand in the log, and all numbers among the events.
    void require_logged();
    /// Lets the names in the folder point at the checkpoint of `step`; then the oldest checkpoints go.
    void publish(std::size_t step) const;

private:
    std::optional<std::filesystem::path> newest_whole_checkpoint() const;
    void cut_log(std::size_t step) const;
    void begin_next_log();

    std::filesystem::path path_;
    std::string resume_;
    std::size_t keep_;
    std::uintmax_t log_bytes_;  // 0: any
    bool writes_;
    std::optional<dg::appended_file> log_;
    std::optional<dg::event_file> events_;
};

}  // namespace tools
