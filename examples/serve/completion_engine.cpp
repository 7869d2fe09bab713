#include "serve/completion_engine.hpp"

#include <algorithm>
#include <filesystem>

#include "support/cli.hpp"

namespace tools {

namespace {

namespace dg = depthgrow;

constexpr std::size_t rows_alike = 32;     // up to so many rows a product gives each row the bits that it has alone
constexpr std::size_t most_whole = 128;    // short prompts of one step, each with a row of logits
constexpr std::size_t prompt_piece = 256;  // tokens of a prompt that are taken in together

}  // namespace

struct completion_engine::answer::state {
    completion_request request;
    std::function<bool()> gone;

    // The worker's own.
    std::size_t next = 0, ended = 0;  // choices that were begun, and that are whole
    bool failed = false;

    // Guarded by the engine's mutex.
    std::condition_variable changed;
    std::vector<completion_choice> choices;
    std::vector<stream_part> parts;
    std::exception_ptr problem;
    bool begun = false, done = false, unwanted = false;

    std::size_t count() const { return request.prompts.size() * request.n; }
    /// Whether an answer is more than one token long; one token comes with the scores of its prompt.
    bool generates() const { return request.max_tokens > 1; }
    bool asks_for_numbers() const { return request.echo || request.max_tokens > 0; }
    bool has_next() const { return next < count(); }
    /// Whether the next prompt is scored piece by piece.
    bool takes_pieces() const { return !generates() && asks_for_numbers() && next_prompt().size() > prompt_piece; }
    const std::vector<std::int32_t>& next_prompt() const { return request.prompts[next / request.n]; }
};

/// One choice that the model is at.
struct completion_engine::choice_run {
    std::shared_ptr<job> of;
    choice_progress progress;
    std::vector<std::int32_t> following;  // what follows each token of the prompt, when they are scored
    std::optional<std::size_t> sequence;  // none: the prompt is run at once and not kept
    std::size_t capacity = 0;             // of the sequence
    std::size_t taken = 0;                // tokens of the prompt
    dg::row_scores scores;                // of those

