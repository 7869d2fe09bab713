// Scoring of continuations: log-likelihoods by the whole model, under any layer order, or out of a lens at any layer
// (early exit). Assumes token lists that fit the context; sequences are padded on the right.
// Early exit: nostalgebraist 2020; relative early-exit accuracy, Kapl et al. 2025 (arXiv 2512.08819), figure 1C.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <vector>

#include "depthgrow/analysis/tuned_lens.hpp"

namespace depthgrow {

/// How a model is run when it is scored.
template <class T, class Backend>
struct scoring_options {
    std::vector<std::size_t> order;                  // source layers to run; empty: all, once
    std::optional<std::size_t> exit_layer;           // answer from what enters this slot; the number of slots: the whole model
    const tuned_lens<T, Backend>* lens = nullptr;    // at the exit; null: the logit lens
    std::size_t max_rows = 4096;                     // tokens of one batch
};

/// A context and what might follow it.
struct continuation {
    std::vector<token> context, tokens;
};
struct continuation_score {
    double log_likelihood = 0;  // Σ log p, nats
    bool greedy = false;        // whether every token is the likeliest one
};

/// Every position of a prompt of n tokens: `of_token[i]` is the log-likelihood of token i after the ones before it (0 for
/// the first); `best[i]` the likeliest token there and `of_best[i]` its log-likelihood, n + 1 entries, the last of them
/// what would follow. Where token i is the likeliest the two numbers are the same bits.
struct position_scores {
    std::vector<double> of_token, of_best;
    std::vector<token> best;
};

template <class T, class Backend>
class scorer {
public:
    explicit scorer(const llama<T, Backend>& model, scoring_options<T, Backend> options = {})
        : model_(model), backend_(model.backend()), options_(std::move(options)), tape_(model.backend()) {
        if (options_.order.empty()) {
            options_.order.resize(model.layers());
            std::iota(options_.order.begin(), options_.order.end(), std::size_t{0});
        }
        for (std::size_t slot = 0; slot < options_.order.size(); ++slot)
            require(options_.order[slot] < model.layers(), "[scorer] expected layer indices below ", model.layers(), " in the order, got ", options_.order[slot], " at place ", slot);
        exit_ = options_.exit_layer.value_or(options_.order.size());
        require(exit_ <= options_.order.size(), "[scorer] expected an exit layer of at most ", options_.order.size(), " (the layers run), got ", exit_);
        if (options_.lens) options_.lens->check(model, options_.order.size());
    }

    /// Scores every continuation, in order. Each needs at least one token of context and one of its own.
    std::vector<continuation_score> operator()(span<const continuation> items) {
        std::vector<std::size_t> by_length(items.size());
        std::iota(by_length.begin(), by_length.end(), std::size_t{0});
        for (std::size_t i = 0; i < items.size(); ++i) {
            require(!items[i].context.empty() && !items[i].tokens.empty(), "[scorer] expected a context and a continuation of at least 1 token each, got ",
                    items[i].context.size(), " and ", items[i].tokens.size(), " in item ", i);
            require(length_of(items[i]) <= model_.config().context, "[scorer] expected at most ", model_.config().context + 1, " tokens of context and continuation (the model's context), got ",
                    length_of(items[i]) + 1, " in item ", i);
        }
        std::stable_sort(by_length.begin(), by_length.end(), [&](std::size_t a, std::size_t b) { return length_of(items[a]) > length_of(items[b]); });
        std::vector<continuation_score> out(items.size());
        for (std::size_t first = 0; first < items.size();) {
            const std::size_t length = length_of(items[by_length[first]]);
            const std::size_t count = std::min(std::max<std::size_t>(1, options_.max_rows / length), items.size() - first);
            score_batch(items, span<const std::size_t>(by_length).subspan(first, count), length, out);
            first += count;
        }
        return out;
    }

