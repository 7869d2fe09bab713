// The model behind the completions endpoint: one worker that scores waiting prompts together and generates one by one.
// Requests wait in a bounded queue; the engine finishes what it has taken in before it goes.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "depthgrow/nn/description.hpp"
#include "serve/completions.hpp"

namespace tools {

struct engine_settings {
    std::string model, order, lens, tokenizer = "auto", backend = "blas", precision = "fp32";
    std::optional<std::size_t> exit_layer;
    std::size_t max_rows = 4096, queue = 64;
    int threads = 0;
};

/// Thrown when the queue is full, or the server is about to go.
struct busy_error : depthgrow::error {
    using depthgrow::error::error;
};
/// Thrown when the model cannot answer a request that has nothing wrong with it.
struct server_fault : std::runtime_error {
    using std::runtime_error::runtime_error;
};
/// Thrown when nobody waits for the answer any more.
struct client_gone : std::runtime_error {
    using std::runtime_error::runtime_error;
};

struct served_model;  // tensors on a backend, behind a wall

class completion_engine {
public:
    /// Loads the model; throws a sentence on bad input.
    explicit completion_engine(const engine_settings& settings);
    ~completion_engine();

    /// Waits for the answer. Throws busy_error when too many wait already, client_gone within a token after `gone` says
    /// so (it is asked from two threads), and server_fault for whatever else goes wrong: the request is a checked one.
    std::vector<completion_choice> complete(const completion_request& request, const std::function<bool()>& gone);

    /// Requests that are being answered, and that wait.
    struct load_facts {
        std::size_t running = 0, waiting = 0;
    };
    load_facts load();

    const text_tokens& text() const { return *text_; }
    const depthgrow::decoder_config& config() const;
    const std::string& name() const { return name_; }
    /// Layers that run, in order.
    const std::vector<std::size_t>& order() const;
    /// What /tokenizer_info says: eos_token, and the others that the model's files name.
    const depthgrow::json& tokenizer_info() const { return tokenizer_info_; }

private:
    struct job {
        const completion_request* request;
        const std::function<bool()>* gone;
        std::vector<completion_choice> choices;
        std::exception_ptr problem;
        bool done = false;
    };
    void work();
    void score(const std::vector<job*>& jobs);
    void generate(job& one);
    completion_choice generate(const job& one, std::size_t prompt, std::size_t choice);
    void read_token_files(const std::string& directory);

    std::unique_ptr<served_model> model_;
    std::unique_ptr<text_tokens> text_;
    std::string name_;
    depthgrow::json tokenizer_info_;
    std::vector<std::int32_t> ends_;  // tokens that end a text
    std::size_t limit_;
    std::mutex guard_;
    std::condition_variable arrived_, finished_;
    std::deque<job*> waiting_;
    std::size_t running_ = 0;
    bool stopping_ = false;
    std::thread worker_;
};

}  // namespace tools
