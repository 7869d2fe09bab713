#include "support/cli.hpp"

#include <CLI/CLI.hpp>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <thread>

#include "depthgrow/comm/communicator.hpp"
#include "depthgrow/core/config.hpp"
#include "depthgrow/core/error.hpp"
#include "depthgrow/growth/operators.hpp"
#include "depthgrow/io/atomic_file.hpp"
#include "support/cpu_backend.hpp"
#include "support/ranks.hpp"

namespace tools {

namespace {

/// Whether two names are those of one file, there or not yet; a device is none.
bool same_file(const std::string& a, const std::string& b) {
    std::error_code wrong;
    if (std::filesystem::exists(a, wrong) && !std::filesystem::is_regular_file(a, wrong)) return false;
    if (std::filesystem::equivalent(a, b, wrong)) return true;
    const auto whole = [&](const std::string& name) {
        return std::filesystem::weakly_canonical(std::filesystem::absolute(name, wrong), wrong);
    };
    const auto first = whole(a);
    return !wrong && first == whole(b) && !wrong;
}

}  // namespace

struct command_line::implementation {
    CLI::App app;
    std::string title = "Options";
    std::vector<std::string> flags;
    std::vector<std::pair<std::string, std::function<bool()>>> required;  // sentence, whether it is missing
    std::vector<std::pair<std::string, const std::string*>> outputs;      // files to be written, by flag

    CLI::Option* keep(CLI::Option* option, const std::string& flag) {
        flags.push_back(flag);
        return option->group(title)->take_last();
    }
    /// Another flag that was given this file; empty: none was.
    std::string also_naming(const std::string& file, const std::string& flag) const {
        if (file.empty() || file == "-") return {};
        for (const auto* option : app.get_options()) {
            if (option->count() == 0 || option->get_expected_max() == 0 || option->get_name() == flag) continue;
            for (const auto& value : option->reduced_results())
                if (same_file(file, value)) return option->get_name();
        }
        return {};
    }
};

namespace {

/// Empty for the digits of a count; CLI11 alone would read "-3" as 2^64 - 3.
std::string not_a_count(const std::string& given) {
    if (given.empty() || given.find_first_not_of("0123456789") != std::string::npos)
        return "expected a whole number of at least 0, found \"" + given + "\"";
    return given.size() <= 18 ? std::string() : "expected a number of at most 18 digits, found \"" + given + "\"";
}

/// Empty for a file that can be written, as far as its name and folder tell.
std::string not_an_output(const std::string& file) {
    if (file.empty() || file == "-") return {};
    try {
        const bool slash = file.back() == '/';
        depthgrow::require_output_file(slash ? depthgrow::output_directory(file) : std::filesystem::path(file));
        if (slash) return "expected a file, found " + file + ", which ends as the name of a directory";
    } catch (const depthgrow::error& problem) { return problem.what(); }
    std::error_code ignored;
    const auto folder = std::filesystem::absolute(file).parent_path();
    if (std::filesystem::is_directory(folder, ignored)) return {};
    return "expected a file in a folder that exists, found no folder " + folder.string();
}

/// A sentence in which a word of thousands of letters, a name that somebody's script made, keeps its two ends.
std::string without_long_words(const std::string& sentence) {
    constexpr std::size_t longest = 400, ends = 80;
    const auto whole = [&](std::size_t at) {  // back to the first byte of a character
        while (at > 0 && (static_cast<unsigned char>(sentence[at]) & 0xc0) == 0x80) --at;
        return at;
    };
    std::string out;
    for (std::size_t at = 0; at < sentence.size();) {
        const std::size_t end = std::min(sentence.find(' ', at), sentence.size());
        const std::string word = sentence.substr(at, end - at);
        out += word.size() <= longest ? word
                                      : sentence.substr(at, whole(at + ends) - at) + "..." +
                                            sentence.substr(whole(end - ends), end - whole(end - ends));
        at = std::min(end + 1, sentence.size());
        if (end < sentence.size()) out += ' ';
    }
    return out;
}

/// "a model directory" as the help of a flag that must be given.
std::string required_help(std::string what) {
    what[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(what[0])));
    return what + "; required";
}

/// Help with a usage line of our own.
struct help_formatter : CLI::Formatter {
    explicit help_formatter(std::string line) : usage(std::move(line)) {}
    std::string make_usage(const CLI::App*, std::string) const override { return "Usage: " + usage + "\n"; }
    std::string usage;
};

}  // namespace

