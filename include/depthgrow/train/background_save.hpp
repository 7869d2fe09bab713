// A run written to the disk while it goes on: a copy of this rank's blocks in host memory, then a thread of its own.
// Assumes that every rank begins, polls and waits at the same steps; only `begin` takes the run's time.
// A save that fails leaves what was there and says why; the run goes on. The host memory of the copy stays for the next
// save, since memory that is new costs more than the copy itself.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "depthgrow/train/run_directory.hpp"

namespace depthgrow {

template <class Wide> class background_save {
public:
    explicit background_save(communicator& comm) : comm_(comm) {}
    background_save(const background_save&) = delete;
    background_save& operator=(const background_save&) = delete;
    ~background_save() {
        if (comm_.alone()) (void)wait();  // several may not be there any more
        if (thread_.joinable()) thread_.join();
    }

    /// Copies the run as it is now and begins to write it as `directory`; as save_run, which writes the same files.
    /// `published` runs on the first rank, in the thread, once the directory is whole. One save at a time: `wait` for
    /// another that is `busy`, which says how that went. Returns why it could not begin; empty: it has.
    template <class T, class Backend, class Optimizer>
    std::string begin(const std::filesystem::path& directory, trainer<T, Backend, Optimizer>& run,
                      const run_files& files, std::function<void()> published) {
        require(!busy(), "[background_save] expected no save on its way, found one");
        published_ = std::move(published);
        try {
            facts_ = facts_of(run, files);
            open_directory(folder_, directory, facts_.bytes, comm_);
            together(comm_, [&] { writer_.emplace(atomic_directory::unfinished(directory), run, facts_.provenance); });
        } catch (const lost_ranks&) { throw; } catch (const std::exception& problem) {
            return drop(problem.what());
        }
        if (const std::size_t layers = run.model.layers(); layers != std::exchange(layers_, layers))
            held_.clear();  // which blocks are this rank's has changed
        each_own_block(
            run,
            [&](std::size_t kind, std::size_t block) -> auto& {
                return held_[{kind, block}];
            },
            [](std::size_t, std::size_t, const auto&) {});
        launch(stage::writing, [this] {
            for (const auto& [place, numbers] : held_) writer_->write(place.first, place.second, numbers);
            writer_->commit();
        });
        return {};
    }

    bool busy() const { return stage_ != stage::idle; }
    /// Goes from one stage to the next once every rank is done with it. Returns why the save has failed; empty: not.
    std::string poll() {
        if (!busy()) return {};
        const bool has_part = stage_ == stage::writing || comm_.first();
        const bool done = !has_part || done_;
        std::vector<double> votes = {done ? 1.0 : 0.0, done && !problem_.empty() ? 1.0 : 0.0};
        comm_.sum(votes);
        if (votes[0] < static_cast<double>(comm_.size())) return {};
        if (thread_.joinable()) thread_.join();
        if (votes[1] > 0)
            return drop(problem_.empty() ? "another rank could not write its part of a checkpoint" : problem_);
        writer_.reset();
        if (stage_ == stage::publishing) {
            folder_.reset();
            stage_ = stage::idle;
            return {};
        }
        stage_ = stage::publishing;
        if (comm_.first())
            launch(stage::publishing, [this] {
                write_facts(folder_->path(), facts_);
                folder_->commit();
                published_();
            });
        return {};
    }
    /// Returns once nothing is on its way: why the save has failed, or nothing.
    std::string wait() {
        std::string problem;
        while (busy() && problem.empty()) {
            problem = poll();
            if (busy()) std::this_thread::sleep_for(std::chrono::milliseconds(2));
        }
        return problem;
    }

private:
    enum class stage { idle, writing, publishing };

    template <class Body> void launch(stage next, const Body& body) {
        stage_ = next;
        done_ = false;
        problem_.clear();
        thread_ = std::thread([this, body] {
            try {
                body();
            } catch (const std::exception& caught) { problem_ = caught.what(); }
            done_ = true;
        });
    }
    /// Back to nothing: what was written so far goes.
    std::string drop(std::string problem) {
        writer_.reset();
        folder_.reset();
        stage_ = stage::idle;
        return problem;
    }

    communicator& comm_;
    stage stage_ = stage::idle;
    run_facts facts_;
    std::function<void()> published_;
    std::optional<atomic_directory> folder_;
    std::optional<run_writer<Wide>> writer_;
    std::map<std::pair<std::size_t, std::size_t>, std::vector<Wide>> held_;  // by kind and block, from save to save
    std::size_t layers_ = 0;                                                 // of the model that they are of
    std::thread thread_;
    std::string problem_;  // of the stage at hand, once it is done
    std::atomic<bool> done_ = false;
};

}  // namespace depthgrow
