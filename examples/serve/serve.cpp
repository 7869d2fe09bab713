// A completions endpoint for one checkpoint, so that lm-evaluation-harness scores the model as it stands: grown,
// skipped, swapped, looped or exited early.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <thread>

#include "depthgrow/io/json.hpp"
#include "serve/completion_engine.hpp"
#include "serve/http_endpoint.hpp"
#include "support/cli.hpp"
#include "support/console.hpp"

namespace {

namespace dg = depthgrow;

struct settings : tools::engine_settings {
    std::string host = "127.0.0.1";
    int port = 8000;
    std::size_t max_request = std::size_t{16} << 20, max_prompts = 256, request_seconds = 30;
    bool quiet = false;
};

void answer(httplib::Response& response, int status, const dg::json& body) {
    response.status = status;
    response.set_content(dg::json_line(body), "application/json");
}

dg::json refusal(int status, const std::string& sentence) {
    const char* type = status < 500 ? "invalid_request_error" : "server_error";
    return {{"error", {{"message", sentence}, {"type", type}, {"code", status}}}};
}
void refuse(httplib::Response& response, int status, const std::string& sentence) {
    answer(response, status, refusal(status, sentence));
}

std::string too_large(std::size_t limit) {
    return dg::text("request: expected a body of at most ", limit, " bytes, found more");
}

/// Runs a body and calls refuse(status, sentence) for what it throws: a sentence of the library is the caller's fault,
/// anything else is ours.
template <class Body, class Refuse> void guard(const Body& body, const Refuse& refuse) {
    try {
        body();
    } catch (const tools::busy_error& problem) { refuse(503, problem.what()); } catch (const dg::error& problem) {
        refuse(400, problem.what());
    } catch (const tools::client_gone& problem) { refuse(499, problem.what()); } catch (const std::exception& problem) {
        refuse(500, std::string("server: expected an answer, found: ") + problem.what());
    }
}
template <class Body> void guard(httplib::Response& response, const Body& body) {
    guard(body, [&](int status, const std::string& sentence) {
        if (status == 503) response.set_header("Retry-After", "1");
        refuse(response, status, sentence);
    });
}

/// A path that is read.
template <class Body> void add_get(tools::http_endpoint& server, const char* path, Body body) {
    server.Get(path, [body](const httplib::Request&, httplib::Response& response) {
        tools::http_endpoint::request_read();
        guard(response, [&] { answer(response, 200, body()); });
    });
}

/// A path that answers a body, by body(content, response). The body is read here and taken for JSON whatever its
/// content type: httplib's own reading stops at 8 KB of the type that `curl -d` gives.
template <class Body> void add_post(tools::http_endpoint& server, const char* path, std::size_t limit, Body body) {
    server.Post(path, [body, limit, &server](const httplib::Request& request, httplib::Response& response,
                                             const httplib::ContentReader& reader) {
        guard(response, [&] {
            if (request.is_multipart_form_data()) {
                tools::http_endpoint::skip_body();
                return refuse(response, 415, "request: expected a JSON body, found a multipart form");
            }
            std::string content;
            const int status = server.read_body(reader, response, content);
            tools::http_endpoint::request_read();
            if (status == 413) return refuse(response, 413, too_large(limit));
            if (status != 200) return refuse(response, status, "request: expected a whole body, found less");
            body(content, response);
        });
    });
}

/// Sends an answer as server-sent events, part by part as it grows, once its first part is there.
void stream(httplib::Response& response, std::shared_ptr<tools::completion_engine::answer> coming,
            const tools::completion_engine& engine, std::uint64_t id,
            std::shared_ptr<tools::completion_request> request) {
    const tools::answer_facts facts{*request, engine.text(), engine.name(), id,
                                    static_cast<std::int64_t>(std::time(nullptr))};
    const auto first = std::make_shared<std::vector<tools::stream_part>>(coming->next());
    tools::http_endpoint::answer_in_parts();
    response.set_chunked_content_provider(
        "text/event-stream", [coming, first, request, facts](std::size_t, httplib::DataSink& sink) {
            const auto send = [&](const std::string& data) {
                const std::string event = "data: " + data + "\n\n";
                return sink.write(event.data(), event.size());
            };
            const auto line = [](const dg::json& body) {
                std::string text = dg::json_line(body);
                while (!text.empty() && text.back() == '\n') text.pop_back();
                return text;
            };
            bool there = true;  // somebody who reads
            std::size_t made = 0;
            const auto all = [&] {
                for (auto parts = std::move(*first); !parts.empty(); parts = coming->next())
                    for (const auto& part : parts) {
                        made += part.choice.completion_tokens;
                        there = send(line(tools::stream_json(facts, part)));
                        if (!there) return;
                    }
                if (request->stream_usage) there = send(line(tools::stream_usage_json(facts, made)));
                there = there && send("[DONE]");
            };
            guard(all, [&](int status, const std::string& sentence) {
                there = there && send(line(refusal(status, sentence)));
            });
            if (there) sink.done();
            return there;
        });
}

/// What the server is and does.
void add_facts(tools::http_endpoint& server, tools::completion_engine& engine) {
    const auto created = static_cast<std::int64_t>(std::time(nullptr));
    add_get(server, "/health", [&engine]() -> dg::json {
        const auto [running, waiting] = engine.load();
        return {{"status", "ok"}, {"running", running}, {"waiting", waiting}};
    });
    add_get(server, "/v1/models", [&engine, created]() -> dg::json {
        const dg::json model = {{"id", engine.name()},
                                {"object", "model"},
                                {"created", created},
                                {"owned_by", "depthgrow"},
                                {"max_model_len", engine.config().context}};
        return {{"object", "list"}, {"data", dg::json::array({model})}};
    });
}

/// Texts and their tokens.
void add_tokens(tools::http_endpoint& server, tools::completion_engine& engine, const settings& s) {
    add_get(server, "/tokenizer_info", [&engine] { return engine.tokenizer_info(); });
    add_post(server, "/tokenize", s.max_request, [&engine](const std::string& body, httplib::Response& response) {
        const dg::json value = dg::parse_json(body, "request");
        const dg::json_fields fields(value, "request");
        const std::string prompt = fields.string("prompt");
        const auto tokens = fields.boolean("add_special_tokens", true) ? engine.text().encode_prompt(prompt)
                                                                       : engine.text().encode(prompt);
        answer(response, 200,
               {{"tokens", tokens}, {"count", tokens.size()}, {"max_model_len", engine.config().context}});
    });
    add_post(server, "/detokenize", s.max_request, [&engine](const std::string& body, httplib::Response& response) {
        const dg::json value = dg::parse_json(body, "request");
        std::vector<std::int32_t> ids;
        for (std::size_t id : dg::json_fields(value, "request").indices("tokens")) {
            dg::require(id < engine.config().vocab, "request: expected token ids below ", engine.config().vocab,
                        ", found ", id);
            ids.push_back(static_cast<std::int32_t>(id));
        }
        answer(response, 200, {{"prompt", dg::valid_utf8(engine.text().decode(ids))}});
    });
}

void add_completions(tools::http_endpoint& server, tools::completion_engine& engine, const settings& s) {
    static std::atomic<std::uint64_t> served{0};
    const tools::completion_limits limits{engine.config().context, engine.config().vocab, s.max_prompts, 64};
    add_post(server, "/v1/completions", s.max_request,
             [&engine, limits](const std::string& body, httplib::Response& response) {
                 const auto asked =
                     std::make_shared<tools::completion_request>(tools::parse_completion(body, engine.text(), limits));
                 std::shared_ptr<tools::completion_engine::answer> coming =
                     engine.begin(*asked, tools::http_endpoint::client_left());
                 const std::uint64_t id = ++served;
                 if (asked->stream) return stream(response, coming, engine, id, asked);
                 const auto choices = coming->all();
                 answer(response, 200,
                        tools::completion_json(
                            {*asked, engine.text(), engine.name(), id, static_cast<std::int64_t>(std::time(nullptr))},
                            choices));
             });
    add_post(server, "/v1/chat/completions", s.max_request, [](const std::string&, httplib::Response& response) {
        refuse(response, 400,
               "request: expected /v1/completions and a prompt with the roles written out, found "
               "/v1/chat/completions (chat templates are not supported)");
    });
}

/// What nothing else answers.
void add_refusals(tools::http_endpoint& server, const settings& s) {
    const auto unknown = [](const httplib::Request& request, httplib::Response& response) {
        refuse(response, 404, "request: expected a known path, found " + dg::detail::quotable(request.path, 80));
    };
    server.Post(".*", [&server, unknown](const httplib::Request& request, httplib::Response& response,
                                         const httplib::ContentReader& reader) {
        std::string content;
        if (request.is_multipart_form_data()) tools::http_endpoint::skip_body();
        else server.read_body(reader, response, content);
        unknown(request, response);
    });
    server.set_error_handler([&s, unknown](const httplib::Request& request, httplib::Response& response) {
        if (!response.body.empty()) return;
        if (response.status == 404) unknown(request, response);
        else if (response.status == 413) refuse(response, 413, too_large(s.max_request));
        else refuse(response, response.status, "request: expected well-formed HTTP, found something else");
    });
}

/// SIGTERM and SIGINT as something to wait for. A handler, since libraries have threads of their own from before main.
class stop_signals {
public:
    stop_signals() {
        dg::require(::pipe2(ends(), O_CLOEXEC) == 0, "server: expected a pipe, found: ", std::strerror(errno));
        std::signal(SIGTERM, come);
        std::signal(SIGINT, come);
    }
    void wait() const {
        char one = 0;
        while (::read(ends()[0], &one, 1) < 0 && errno == EINTR) {}
    }

private:
    static int* ends() {
        static int both[2];
        return both;
    }
    static void come(int) {
        const int before = errno;
        const char one = 0;
        (void)!::write(ends()[1], &one, 1);
        errno = before;
    }
};

void run(const settings& s) {
    const stop_signals signals;

    tools::completion_engine engine(s);
    tools::endpoint_limits limits;
    limits.connections = std::max<std::size_t>(512, s.queue + 64);
    limits.body = s.max_request;
    limits.request = std::chrono::seconds(s.request_seconds);
    tools::http_endpoint server(limits);
    server.set_tcp_nodelay(true);
    add_facts(server, engine);
    add_tokens(server, engine, s);
    add_completions(server, engine, s);
    add_refusals(server, s);
    const int port =
        s.port ? (server.bind_to_port(s.host.c_str(), s.port) ? s.port : -1) : server.bind_to_any_port(s.host.c_str());
    dg::require(port > 0, "--host, --port: expected an address that is free, found ", s.host, ":", s.port,
                " taken or unknown");
    dg::require(server.lengthen_queue(),
                "--host, --port: expected an address to listen on, found: ", std::strerror(errno));
    if (!s.quiet) {
        std::printf("serving %s: %zu of %zu layers, %s parameters, at http://%s:%d/v1/completions\n",
                    engine.name().c_str(), engine.order().size(), engine.config().layers,
                    tools::human(static_cast<double>(engine.config().parameters())).c_str(), s.host.c_str(), port);
        std::printf(
            "lm_eval --model local-completions --tasks lambada_openai --model_args "
            "model=%s,base_url=http://%s:%d/v1/completions,tokenizer_backend=remote,num_concurrent=4,max_length=%zu\n",
            engine.name().c_str(), s.host.c_str(), port, engine.config().context);
        std::fflush(stdout);
    }
    std::thread([&server, &engine, &signals] {
        signals.wait();
        while (!server.is_running()) std::this_thread::sleep_for(std::chrono::milliseconds(10));
        engine.stop(std::chrono::milliseconds(2000));
        server.stop_gently();  // no new connections; those with a request in have their answer
    }).detach();
    server.listen_after_bind();
    if (!s.quiet) std::printf("stopped; every request that was taken in has been answered or refused\n");
}

}  // namespace

