#include "support/completion_engine.hpp"

#include <algorithm>
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

template <class T, class Backend>
struct model_on final : served_model {
    template <class Options>
    model_on(const engine_settings& s, const Options& backend_options) : backend(backend_options), model(dg::load_model<T>(backend, s.model)) {
        options.order = s.order.empty() ? dg::recorded_order(dg::checkpoint_reader(s.model)) : parse_numbers("--order", s.order);
        for (std::size_t source : options.order) dg::require(source < model.layers(), "--order: expected layers below ", model.layers(), ", found ", source);
        if (options.order.empty()) {
            options.order.resize(model.layers());
            std::iota(options.order.begin(), options.order.end(), std::size_t{0});
        }
        if (s.exit_layer) dg::require(*s.exit_layer <= options.order.size(), "--exit-layer: expected at most ", options.order.size(), " (the layers run), found ", *s.exit_layer);
        options.exit_layer = s.exit_layer, options.max_rows = s.max_rows;
        if (!s.lens.empty()) lens = read_lens(s.lens, model, options.order.size());
        options.lens = lens ? &*lens : nullptr;
        scorer.emplace(model, options);
        decoder.emplace(model, options);
    }
    const dg::decoder_config& config() const override { return model.config(); }
    const std::vector<std::size_t>& order() const override { return options.order; }
    std::vector<dg::position_scores> every_position(dg::span<const std::vector<dg::token>> prompts) override { return scorer->every_position(prompts); }
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
    return choose_backend(s.backend, s.precision, s.threads, true, [&]<class T, class Backend>(const auto& options) -> std::unique_ptr<served_model> {
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

void completion_engine::read_token_files(const std::string& directory) {
    const auto config = dg::read_json_file(std::filesystem::path(directory) / "config.json");
    const dg::json ends = config.value("eos_token_id", dg::json());
    for (const auto& id : ends.is_array() ? ends : dg::json::array({ends}))
        if (id.is_number_integer()) ends_.push_back(id.get<std::int32_t>());
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
    if (!tokenizer_info_.contains("eos_token")) tokenizer_info_["eos_token"] = ends_.empty() ? dg::json(nullptr) : dg::json(dg::valid_utf8(text_->decode({ends_.data(), 1})));
    tokenizer_info_["vocab_size"] = config.value("vocab_size", dg::json());
}

std::vector<completion_choice> completion_engine::complete(const completion_request& request) {
    job one{&request, {}, {}, false};
    std::unique_lock lock(guard_);
    if (waiting_.size() >= limit_) throw busy_error(depthgrow::text("server: expected at most ", limit_, " waiting requests, found as many; try again later"));
    dg::require(!stopping_, "server: expected to go on, found that it is stopping");
    waiting_.push_back(&one);
    arrived_.notify_one();
    finished_.wait(lock, [&] { return one.done; });
    if (one.problem) std::rethrow_exception(one.problem);
    return std::move(one.choices);
}

completion_engine::load_facts completion_engine::load() {
    const std::lock_guard lock(guard_);
    return {running_, waiting_.size()};
}

void completion_engine::work() {
    for (;;) {
        std::vector<job*> scored, generated;
        {
            std::unique_lock lock(guard_);
            arrived_.wait(lock, [&] { return stopping_ || !waiting_.empty(); });
            if (waiting_.empty()) return;
            while (!waiting_.empty()) {
                job* next = waiting_.front();
                waiting_.pop_front();
                const bool generates = next->request->max_tokens > 1 || (next->request->max_tokens == 1 && (next->request->temperature > 0 || !next->request->echo));
                (generates ? generated : scored).push_back(next);
                ++running_;
            }
        }
        const auto finish = [&](job* one) {
            const std::lock_guard lock(guard_);
            one->done = true, --running_;
            finished_.notify_all();
        };
        try {
            score(scored);
        } catch (...) {
            for (job* one : scored) one->problem = std::current_exception();
        }
        for (job* one : scored) finish(one);
        for (job* one : generated) {
            try {
                generate(*one);
            } catch (...) {
                one->problem = std::current_exception();
            }
            finish(one);
        }
    }
}

namespace {

/// The echoed part of a choice from the scores of its prompt.
void echo(const std::vector<std::int32_t>& prompt, const dg::position_scores& scores, const text_tokens& text, completion_choice& out) {
    out.echoed = true;
    out.tokens = prompt;
    out.of_token = scores.of_token;
    out.of_best.assign(scores.of_best.begin(), scores.of_best.end() - 1);
    out.best.assign(scores.best.begin(), scores.best.end() - 1);
    out.text = text.decode(prompt);
}

}  // namespace

void completion_engine::score(const std::vector<job*>& jobs) {
    std::vector<std::vector<std::int32_t>> prompts;
    for (const job* one : jobs) prompts.insert(prompts.end(), one->request->prompts.begin(), one->request->prompts.end());
    if (prompts.empty()) return;
    const auto scores = model_->every_position(prompts);
    std::size_t next = 0;
    for (job* one : jobs)
        for (const auto& prompt : one->request->prompts) {
            const auto& found = scores[next++];
            completion_choice choice;
            choice.prompt_tokens = prompt.size();
            if (one->request->echo) echo(prompt, found, *text_, choice);
            if (one->request->max_tokens == 1) {
                choice.completion_tokens = 1;
                choice.tokens.push_back(found.best.back()), choice.best.push_back(found.best.back());
                choice.of_token.push_back(found.of_best.back()), choice.of_best.push_back(found.of_best.back());
                if (std::find(ends_.begin(), ends_.end(), found.best.back()) == ends_.end()) choice.text += text_->decode({&found.best.back(), 1});
                else choice.finish = "stop";
            }
            one->choices.push_back(std::move(choice));
        }
}

namespace {

/// log Σ exp of logits.
double log_sum(dg::span<const float> z, float largest) {
    double sum = 0;
    for (float value : z) sum += std::exp(static_cast<double>(value - largest));
    return static_cast<double>(largest) + std::log(sum);
}

/// A token drawn at a temperature from the likeliest ones that hold `top_p` of the probability.
std::int32_t draw(dg::span<const float> z, double temperature, double top_p, dg::rng& random) {
    std::vector<std::pair<double, std::int32_t>> weights(z.size());
    const auto largest = static_cast<double>(*std::max_element(z.begin(), z.end()));
    double sum = 0;
    for (std::size_t v = 0; v < z.size(); ++v) sum += weights[v].first = std::exp((static_cast<double>(z[v]) - largest) / temperature), weights[v].second = static_cast<std::int32_t>(v);
    std::size_t kept = weights.size();
    if (top_p < 1) {
        std::sort(weights.begin(), weights.end(), [](const auto& a, const auto& b) { return a.first != b.first ? a.first > b.first : a.second < b.second; });
        double held = 0;
        for (kept = 0; kept < weights.size() && held < top_p * sum; ++kept) held += weights[kept].first;
        sum = held;
    }
    double mark = random.uniform() * sum;
    for (std::size_t i = 0; i < kept; ++i)
        if ((mark -= weights[i].first) < 0) return weights[i].second;
    return weights[kept - 1].second;
}

}  // namespace

void completion_engine::generate(job& one) {
    const auto& request = *one.request;
    const std::size_t context = config().context;
    for (std::size_t p = 0; p < request.prompts.size(); ++p) {
        const auto& prompt = request.prompts[p];
        completion_choice choice;
        choice.prompt_tokens = prompt.size();
        if (request.echo) echo(prompt, model_->every_position(dg::span<const std::vector<std::int32_t>>(&prompt, 1))[0], *text_, choice);
        const std::size_t said_from = choice.text.size();
        dg::rng random(request.seed, p);
        model_->rewind();
        dg::span<const std::int32_t> next = prompt;
        std::int32_t token = 0;
        for (bool stopped = false; !stopped && choice.completion_tokens < request.max_tokens && model_->size() + next.size() <= context;) {
            const auto z = model_->append(next);
            const auto best = static_cast<std::int32_t>(std::max_element(z.begin(), z.end()) - z.begin());
            const float largest = z[static_cast<std::size_t>(best)];
            dg::require(std::isfinite(largest), "server: expected finite logits, found NaN or infinity");
            token = request.temperature > 0 ? draw(z, request.temperature, request.top_p, random) : best;
            const double total = log_sum(z, largest);
            choice.tokens.push_back(token), choice.best.push_back(best), ++choice.completion_tokens;
            choice.of_token.push_back(static_cast<double>(z[static_cast<std::size_t>(token)]) - total), choice.of_best.push_back(static_cast<double>(largest) - total);
            next = {&token, 1};
            stopped = std::find(ends_.begin(), ends_.end(), token) != ends_.end();
            if (!stopped) choice.text += text_->decode({&token, 1});
            std::size_t cut = choice.text.npos;
            for (const auto& stop : request.stop) cut = std::min(cut, choice.text.find(stop, said_from));
            if (cut != choice.text.npos) choice.text.resize(cut), stopped = true;
            if (stopped) choice.finish = "stop";
        }
        one.choices.push_back(std::move(choice));
    }
}

}  // namespace tools
