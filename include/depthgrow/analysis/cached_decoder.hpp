// Token by token through a model that remembers keys and values: generation in time linear in what is generated.
// Assumes one sequence and a backend with cached_attention. Any layer order, early exit and lens.
// Maths: nn/llama.hpp's graph; attention of the newest position over cached keys and values, Vaswani et al. 2017.
#pragma once

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "depthgrow/analysis/scoring.hpp"
#include "depthgrow/backend/concept.hpp"

namespace depthgrow {

template <class T, class Backend>
    requires concepts::has_cached_attention<Backend, T>
class cached_decoder {
public:
    /// Runs `model` as `options` say (max_rows is not used). Keys and values of the whole context are reserved.
    explicit cached_decoder(const llama<T, Backend>& model, scoring_options<T, Backend> options = {})
        : model_(model), backend_(model.backend()), options_(std::move(options)), config_(model.config()), places_(layer_layout(config_, 0).places),
          memory_(backend_), ids_(backend_, {config_.context}), logits_(config_.vocab) {
        if (options_.order.empty()) {
            options_.order.resize(model.layers());
            std::iota(options_.order.begin(), options_.order.end(), std::size_t{0});
        }
        for (std::size_t source : options_.order) require(source < model.layers(), "[cached_decoder] expected layer indices below ", model.layers(), " in the order, got ", source);
        exit_ = options_.exit_layer.value_or(options_.order.size());
        require(exit_ <= options_.order.size(), "[cached_decoder] expected an exit layer of at most ", options_.order.size(), " (the layers run), got ", exit_);
        if (options_.lens) options_.lens->check(model, options_.order.size());
        for (std::size_t slot = 0; slot < exit_; ++slot) {
            keys_.emplace_back(backend_, shape{config_.kv_heads, config_.context, config_.head_width()});
            values_.emplace_back(backend_, shape{config_.kv_heads, config_.context, config_.head_width()});
        }
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
        require(!ids.empty() && ids.size() <= config_.context - length_, "[cached_decoder] expected 1 to ", config_.context - length_, " tokens (what is left of the context), got ", ids.size());
        for (token id : ids) require(id >= 0 && static_cast<std::size_t>(id) < config_.vocab, "[cached_decoder] expected token ids below ", config_.vocab, ", got ", id);
        memory_.reset();
        auto h = rows(ids.size(), config_.width);
        backend_.template from_host<token>(ids.data(), ids_.data(), ids.size());
        backend_.template embedding_forward<T>(ids_.flat().subspan(0, ids.size()), outer(0), h);
        for (std::size_t slot = 0; slot < exit_; ++slot) h = attention(slot, h), h = mlp(slot, h);
        auto last = h.row_range(h.rows - 1, 1);
        if (options_.lens && exit_ < options_.order.size()) {
            const auto ones = rows(1, 1), moved = rows(1, config_.width);
            backend_.template fill<T>(ones.data, 1, T(1));
            detail::translate<T>(backend_, options_.lens->at(options_.order, exit_, model_.layers()), matrix<const T>(last), matrix<const T>(ones), moved);
            last = moved;
        }
        const matrix<wide_t<T>> z(memory_.template take<wide_t<T>>(config_.vocab), 1, config_.vocab);
        multiply(norm(last, outer(1).data, 1), model_.head().value, z);
        backend_.template to_host<wide_t<T>>(z.data, logits_.data(), z.cols);
        length_ += ids.size();
        return logits_;
    }

