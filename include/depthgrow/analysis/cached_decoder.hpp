// Token by token through a model that remembers keys and values: generation in time linear in what is generated.
// Assumes one sequence and a backend with cached_attention. Any layer order, early exit and lens.
// Maths: nn/decoder.hpp's graph; attention over cached keys and values (nn/key_values.hpp).
#pragma once

#include <utility>
#include <vector>

#include "depthgrow/analysis/batched_decoder.hpp"

namespace depthgrow {

template <class T, class Backend, decoder_model Model = decoder<T, Backend>>
requires concepts::has_cached_attention<Backend, T>
class cached_decoder {
public:
    /// Runs `model` as `options` say (max_rows is not used). Keys and values of the whole context are reserved.
    explicit cached_decoder(const Model& model, scoring_options<T, Backend> options = {})
        : decoder_(model, std::move(options), "cached_decoder"),
          context_(model.config().context),
          sequence_(decoder_.open(context_)),
          logits_(model.config().vocab) {}

    /// Positions seen so far.
    std::size_t size() const { return decoder_.size(sequence_); }
    /// Forgets them from `length` on.
    void rewind(std::size_t length = 0) { decoder_.rewind(sequence_, length); }

    /// Takes tokens in and gives the logits after the last of them, (V), on the host, valid until the next call.
    span<const wide_t<T>> append(span<const token> ids) {
        const auto made = take(ids, true).logits;
        std::transform(made.begin(), made.end(), logits_.begin(), [](double z) { return static_cast<wide_t<T>>(z); });
        return logits_;
    }

    /// The likeliest continuation of a prompt, token by token, until `stop(tokens)` says so, the limit or the context's
    /// end.
    template <class Stop> std::vector<token> complete(const std::vector<token>& prompt, std::size_t limit, Stop stop) {
        require(!prompt.empty(), "[cached_decoder] expected a prompt of at least 1 token, got 0");
        rewind();
        std::vector<token> made;
        span<const token> next = prompt;
        while (made.size() < limit && size() + next.size() <= context_) {
            made.push_back(take(next, false).best);
            if (stop(made)) break;
            next = {&made.back(), 1};
        }
        return made;
    }

private:
    piece_results take(span<const token> ids, bool logits) {
        const std::size_t left = context_ - size();
        require(!ids.empty() && ids.size() <= left, "[cached_decoder] expected 1 to ", left,
                " tokens (what is left of the context), got ", ids.size());
        const token_piece piece{sequence_, ids, {}, logits, !logits};
        return std::move(decoder_.append({&piece, 1}).front());
    }

    batched_decoder<T, Backend, Model> decoder_;
    std::size_t context_, sequence_;
    std::vector<wide_t<T>> logits_;
};

}  // namespace depthgrow
