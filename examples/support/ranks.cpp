#include "support/ranks.hpp"

#include <sys/prctl.h>
#include <sys/wait.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <vector>

#include "depthgrow/comm/communicator.hpp"
#include "support/cli.hpp"
#if DEPTHGROW_USES_MPI
#include "depthgrow/comm/mpi.hpp"
#endif

namespace tools {

namespace {

namespace dg = depthgrow;

constexpr const char* rendezvous_variable = "DEPTHGROW_RENDEZVOUS";

constexpr int seconds_to_notice = 10;  // that others have failed

std::vector<pid_t> children;
volatile std::sig_atomic_t passed_on = 0;
void pass_to_children(int signal) {
    passed_on = signal;
    for (pid_t child : children)
        if (child > 0) (void)::kill(child, signal);
}

/// The words that this program was started with.
std::vector<std::string> own_words() {
    std::ifstream in("/proc/self/cmdline", std::ios::binary);
    std::vector<std::string> words;
    for (std::string word; std::getline(in, word, '\0');) words.push_back(word);
    return words;
}

/// Those words without --ranks and its value.
std::vector<std::string> words_for_a_rank() {
    std::vector<std::string> words = own_words(), kept;
    for (std::size_t i = 0; i < words.size(); ++i) {
        if (words[i] == "--ranks") ++i;
        else if (words[i].rfind("--ranks=", 0) != 0) kept.push_back(words[i]);
    }
    return kept;
}

[[noreturn]] void become(const std::string& program, const std::vector<std::string>& words) {
    std::vector<char*> pointers;
    for (const auto& word : words) pointers.push_back(const_cast<char*>(word.c_str()));
    pointers.push_back(nullptr);
    ::execvp(program.c_str(), pointers.data());
    std::fprintf(stderr, "error: %s: expected a program that can be started, found: %s\n", program.c_str(),
                 std::strerror(errno));
    std::_Exit(127);
}

/// Waits for the ranks; once one has failed the others have ten seconds to notice. One that was killed has no sentence
/// of its own.
int status_of_children() {
    int status = 0;
    std::size_t left = children.size();
    auto failed = std::chrono::steady_clock::time_point::max();
    while (left > 0) {
        int how = 0;
        const pid_t ended = ::waitpid(-1, &how, status == 0 ? 0 : WNOHANG);
        if (ended > 0) {
            --left;
            const auto child = std::find(children.begin(), children.end(), ended);
            if (child != children.end()) *child = 0;
            if (WIFSIGNALED(how) && status == 0 && WTERMSIG(how) != passed_on) {
                std::fprintf(stderr, "error: rank %td was ended by signal %d (%s)", child - children.begin(),
                             WTERMSIG(how), strsignal(WTERMSIG(how)));
                if (left > 0) std::fprintf(stderr, "; the others have %d s to notice", seconds_to_notice);
                std::fprintf(stderr, "\n");
            }
            const int code = WIFEXITED(how) ? WEXITSTATUS(how) : 128 + WTERMSIG(how);
            if (code != 0 && status == 0) status = code, failed = std::chrono::steady_clock::now();
            continue;
        }
        if (ended < 0 && errno == EINTR) continue;
        if (ended < 0) break;
        if (std::chrono::steady_clock::now() - failed > std::chrono::seconds(seconds_to_notice)) {
            failed = std::chrono::steady_clock::time_point::max();
            for (std::size_t r = 0; r < children.size(); ++r)
                if (children[r] > 0) {
                    std::fprintf(stderr,
                                 "error: rank %zu had not ended %d s after another had failed, and is ended now\n", r,
                                 seconds_to_notice);
                    (void)::kill(children[r], SIGKILL);
                }
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return status;
}

void start_gpu_ranks(std::size_t count) {
    const auto words = words_for_a_rank();
    char place[] = "/tmp/depthgrow-ranks-XXXXXX";
    dg::require(::mkdtemp(place) != nullptr, "--ranks: expected a temporary folder, found: ", std::strerror(errno));
    std::signal(SIGUSR1, SIG_IGN);  // until the ranks listen to it themselves
    for (std::size_t r = 0; r < count; ++r) {
        const pid_t child = ::fork();
        dg::require(child >= 0, "--ranks: expected a process for rank ", r, ", found: ", std::strerror(errno));
        if (child == 0) {
            (void)::setpgid(0, 0);  // a terminal's signal reaches a rank once, through its parent
            (void)::prctl(PR_SET_PDEATHSIG, SIGTERM);
            for (const auto& [name, value] :
                 {std::pair{"RANK", r}, {"LOCAL_RANK", r}, {"WORLD_SIZE", count}, {"LOCAL_WORLD_SIZE", count}})
                ::setenv(name, std::to_string(value).c_str(), 1);
            ::setenv(rendezvous_variable, (std::string(place) + "/id").c_str(), 1);
            become("/proc/self/exe", words);
        }
        children.push_back(child);
    }
    for (int signal : {SIGTERM, SIGINT, SIGUSR1}) std::signal(signal, pass_to_children);
    const int status = status_of_children();
    std::error_code ignored;
    std::filesystem::remove_all(place, ignored);
    std::exit(status);
}

void start_mpi_ranks(const std::string& count) {
    std::vector<std::string> words = {"mpirun", "--oversubscribe", "--bind-to", "none", "-n", count};
    const auto own = words_for_a_rank();
    words.push_back(std::filesystem::read_symlink("/proc/self/exe").string());
    words.insert(words.end(), own.begin() + 1, own.end());
    if (::geteuid() == 0)  // a container's only user; mpirun asks for both
        for (const char* name : {"OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"}) ::setenv(name, "1", 0);
    become("mpirun", words);
}

}  // namespace

const dg::launched_process& launched() {
    static const auto found = dg::find_launched_process();
    return found;
}

std::filesystem::path rendezvous_file(const std::string& otherwise) {
    if (const char* given = std::getenv(rendezvous_variable)) return given;
    return otherwise + ".rendezvous-" + launched().job;
}

void launch_ranks(const std::string& count, const std::string& backend) {
    if (count.empty() || count == "1" || launched().size > 1) return;
    const bool number = count.size() < 6 && count.find_first_not_of("0123456789") == std::string::npos;
    dg::require((number && std::stoul(count) > 0) || count == "all",
                "--ranks: expected a number of processes, or all, found \"", count, "\"");
    std::fflush(nullptr);
    if (backend != "cuda") {
        dg::require(number, "--ranks all: expected --backend cuda, one rank a GPU, found --backend ", backend);
        return start_mpi_ranks(count);
    }
    const auto gpus = static_cast<std::size_t>(gpu_count());
    const std::size_t wanted = number ? std::stoul(count) : gpus;
    dg::require(wanted <= gpus && wanted > 0, "--ranks: expected at most one rank a GPU, found ", wanted, " ranks for ",
                gpus, " GPUs");
    if (wanted > 1) start_gpu_ranks(wanted);
}

std::unique_ptr<dg::communicator> cpu_ranks([[maybe_unused]] double patience) {
    if (launched().size < 2) return nullptr;
#if DEPTHGROW_USES_MPI
    const auto& self = launched();
    dg::require(self.by != "torchrun", "expected mpirun or srun to start ranks that compute on CPUs, found torchrun");
    const bool told = std::getenv("PMIX_RANK") || std::getenv("PMI_RANK");
    dg::require(self.by != "srun" || told,
                "expected srun to tell MPI of the ranks (Open MPI: srun --mpi=pmix, MPICH: --mpi=pmi2), found that it ",
                "did not");
    auto ranks = std::make_unique<dg::mpi_ranks>(std::chrono::duration<double>(patience), leave);
    dg::require(ranks->size() == self.size && ranks->rank() == self.rank, self.by, ": expected MPI to know ", self.size,
                " ranks, this one as rank ", self.rank, ", found ", ranks->size(), " and rank ", ranks->rank(),
                self.by == "srun" ? " (with Open MPI: srun --mpi=pmix)" : "");
    return ranks;
#else
    dg::fail("expected a build with MPI (Debian: libopenmpi-dev) for ", launched().size, " ranks, found one without");
#endif
}

#if !DEPTHGROW_USES_CUDA
int gpu_count() { return 0; }
#endif

int own_gpu() { return gpu_count() == 1 ? 0 : static_cast<int>(launched().local_rank); }

int own_threads(int threads) {
    if (threads > 0) return threads;
    return std::max(1, resolve_threads(threads) / static_cast<int>(std::max<std::size_t>(1, launched().local_size)));
}

}  // namespace tools
