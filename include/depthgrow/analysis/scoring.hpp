// Scoring of continuations: log-likelihoods by the whole model, under any layer order, or out of a lens at any layer
// (early exit). Assumes token lists that fit the context. Continuations of one context that follow each other run it
// once, behind cached keys and values; other sequences run whole, padded on the right. Early exit: nostalgebraist 2020;
// relative early-exit accuracy, Kapl et al. 2025 (arXiv 2512.08819), figure 1C.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <vector>

#include "depthgrow/analysis/row_scores.hpp"

namespace depthgrow {

/// A context and what might follow it.
struct continuation {
    std::vector<token> context, tokens;
};
struct continuation_score {
    double log_likelihood = 0;  // Σ log p, nats
    bool greedy = false;        // whether every token is the likeliest one
};

/// Every position of a prompt of n tokens: `of_token[i]` is the log-likelihood of token i after the ones before it (0
/// for the first); `best[i]` the likeliest token there and `of_best[i]` its log-likelihood, n + 1 entries, the last of
/// them what would follow. Where token i is the likeliest the two numbers are the same bits.
struct position_scores {
    std::vector<double> of_token, of_best;
    std::vector<token> best;
};

template <class T, class Backend, decoder_model Model = decoder<T, Backend>> class scorer {
public:
    explicit scorer(const Model& model, scoring_options<T, Backend> options = {})
        : model_(model), backend_(model.backend()), run_("scorer", model, std::move(options)) {}

    /// Scores every continuation, in order. Each needs at least one token of context and one of its own.
    std::vector<continuation_score> operator()(span<const continuation> items) {
        const std::size_t exit = run_.exit();
        return std::move(at_exits(items, {&exit, 1}).front());
    }
    /// The same at several exits, in one run of the model: a list of scores for each of `exits`, slots from 0 to the
    /// number of layers that run.
    std::vector<std::vector<continuation_score>> at_exits(span<const continuation> items,
                                                          span<const std::size_t> exits) {
        require(exits.size() > 0, "[scorer] expected at least 1 exit, got 0");
        for (std::size_t exit : exits)
            require(exit <= run_.options().order.size(), "[scorer] expected exits of at most ",
                    run_.options().order.size(), " (the layers run), got ", exit);
        for (std::size_t i = 0; i < items.size(); ++i) {
            require(!items[i].context.empty() && !items[i].tokens.empty(),
                    "[scorer] expected a context and a continuation of at least 1 token each, got ",
                    items[i].context.size(), " and ", items[i].tokens.size(), " in item ", i);
            require(length_of(items[i]) <= model_.config().context, "[scorer] expected at most ",
                    model_.config().context + 1, " tokens of context and continuation (the model's context), got ",
                    length_of(items[i]) + 1, " in item ", i);
        }
        scores_by_exit out(exits.size(), std::vector<continuation_score>(items.size()));
        std::vector<std::size_t> alone;
        std::vector<family> batch;
        std::size_t rows = 0;
        const auto run_batch = [&] {
            if constexpr (can_share)
                if (!batch.empty()) score_families(items, batch, exits, out);
            batch.clear(), rows = 0;
        };
        for (std::size_t first = 0; first < items.size();) {
            const auto one = family_from(items, first);
            if (one.count == 1) alone.push_back(first);
            else {
                if (rows + one.rows > run_.options().max_rows) run_batch();
                batch.push_back(one), rows += one.rows;
            }
            first += one.count;
        }
        run_batch();
        std::stable_sort(alone.begin(), alone.end(),
                         [&](std::size_t a, std::size_t b) { return length_of(items[a]) > length_of(items[b]); });
        for (std::size_t first = 0; first < alone.size();) {
            const std::size_t length = length_of(items[alone[first]]);
            const std::size_t count =
                std::min(std::max<std::size_t>(1, run_.options().max_rows / length), alone.size() - first);
            score_batch(items, span<const std::size_t>(alone).subspan(first, count), length, exits, out);
            first += count;
        }
        return out;
    }
    /// Tokens that the model has been run on so far, with padding.
    std::size_t tokens_run() const { return run_.tokens_run(); }

    /// Scores every position of every prompt, in order.
    std::vector<position_scores> every_position(span<const std::vector<token>> prompts) {
        std::vector<std::size_t> by_length(prompts.size());
        std::iota(by_length.begin(), by_length.end(), std::size_t{0});
        for (std::size_t i = 0; i < prompts.size(); ++i)
            require(!prompts[i].empty() && prompts[i].size() <= model_.config().context, "[scorer] expected 1 to ",
                    model_.config().context, " tokens (the model's context), got ", prompts[i].size(), " in prompt ",
                    i);
        std::stable_sort(by_length.begin(), by_length.end(),
                         [&](std::size_t a, std::size_t b) { return prompts[a].size() > prompts[b].size(); });
        std::vector<position_scores> out(prompts.size());
        for (std::size_t first = 0; first < prompts.size();) {
            const std::size_t length = prompts[by_length[first]].size();
            const std::size_t count =
                std::min(std::max<std::size_t>(1, run_.options().max_rows / length), prompts.size() - first);
            score_positions(prompts, span<const std::size_t>(by_length).subspan(first, count), length, out);
            first += count;
        }
        return out;
    }

private:
    using scores_by_exit = std::vector<std::vector<continuation_score>>;

    /// Tokens that are run: the last one predicts nothing.
    static std::size_t length_of(const continuation& item) { return item.context.size() + item.tokens.size() - 1; }

    static constexpr bool can_share = concepts::has_cached_attention<Backend, T>;
    /// Items that follow each other and have one context.
    struct family {
        std::size_t first = 0, count = 0, rows = 0;  // rows: the context's, and of each continuation all but its last
    };
    family family_from(span<const continuation> items, std::size_t first) const {
        family out{first, 1, length_of(items[first])};
        if (!can_share || !run_.options().share_contexts) return out;
        const std::size_t room = std::max(run_.options().max_rows, out.rows);
        for (; first + out.count < items.size(); ++out.count) {
            const auto& next = items[first + out.count];
            if (next.context != items[first].context || out.rows + next.tokens.size() - 1 > room) break;
            out.rows += next.tokens.size() - 1;
        }
        return out;
    }

    void score_batch(span<const continuation> items, span<const std::size_t> which, std::size_t length,
                     span<const std::size_t> exits, scores_by_exit& out) {
        std::vector<token> ids(which.size() * length, 0);
        std::vector<token> predicting;
        for (std::size_t b = 0; b < which.size(); ++b) {
            const auto& item = items[which[b]];
            auto to = std::copy(item.context.begin(), item.context.end(),
                                ids.begin() + static_cast<std::ptrdiff_t>(b * length));
            std::copy(item.tokens.begin(), item.tokens.end() - 1, to);
            add_rows(predicting, b * length + item.context.size() - 1, item.tokens.size());
        }
        const auto rows = tensor<token, Backend>::from_host(backend_, {predicting.size()}, predicting);
        run_.sequences(ids, which.size(), exits, [&](std::size_t i, variable<T> h) {
            score_exit(items, which, h, rows.flat(), exits[i], out[i]);
        });
    }
    /// The same for families: a context's rows, then those of its continuations, all stacked.
    void score_families(span<const continuation> items, span<const family> families, span<const std::size_t> exits,
                        scores_by_exit& out) requires can_share {
        std::vector<token> ids;
        std::vector<row_stretch> stretches;
        std::vector<token> predicting;
        std::vector<std::size_t> which;
        for (const auto& f : families) {
            const auto& context = items[f.first].context;
            const std::size_t last = ids.size() + context.size() - 1;
            stretches.push_back({ids.size(), context.size(), 0});
            ids.insert(ids.end(), context.begin(), context.end());
            for (std::size_t i = f.first; i < f.first + f.count; ++i) {
                const auto& tokens = items[i].tokens;
                which.push_back(i);
                add_rows(predicting, last, 1);
                if (tokens.size() == 1) continue;
                stretches.push_back({ids.size(), tokens.size() - 1, context.size()});
                add_rows(predicting, ids.size(), tokens.size() - 1);
                ids.insert(ids.end(), tokens.begin(), tokens.end() - 1);
            }
        }
        if (!cache_) cache_.emplace(model_.backend(), model_.config(), model_.config().context);
        const auto cache = [&](std::size_t, std::size_t) -> auto& { return *cache_; };  // one layer after another
        const auto rows = tensor<token, Backend>::from_host(backend_, {predicting.size()}, predicting);
        run_.stretches(ids, stretches, cache, exits, [&](std::size_t i, variable<T> h) {
            score_exit(items, which, h, rows.flat(), exits[i], out[i]);
        });
    }
    static void add_rows(std::vector<token>& rows, std::size_t first, std::size_t count) {
        for (std::size_t r = first; r < first + count; ++r) rows.push_back(static_cast<token>(r));
    }
    /// Scores of items from the residual h at an exit, of which `rows` predict.
    void score_exit(span<const continuation> items, span<const std::size_t> which, variable<T> h,
                    span<const token> rows, std::size_t exit, std::vector<continuation_score>& out) {
        auto& tape = run_.tape();
        const auto together = tape.make(rows.size(), h.value.cols);
        backend_.template embedding_forward<T>(rows, h.value, together.value);
        const auto x = run_.answer(together, exit);
        score_items(items, which, x, out);
        if (x.data != together.value.data) tape.drop({x});
        tape.drop(together);
    }
    /// Scores of items from the rows that predict their tokens, one after another.
    void score_items(span<const continuation> items, span<const std::size_t> which, matrix<const T> rows,
                     std::vector<continuation_score>& out) {
        const std::size_t wanted = rows.rows, vocab = model_.config().vocab;
        std::vector<token> targets;
        for (std::size_t i : which) targets.insert(targets.end(), items[i].tokens.begin(), items[i].tokens.end());
        for (token id : targets)
            require(id >= 0 && static_cast<std::size_t>(id) < vocab,
                    "[scorer] expected token ids below the vocabulary of ", vocab, ", got ", id);
        const std::size_t chunk = std::min<std::size_t>(wanted, 256);
        const auto z = run_.tape().make(chunk, vocab);
        const auto device_targets = tensor<token, Backend>::from_host(backend_, {wanted}, targets);
        const auto loss = run_.tape().make_wide(wanted);
        const span<token> best(run_.tape().memory().template take<token>(wanted), wanted);
        ops::each_logits<T>(backend_, rows, model_.head().value, z.value, [&](std::size_t first, matrix<T> part) {
            backend_.template row_argmax<T>(part, best.subspan(first, part.rows));
            backend_.template cross_entropy_inplace<T>(part, device_targets.flat().subspan(first, part.rows), {},
                                                       loss.subspan(first, part.rows), false);
        });
        run_.tape().drop(z);
        std::vector<wide_t<T>> losses(wanted);
        std::vector<token> likeliest(wanted);
        backend_.template to_host<wide_t<T>>(loss.data(), losses.data(), wanted);
        backend_.template to_host<token>(best.data(), likeliest.data(), wanted);
        run_.tape().drop_wide(loss);
        run_.tape().memory().template give<token>(best.data(), wanted);
        for (std::size_t b = 0, r = 0; b < which.size(); ++b) {
            auto& score = out[which[b]];
            score = {0, true};
            for (std::size_t i = 0; i < items[which[b]].tokens.size(); ++i, ++r) {
                score.log_likelihood -= static_cast<double>(losses[r]);
                score.greedy = score.greedy && likeliest[r] == targets[r];
            }
            require(std::isfinite(score.log_likelihood),
                    "[scorer] expected a finite log-likelihood, got NaN or infinity in item ", which[b]);
        }
    }

    void score_positions(span<const std::vector<token>> prompts, span<const std::size_t> which, std::size_t length,
                         std::vector<position_scores>& out) {
        std::vector<token> ids(which.size() * length, 0), targets(which.size() * length, -1);
        for (std::size_t b = 0; b < which.size(); ++b) {
            const auto& prompt = prompts[which[b]];
            std::copy(prompt.begin(), prompt.end(), ids.begin() + static_cast<std::ptrdiff_t>(b * length));
            std::copy(prompt.begin() + 1, prompt.end(), targets.begin() + static_cast<std::ptrdiff_t>(b * length));
        }
        const auto x = run_.answer(run_.sequences(ids, which.size()));
        const auto rows = score_rows(run_, matrix<const T>(x), targets);
        for (std::size_t b = 0; b < which.size(); ++b) {
            auto& scores = out[which[b]];
            scores = {{0}, {0}, {-1}};
            for (std::size_t t = 0; t < prompts[which[b]].size(); ++t) {
                const std::size_t row = b * length + t;
                require(rows.finite[row], "[scorer] expected finite logits, got NaN or infinity in prompt ", which[b]);
                if (t + 1 < prompts[which[b]].size()) scores.of_token.push_back(rows.of_following[row]);
                scores.of_best.push_back(rows.of_best[row]);
                scores.best.push_back(rows.best[row]);
            }
        }
    }

    const Model& model_;
    Backend& backend_;
    model_run<T, Backend, Model> run_;
    std::optional<layer_cache<T, Backend>> cache_;  // of the layer that runs, once a context is shared
};

}  // namespace depthgrow