    bool reading() const { return taken < progress.prompt().size(); }
    /// The tokens to take in next.
    dg::span<const std::int32_t> next() const {
        if (!reading()) return {&progress.choice().tokens.back(), 1};
        const dg::span<const std::int32_t> prompt = progress.prompt();
        return prompt.subspan(taken, sequence ? std::min(prompt_piece, prompt.size() - taken) : prompt.size());
    }
    dg::token_piece piece() const {
        const auto ids = next();
        const bool last = !reading() || taken + ids.size() == progress.prompt().size();
        dg::span<const std::int32_t> scored;
        if (reading() && !following.empty())
            scored = dg::span<const std::int32_t>(following).subspan(taken, ids.size());
        const bool answers = last && of->request.max_tokens > 0;
        return {sequence, ids, scored, answers && !progress.takes_likeliest(), answers};
    }
};

completion_engine::completion_engine(const engine_settings& s)
    : settings_(s), model_(load_served(s)), drawing_(resolve_threads(s.threads)) {
    auto& most = settings_;
    dg::require(most.parallel >= 1 && most.parallel <= rows_alike, "--parallel: expected 1 to ", rows_alike, ", found ",
                most.parallel);
    if (most.max_rows == 0) most.max_rows = most.backend == "cuda" ? 4096 : prompt_piece;
    if (most.cached_tokens == 0) most.cached_tokens = 8 * config().context;
    std::filesystem::path path = std::filesystem::path(s.model).lexically_normal();
    name_ = (path.filename().empty() ? path.parent_path() : path).filename().string();
    text_ = std::make_unique<text_tokens>(s.tokenizer, s.model, config().vocab);
    text_->file();  // opened here, before there are threads
    read_token_files(s.model);
    worker_ = std::thread([this] { work(); });
}

completion_engine::~completion_engine() {
    stop(std::chrono::milliseconds(0));
    {
        const std::lock_guard lock(guard_);
        ending_ = true;
    }
    arrived_.notify_all();
    worker_.join();
}

namespace {

/// Adds the tokens that end a text, a number or a list of them, to those known.
void read_ends(const dg::json& fields, const std::string& file, std::size_t vocab, std::vector<std::int32_t>& out) {
    dg::require(fields.is_object(), file, ": expected a JSON object, found ", dg::describe(&fields));
    const dg::json ends = fields.value("eos_token_id", dg::json());
    for (const auto& id : ends.is_array() ? ends : dg::json::array({ends})) {
        if (id.is_null()) continue;
        dg::require(id.is_number_integer(), file, ": expected eos_token_id to be a token id or a list of them, found ",
                    dg::describe(&ends));
        const auto number = id.get<std::int64_t>();
        if (number < 0 || static_cast<std::uint64_t>(number) >= vocab) continue;  // -1: none; others are never made
        const auto token = static_cast<std::int32_t>(number);
        if (std::find(out.begin(), out.end(), token) == out.end()) out.push_back(token);
    }
}

}  // namespace

void completion_engine::read_token_files(const std::string& directory) {
    const auto config = dg::read_json_file(std::filesystem::path(directory) / "config.json");
    read_ends(config, directory + "/config.json", this->config().vocab, ends_);
    if (const auto file = std::filesystem::path(directory) / "generation_config.json"; std::filesystem::exists(file))
        read_ends(dg::read_json_file(file), file.string(), this->config().vocab, ends_);
    tokenizer_info_ = {{"tokenizer_class", "PreTrainedTokenizerFast"}, {"bos_token", nullptr}, {"pad_token", nullptr}};
    if (const auto file = std::filesystem::path(directory) / "tokenizer_config.json"; std::filesystem::exists(file)) {
        const auto named = dg::read_json_file(file);
        for (const char* key : {"eos_token", "bos_token", "pad_token", "unk_token", "chat_template"}) {
            if (!named.contains(key)) continue;
            const auto& value = named[key];
            if (value.is_string()) tokenizer_info_[key] = value;
            else if (value.is_object() && value.contains("content")) tokenizer_info_[key] = value["content"];
        }
    }
    if (!tokenizer_info_.contains("eos_token"))
        tokenizer_info_["eos_token"] =
            ends_.empty() ? dg::json(nullptr) : dg::json(dg::valid_utf8(text_->decode({ends_.data(), 1})));
    tokenizer_info_["vocab_size"] = config.value("vocab_size", dg::json());
}

// ---- what other threads ask

std::unique_ptr<completion_engine::answer> completion_engine::begin(completion_request request,
                                                                    std::function<bool()> gone) {
    auto one = std::make_shared<job>();
    one->request = std::move(request), one->gone = std::move(gone);
    one->choices.resize(one->count());
    const std::lock_guard lock(guard_);
    const auto waiting = std::count_if(jobs_.begin(), jobs_.end(), [](const auto& other) { return !other->begun; });
    if (static_cast<std::size_t>(waiting) >= settings_.queue)
        throw busy_error(dg::text("server: expected at most ", settings_.queue,
                                  " waiting requests, found as many; try again later"));
    if (stopping_) throw busy_error("server: expected to go on, found that it is stopping");
    jobs_.push_back(one);
    arrived_.notify_one();
    return std::unique_ptr<answer>(new answer(*this, std::move(one)));
}

completion_engine::answer::~answer() {
    const std::lock_guard lock(engine_.guard_);
    state_->unwanted = true;
    state_->gone = nullptr;
}

namespace {

/// A sentence of the library about a request that has been checked is the server's fault.
void throw_problem(const std::exception_ptr& problem) {
    try {
        std::rethrow_exception(problem);
    } catch (const busy_error&) { throw; } catch (const dg::error& found) {
        throw server_fault(found.what());
    }
}

}  // namespace

std::vector<completion_choice> completion_engine::answer::all() {
    std::unique_lock lock(engine_.guard_);
    state_->changed.wait(lock, [&] { return state_->done; });
    if (state_->problem) throw_problem(state_->problem);
    return std::move(state_->choices);
}

std::vector<stream_part> completion_engine::answer::next() {
    std::unique_lock lock(engine_.guard_);
    state_->changed.wait(lock, [&] { return state_->done || !state_->parts.empty(); });
    if (state_->problem) throw_problem(state_->problem);
    return std::exchange(state_->parts, {});
}

void completion_engine::stop(std::chrono::milliseconds moment) {
    const std::lock_guard lock(guard_);
    stopping_ = true;
    stop_at_ = std::min(stop_at_, clock::now() + moment);
    arrived_.notify_one();
}

completion_engine::load_facts completion_engine::load() {
    const std::lock_guard lock(guard_);
    load_facts out;
    for (const auto& one : jobs_) ++(one->begun ? out.running : out.waiting);
    return out;
}

// ---- the worker

void completion_engine::work() {
    while (wait_for_work()) {
        drop_unwanted();
        start_generating();
        generation_step();
        scoring_step();
    }
}

bool completion_engine::wait_for_work() {
    std::unique_lock lock(guard_);
    arrived_.wait(lock, [&] { return ending_ || !jobs_.empty(); });
    return !jobs_.empty();
}

/// Gives up requests whose clients have left, and all of them when the moment to stop has come. Those that wait are
/// asked now and then, the others in every step.
void completion_engine::drop_unwanted() {
    const auto now = clock::now();
    const bool ask_all = now - asked_ > std::chrono::milliseconds(50);
    if (ask_all) asked_ = now;
    std::vector<std::shared_ptr<job>> left, late;
    {
        const std::lock_guard lock(guard_);
        for (const auto& one : jobs_) {
            if (now >= stop_at_) late.push_back(one);
            else if (one->unwanted || ((one->begun || ask_all) && one->gone && one->gone())) left.push_back(one);
        }
    }
    for (const auto& one : left)
        fail(*one,
             std::make_exception_ptr(client_gone("request: expected a client that waits, found that it has left")));
    for (const auto& one : late)
        fail(*one, std::make_exception_ptr(busy_error("server: expected to go on, found that it is stopping")));
}

/// Whether `choices` of its kind and the positions held leave room for the next choice of a job. What a job has beside
/// its first choice takes half of the room, so that others' requests begin at once.
bool completion_engine::has_room(const job& of, std::size_t capacity, std::size_t choices) const {
    if (held_ == 0) return true;
    const std::size_t share = of.next > of.ended ? 2 : 1;
    return choices < std::max<std::size_t>(1, settings_.parallel / share) &&
           held_ + capacity <= settings_.cached_tokens / share;
}

/// The next choice of a job, with a sequence when `capacity` says so; null when the job failed.
std::shared_ptr<completion_engine::choice_run> completion_engine::next_choice(const std::shared_ptr<job>& of,
                                                                              std::size_t capacity) {
    {
        const std::lock_guard lock(guard_);
        of->begun = true;
    }
    try {
        std::shared_ptr<choice_run> out(new choice_run{of, {of->request, of->next, ends_, *text_}, {}, {}, 0, 0, {}});
        if (of->request.echo) {
            const auto& prompt = out->progress.prompt();
            out->following.assign(prompt.begin() + 1, prompt.end());
            out->following.push_back(-1);
        }
        if (capacity > 0) out->sequence = model_->open(capacity), out->capacity = capacity, held_ += capacity;
        ++of->next;
        return out;
    } catch (...) { fail(*of, std::current_exception()); }
    return nullptr;
}

/// Positions that the next choice of a job takes, at most.
std::size_t completion_engine::needed(const job& of) const {
    const std::size_t made = of.generates() ? of.request.max_tokens - 1 : 0;  // the last one is not taken in
    return std::min(config().context, of.next_prompt().size() + made);
}

/// Whether the first of the jobs that need a sequence and have none finds no room for it. Nobody begins before it, or
/// smaller ones would take what it waits for. With guard_ held.
bool completion_engine::one_waits_for_room() const {
    for (const auto& one : jobs_)
        if (one->has_next() && one->next == one->ended && (one->generates() || one->takes_pieces()))
            return held_ > 0 && held_ + needed(*one) > settings_.cached_tokens;
    return false;
}

/// Begins as many choices as there is room for, each job in turn; one whose first choice has no room holds up the rest.
void completion_engine::start_generating() {
    for (;;) {
        std::shared_ptr<job> first;
        {
            const std::lock_guard lock(guard_);
            if (one_waits_for_room()) return;
            const auto found = std::find_if(jobs_.begin(), jobs_.end(), [&](const auto& one) {
                return one->generates() && one->has_next() &&
                       (one->next == one->ended || has_room(*one, needed(*one), generating_.size()));
            });
            if (found == jobs_.end() || !has_room(**found, needed(**found), generating_.size())) return;
            first = *found;
            jobs_.erase(found), jobs_.push_back(first);  // the others' turn
        }
        if (auto one = next_choice(first, needed(*first))) generating_.push_back(std::move(one));
    }
}

/// A token for every choice, and one prompt's next piece: beside them when that leaves few rows, else alone.
void completion_engine::generation_step() {
    choice_runs together, alone;
    std::size_t rows = 0;
    for (const auto& one : generating_)
        if (!one->reading()) together.push_back(one), ++rows;
    for (const auto& one : generating_) {
        if (!one->reading()) continue;
        const std::size_t more = one->next().size();
        if (rows + more <= rows_alike) together.push_back(one), rows += more;
        else if (alone.empty()) alone.push_back(one);
    }
    run(together);
    run(alone);
}

/// Prompts of which no more than one token is asked, each job in turn, up to max_rows tokens: pieces of long ones
/// first, up to half of that and one at least, and one short one at least.
void completion_engine::scoring_step() {
    choice_runs now;
    std::size_t rows = 0, whole = 0;
    const auto add = [&](const std::shared_ptr<choice_run>& one) { now.push_back(one), rows += one->next().size(); };
    for (const auto& one : scoring_)
        if (rows == 0 || rows + one->next().size() <= settings_.max_rows / 2) add(one);
    for (;;) {
        std::shared_ptr<job> first;
        std::size_t capacity = 0;
        {
            const std::lock_guard lock(guard_);
            const bool held_up = one_waits_for_room();
            const auto found = std::find_if(jobs_.begin(), jobs_.end(), [&](const auto& one) {
                if (one->generates() || !one->has_next()) return false;
                return !one->takes_pieces() || (!held_up && has_room(*one, needed(*one), scoring_.size()));
            });
            if (found == jobs_.end()) break;
            first = *found;
            if (first->takes_pieces()) capacity = needed(*first);
            else if (whole > 0 && (whole == most_whole || rows + first->next_prompt().size() > settings_.max_rows))
                break;
            jobs_.erase(found), jobs_.push_back(first);
        }
        auto one = next_choice(first, capacity);
        if (!one) continue;
        if (capacity > 0) scoring_.push_back(one);
        if (capacity == 0 || rows == 0) add(one);
        whole += capacity == 0;
    }
    run(now);
}

/// Takes in the next tokens of choices, in one run of the model. Choices that end are gone from the lists afterwards,
/// and all of a job that fails.
void completion_engine::run(const choice_runs& choices) {
    choice_runs wanted;
    std::vector<dg::token_piece> pieces;
    for (const auto& one : choices) {
        if (one->of->failed) continue;
        if (!one->of->asks_for_numbers()) finish(*one);
        else wanted.push_back(one), pieces.push_back(one->piece());
    }
    if (pieces.empty()) return;
    std::vector<dg::piece_results> results;
    std::exception_ptr problem;
    try {
        results = model_->append(pieces);
        // side by side: drawing from a large vocabulary for many choices takes longer than a step of a model on a GPU
        drawing_.run(wanted.size(), [&](std::size_t i, std::size_t) {
            if (pieces[i].choice && results[i].finite) wanted[i]->progress.draw(results[i]);
        });
    } catch (...) { problem = std::current_exception(); }
    for (std::size_t i = 0; i < wanted.size(); ++i) {
        if (wanted[i]->of->failed) continue;
        try {
            if (problem) std::rethrow_exception(problem);
            dg::require(results[i].finite, "server: expected finite logits, found NaN or infinity");
            if (take(*wanted[i], std::move(results[i]))) finish(*wanted[i]);
        } catch (...) { fail(*wanted[i]->of, std::current_exception()); }
    }
}

/// What came of a choice's piece; true when the choice ends.
bool completion_engine::take(choice_run& one, dg::piece_results results) {
    const auto& request = one.of->request;
    if (one.reading()) {
        one.taken += one.next().size();
        const auto add = [](auto& to, const auto& from) { to.insert(to.end(), from.begin(), from.end()); };
        add(one.scores.of_following, results.scores.of_following), add(one.scores.of_best, results.scores.of_best);
        add(one.scores.best, results.scores.best);
        if (one.reading()) return false;
        if (request.echo) one.progress.echo(one.scores);
        if (request.max_tokens == 0) return true;
    }
    if (one.progress.add(results)) return true;
    if (one.progress.prompt().size() + one.progress.choice().completion_tokens > config().context) return true;
    if (request.stream)
        if (auto part = one.progress.unsent(false)) {
            const std::lock_guard lock(guard_);
            one.of->parts.push_back(std::move(*part));
            one.of->changed.notify_all();
        }
    return false;
}

/// A choice is whole, and with the last one its job.
void completion_engine::finish(choice_run& one) {
    const auto of = one.of;
    {
        const std::lock_guard lock(guard_);
        if (of->request.stream) of->parts.push_back(*one.progress.unsent(true));
        of->choices[one.progress.index()] = one.progress.choice();
        if (++of->ended == of->count()) {
            of->done = true;
            jobs_.erase(std::find(jobs_.begin(), jobs_.end(), of));
        }
        of->changed.notify_all();
    }
    forget([&](const choice_run& other) { return &other == &one; });
}

void completion_engine::fail(job& one, std::exception_ptr problem) {
    one.failed = true;
    {
        const std::lock_guard lock(guard_);
        one.problem = std::move(problem), one.done = true;
        one.changed.notify_all();
    }
    forget([&](const choice_run& other) { return other.of.get() == &one; });
    const std::lock_guard lock(guard_);
    std::erase_if(jobs_, [&](const auto& other) { return other.get() == &one; });
}

/// Closes the sequences of choices, which are gone then.
template <class Which> void completion_engine::forget(const Which& which) {
    for (auto* list : {&generating_, &scoring_})
        list->remove_if([&](const std::shared_ptr<choice_run>& one) {
            if (!which(*one)) return false;
            model_->close(*one->sequence), held_ -= one->capacity;
            return true;
        });
}

}  // namespace tools
