// Many sequences through a model at once, each with keys and values of its own: in one run every sequence takes in as
// many tokens as it likes, and all of them share the matrix products. For servers that generate and score together.
// Assumes a backend with cached_attention, and a model that stays as it is. Where the backend decodes steps, single
// tokens go through decoding_step.hpp.
// Iteration-level batching: Yu et al. 2022 (Orca).
#pragma once

#include <algorithm>
#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "depthgrow/analysis/batched_pieces.hpp"
#include "depthgrow/analysis/decoding_step.hpp"
#include "depthgrow/analysis/row_scores.hpp"

namespace depthgrow {

template <class T, class Backend, decoder_model Model = decoder<T, Backend>>
requires concepts::has_cached_attention<Backend, T>
class batched_decoder {
public:
    /// Runs `model` as `options` say (max_rows is not used). Errors name `owner`.
    explicit batched_decoder(const Model& model, scoring_options<T, Backend> options = {},
                             const char* owner = "batched_decoder")
        : owner_(owner), run_(owner, model, std::move(options)) {
        if constexpr (takes_steps<Model>)
            if (model.backend().decodes_steps()) step_.emplace(owner, model, run_.options());
    }

    /// A new sequence with room for `capacity` positions, at most the context: its number until it is closed.
    std::size_t open(std::size_t capacity) {
        require(capacity >= 1 && capacity <= config().context, "[", owner_, "] expected room for 1 to ",
                config().context, " positions (the model's context), got ", capacity);
        std::unique_ptr<caches> memory;
        const auto free = free_.lower_bound(capacity);
        if (free != free_.end() && free->first <= capacity + capacity / 8) {
            memory = std::move(free->second);
            free_.erase(free);
        } else {
            free_.clear();  // what is free is of no use now
            memory = std::make_unique<caches>(make_caches(capacity, run_.exit()));
        }
        sequences_.emplace(next_, sequence{std::move(memory), capacity, 0});
        return next_++;
    }
    /// Forgets a sequence; its memory is there for the next ones.
    void close(std::size_t number) {
        auto& one = at(number);
        free_.emplace(room(one), std::move(one.memory));
        sequences_.erase(number);
    }
    /// Positions that a sequence has taken in.
    std::size_t size(std::size_t number) const { return at(number).length; }
    /// Forgets a sequence's positions from `length` on.
    void rewind(std::size_t number, std::size_t length) {
        auto& one = at(number);
        require(length <= one.length, "[", owner_, "] expected to keep at most ", one.length, " positions, got ",
                length);
        one.length = length;
    }
    /// Sequences that are open.
    std::size_t count() const { return sequences_.size(); }

    /// Every piece behind what its sequence has taken in before. A sequence may occur once.
    std::vector<piece_results> append(span<const token_piece> pieces) {
        check(pieces);
        std::vector<piece_results> out(pieces.size());
        std::vector<std::size_t> steps, others;
        for (std::size_t i = 0; i < pieces.size(); ++i) (is_step(pieces[i]) ? steps : others).push_back(i);
        if constexpr (takes_steps<Model>)
            if (!steps.empty()) take_steps(pieces, steps, out);
        if (!others.empty()) take_stretches(pieces, others, out);
        for (const auto& piece : pieces)
            if (piece.sequence) at(*piece.sequence).length += piece.ids.size();
        return out;
    }

private:
    using caches = std::vector<layer_cache<T, Backend>>;  // one a slot
    struct sequence {
        std::unique_ptr<caches> memory;
        std::size_t capacity = 0, length = 0;
    };

    const decoder_config& config() const { return run_.model().config(); }
    caches make_caches(std::size_t capacity, std::size_t slots) const {
        caches out;
        for (std::size_t slot = 0; slot < slots; ++slot) out.emplace_back(run_.model().backend(), config(), capacity);
        return out;
    }
    static std::size_t room(const sequence& one) {
        return one.memory->empty() ? one.capacity : (*one.memory)[0].capacity;
    }
    const sequence& at(std::size_t number) const {
        const auto found = sequences_.find(number);
        require(found != sequences_.end(), "[", owner_, "] expected an open sequence, got number ", number);
        return found->second;
    }
    sequence& at(std::size_t number) { return const_cast<sequence&>(std::as_const(*this).at(number)); }

