#include "support/task_runner.hpp"

#include <algorithm>

#include "depthgrow/analysis/cached_decoder.hpp"
#include "depthgrow/analysis/scoring.hpp"
#include "depthgrow/io/growth_record.hpp"
#include "depthgrow/io/model_checkpoint.hpp"
#include "support/any_backend.hpp"
#include "support/depth_files.hpp"

namespace tools {

namespace {

/// Tokens of a context and of what follows it, as lm-evaluation-harness splits them: encoded together, cut after the
/// context's own tokens, spaces at the context's end going with the continuation.
dg::continuation split_tokens(const text_tokens& text, std::string context, std::string rest) {
    const auto end = context.find_last_not_of(" \t\n") + 1;
    if (end > 0) rest = context.substr(end) + rest, context.resize(end);
    auto whole = text.encode_prompt(context + rest), before = text.encode_prompt(context);
    if (before.size() >= whole.size()) return {before, text.encode(rest)};  // the continuation melted into the context
    return {{whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(before.size())},
            {whole.begin() + static_cast<std::ptrdiff_t>(before.size()), whole.end()}};
}

template <class T, class Backend>
task_result score_choices(dg::scorer<T, Backend>& score, const text_tokens& text, const task& which) {
    std::vector<dg::continuation> items;
    for (const auto& q : which.questions)
        for (const auto& option : q.options) items.push_back(split_tokens(text, q.context, option));
    const auto scores = score(items);
    task_result out{which.name, {}, {}, {}};
    std::size_t next = 0;
    for (const auto& q : which.questions) {
        std::vector<double> options;
        std::vector<std::size_t> lengths;
        for (const auto& option : q.options)
            options.push_back(scores[next + options.size()].log_likelihood), lengths.push_back(option.size());
        if (which.kind == answer_kind::last_word) {
            out.plain.add(scores[next].greedy);
            out.log_likelihoods.push_back(options[0]);
        } else {
            out.plain.add(options, q.gold);
            out.normalised.add(options, lengths, q.gold);
        }
        next += q.options.size();
    }
    return out;
}

template <class T, class Backend>
task_result score_completions(const dg::decoder<T, Backend>& model, const text_tokens& text,
                              const dg::scoring_options<T, Backend>& options, const task& which, std::size_t limit) {
    dg::cached_decoder<T, Backend> writer(model, options);
    task_result out{which.name, {}, {}, {}};
    for (const auto& q : which.questions) {
        std::string said;
        const auto stop = [&](const std::vector<dg::token>& made) {
            said += text.decode({&made.back(), 1});
            return said.find(q.stop) != said.npos;
        };
        writer.complete(text.encode_prompt(q.context), limit, stop);
        out.plain.add(completes(said, q));
    }
    return out;
}

template <class T, class Backend>
void open(Backend& backend, const task_run_settings& s, const std::function<void(const task_model&)>& body) {
    const dg::checkpoint_reader checkpoint(s.model);
    const auto model = load_finite_model<T>(backend, checkpoint);
    const auto& config = model.config();
    const text_tokens text(s.tokenizer, s.model, config.vocab);
    dg::scoring_options<T, Backend> options;
    options.order = s.order.empty() ? dg::recorded_order(checkpoint) : parse_numbers("--order", s.order);
    task_model out;
    out.layers = config.layers, out.context = config.context, out.order = options.order, out.text = &text;
    out.slots = options.order.empty() ? config.layers : options.order.size();
    std::optional<dg::tuned_lens<T, Backend>> lens;
    if (!s.lens.empty()) lens = read_lens(s.lens, model, out.slots);
    out.tuned = lens.has_value();
    options.max_rows = s.max_rows, options.lens = lens ? &*lens : nullptr;
    out.answer = [&](const task& which, std::optional<std::size_t> exit, const std::vector<std::size_t>& order) {
        auto now = options;
        if (exit) now.exit_layer = *exit;
        if (!order.empty()) now.order = order;
        if (which.kind == answer_kind::completion) return score_completions(model, text, now, which, s.max_tokens);
        dg::scorer<T, Backend> score(model, now);
        return score_choices(score, text, which);
    };
    body(out);
}

}  // namespace

void with_task_model(const task_run_settings& settings, const std::function<void(const task_model&)>& body) {
    with_backend(settings.backend, settings.precision, settings.threads, true,
                 [&]<class T>(auto& backend) { open<T>(backend, settings, body); });
}

void require_fitting(const task& which, const task_model& model) {
    for (const auto& q : which.questions) {
        std::size_t longest = model.text->encode_prompt(q.context).size() + 1;
        for (const auto& option : q.options)
            longest = std::max(longest, model.text->encode_prompt(q.context + option).size());
        dg::require(longest <= model.context + 1, q.where, ": expected at most ", model.context + 1,
                    " tokens with the answer (the model's context), found ", longest,
                    "; fewer --shots make it shorter");
    }
}

}  // namespace tools
