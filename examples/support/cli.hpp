// Command lines of the tools: long flags with defaults, --help, unknown flags refused with the nearest name.
// Values keep their defaults when a flag is absent. CLI11 stays in cli.cpp: it costs ten seconds to compile.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace tools {

class command_line {
public:
    /// `usage` begins with the tool's name: "grow_checkpoint IN OUT --operator NAME [FLAGS]".
    command_line(const std::string& usage, const std::string& summary);
    ~command_line();

    /// Starts a group of flags in --help.
    void group(const std::string& title);
    void add(const std::string& flag, std::string& value, const std::string& help);
    void add(const std::string& flag, std::size_t& value, const std::string& help);
    void add(const std::string& flag, std::int64_t& value, const std::string& help);
    void add(const std::string& flag, int& value, const std::string& help);
    void add(const std::string& flag, double& value, const std::string& help);
    void add(const std::string& flag, std::vector<std::string>& values, const std::string& help);
    void add(const std::string& flag, std::optional<std::size_t>& value, const std::string& help);
    void add(const std::string& flag, std::optional<double>& value, const std::string& help);
    /// A flag without a value.
    void add_switch(const std::string& flag, bool& value, const std::string& help);
    /// A string that must be one of `choices`.
    void add_choice(const std::string& flag, std::string& value, const std::vector<std::string>& choices,
                    const std::string& help);
    /// A flag or a positional argument that must be given: `what` is "a model directory", of help and refusal.
    void add_required(const std::string& flag, std::string& value, const std::string& what);
    void add_required(const std::string& flag, std::vector<std::string>& values, const std::string& what);
    /// A positional argument.
    void add_positional(const std::string& name, std::string& value, const std::string& help);
    /// A file to write ("" none, "-" stdout), refused before any work when its folder is missing.
    void add_output(const std::string& flag, std::string& file, const std::string& help);

    // Flags that several tools have, in one wording.
    void add_model(std::string& model) { add_required("--model", model, "a model directory"); }
    void add_order(std::string& order) {
        add("--order", order, "Layer order to run instead of the stored one: 0,1,2,1,2,3");
    }
    void add_device(std::string& backend, std::string& precision);
    void add_threads(int& threads) { add("--threads", threads, "CPU threads (0: all)"); }
    /// `what` the processes share.
    void add_ranks(std::string& ranks, const std::string& what) {
        add("--ranks", ranks,
            "Processes that share " + what +
                ": N, one a GPU (all: every GPU here), or with --backend blas N under mpirun; mpirun, torchrun and "
                "srun start them too");
    }
    void add_json(std::string& file) { add_output("--json", file, "Write the numbers to this file (-: stdout)"); }
    void add_quiet(bool& quiet) { add_switch("--quiet", quiet, "Print errors only"); }

    /// What ends --help: remarks (or nothing), then commands to try, one a line.
    void examples(const std::vector<std::string>& commands, const std::string& remarks = "");

    /// False when --help or --version was printed. Throws depthgrow::error with one sentence on bad input.
    bool parse(int argc, char** argv);
    /// After parse: whether the flag was on the command line.
    bool was_given(const std::string& flag) const;

    /// The words of the flags that parse found, but for those of the group `without`, each flag once.
    std::vector<std::string> given(const std::string& without) const;

private:
    struct implementation;
    std::unique_ptr<implementation> inner_;
};

/// The nearest of `names`.
std::string nearest(const std::string& name, const std::vector<std::string>& names);

/// CPU threads: the flag's, or all.
int resolve_threads(int threads);

/// Ends the program at once with "error: …" on stderr and status 1, cleaning up nothing: where that would wait for
/// other ranks.
[[noreturn]] void leave(const std::string& why);

/// Runs a tool: 0 on success, 1 with "error: …" on stderr for a depthgrow::error, 2 for anything else.
int run_tool(const std::function<void()>& body);

/// Refuses a backend that this build lacks, and bf16 on one that has only fp32.
/// Whether this build computes on GPUs.
bool has_cuda();
void require_backend(const std::string& backend, const std::string& precision);

}  // namespace tools