    void check(span<const token_piece> pieces) const {
        require(!pieces.empty(), "[", owner_, "] expected at least 1 piece, got 0");
        std::vector<std::size_t> seen;
        for (const auto& piece : pieces) {
            std::size_t left = config().context;
            if (piece.sequence) {
                left = at(*piece.sequence).capacity - at(*piece.sequence).length;
                require(std::find(seen.begin(), seen.end(), *piece.sequence) == seen.end(), "[", owner_,
                        "] expected a sequence once, got number ", *piece.sequence, " twice");
                seen.push_back(*piece.sequence);
            }
            require(!piece.ids.empty() && piece.ids.size() <= left, "[", owner_, "] expected 1 to ", left,
                    " tokens (what is left of the sequence's room), got ", piece.ids.size());
            require(piece.following.empty() || piece.following.size() == piece.ids.size(), "[", owner_,
                    "] expected what follows each of ", piece.ids.size(), " tokens, got ", piece.following.size());
            for (const token id : piece.following)
                require(id >= -1 && (id < 0 || static_cast<std::size_t>(id) < config().vocab), "[", owner_,
                        "] expected token ids below the vocabulary of ", config().vocab, ", got ", id);
        }
    }
    /// Whether a piece is one token behind others, of which at most the next one is asked.
    bool is_step(const token_piece& piece) const {
        return step_ && piece.sequence && piece.ids.size() == 1 && piece.following.empty();
    }
    void take_steps(span<const token_piece> pieces, const std::vector<std::size_t>& which,
                    std::vector<piece_results>& out) {
        std::vector<stepping_row<T, Backend>> rows;
        for (const std::size_t i : which) {
            auto& own = at(*pieces[i].sequence);
            rows.push_back({pieces[i].ids[0], own.length, own.memory.get()});
        }
        const auto choices = (*step_)(rows);
        for (std::size_t r = 0; r < which.size(); ++r) {
            auto& one = out[which[r]];
            one.best = choices[r].best, one.of_best = static_cast<double>(choices[r].log_likelihood);
            one.finite = std::isfinite(choices[r].log_likelihood);
            if (!pieces[which[r]].logits) continue;
            const auto logits = step_->logits(r);
            one.logits.assign(logits.begin(), logits.end());
        }
    }
    void take_stretches(span<const token_piece> all, const std::vector<std::size_t>& which,
                        std::vector<piece_results>& out) {
        std::vector<token_piece> pieces;
        for (const std::size_t i : which) pieces.push_back(all[i]);
        std::vector<piece_results> results(pieces.size());
        run_together(pieces, results);
        for (std::size_t i = 0; i < which.size(); ++i) out[which[i]] = std::move(results[i]);
    }
    void run_together(span<const token_piece> pieces, std::vector<piece_results>& out) {
        std::vector<token> ids;
        std::vector<row_stretch> stretches;
        std::size_t whole = 0;
        for (const auto& piece : pieces) {
            stretches.push_back({ids.size(), piece.ids.size(), piece.sequence ? at(*piece.sequence).length : 0});
            ids.insert(ids.end(), piece.ids.begin(), piece.ids.end());
            if (!piece.sequence) whole = std::max(whole, piece.ids.size());
        }
        if (whole > 0 && (passing_.empty() || passing_[0].capacity < whole)) passing_ = make_caches(whole, 1);
        const auto h = run_.stretches(
            ids, stretches, [&](std::size_t slot, std::size_t i) -> auto& {
                return pieces[i].sequence ? (*at(*pieces[i].sequence).memory)[slot] : passing_[0];
            });
        score(pieces, stretches, h.value, out);
        take_logits(pieces, stretches, h.value, out);
    }
    /// The rows [first, last) of each stretch that is wanted, together, as the head takes them.
    template <class Rows> matrix<T> gather(matrix<const T> h, std::size_t wanted, const Rows& rows) {
        const auto together = run_.tape().make(wanted, h.cols);
        std::size_t next = 0;
        rows([&](std::size_t first, std::size_t count) {
            run_.model().backend().template copy<T>(h.row(first), together.value.row(next), count * h.cols);
            next += count;
        });
        return run_.answer(together);
    }
    void score(span<const token_piece> pieces, span<const row_stretch> stretches, matrix<const T> h,
               std::vector<piece_results>& out) {
        std::vector<token> following;
        for (const auto& piece : pieces)
            following.insert(following.end(), piece.following.begin(), piece.following.end());
        if (following.empty()) return;
        const auto x = gather(h, following.size(), [&](const auto& add) {
            for (std::size_t i = 0; i < pieces.size(); ++i)
                if (!pieces[i].following.empty()) add(stretches[i].first, stretches[i].count);
        });
        const auto all = score_rows(run_, matrix<const T>(x), following);
        std::size_t first = 0;
        for (std::size_t i = 0; i < pieces.size(); ++i) {
            const std::size_t last = first + pieces[i].following.size();
            const auto part = [&](const auto& list) {
                return std::decay_t<decltype(list)>(list.begin() + static_cast<std::ptrdiff_t>(first),
                                                    list.begin() + static_cast<std::ptrdiff_t>(last));
            };
            out[i].scores = {part(all.of_following), part(all.of_best), part(all.best), part(all.finite)};
            for (const char finite : out[i].scores.finite) out[i].finite = out[i].finite && finite;
            first = last;
        }
    }
    void take_logits(span<const token_piece> pieces, span<const row_stretch> stretches, matrix<const T> h,
                     std::vector<piece_results>& out) {
        std::vector<std::size_t> wanted;
        for (std::size_t i = 0; i < pieces.size(); ++i)
            if (pieces[i].logits || pieces[i].choice) wanted.push_back(i);
        if (wanted.empty()) return;
        const std::size_t vocab = config().vocab;
        const auto x = gather(h, wanted.size(), [&](const auto& add) {
            for (const std::size_t i : wanted) add(stretches[i].first + stretches[i].count - 1, 1);
        });
        const matrix<wide_t<T>> z(run_.tape().make_wide(wanted.size() * vocab).data(), wanted.size(), vocab);
        ops::unembed<T>(run_.model().backend(), matrix<const T>(x), run_.model().head().value, z);
        std::vector<wide_t<T>> all(wanted.size() * vocab);
        run_.model().backend().template to_host<wide_t<T>>(z.data, all.data(), all.size());
        for (std::size_t r = 0; r < wanted.size(); ++r) {
            auto& one = out[wanted[r]];
            const auto begin = all.begin() + static_cast<std::ptrdiff_t>(r * vocab);
            one.logits.assign(begin, begin + static_cast<std::ptrdiff_t>(vocab));
            for (const double value : one.logits) one.finite = one.finite && std::isfinite(value);
            if (pieces[wanted[r]].choice) choose(one);
            if (!pieces[wanted[r]].logits) one.logits = {};
        }
    }

    /// The likeliest token of a row of logits.
    static void choose(piece_results& one) {
        const auto largest = std::max_element(one.logits.begin(), one.logits.end());
        double sum = 0;
        for (const double value : one.logits) sum += std::exp(value - *largest);
        one.best = static_cast<token>(largest - one.logits.begin());
        one.of_best = -std::log(sum);
    }

    const char* owner_;
    model_run<T, Backend, Model> run_;
    struct no_steps {};
    std::optional<std::conditional_t<takes_steps<Model>, decoding_step<T, Backend, Model>, no_steps>> step_;
    std::map<std::size_t, sequence> sequences_;
    std::multimap<std::size_t, std::unique_ptr<caches>> free_;  // by their capacity
    caches passing_;                                            // of the layer that runs, for what is not kept
    std::size_t next_ = 0;
};

}  // namespace depthgrow
