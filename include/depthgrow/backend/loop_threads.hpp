// The threads that run the loops of the CPU backends: the calling thread and workers of oneTBB.
// Assumes bodies that write to no common memory. A loop is cut into parts by the thread count alone, so its result is
// the same to the bit whichever thread runs which part: one that another process keeps off its core holds up nobody.
#pragma once

#include <tbb/info.h>
#include <tbb/parallel_for.h>
#include <tbb/partitioner.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <cstddef>

#include "depthgrow/core/error.hpp"

namespace depthgrow {

class loop_threads {
public:
    explicit loop_threads(int threads)
        : count_(threads), arena_(std::clamp(threads, 1, tbb::info::default_concurrency())) {
        require(threads >= 1, "[blas] expected at least one thread, got ", threads);
    }
    int count() const { return count_; }

    /// Calls body(part, thread) for every part below `parts` and returns when all are done; `thread` is below count()
    /// and names memory that no other thread uses meanwhile. What a body throws is thrown here.
    template <class Body> void run(std::size_t parts, const Body& body) const {
        if (count_ == 1 || parts <= 1) {
            for (std::size_t part = 0; part < parts; ++part) body(part, std::size_t{0});
            return;
        }
        arena_.execute([&] {
            tbb::parallel_for(
                std::size_t{0}, parts,
                [&](std::size_t part) {
                    body(part, static_cast<std::size_t>(tbb::this_task_arena::current_thread_index()));
                },
                tbb::simple_partitioner());
        });
    }

private:
    int count_;
    mutable tbb::task_arena arena_;
};

}  // namespace depthgrow