command_line::command_line(const std::string& usage, const std::string& summary)
    : inner_(std::make_unique<implementation>()) {
    inner_->app.name(usage.substr(0, usage.find(' ')));
    inner_->app.formatter(std::make_shared<help_formatter>(usage));
    inner_->app.description(summary);
    inner_->app.set_help_flag("--help", "Print this help and exit");
    inner_->app.set_version_flag("--version", std::string("depthgrow ") + DEPTHGROW_VERSION_STRING);
    inner_->app.option_defaults()->always_capture_default();
    inner_->flags = {"--help", "--version"};
}
command_line::~command_line() = default;

void command_line::group(const std::string& title) { inner_->title = title; }
void command_line::add(const std::string& flag, std::string& value, const std::string& help) {
    inner_->keep(inner_->app.add_option(flag, value, help), flag);
}
void command_line::add(const std::string& flag, std::size_t& value, const std::string& help) {
    inner_->keep(inner_->app.add_option(flag, value, help)->check(not_a_count), flag);
}
void command_line::add(const std::string& flag, std::int64_t& value, const std::string& help) {
    inner_->keep(inner_->app.add_option(flag, value, help), flag);
}
void command_line::add(const std::string& flag, int& value, const std::string& help) {
    inner_->keep(inner_->app.add_option(flag, value, help)->check(not_a_count), flag);
}
void command_line::add(const std::string& flag, double& value, const std::string& help) {
    inner_->keep(inner_->app.add_option(flag, value, help), flag);
}
void command_line::add(const std::string& flag, std::vector<std::string>& values, const std::string& help) {
    inner_->flags.push_back(flag);
    inner_->app.add_option(flag, values, help)->group(inner_->title)->expected(1, 1000);
}
void command_line::add(const std::string& flag, std::optional<std::size_t>& value, const std::string& help) {
    inner_->keep(inner_->app
                     .add_option_function<std::size_t>(
                         flag, [&value](std::size_t given) { value = given; }, help)
                     ->check(not_a_count),
                 flag);
}
void command_line::add(const std::string& flag, std::optional<double>& value, const std::string& help) {
    inner_->keep(inner_->app.add_option_function<double>(
                     flag, [&value](double given) { value = given; }, help),
                 flag);
}
void command_line::add_switch(const std::string& flag, bool& value, const std::string& help) {
    inner_->flags.push_back(flag);
    inner_->app.add_flag(flag, value, help)->group(inner_->title);
}
void command_line::add_choice(const std::string& flag, std::string& value, const std::vector<std::string>& choices,
                              const std::string& help) {
    const auto check = [choices](const std::string& given) -> std::string {
        for (const auto& choice : choices)
            if (given == choice) return {};
        std::string all;
        for (const auto& choice : choices) all += (all.empty() ? "" : "|") + choice;
        return "expected " + all + ", found \"" + given + "\"; did you mean " + nearest(given, choices) + "?";
    };
    std::string all;
    for (const auto& choice : choices) all += (all.empty() ? "" : "|") + choice;
    inner_->keep(inner_->app.add_option(flag, value, help + " (" + all + ")")->check(check), flag);
}
void command_line::add_positional(const std::string& name, std::string& value, const std::string& help) {
    inner_->app.add_option(name, value, help);
}
void command_line::add_required(const std::string& flag, std::string& value, const std::string& what) {
    if (flag[0] == '-') add(flag, value, required_help(what));
    else add_positional(flag, value, required_help(what));
    inner_->required.emplace_back(flag + ": expected " + what + ", found none", [&value] { return value.empty(); });
}
void command_line::add_required(const std::string& flag, std::vector<std::string>& values, const std::string& what) {
    add(flag, values, required_help(what));
    inner_->required.emplace_back(flag + ": expected " + what + ", found none", [&values] { return values.empty(); });
}
void command_line::add_output(const std::string& flag, std::string& file, const std::string& help) {
    inner_->keep(inner_->app.add_option(flag, file, help)->check(not_an_output), flag);
    inner_->outputs.emplace_back(flag, &file);
}
void command_line::add_device(std::string& backend, std::string& precision) {
    add_choice("--backend", backend, {"blas", "cuda"}, "Where to compute; cuda: in a build with -DDEPTHGROW_CUDA=ON");
    add_choice("--precision", precision, {"fp32", "bf16"},
               "Arithmetic; bf16 on a CPU: products of operands in bfloat16, where the processor has them");
}
void command_line::examples(const std::vector<std::string>& commands, const std::string& remarks) {
    std::string text = remarks.empty() ? "Examples:" : remarks + "\n\nExamples:";
    for (const auto& command : commands) text += "\n  " + command;
    inner_->app.footer(text);
}

bool command_line::was_given(const std::string& flag) const { return inner_->app.get_option(flag)->count() > 0; }