    /// Scores every position of every prompt, in order.
    std::vector<position_scores> every_position(span<const std::vector<token>> prompts) {
        std::vector<std::size_t> by_length(prompts.size());
        std::iota(by_length.begin(), by_length.end(), std::size_t{0});
        for (std::size_t i = 0; i < prompts.size(); ++i)
            require(!prompts[i].empty() && prompts[i].size() <= model_.config().context, "[scorer] expected 1 to ", model_.config().context, " tokens (the model's context), got ",
                    prompts[i].size(), " in prompt ", i);
        std::stable_sort(by_length.begin(), by_length.end(), [&](std::size_t a, std::size_t b) { return prompts[a].size() > prompts[b].size(); });
        std::vector<position_scores> out(prompts.size());
        for (std::size_t first = 0; first < prompts.size();) {
            const std::size_t length = prompts[by_length[first]].size();
            const std::size_t count = std::min(std::max<std::size_t>(1, options_.max_rows / length), prompts.size() - first);
            score_positions(prompts, span<const std::size_t>(by_length).subspan(first, count), length, out);
            first += count;
        }
        return out;
    }

private:
    /// Tokens that are run: the last one predicts nothing.
    static std::size_t length_of(const continuation& item) { return item.context.size() + item.tokens.size() - 1; }

    /// Norm_f of the residual at the exit, (B*T, C), in tape memory.
    matrix<T> run(span<const token> tokens, std::size_t batch) {
        for (token id : tokens)
            require(id >= 0 && static_cast<std::size_t>(id) < model_.config().vocab, "[scorer] expected token ids below the vocabulary of ", model_.config().vocab, ", got ", id);
        ids_ = tensor<token, Backend>::from_host(backend_, {tokens.size()}, tokens);
        tape_.start(false);
        const auto extents = model_.extents(tokens.size(), batch);
        residual_stream<T> stream{model_.embedding(tape_, ids_.flat(), nullptr), {}};
        for (std::size_t slot = 0; slot < exit_; ++slot) {
            stream = model_.attention_sublayer(tape_, stream, options_.order[slot], slot, extents, nullptr);
            stream = model_.mlp_sublayer(tape_, stream, options_.order[slot], slot, nullptr);
        }
        auto h = add_pending(tape_, stream);
        if (options_.lens && exit_ < options_.order.size()) {
            const auto ones = tape_.make(tokens.size(), 1), moved = tape_.make(tokens.size(), model_.config().width);
            backend_.template fill<T>(ones.value.data, tokens.size(), T(1));
            detail::translate<T>(backend_, options_.lens->at(options_.order, exit_, model_.layers()), h.value, ones.value, moved.value);
            h = moved;
        }
        return model_.final_norm(tape_, h, nullptr).value;
    }

    void score_batch(span<const continuation> items, span<const std::size_t> which, std::size_t length, std::vector<continuation_score>& out) {
        std::vector<token> ids(which.size() * length, 0);
        std::size_t wanted = 0;
        for (std::size_t b = 0; b < which.size(); ++b) {
            const auto& item = items[which[b]];
            auto to = std::copy(item.context.begin(), item.context.end(), ids.begin() + static_cast<std::ptrdiff_t>(b * length));
            std::copy(item.tokens.begin(), item.tokens.end() - 1, to);
            wanted += item.tokens.size();
        }
        const auto x = run(ids, which.size());
        const std::size_t width = x.cols, vocab = model_.config().vocab;
        // the rows that predict, together
        const auto rows = tape_.make(wanted, width).value;
        std::vector<token> targets;
        for (std::size_t b = 0; b < which.size(); ++b) {
            const auto& item = items[which[b]];
            backend_.template copy<T>(x.row(b * length + item.context.size() - 1), rows.row(targets.size()), item.tokens.size() * width);
            targets.insert(targets.end(), item.tokens.begin(), item.tokens.end());
        }
        for (token id : targets)
            require(id >= 0 && static_cast<std::size_t>(id) < vocab, "[scorer] expected token ids below the vocabulary of ", vocab, ", got ", id);
        const std::size_t chunk = std::min<std::size_t>(wanted, 256);
        const auto z = tape_.make(chunk, vocab).value;
        const auto device_targets = tensor<token, Backend>::from_host(backend_, {wanted}, targets);
        const auto loss = tape_.make_wide(wanted);
        const span<token> best(tape_.memory().template take<token>(wanted), wanted);
        for (std::size_t first = 0; first < wanted; first += chunk) {
            const std::size_t count = std::min(chunk, wanted - first);
            const auto part = z.row_range(0, count);
            backend_.template gemm<T>(transpose::no, transpose::yes, 1, rows.row_range(first, count), model_.head().value, 0, part);
            backend_.template row_argmax<T>(part, best.subspan(first, count));
            backend_.template cross_entropy_inplace<T>(part, device_targets.flat().subspan(first, count), {}, loss.subspan(first, count), false);
        }
        std::vector<wide_t<T>> losses(wanted);
        std::vector<token> likeliest(wanted);
        backend_.template to_host<wide_t<T>>(loss.data(), losses.data(), wanted);
        backend_.template to_host<token>(best.data(), likeliest.data(), wanted);
        for (std::size_t b = 0, r = 0; b < which.size(); ++b) {
            auto& score = out[which[b]];
            score = {0, true};
            for (std::size_t i = 0; i < items[which[b]].tokens.size(); ++i, ++r) {
                score.log_likelihood -= static_cast<double>(losses[r]);
                score.greedy = score.greedy && likeliest[r] == targets[r];
            }
            require(std::isfinite(score.log_likelihood), "[scorer] expected a finite log-likelihood, got NaN or infinity in item ", which[b]);
        }
    }

