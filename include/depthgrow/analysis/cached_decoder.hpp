// Token by token through a model that remembers keys and values: generation in time linear in what is generated.
// Assumes one sequence and a backend with cached_attention. Any layer order, early exit and lens.
// Maths: nn/decoder.hpp's graph; attention over cached keys and values (nn/key_values.hpp).
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "depthgrow/analysis/model_run.hpp"

namespace depthgrow {

template <class T, class Backend, decoder_model Model = decoder<T, Backend>>
requires concepts::has_cached_attention<Backend, T>
class cached_decoder {
public:
    /// Runs `model` as `options` say (max_rows is not used). Keys and values of the whole context are reserved.
    explicit cached_decoder(const Model& model, scoring_options<T, Backend> options = {})
        : run_("cached_decoder", model, std::move(options)), logits_(model.config().vocab) {
        for (std::size_t slot = 0; slot < run_.exit(); ++slot)
            caches_.emplace_back(model.backend(), model.config(), model.config().context);
    }

    /// Positions seen so far.
    std::size_t size() const { return length_; }
    /// Forgets them from `length` on.
    void rewind(std::size_t length = 0) {
        require(length <= length_, "[cached_decoder] expected to keep at most ", length_, " positions, got ", length);
        length_ = length;
    }

    /// Takes tokens in and gives the logits after the last of them, (V), on the host, valid until the next call.
    span<const wide_t<T>> append(span<const token> ids) {
        const auto& model = run_.model();
        const std::size_t left = model.config().context - length_;
        require(!ids.empty() && ids.size() <= left, "[cached_decoder] expected 1 to ", left,
                " tokens (what is left of the context), got ", ids.size());
        const row_stretch all{0, ids.size(), length_};
        const auto h = run_.stretches(
            ids, {&all, 1}, [&](std::size_t slot, std::size_t) -> auto& { return caches_[slot]; });
        const matrix<const T> last = run_.answer({h.value.row_range(ids.size() - 1, 1), nullptr, true});
        const matrix<wide_t<T>> z(run_.tape().make_wide(logits_.size()).data(), 1, logits_.size());
        ops::unembed<T>(model.backend(), last, model.head().value, z);
        model.backend().template to_host<wide_t<T>>(z.data, logits_.data(), z.cols);
        length_ += ids.size();
        return logits_;
    }

    /// The likeliest continuation of a prompt, token by token, until `stop(tokens)` says so, the limit or the context's
    /// end.
    template <class Stop> std::vector<token> complete(const std::vector<token>& prompt, std::size_t limit, Stop stop) {
        require(!prompt.empty(), "[cached_decoder] expected a prompt of at least 1 token, got 0");
        rewind();
        std::vector<token> made;
        span<const token> next = prompt;
        while (made.size() < limit && size() + next.size() <= run_.model().config().context) {
            const auto z = append(next);
            made.push_back(static_cast<token>(std::max_element(z.begin(), z.end()) - z.begin()));
            if (stop(made)) break;
            next = {&made.back(), 1};
        }
        return made;
    }

private:
    model_run<T, Backend, Model> run_;
    std::vector<layer_cache<T, Backend>> caches_;  // one a slot
    std::vector<wide_t<T>> logits_;
    std::size_t length_ = 0;
};

}  // namespace depthgrow
