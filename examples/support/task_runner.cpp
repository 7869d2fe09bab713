#include "support/task_runner.hpp"

#include <algorithm>

#include "depthgrow/analysis/cached_decoder.hpp"
#include "depthgrow/analysis/scoring.hpp"
#include "depthgrow/analysis/shared_prompts.hpp"
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

/// What the scores of its options say of a task: log-likelihoods of all options, and whether they are greedy.
task_result choices_result(const task& which, dg::span<const double> likelihoods, dg::span<const double> greedy) {
    task_result out{which.name, {}, {}, {}};
    std::size_t first = 0;
    for (const auto& q : which.questions) {
        const auto options = likelihoods.subspan(first, q.options.size());
        std::vector<std::size_t> lengths;
        for (const auto& option : q.options) lengths.push_back(option.size());
        if (which.kind == answer_kind::last_word) {
            out.plain.add(greedy[first] == 1);
            out.log_likelihoods.push_back(options[0]);
        } else {
            out.plain.add({options.data(), options.size()}, q.gold);
            out.normalised.add({options.data(), options.size()}, lengths, q.gold);
        }
        first += q.options.size();
    }
    return out;
}

/// The task at each of `exits`.
template <class T, class Backend>
std::vector<task_result> score_choices(dg::scorer<T, Backend>& score, dg::communicator& comm, const text_tokens& text,
                                       const task& which, const std::vector<std::size_t>& exits) {
    std::vector<std::size_t> first = {0};  // of every question's options
    for (const auto& q : which.questions) first.push_back(first.back() + q.options.size());
    const std::size_t options = first.back();
    std::vector<double> numbers(2 * options * exits.size());  // exit by exit: log-likelihoods, then whether greedy
    dg::sum_parts(comm, numbers, [&] {
        const auto own = dg::own_share(which.questions.size(), comm);
        std::vector<dg::continuation> items;
        for (std::size_t i = own.first; i < own.end(); ++i)
            for (const auto& option : which.questions[i].options)
                items.push_back(split_tokens(text, which.questions[i].context, option));
        const auto scores = score.at_exits(items, exits);
        for (std::size_t e = 0; e < exits.size(); ++e)
            for (std::size_t i = 0; i < items.size(); ++i) {
                numbers[2 * e * options + first[own.first] + i] = scores[e][i].log_likelihood;
                numbers[(2 * e + 1) * options + first[own.first] + i] = scores[e][i].greedy ? 1 : 0;
            }
    });
    std::vector<task_result> out;
    for (std::size_t e = 0; e < exits.size(); ++e) {
        const auto part = dg::span<const double>(numbers).subspan(2 * e * options, 2 * options);
        out.push_back(choices_result(which, part.subspan(0, options), part.subspan(options, options)));
    }
    return out;
}

template <class T, class Backend>
task_result score_completions(const dg::decoder<T, Backend>& model, dg::communicator& comm, const text_tokens& text,
                              const dg::scoring_options<T, Backend>& options, const task& which, std::size_t limit) {
    dg::cached_decoder<T, Backend> writer(model, options);
    task_result out{which.name, {}, {}, {}};
    const auto answer = [&](std::size_t i, dg::span<double> right) {
        const auto& q = which.questions[i];
        std::string said;
        const auto stop = [&](const std::vector<dg::token>& made) {
            said += text.decode({&made.back(), 1});
            return said.find(q.stop) != said.npos;
        };
        writer.complete(text.encode_prompt(q.context), limit, stop);
        right[0] = completes(said, q) ? 1 : 0;
    };
    dg::share_out(comm, which.questions.size(), 1, answer,
                  [&](std::size_t, dg::span<const double> right) { out.plain.add(right[0] == 1); });
    return out;
}

template <class T, class Backend>
void open(Backend& backend, dg::communicator& comm, const task_run_settings& s,
          const std::function<void(const task_model&)>& body) {
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
    const auto at = [&](const task& which, dg::scoring_options<T, Backend> now, const std::vector<std::size_t>& exits) {
        std::vector<task_result> results;
        if (which.kind == answer_kind::completion) {
            for (const std::size_t exit : exits) {
                now.exit_layer = exit;
                results.push_back(score_completions(model, comm, text, now, which, s.max_tokens));
            }
            return results;
        }
        dg::scorer<T, Backend> score(model, now);
        return score_choices(score, comm, text, which, exits);
    };
    out.answer = [&, slots = out.slots](const task& which, const std::vector<std::size_t>& order) {
        auto now = options;
        if (!order.empty()) now.order = order;
        return std::move(at(which, now, {order.empty() ? slots : order.size()}).front());
    };
    out.answer_early = [&](const task& which, const std::vector<std::size_t>& exits) {
        return exits.empty() ? std::vector<task_result>{} : at(which, options, exits);
    };
    body(out);
}

}  // namespace

void with_task_model(const task_run_settings& settings, const std::function<void(const task_model&)>& body) {
    with_backend(settings.backend, settings.precision, settings.threads, true, settings.ranks, "lower --max-rows",
                 [&]<class T>(auto& backend, dg::communicator& comm) { open<T>(backend, comm, settings, body); });
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