    void score_positions(span<const std::vector<token>> prompts, span<const std::size_t> which, std::size_t length, std::vector<position_scores>& out) {
        std::vector<token> ids(which.size() * length, 0), targets(which.size() * length, -1);
        for (std::size_t b = 0; b < which.size(); ++b) {
            const auto& prompt = prompts[which[b]];
            std::copy(prompt.begin(), prompt.end(), ids.begin() + static_cast<std::ptrdiff_t>(b * length));
            std::copy(prompt.begin() + 1, prompt.end(), targets.begin() + static_cast<std::ptrdiff_t>(b * length));
        }
        const auto x = run(ids, which.size());
        const std::size_t vocab = model_.config().vocab, chunk = std::min<std::size_t>(x.rows, 256);
        const auto z = tape_.make(chunk, vocab).value, again = tape_.make(chunk, vocab).value;
        const auto device_targets = tensor<token, Backend>::from_host(backend_, {targets.size()}, targets);
        const auto loss = tape_.make_wide(x.rows), best_loss = tape_.make_wide(x.rows);
        const span<token> best(tape_.memory().template take<token>(x.rows), x.rows);
        for (std::size_t first = 0; first < x.rows; first += chunk) {
            const std::size_t count = std::min(chunk, x.rows - first);
            const auto part = z.row_range(0, count), copy = again.row_range(0, count);
            backend_.template gemm<T>(transpose::no, transpose::yes, 1, x.row_range(first, count), model_.head().value, 0, part);
            backend_.template copy<T>(part.data, copy.data, count * vocab);
            backend_.template row_argmax<T>(part, best.subspan(first, count));
            backend_.template cross_entropy_inplace<T>(part, device_targets.flat().subspan(first, count), {}, loss.subspan(first, count), false);
            backend_.template cross_entropy_inplace<T>(copy, best.subspan(first, count), {}, best_loss.subspan(first, count), false);
        }
        std::vector<wide_t<T>> losses(x.rows), best_losses(x.rows);
        std::vector<token> likeliest(x.rows);
        backend_.template to_host<wide_t<T>>(loss.data(), losses.data(), x.rows);
        backend_.template to_host<wide_t<T>>(best_loss.data(), best_losses.data(), x.rows);
        backend_.template to_host<token>(best.data(), likeliest.data(), x.rows);
        for (std::size_t b = 0; b < which.size(); ++b) {
            auto& scores = out[which[b]];
            scores = {{0}, {0}, {-1}};
            for (std::size_t t = 0; t < prompts[which[b]].size(); ++t) {
                const std::size_t row = b * length + t;
                require(std::isfinite(losses[row]) && std::isfinite(best_losses[row]), "[scorer] expected finite log-likelihoods, got NaN or infinity in prompt ", which[b]);
                if (t + 1 < prompts[which[b]].size()) scores.of_token.push_back(-static_cast<double>(losses[row]));
                scores.of_best.push_back(-static_cast<double>(best_losses[row]));
                scores.best.push_back(likeliest[row]);
            }
        }
    }

    const llama<T, Backend>& model_;
    Backend& backend_;
    scoring_options<T, Backend> options_;
    tape<T, Backend> tape_;
    tensor<token, Backend> ids_;
    std::size_t exit_ = 0;
};

}  // namespace depthgrow