bool command_line::parse(int argc, char** argv) {
    for (int i = 1; i < argc; ++i) {
        const std::string word = argv[i];
        if (word.rfind('-', 0) != 0 || word.size() < 2 || word.find_first_of("0123456789.") == 1) continue;
        const std::string flag = word.substr(0, word.find('='));
        const auto& known = inner_->flags;
        if (std::find(known.begin(), known.end(), flag) == known.end())
            depthgrow::fail("unknown flag ", flag, "; did you mean ", nearest(flag, known),
                            "? (--help lists them all)");
    }
    try {
        inner_->app.parse(argc, argv);
    } catch (const CLI::CallForHelp&) {
        std::fputs(inner_->app.help().c_str(), stdout);
        return false;
    } catch (const CLI::CallForVersion&) {
        std::printf("depthgrow %s\n", DEPTHGROW_VERSION_STRING);
        return false;
    } catch (const CLI::ParseError& problem) {
        std::string sentence = problem.what();
        for (char& c : sentence)
            if (c == '\n') c = ' ';
        throw depthgrow::error(sentence);
    }
    for (const auto& [sentence, missing] : inner_->required)
        if (missing()) depthgrow::fail(sentence);
    for (const auto& [flag, file] : inner_->outputs)
        if (const auto other = inner_->also_naming(*file, flag); !other.empty())
            depthgrow::fail(flag, ": expected a file that ", other, " does not name, found ", *file);
    return true;
}

std::vector<std::string> command_line::given(const std::string& without) const {
    std::vector<std::string> words;
    for (const auto* option : inner_->app.get_options()) {
        if (option->count() == 0 || option->get_positional() || option->get_group() == without) continue;
        words.push_back(option->get_name());
        if (option->get_expected_max() == 0) continue;  // a switch
        const auto values = option->reduced_results();
        words.insert(words.end(), values.begin(), values.end());
    }
    return words;
}

std::string nearest(const std::string& name, const std::vector<std::string>& names) {
    std::string best;
    std::size_t smallest = static_cast<std::size_t>(-1);
    for (const auto& candidate : names) {
        const std::size_t distance = depthgrow::detail::edit_distance(name, candidate);
        if (distance < smallest) smallest = distance, best = candidate;
    }
    return best;
}

int resolve_threads(int threads) {
    return threads > 0 ? threads : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

namespace {

int status_of(const std::function<void()>& body) {
    try {
        body();
        errno = 0;
        const bool printed = std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
        depthgrow::require(printed, "stdout: expected to write all of it, found: ", std::strerror(errno ? errno : EIO));
        return 0;
    } catch (const depthgrow::failed_elsewhere&) {
        // that rank tells why; whoever started both may end it once this one has ended
        std::this_thread::sleep_for(std::chrono::milliseconds(500));
        return 1;
    } catch (const depthgrow::error& problem) {
        std::fflush(stdout);
        std::fprintf(stderr, "error: %s\n", without_long_words(problem.what()).c_str());
        return 1;
    } catch (const std::filesystem::filesystem_error& problem) {  // a name that is too long, a folder that is closed
        std::fflush(stdout);
        std::fprintf(stderr, "error: \"%s\": expected a path that can be used, found: %s\n",
                     without_long_words(problem.path1().string()).c_str(), problem.code().message().c_str());
        return 1;
    } catch (const std::exception& problem) {
        std::fflush(stdout);
        std::fprintf(stderr, "internal error: %s\n", problem.what());
        return 2;
    }
}

bool one_of_several() {
    try {
        return launched().size > 1;
    } catch (const depthgrow::error&) { return false; }  // what the environment says makes no sense
}

}  // namespace

void leave(const std::string& why) {
    std::fflush(nullptr);
    std::fprintf(stderr, "error: %s\n", without_long_words(why).c_str());
    std::_Exit(1);
}

int run_tool(const std::function<void()>& body) {
    const int status = status_of(body);
    if (status != 0 && one_of_several()) {
        std::fflush(nullptr);
        std::_Exit(status);  // libraries that would wait for the other ranks are not asked to clean up
    }
    return status;
}

bool has_cuda() {
#if DEPTHGROW_USES_CUDA
    return true;
#else
    return false;
#endif
}
void require_backend(const std::string& backend, const std::string& precision) {
    depthgrow::require(backend != "cuda" || has_cuda(),
                       "--backend cuda: expected a build with CUDA (cmake -DDEPTHGROW_CUDA=ON), found one without");
    if (precision == "fp32" || backend == "cuda") return;
    depthgrow::require(precision == "bf16", "--precision ", precision, ": expected --backend cuda, found --backend ",
                       backend);
    depthgrow::require(has_cpu_bf16(),
                       "--precision bf16: expected --backend cuda, or oneDNN in the build and a "
                       "processor that multiplies bfloat16 (AVX512-BF16, AMX), found --backend ",
                       backend, " without them");
}

}  // namespace tools
