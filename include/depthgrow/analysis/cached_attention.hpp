// The attention sublayer for rows that come after others: stretches of sequences behind keys and values that are there.
// Assumes a backend with cached_attention; nothing is recorded for a way back.
// Maths: nn/decoder.hpp's attention_sublayer; attention over cached keys and values, Vaswani et al. 2017.
#pragma once

#include "depthgrow/backend/concept.hpp"
#include "depthgrow/nn/decoder.hpp"

namespace depthgrow {

/// Rows [first, first + count) of a run are the positions from `start` on of a sequence whose earlier ones the cache holds
/// by then. Stretches run in order and leave their keys and values in the cache.
struct row_stretch {
    std::size_t first = 0, count = 0, start = 0;
};

/// Keys and values of one layer: room for a whole context, (H_kv, context, D) each.
template <class T, class Backend>
struct layer_cache {
    explicit layer_cache(const decoder<T, Backend>& model)
        : capacity(model.config().context), keys(model.backend(), {model.config().kv_heads, capacity, model.config().head_width()}), values(model.backend(), keys.extents()) {}
    key_value_cache<T> at(std::size_t length) { return {keys.flat(), values.flat(), capacity, length}; }

    std::size_t capacity;
    tensor<T, Backend> keys, values;
};

/// decoder::attention_sublayer for rows in stretches. `cosine` and `sine` (rows, D / 2) are those of the rows' positions.
template <class T, class Backend>
    requires concepts::has_cached_attention<Backend, T>
residual_stream<T> cached_attention_sublayer(const decoder<T, Backend>& model, tape<T, Backend>& tape, residual_stream<T> in, std::size_t source, std::size_t slot,
                                             span<const row_stretch> stretches, matrix<const wide_t<T>> cosine, matrix<const wide_t<T>> sine, layer_cache<T, Backend>& cache) {
    const auto& config = model.config();
    const auto weight = [&](std::size_t first, std::size_t count) { return model.layer(source, first, count); };
    const auto eps = static_cast<wide_t<T>>(config.rms_eps);
    const bool post = config.post_norm(slot);
    const auto h = add_pending(tape, in);
    const auto x = post ? h : ops::rms_norm(tape, h, weight(0, 1), eps, static_cast<wide_t<T>>(config.norm_scale(slot)));
    const attention_shape all{1, h.value.rows, config.heads, config.kv_heads, config.head_width()};
    const auto qkv = ops::projections(tape, x, weight(1, 3), all, ops::rope_table<T>{cosine, sine});
    if (!post) tape.drop(x);
    const auto mixed = tape.make(qkv.value.rows, config.width);
    for (const auto& s : stretches)
        model.backend().template cached_attention<T>(qkv.value.row_range(s.first, s.count), {1, s.count, all.heads, all.kv_heads, all.head_width}, cache.at(s.start),
                                                     mixed.value.row_range(s.first, s.count));
    tape.drop(qkv);
    const auto out = ops::linear(tape, mixed, weight(4, 1));
    tape.drop(mixed);
    if (!post) return {h, out};
    const auto both = ops::residual_rms_norm(tape, h, out, weight(0, 1), eps, wide_t<T>(1));
    tape.drop(h), tape.drop(out), tape.drop(both.sum);
    return {both.normed, {}};
}

}  // namespace depthgrow
