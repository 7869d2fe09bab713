// The model behind the completions endpoint: one worker that runs everybody's requests together, token by token.
// A step takes in one token for every text that is being generated, a piece of one prompt, and prompts to score; so no
// request waits for the end of another. Iteration-level batching: Yu et al. 2022 (Orca).
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "depthgrow/backend/loop_threads.hpp"
#include "serve/choice_progress.hpp"
#include "serve/served_model.hpp"

namespace tools {

struct engine_settings : model_settings {
    std::string tokenizer = "auto";
    std::size_t queue = 64;         // requests that may wait
    std::size_t parallel = 32;      // choices generated at once, at most 32
    std::size_t max_rows = 0;       // tokens scored in one step; 0: 256 on a CPU, 4096 on a GPU
    std::size_t cached_tokens = 0;  // positions that all choices hold together; 0: eight whole contexts
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

class completion_engine {
public:
    /// Loads the model; throws a sentence on bad input.
    explicit completion_engine(const engine_settings& settings);
    ~completion_engine();

    /// A request on its way; it is given up when this goes.
    class answer {
    public:
        answer(const answer&) = delete;
        answer& operator=(const answer&) = delete;
        ~answer();
        /// Waits for all choices. Throws busy_error when the server stops before, client_gone within a token after the
        /// client left, and server_fault for whatever else goes wrong: the request is a checked one.
        std::vector<completion_choice> all();
        /// Waits for what a stream may send next; empty after the end. Throws as all() does.
        std::vector<stream_part> next();

    private:
        friend class completion_engine;
        struct state;
        answer(completion_engine& engine, std::shared_ptr<state> of) : engine_(engine), state_(std::move(of)) {}
        completion_engine& engine_;
        std::shared_ptr<state> state_;
    };

    /// Takes a request in. Throws busy_error when too many wait already. `gone` says whether its client has left; it is
    /// asked from another thread until the answer goes.
    std::unique_ptr<answer> begin(completion_request request, std::function<bool()> gone);

    /// No further requests; those that are not answered after `moment` are refused.
    void stop(std::chrono::milliseconds moment);

    /// Requests that are being answered, and that wait.
    struct load_facts {
        std::size_t running = 0, waiting = 0;
    };
    load_facts load();

    const text_tokens& text() const { return *text_; }
    const depthgrow::decoder_config& config() const { return model_->config(); }
    const std::string& name() const { return name_; }
    /// Layers that run, in order.
    const std::vector<std::size_t>& order() const { return model_->order(); }
    /// What /tokenizer_info says: eos_token, and the others that the model's files name.
    const depthgrow::json& tokenizer_info() const { return tokenizer_info_; }

private:
    using job = answer::state;
    struct choice_run;
    using choice_runs = std::vector<std::shared_ptr<choice_run>>;
    using clock = std::chrono::steady_clock;

    void read_token_files(const std::string& directory);
    void work();
    bool wait_for_work();
    void drop_unwanted();
    void start_generating();
    void generation_step();
    void scoring_step();
    std::shared_ptr<choice_run> next_choice(const std::shared_ptr<job>& of, std::size_t capacity);
    bool has_room(const job& of, std::size_t capacity, std::size_t choices) const;
    std::size_t needed(const job& of) const;
    bool one_waits_for_room() const;
    void run(const choice_runs& choices);
    bool take(choice_run& one, depthgrow::piece_results results);
    void finish(choice_run& one);
    void fail(job& one, std::exception_ptr problem);
    template <class Which> void forget(const Which& which);

    engine_settings settings_;
    std::unique_ptr<served_model> model_;
    depthgrow::loop_threads drawing_;
    std::unique_ptr<text_tokens> text_;
    std::string name_;
    depthgrow::json tokenizer_info_;
    std::vector<std::int32_t> ends_;  // tokens that end a text

    // The worker's own.
    std::list<std::shared_ptr<choice_run>> generating_, scoring_;  // with sequences that are open
    std::size_t held_ = 0;                                         // positions of all of them
    clock::time_point asked_ = clock::now();

    // Everybody's.
    std::mutex guard_;
    std::condition_variable arrived_;
    std::deque<std::shared_ptr<job>> jobs_;  // those whose turn comes first in front
    bool ending_ = false;
    clock::time_point stop_at_ = clock::time_point::max();
    bool stopping_ = false;
    std::thread worker_;
};

}  // namespace tools
