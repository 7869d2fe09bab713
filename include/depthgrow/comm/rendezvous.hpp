// How the processes of one run find each other: who each is, by what started them, and a file that passes an id on.
// Assumes one of mpirun (Open MPI), torchrun, Slurm, or a launcher that sets RANK, WORLD_SIZE and LOCAL_RANK.
// The file lies where every rank sees it; the first rank writes it whole and removes it once all have joined. One that
// was left by a start that failed is known by its age.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <thread>

#include "depthgrow/core/error.hpp"

namespace depthgrow {

/// A process among those that were started together. `job` tells this start from others.
struct launched_process {
    std::size_t rank = 0, size = 1, local_rank = 0, local_size = 1;
    std::string by, job;
};

/// Tasks on one node of a Slurm step, of a list as in "4(x2),3": two nodes of four, one of three. 1 where it tells
/// none.
inline std::size_t slurm_tasks(const std::string& list, std::size_t node) {
    std::size_t tasks = 1;
    for (std::size_t at = 0; at < list.size(); ++at) {
        char* end = nullptr;
        tasks = std::max<std::size_t>(1, std::strtoul(list.c_str() + at, &end, 10));
        std::size_t nodes = 1;
        if (std::string_view(end).substr(0, 2) == "(x") nodes = std::strtoul(end + 2, &end, 10);
        if (node < nodes) break;
        node -= nodes;
        at = std::min(list.find(',', static_cast<std::size_t>(end - list.c_str())), list.size());
    }
    return tasks;
}

/// What the environment says of this process; a run of one where it says nothing.
inline launched_process find_launched_process() {
    const auto text_of = [](const char* name) {
        const char* value = std::getenv(name);
        return std::string(value ? value : "");
    };
    const auto number = [&](const char* name, std::size_t otherwise) {
        const std::string value = text_of(name);
        if (value.empty()) return otherwise;
        require(value.size() < 8 && value.find_first_not_of("0123456789") == std::string::npos,
                "environment: expected ", name, " to be a number, found \"", value, "\"");
        return static_cast<std::size_t>(std::stoul(value));
    };
    launched_process out;
    const auto take = [&](const char* by, const char* rank, const char* size, const char* local, const char* local_size,
                          std::string job) {
        if (!out.by.empty() || text_of(size).empty() || text_of(rank).empty()) return;  // a size of 1 counts too
        out = {number(rank, 0), number(size, 1), number(local, 0), number(local_size, 1), by, std::move(job)};
        require(out.rank < out.size, "environment: expected ", rank, " below ", out.size, ", found ", out.rank);
    };
    take("mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK",
         "OMPI_COMM_WORLD_LOCAL_SIZE", "mpi-" + text_of("PMIX_NAMESPACE") + text_of("OMPI_MCA_ess_base_jobid"));
    take("torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE",
         "run-" + text_of("TORCHELASTIC_RUN_ID") + "-" + text_of("MASTER_PORT") + "-" +
             text_of("TORCHELASTIC_RESTART_COUNT"));
    const std::string of_nodes = text_of("SLURM_STEP_TASKS_PER_NODE");
    const std::size_t of_node =
        slurm_tasks(of_nodes.empty() ? text_of("SLURM_TASKS_PER_NODE") : of_nodes, number("SLURM_NODEID", 0));
    // of the step: a program in a batch script, without srun, is one process of whatever was allocated
    take("srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "",
         "slurm-" + text_of("SLURM_JOB_ID") + "-" + text_of("SLURM_STEP_ID"));
    if (out.by == "srun") out.local_size = of_node;
    for (char& c : out.job)
        if (c == '/' || c == '\\') c = '-';
    return out;
}

/// Passes `id`, of the first rank, to all others through `file`; returns it.
template <class Make>
std::string pass_on(const std::filesystem::path& file, const launched_process& self, const Make& make,
                    std::chrono::duration<double> patience) {
    namespace fs = std::filesystem;
    if (self.rank == 0) {
        std::error_code none;
        fs::remove(file, none);
        const std::string id = make();
        const fs::path aside = file.string() + ".part";
        std::ofstream out(aside, std::ios::binary);
        out << id;
        out.close();
        require(out.good(), aside.string(), ": expected room for the ranks' id, found that writing fails");
        std::error_code problem;
        fs::rename(aside, file, problem);
        require(!problem, file.string(),
                ": expected a file that can be written, for the other ranks, found: ", problem.message());
        return id;
    }
    const auto begun = std::chrono::steady_clock::now();
    // written since the ranks may have been started; a file that goes meanwhile was never there
    const auto fresh = [&] {
        std::error_code gone;
        const auto written = fs::last_write_time(file, gone);
        return !gone && written > fs::file_time_type::clock::now() - std::chrono::ceil<std::chrono::seconds>(patience);
    };
    while (!fresh()) {
        const std::chrono::duration<double> waited = std::chrono::steady_clock::now() - begun;
        require(waited < patience, file.string(), ": expected the first rank's file within ", patience.count(),
                " s, found none");
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    std::ifstream in(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

}  // namespace depthgrow