    /// The likeliest continuation of a prompt, token by token, until `stop(tokens)` says so, the limit or the context's end.
    template <class Stop>
    std::vector<token> complete(const std::vector<token>& prompt, std::size_t limit, Stop stop) {
        require(!prompt.empty(), "[cached_decoder] expected a prompt of at least 1 token, got 0");
        rewind();
        std::vector<token> made;
        span<const token> next = prompt;
        while (made.size() < limit && size() + next.size() <= config_.context) {
            const auto z = append(next);
            made.push_back(static_cast<token>(std::max_element(z.begin(), z.end()) - z.begin()));
            if (stop(made)) break;
            next = {&made.back(), 1};
        }
        return made;
    }

private:
    matrix<T> rows(std::size_t count, std::size_t width) { return {memory_.template take<T>(count * width), count, width}; }
    matrix<const T> outer(std::size_t index) const { return model_.weights.outer.at(outer_layout(config_).places[index]); }
    /// Tensors [first, first + count) of the slot's layer as stacked rows.
    matrix<const T> weights(std::size_t slot, std::size_t first, std::size_t count = 1) const {
        std::size_t total = 0;
        for (std::size_t p = first; p < first + count; ++p) total += places_[p].rows;
        return {model_.weights.layers[options_.order[slot]].flat().data() + places_[first].offset, total, places_[first].cols};
    }
    template <class C> void multiply(matrix<const T> x, matrix<const T> weight, matrix<C> y) { backend_.template gemm<T>(transpose::no, transpose::yes, 1, x, weight, 0, y); }
    matrix<T> norm(matrix<const T> x, const T* gain, double scale) {
        const auto y = rows(x.rows, x.cols);
        const span<wide_t<T>> rstd(memory_.template take<wide_t<T>>(x.rows), x.rows);
        backend_.template rms_norm_forward<T>(x, span<const T>(gain, x.cols), static_cast<wide_t<T>>(config_.rms_eps), static_cast<wide_t<T>>(scale), y, rstd);
        return y;
    }
    /// h + Sublayer(Norm(h)), or Norm(h + Sublayer(h)) in a post-norm slot.
    template <class Sublayer>
    matrix<T> around(std::size_t slot, matrix<T> h, std::size_t gain_place, Sublayer sublayer) {
        const T* gain = weights(slot, gain_place).data;
        const bool post = config_.post_norm(slot);
        const auto out = sublayer(post ? matrix<const T>(h) : matrix<const T>(norm(h, gain, config_.norm_scale(slot))));
        backend_.template add_inplace<T>(wide_t<T>(1), out, h);
        return post ? norm(h, gain, 1) : h;
    }
    matrix<T> attention(std::size_t slot, matrix<T> h) {
        return around(slot, h, 0, [&](matrix<const T> x) {
            const std::size_t D = config_.head_width(), count = x.rows;
            const auto qkv = rows(count, config_.qkv_width()), mixed = rows(count, config_.width), out = rows(count, config_.width);
            multiply(x, weights(slot, 1, 3), qkv);
            const auto [cosine, sine] = model_.rope_table();
            backend_.template rope_inplace<T>(qkv, count, config_.heads + config_.kv_heads, D, cosine.row_range(length_, count), sine.row_range(length_, count), wide_t<T>(1));
            backend_.template cached_attention<T>(qkv, {1, count, config_.heads, config_.kv_heads, D}, {keys_[slot].flat(), values_[slot].flat(), config_.context, length_}, mixed);
            multiply(mixed, weights(slot, 4), out);
            return out;
        });
    }
    matrix<T> mlp(std::size_t slot, matrix<T> h) {
        return around(slot, h, 5, [&](matrix<const T> x) {
            const auto gate_up = rows(x.rows, 2 * config_.ffn), gated = rows(x.rows, config_.ffn), out = rows(x.rows, config_.width);
            multiply(x, weights(slot, 6, 2), gate_up);
            backend_.template swiglu_forward<T>(gate_up, gated);
            multiply(gated, weights(slot, 8), out);
            return out;
        });
    }

    const llama<T, Backend>& model_;
    Backend& backend_;
    scoring_options<T, Backend> options_;
    const llama_config& config_;
    std::vector<tensor_place> places_;
    arena<Backend> memory_;
    std::vector<tensor<T, Backend>> keys_, values_;  // (H_kv, context, D) a slot
    tensor<token, Backend> ids_;
    std::vector<wide_t<T>> logits_;
    std::size_t exit_ = 0, length_ = 0;
};

}  // namespace depthgrow
