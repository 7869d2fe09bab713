#include "serve/completion_engine.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

#include "depthgrow/analysis/cached_decoder.hpp"
#include "depthgrow/analysis/scoring.hpp"
#include "depthgrow/io/growth_record.hpp"
#include "depthgrow/io/model_checkpoint.hpp"
#include "support/any_backend.hpp"
#include "support/depth_files.hpp"

namespace tools {

/// What the engine asks of a model, whatever its numbers and backend.
struct served_model {
    virtual ~served_model() = default;
    virtual const dg::decoder_config& config() const = 0;
    virtual const std::vector<std::size_t>& order() const = 0;
    virtual std::vector<dg::position_scores> every_position(dg::span<const std::vector<dg::token>> prompts) = 0;
    /// Generation, as cached_decoder does it.
    virtual void rewind() = 0;
    virtual std::size_t size() const = 0;
    virtual dg::span<const float> append(dg::span<const dg::token> ids) = 0;
};

namespace {

template <class T, class Backend> struct model_on final : served_model {
    template <class Options>
    model_on(const engine_settings& s, const Options& backend_options)
        : backend(backend_options), model(dg::load_model<T>(backend, s.model)) {
        options.order =
            s.order.empty() ? dg::recorded_order(dg::checkpoint_reader(s.model)) : parse_numbers("--order", s.order);
        for (std::size_t source : options.order)
            dg::require(source < model.layers(), "--order: expected layers below ", model.layers(), ", found ", source);
        if (options.order.empty()) {
            options.order.resize(model.layers());
            std::iota(options.order.begin(), options.order.end(), std::size_t{0});
        }
        if (s.exit_layer)
            dg::require(*s.exit_layer <= options.order.size(), "--exit-layer: expected at most ", options.order.size(),
                        " (the layers run), found ", *s.exit_layer);
        options.exit_layer = s.exit_layer, options.max_rows = s.max_rows;
        if (!s.lens.empty()) lens = read_lens(s.lens, model, options.order.size());
        options.lens = lens ? &*lens : nullptr;
        scorer.emplace(model, options);
        decoder.emplace(model, options);
    }
    const dg::decoder_config& config() const override { return model.config(); }
    const std::vector<std::size_t>& order() const override { return options.order; }
    std::vector<dg::position_scores> every_position(dg::span<const std::vector<dg::token>> prompts) override {
        return scorer->every_position(prompts);
    }
    void rewind() override { decoder->rewind(); }
    std::size_t size() const override { return decoder->size(); }
    dg::span<const float> append(dg::span<const dg::token> ids) override { return decoder->append(ids); }

    Backend backend;
    dg::decoder<T, Backend> model;
    std::optional<dg::tuned_lens<T, Backend>> lens;
    dg::scoring_options<T, Backend> options;
    std::optional<dg::scorer<T, Backend>> scorer;
    std::optional<dg::cached_decoder<T, Backend>> decoder;
};

std::unique_ptr<served_model> load_served(const engine_settings& s) {
    return choose_backend(s.backend, s.precision, s.threads, true,
                          [&]<class T, class Backend>(const auto& options) -> std::unique_ptr<served_model> {
                              return std::make_unique<model_on<T, Backend>>(s, options);
                          });
}

}  // namespace

completion_engine::completion_engine(const engine_settings& s) : model_(load_served(s)), limit_(s.queue) {
    std::filesystem::path path = std::filesystem::path(s.model).lexically_normal();
    name_ = (path.filename().empty() ? path.parent_path() : path).filename().string();
    text_ = std::make_unique<text_tokens>(s.tokenizer, s.model, config().vocab);
    text_->file();  // opened here, before there are threads
    read_token_files(s.model);
    worker_ = std::thread([this] { work(); });
}

completion_engine::~completion_engine() {
    {
        const std::lock_guard lock(guard_);
        stopping_ = true;
    }
    arrived_.notify_all();
    worker_.join();
}

const dg::decoder_config& completion_engine::config() const { return model_->config(); }
const std::vector<std::size_t>& completion_engine::order() const { return model_->order(); }

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

std::vector<completion_choice> completion_engine::complete(const completion_request& request,
                                                           const std::function<bool()>& gone) {
    job one{&request, &gone, {}, {}, false};
    std::unique_lock lock(guard_);
    if (waiting_.size() >= limit_)
        throw busy_error(
            depthgrow::text("server: expected at most ", limit_, " waiting requests, found as many; try again later"));
    if (stopping_) throw busy_error("server: expected to go on, found that it is stopping");
    waiting_.push_back(&one);
    arrived_.notify_one();
    while (!finished_.wait_for(lock, std::chrono::milliseconds(100), [&] { return one.done; })) {
        const auto place = std::find(waiting_.begin(), waiting_.end(), &one);
        if (place == waiting_.end() || !gone()) continue;
        waiting_.erase(place);  // its turn has not come
        throw client_gone("request: expected a client that waits, found that it has left");
    }
    lock.unlock();
    try {
        if (one.problem) std::rethrow_exception(one.problem);
    } catch (const dg::error& problem) { throw server_fault(problem.what()); }
    return std::move(one.choices);
}

completion_engine::load_facts completion_engine::load() {
    const std::lock_guard lock(guard_);
    return {running_, waiting_.size()};
}

namespace {

/// Whether a request goes token by token; else its prompts are scored, and the likeliest next token comes with that.
bool generates(const completion_request& request) {
    if (request.max_tokens == 0) return false;
    const auto& how = request.sampling;
    const bool likeliest = how.temperature == 0 && !how.changes_logits() && request.min_tokens == 0;
    return request.max_tokens > 1 || !likeliest || !request.echo;
}

}  // namespace

void completion_engine::work() {
    for (;;) {
        std::vector<job*> scored, generated;
        {
            std::unique_lock lock(guard_);
            arrived_.wait(lock, [&] { return stopping_ || !waiting_.empty(); });
            if (waiting_.empty()) return;
            while (!waiting_.empty()) {  // all of them: prompts to score go together
                job* next = waiting_.front();
                waiting_.pop_front();
                (generates(*next->request) ? generated : scored).push_back(next);
                ++running_;
            }
        }
        const auto finish = [&](job* one) {
            const std::lock_guard lock(guard_);
            one->done = true, --running_;
            finished_.notify_all();
        };
        const auto try_to_score = [&](const std::vector<job*>& jobs) {
            try {
                score(jobs);
            } catch (...) {
                for (job* one : jobs) one->problem = std::current_exception();
            }
        };
        try_to_score(scored);
        for (job* one : scored) {
            if (one->problem && scored.size() > 1) {  // another request's prompt may be what failed
                one->problem = nullptr, one->choices.clear();
                try_to_score({one});
            }
            finish(one);
        }
        for (job* one : generated) {
            try {
                generate(*one);
            } catch (...) { one->problem = std::current_exception(); }
            finish(one);
        }
    }
}

namespace {

/// The echoed part of a choice from the scores of its prompt.
void echo(const std::vector<std::int32_t>& prompt, const dg::position_scores& scores, const text_tokens& text,
          completion_choice& out) {
    out.echoed = true;
    out.tokens = prompt;
    out.of_token = scores.of_token;
    out.of_best.assign(scores.of_best.begin(), scores.of_best.end() - 1);
    out.best.assign(scores.best.begin(), scores.best.end() - 1);
    out.text = text.decode(prompt);
}

/// Adds a token to what a choice says, which begins at `said_from`; true when it ends there.
bool say(std::int32_t token, const completion_request& request, const std::vector<std::int32_t>& ends,
         const text_tokens& text, std::size_t said_from, completion_choice& out) {
    const auto among = [&](const std::vector<std::int32_t>& list) {
        return std::find(list.begin(), list.end(), token) != list.end();
    };
    bool ended = (!request.ignore_eos && among(ends)) || among(request.stop_token_ids);
    if (!ended) out.text += text.decode({&token, 1});
    std::size_t cut = out.text.npos;
    if (out.completion_tokens >= request.min_tokens)
        for (const auto& stop : request.stop) cut = std::min(cut, out.text.find(stop, said_from));
    if (cut != out.text.npos) out.text.resize(cut), ended = true;
    if (ended) out.finish = "stop";
    return ended;
}

}  // namespace

void completion_engine::score(const std::vector<job*>& jobs) {
    std::vector<std::vector<std::int32_t>> prompts;
    std::vector<job*> of_prompt;
    for (job* one : jobs) {
        if ((*one->gone)()) {
            one->problem = std::make_exception_ptr(client_gone("request: expected a client that waits, found none"));
            continue;
        }
        for (const auto& prompt : one->request->prompts) prompts.push_back(prompt), of_prompt.push_back(one);
    }
    if (prompts.empty()) return;
    const auto scores = model_->every_position(prompts);
    for (std::size_t p = 0; p < prompts.size(); ++p) {
        job& one = *of_prompt[p];
        const auto& found = scores[p];
        completion_choice choice;
        choice.prompt_tokens = prompts[p].size();
        if (one.request->echo) echo(prompts[p], found, *text_, choice);
        if (one.request->max_tokens == 1) {
            const std::size_t said_from = choice.text.size();
            choice.completion_tokens = 1;
            choice.tokens.push_back(found.best.back()), choice.best.push_back(found.best.back());
            choice.of_token.push_back(found.of_best.back()), choice.of_best.push_back(found.of_best.back());
            say(found.best.back(), *one.request, ends_, *text_, said_from, choice);
        }
        for (std::size_t i = 0; i < one.request->n; ++i) one.choices.push_back(choice);  // nothing is drawn
    }
}

namespace {

/// log Σ exp of logits.
double log_sum(const std::vector<double>& z, double largest) {
    double sum = 0;
    for (double value : z) sum += std::exp(value - largest);
    return largest + std::log(sum);
}

}  // namespace

void completion_engine::generate(job& one) {
    for (std::size_t p = 0; p < one.request->prompts.size(); ++p)
        for (std::size_t i = 0; i < one.request->n; ++i) one.choices.push_back(generate(one, p, i));
}

completion_choice completion_engine::generate(const job& one, std::size_t p, std::size_t i) {
    const auto& request = *one.request;
    const auto& prompt = request.prompts[p];
    const auto present = [&] {
        if ((*one.gone)()) throw client_gone("request: expected a client that waits, found that it has left");
    };
    completion_choice choice;
    choice.prompt_tokens = prompt.size();
    present();
    if (request.echo) {
        const auto scores = model_->every_position(dg::span<const std::vector<std::int32_t>>(&prompt, 1));
        echo(prompt, scores[0], *text_, choice);
    }
    const std::size_t said_from = choice.text.size();
    std::vector<std::int32_t> early_ends = request.stop_token_ids;  // not before min_tokens
    if (!request.ignore_eos) early_ends.insert(early_ends.end(), ends_.begin(), ends_.end());
    token_counts counts(prompt, config().vocab);
    dg::rng random(request.seed, p * request.n + i);
    std::vector<double> logits, changed;
    model_->rewind();
    dg::span<const std::int32_t> next = prompt;
    std::int32_t token = 0;
    for (bool ended = false; !ended && choice.completion_tokens < request.max_tokens;) {
        if (model_->size() + next.size() > config().context) break;
        present();
        const auto z = model_->append(next);
        logits.assign(z.begin(), z.end());
        const auto is_finite = [](double value) { return std::isfinite(value); };
        const bool finite = std::all_of(logits.begin(), logits.end(), is_finite);
        dg::require(finite, "server: expected finite logits, found NaN or infinity");
        const auto largest = std::max_element(logits.begin(), logits.end());
        const auto best = static_cast<std::int32_t>(largest - logits.begin());
        const double total = log_sum(logits, *largest), of_best = *largest - total;
        const bool early = choice.completion_tokens < request.min_tokens;
        changed = logits;
        change_logits(changed, request.sampling, counts, early ? early_ends : std::vector<std::int32_t>());
        token = choose_token(changed, request.sampling, random);
        counts.add(token);
        ++choice.completion_tokens;
        choice.tokens.push_back(token), choice.best.push_back(best);  // log-likelihoods are the model's own
        choice.of_token.push_back(logits[static_cast<std::size_t>(token)] - total), choice.of_best.push_back(of_best);
        next = {&token, 1};
        ended = say(token, request, ends_, *text_, said_from, choice);
    }
    return choice;
}

}  // namespace tools
