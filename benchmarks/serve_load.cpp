// A completions server under load: clients that ask again and again, each request on a new connection, as harnesses do.
// Prints requests and tokens a second, the median and the slowest latencies, and whatever was not answered.
// Speaks to this project's serve, and by --chat to servers that know chat completions only.
#include <httplib.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "depthgrow/io/json.hpp"
#include "support/cli.hpp"
#include "support/depth_files.hpp"

namespace {

namespace dg = depthgrow;
using clock_type = std::chrono::steady_clock;

struct settings {
    std::string host = "127.0.0.1", clients = "1,8,32", kind = "generate", model = "model", json;
    int port = 8000;
    std::size_t seconds = 10, max_tokens = 32, words = 24;
    bool chat = false;
};

struct outcome {
    std::vector<double> seconds;  // of each request that was answered
    std::size_t tokens = 0, refused = 0, lost = 0;
};

double since(clock_type::time_point begin) { return std::chrono::duration<double>(clock_type::now() - begin).count(); }

dg::json request(const settings& s, std::size_t number) {
    std::string prompt = std::to_string(number);  // no two alike
    for (std::size_t i = 0; i < s.words; ++i) prompt += " word";
    dg::json body = {{"model", s.model}, {"max_tokens", s.max_tokens}, {"temperature", 0}};
    if (s.chat) body["messages"] = dg::json::array({{{"role", "user"}, {"content", prompt}}});
    else if (s.kind == "score")
        body["prompt"] = prompt, body["echo"] = true, body["logprobs"] = 1, body["max_tokens"] = 1;
    else body["prompt"] = prompt;
    return body;
}

/// One client until `end`; its requests are numbered from `first` on.
outcome ask(const settings& s, std::size_t first, clock_type::time_point end) {
    outcome out;
    for (std::size_t number = first; clock_type::now() < end; ++number) {
        httplib::Client client(s.host, s.port);
        client.set_read_timeout(600);
        const auto begin = clock_type::now();
        const auto answer = client.Post(s.chat ? "/v1/chat/completions" : "/v1/completions", request(s, number).dump(),
                                        "application/json");
        if (!answer) {
            ++out.lost;
            continue;
        }
        if (answer->status != 200) {
            ++out.refused;
            continue;
        }
        const auto usage = dg::parse_json(answer->body, "answer").value("usage", dg::json::object());
        out.seconds.push_back(since(begin));
        out.tokens += usage.value(s.kind == "score" ? "total_tokens" : "completion_tokens", std::size_t{0});
    }
    return out;
}

void measure(const settings& s, std::size_t clients) {
    std::vector<std::thread> threads;
    std::mutex guard;
    outcome all;
    const auto begin = clock_type::now(), end = begin + std::chrono::seconds(s.seconds);
    for (std::size_t c = 0; c < clients; ++c)
        threads.emplace_back([&, c] {
            const auto one = ask(s, (c + 1) * 1000000, end);
            const std::lock_guard lock(guard);
            all.seconds.insert(all.seconds.end(), one.seconds.begin(), one.seconds.end());
            all.tokens += one.tokens, all.refused += one.refused, all.lost += one.lost;
        });
    for (auto& thread : threads) thread.join();
    const double took = since(begin);
    std::sort(all.seconds.begin(), all.seconds.end());
    const auto at = [&](double share) {
        return all.seconds.empty() ? 0.0
                                   : all.seconds[static_cast<std::size_t>(share * double(all.seconds.size() - 1))];
    };
    std::printf("%8zu %12.2f %12.1f %11.3f %11.3f %9zu %6zu\n", clients, double(all.seconds.size()) / took,
                double(all.tokens) / took, at(0.5), at(1), all.refused, all.lost);
    std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
    return tools::run_tool([&] {
        settings s;
        tools::command_line flags("serve_load [FLAGS]", "Requests and tokens a second of a completions server.");
        flags.add("--host", s.host, "Where the server listens");
        flags.add("--port", s.port, "Its port");
        flags.add("--clients", s.clients, "Numbers of clients at once, comma-separated");
        flags.add("--seconds", s.seconds, "Time for each of them");
        flags.add_choice("--kind", s.kind, {"generate", "score"}, "Texts to continue, or prompts to score");
        flags.add("--max-tokens", s.max_tokens, "Tokens of each text");
        flags.add("--words", s.words, "Words of each prompt");
        flags.add("--model", s.model, "The model's name in a request");
        flags.add_switch("--chat", s.chat, "Ask /v1/chat/completions");
        if (!flags.parse(argc, argv)) return;
        std::printf("%8s %12s %12s %11s %11s %9s %6s\n", "clients", "requests/s", "tokens/s", "median (s)",
                    "slowest (s)", "refused", "lost");
        for (const std::size_t clients : tools::parse_numbers("--clients", s.clients)) measure(s, clients);
    });
}
