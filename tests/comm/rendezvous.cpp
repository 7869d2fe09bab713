// Who a process is among those started together, by what each launcher says; and the file by which they meet.
#include "depthgrow/comm/rendezvous.hpp"

#include <fstream>
#include <map>

#include "io/temporary.hpp"
#include "support/catch.hpp"

namespace dg = depthgrow;

namespace {

/// The environment with these variables and none that another launcher has set, for as long as it lives.
class environment {
public:
    explicit environment(const std::map<std::string, std::string>& variables) {
        for (const char* name : {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "RANK", "WORLD_SIZE", "LOCAL_RANK",
                                 "LOCAL_WORLD_SIZE", "TORCHELASTIC_RUN_ID", "MASTER_PORT", "TORCHELASTIC_RESTART_COUNT",
                                 "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_NODEID",
                                 "SLURM_TASKS_PER_NODE", "SLURM_STEP_TASKS_PER_NODE", "SLURM_JOB_ID", "SLURM_STEP_ID"})
            ::unsetenv(name);
        for (const auto& [name, value] : variables) ::setenv(name.c_str(), value.c_str(), 1), set_.push_back(name);
    }
    ~environment() {
        for (const auto& name : set_) ::unsetenv(name.c_str());
    }

private:
    std::vector<std::string> set_;
};

dg::launched_process found_in(const std::map<std::string, std::string>& variables) {
    const environment these(variables);
    return dg::find_launched_process();
}

}  // namespace

TEST_CASE("A process knows who started it and which of how many it is", "[rendezvous]") {
    CHECK(found_in({}).size == 1);
    const auto mpi = found_in({{"OMPI_COMM_WORLD_RANK", "1"}, {"OMPI_COMM_WORLD_SIZE", "2"}});
    CHECK((mpi.by == "mpirun" && mpi.rank == 1 && mpi.size == 2));
    const auto torch = found_in({{"RANK", "9"},
                                 {"WORLD_SIZE", "16"},
                                 {"LOCAL_RANK", "1"},
                                 {"LOCAL_WORLD_SIZE", "8"},
                                 {"TORCHELASTIC_RUN_ID", "none/1"},
                                 {"MASTER_PORT", "29500"}});
    CHECK((torch.by == "torchrun" && torch.rank == 9 && torch.size == 16 && torch.local_rank == 1 &&
           torch.local_size == 8 && torch.job == "run-none-1-29500-"));
    const auto slurm = found_in({{"SLURM_PROCID", "9"},
                                 {"SLURM_STEP_NUM_TASKS", "11"},
                                 {"SLURM_LOCALID", "1"},
                                 {"SLURM_NODEID", "2"},
                                 {"SLURM_STEP_TASKS_PER_NODE", "4(x2),3"},
                                 {"SLURM_JOB_ID", "77"},
                                 {"SLURM_STEP_ID", "0"}});
    CHECK((slurm.by == "srun" && slurm.rank == 9 && slurm.size == 11 && slurm.local_rank == 1 &&
           slurm.local_size == 3 && slurm.job == "slurm-77-0"));
    CHECK(found_in({{"SLURM_PROCID", "0"}, {"SLURM_TASKS_PER_NODE", "8"}}).size == 1);  // a batch script's own process
    CHECK_THROWS_AS(found_in({{"RANK", "2"}, {"WORLD_SIZE", "2"}}), dg::error);
    CHECK_THROWS_AS(found_in({{"RANK", "x"}, {"WORLD_SIZE", "2"}}), dg::error);
}

TEST_CASE("Slurm's list of tasks is read node by node", "[rendezvous]") {
    CHECK(dg::slurm_tasks("8", 0) == 8);
    CHECK(dg::slurm_tasks("4(x2),3,1(x10)", 1) == 4);
    CHECK(dg::slurm_tasks("4(x2),3,1(x10)", 2) == 3);
    CHECK(dg::slurm_tasks("4(x2),3,1(x10)", 12) == 1);
    CHECK(dg::slurm_tasks("", 0) == 1);
}

TEST_CASE("Ranks take the first rank's file, not one that an old start has left", "[rendezvous]") {
    using namespace std::chrono_literals;
    const temporary::folder folder;
    const auto file = folder.path / "id";
    const auto make = [] { return std::string("new"); };
    const dg::launched_process first{0, 2, 0, 2, "", ""}, second{1, 2, 1, 2, "", ""};
    folder.file("id", "old");
    std::filesystem::last_write_time(file, std::filesystem::file_time_type::clock::now() - 1h);
    CHECK_THROWS_AS(dg::pass_on(file, second, make, 100ms), dg::error);
    CHECK(dg::pass_on(file, first, make, 1s) == "new");
    CHECK(dg::pass_on(file, second, make, 1s) == "new");
}