int main(int argc, char** argv) {
    return tools::run_tool([&] {
        settings s;
        tools::command_line flags("serve --model DIR [FLAGS]",
                                  "Serves a checkpoint as a completions endpoint with echo and log-probabilities, for "
                                  "lm-evaluation-harness.");
        flags.group("What runs");
        flags.add_model(s.model);
        flags.add_order(s.order);
        flags.add("--exit-layer", s.exit_layer, "Answer from the input of this layer (slot of the order)");
        flags.add("--lens", s.lens, "Tuned lens for the early exit (default: the logit lens)");
        flags.add("--tokenizer", s.tokenizer, std::string("Tokenizer of text: ") + tools::tokenizer_help);
        flags.group("Where and how much");
        flags.add("--host", s.host, "Address to listen on; the default is reached from this machine only");
        flags.add("--port", s.port, "Port (0: any free one, printed)");
        flags.add("--max-request", s.max_request, "Bytes of a request, at most (413 beyond)");
        flags.add("--request-seconds", s.request_seconds,
                  "Seconds for a request to arrive whole (its connection ends beyond)");
        flags.add("--max-prompts", s.max_prompts, "Prompts of a request, times its n, at most (400 beyond)");
        flags.add("--queue", s.queue, "Requests that may wait (503 beyond)");
        flags.add("--parallel", s.parallel, "Choices that are generated together, token by token (1 to 32)");
        flags.add("--max-rows", s.max_rows,
                  "Tokens that are scored in one step, between two generated tokens (0: 256 on a CPU, 4096 on a GPU)");
        flags.add("--cached-tokens", s.cached_tokens,
                  "Tokens whose keys and values are held for all requests together (0: eight contexts)");
        flags.add_device(s.backend, s.precision);
        flags.add_threads(s.threads);
        flags.add_quiet(s.quiet);
        flags.examples(
            {"serve --model runs/lidas --port 8000 &", "serve --model SmolLM2-135M --order 0,1,2,3,2,3,4,5 --port 0",
             "curl http://127.0.0.1:8000/v1/completions -d '{\"prompt\": \"2 + 2 =\", \"max_tokens\": 8, "
             "\"temperature\": 0}'"},
            "Paths: /v1/completions (also \"stream\": true) /v1/models /health /tokenize /detokenize /tokenizer_info.\n"
            "SIGTERM gives what was taken in two seconds, refuses the rest by 503 and exits;\n"
            "the command line of lm-evaluation-harness is printed at the start.");
        if (!flags.parse(argc, argv)) return;
        dg::require(s.port >= 0 && s.port < 65536, "--port: expected 0 to 65535, found ", s.port);
        dg::require(s.queue > 0 && s.max_prompts > 0, "--queue, --max-prompts: expected at least 1, found 0");
        dg::require(s.parallel >= 1 && s.parallel <= 32, "--parallel: expected 1 to 32, found ", s.parallel);
        dg::require(s.request_seconds > 0 && s.request_seconds <= 86400,
                    "--request-seconds: expected 1 to 86400, found ", s.request_seconds);
        run(s);
    });
}
