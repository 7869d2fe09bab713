// What queries attend to: the sequences that are run, or a cache of what came before with the rows that are run behind
// it. Assumes causal attention. Rows [first, first + count) of a stretch are the positions from `start` on of a
// sequence whose earlier ones the cache holds by then; stretches run in order and leave their keys and values in the
// cache. Maths: attention over cached keys and values, Vaswani et al. 2017.
#pragma once

#include <vector>

#include "depthgrow/autograd/ops/attention.hpp"
#include "depthgrow/autograd/ops/embedding.hpp"
#include "depthgrow/nn/description.hpp"
#include "depthgrow/tensor/tensor.hpp"

namespace depthgrow {

/// Keys and values of one layer for `capacity` positions, (H_kv, capacity, D) each.
template <class T, class Backend> struct layer_cache {
    layer_cache(Backend& backend, const decoder_config& c, std::size_t positions)
        : capacity(positions), keys(backend, {c.kv_heads, capacity, c.head_width()}), values(backend, keys.extents()) {}
    key_value_cache<T> at(std::size_t length) { return {keys.flat(), values.flat(), capacity, length}; }

    std::size_t capacity;
    tensor<T, Backend> keys, values;
};

/// Whole sequences of equal length that attend to themselves.
template <class T> struct own_keys {
    attention_shape extents;  // of the layer
    ops::rope_table<T> table;

    attention_shape rows() const { return extents; }
    template <class Backend> variable<T> attend(tape<T, Backend>& tape, variable<T> qkv) const {
        return ops::attention(tape, qkv, extents, table);
    }
};

/// Stretches of sequences, each behind a cache, which several may share; nothing is recorded for a backward pass.
template <class T, class Backend> struct cached_keys {
    attention_shape extents;   // of all rows as one sequence, with the layer's window
    ops::rope_table<T> table;  // of the rows' positions, (rows, pairs)
    span<const row_stretch> stretches;
    span<layer_cache<T, Backend>* const> caches;  // one a stretch

    attention_shape rows() const { return extents; }
    variable<T> attend(tape<T, Backend>& tape, variable<T> qkv) const {
        const auto mixed = tape.make(qkv.value.rows, extents.width());
        for (std::size_t i = 0; i < stretches.size(); ++i) {
            const auto& s = stretches[i];
            attention_shape part = extents;
            part.length = s.count;
            tape.backend().template cached_attention<T>(qkv.value.row_range(s.first, s.count), part,
                                                        caches[i]->at(s.start),
                                                        mixed.value.row_range(s.first, s.count));
        }
        return mixed;
    }
};

/// One new row each of many sequences behind their caches, whose places lie in backend memory: a step that a backend
/// may record and run again.
template <class T> struct stepped_keys {
    attention_shape extents;           // of all rows as one sequence, with the layer's window
    ops::rope_table<T> table;          // of the rows' positions, (rows, pairs)
    span<const cached_row<T>> caches;  // of the layer, one a row
    span<const token> positions;       // one a row

    attention_shape rows() const { return extents; }
    template <class Backend> variable<T> attend(tape<T, Backend>& tape, variable<T> qkv) const {
        const auto mixed = tape.make(qkv.value.rows, extents.width());
        tape.backend().template step_attention<T>(qkv.value, extents, caches, positions, mixed.value);
        return mixed;
    }
};

/// What a run of stretches shares between its layers: the rope tables of the rows' positions, one a rope of the model.
template <class T> struct stretch_positions {
    span<const row_stretch> stretches;
    std::vector<ops::rope_table<T>> tables;
};

}  // namespace depthgrow
