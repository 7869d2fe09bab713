// Parameters layer by layer: one arena a layer, the same shape for gradients and moments, so that cloning a layer is
// one copy and no other layer moves. Assumes Hugging Face tensor names; query, key, value (and gate, up) lie together.
// Initialisation: SmolLM's (huggingface/smollm): normal, std 1/sqrt(width), o_proj and down_proj / sqrt(2 L_final).
#pragma once

#include <algorithm>
#include <cmath>
#include <deque>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include "depthgrow/autograd/tape.hpp"
#include "depthgrow/core/rng.hpp"
#include "depthgrow/nn/description.hpp"
#include "depthgrow/tensor/tensor.hpp"

namespace depthgrow {

/// One named tensor inside an arena.
struct tensor_place {
    std::string name;          // within its block, for example "self_attn.q_proj.weight"
    std::size_t offset = 0;    // elements from the start of the arena
    std::size_t rows = 0, cols = 0;
    bool vector = false;       // one extent (gains), not two
    double init_std = 0;       // 0: ones
    std::size_t size() const { return rows * cols; }
};

struct block_layout {
    std::vector<tensor_place> places;
    std::size_t size = 0;  // elements of the arena, padding included

    /// Appends tensors that lie together without padding between them.
    void append(std::initializer_list<tensor_place> group) {
        for (tensor_place place : group) {
            place.offset = size;
            size += place.size();
            places.push_back(std::move(place));
        }
        size = (size + 63) / 64 * 64;
    }
    const tensor_place& find(std::string_view name) const {
        for (const auto& place : places)
            if (place.name == name) return place;
        fail("[parameters] expected a known tensor name, got ", name);
    }
};

/// Tensors of one layer. `final_layers` scales the residual projections; 0 = plain std everywhere (ln_scaling).
inline block_layout layer_layout(const decoder_config& c, std::size_t final_layers) {
    const double std = 1.0 / std::sqrt(static_cast<double>(c.width));
    const bool scaled = final_layers > 0 && c.norms != norm_placement::ln_scaling;
    const double out = scaled ? std / std::sqrt(2.0 * static_cast<double>(final_layers)) : std;
    block_layout layout;
    layout.append({{"input_layernorm.weight", 0, 1, c.width, true, 0}});
    layout.append({{"self_attn.q_proj.weight", 0, c.width, c.width, false, std},
                   {"self_attn.k_proj.weight", 0, c.kv_width(), c.width, false, std},
                   {"self_attn.v_proj.weight", 0, c.kv_width(), c.width, false, std}});
    layout.append({{"self_attn.o_proj.weight", 0, c.width, c.width, false, out}});
    layout.append({{"post_attention_layernorm.weight", 0, 1, c.width, true, 0}});
    layout.append({{"mlp.gate_proj.weight", 0, c.ffn, c.width, false, std}, {"mlp.up_proj.weight", 0, c.ffn, c.width, false, std}});
    layout.append({{"mlp.down_proj.weight", 0, c.width, c.ffn, false, out}});
    return layout;
}

/// The embedding, the final norm and, when untied, the head.
inline block_layout outer_layout(const decoder_config& c) {
    const double std = 1.0 / std::sqrt(static_cast<double>(c.width));
    block_layout layout;
    layout.append({{"model.embed_tokens.weight", 0, c.vocab, c.width, false, std}});
    layout.append({{"model.norm.weight", 0, 1, c.width, true, 0}});
    if (!c.tied) layout.append({{"lm_head.weight", 0, c.vocab, c.width, false, std}});
    return layout;
}

/// The numbers of one block (a layer, or the outer tensors) in one arena.
template <class T, class Backend>
class parameter_block {
public:
    parameter_block() = default;
    parameter_block(Backend& backend, std::size_t size) : numbers_(tensor<T, Backend>::filled(backend, {size}, T(0))) {}

    /// A deep copy: what growth makes a new layer with.
    parameter_block clone() const {
        parameter_block copy;
        copy.numbers_ = numbers_.clone();
        return copy;
    }
    span<T> flat() { return numbers_.flat(); }
    span<const T> flat() const { return numbers_.flat(); }
    matrix<T> at(const tensor_place& p) { return {numbers_.data() + p.offset, p.rows, p.cols}; }
    matrix<const T> at(const tensor_place& p) const { return {numbers_.data() + p.offset, p.rows, p.cols}; }
    void set_zero() { backend().template fill<T>(flat().data(), flat().size(), T(0)); }
    Backend& backend() const { return numbers_.backend(); }

private:
    tensor<T, Backend> numbers_;
};

/// All numbers of a model: weights, or gradients, or a moment. `layers` grows by depthgrow::grow.
template <class T, class Backend>
struct parameter_set {
    parameter_block<T, Backend> outer;
    std::vector<parameter_block<T, Backend>> layers;
    bool fresh = false;  // of gradients: the next pass overwrites matrices instead of adding to them

    parameter_set() = default;
    /// Zeros for `depth` layers.
    parameter_set(Backend& backend, const decoder_config& c, std::size_t depth) : outer(backend, outer_layout(c).size) {
        const std::size_t size = layer_layout(c, 0).size;
        for (std::size_t l = 0; l < depth; ++l) layers.emplace_back(backend, size);
    }
    /// body(block) for the outer block and every layer.
    template <class Body> void each(Body body) {
        body(outer);
        for (auto& layer : layers) body(layer);
    }
    template <class Body> void each(Body body) const {
        body(outer);
        for (const auto& layer : layers) body(layer);
    }
    void set_zero() {
        each([](auto& block) { block.set_zero(); });
    }
    parameter_set clone() const {
        parameter_set copy;
        copy.outer = outer.clone();
        for (const auto& layer : layers) copy.layers.push_back(layer.clone());
        return copy;
    }
};

/// body(full name, place, block index) for every tensor; block 0 is the outer one, block 1 + l is layer l.
template <class Body>
void each_tensor(const decoder_config& c, Body body) {
    for (const auto& place : outer_layout(c).places) body(place.name, place, std::size_t{0});
    const block_layout layer = layer_layout(c, 0);
    for (std::size_t l = 0; l < c.layers; ++l)
        for (const auto& place : layer.places) body(text("model.layers.", l, ".", place.name), place, 1 + l);
}

/// Block 0 is the outer one, block 1 + l is layer l.
template <class Set>
auto& block_of(Set& set, std::size_t index) { return index == 0 ? set.outer : set.layers[index - 1]; }

/// The numbers of one block: every tensor from its own stream, so that they depend on nothing but seed and place.
template <class Wide>
std::vector<Wide> draw_block(const block_layout& layout, std::uint64_t seed, std::uint64_t index) {
    std::vector<Wide> values(layout.size, Wide(0));
    for (std::size_t p = 0; p < layout.places.size(); ++p) {
        const auto& place = layout.places[p];
        rng random(seed, index * 64 + p);
        for (std::size_t i = 0; i < place.size(); ++i)
            values[place.offset + i] = static_cast<Wide>(place.init_std > 0 ? place.init_std * random.normal() : 1.0);
    }
    return values;
}

/// Gives a block host numbers of any type, rounded to its own.
template <class T, class Backend, class Wide>
void assign_block(parameter_block<T, Backend>& block, const std::vector<Wide>& values) {
    if constexpr (std::is_same_v<T, Wide>) {
        block.backend().template from_host<T>(values.data(), block.flat().data(), values.size());
    } else {
        std::vector<T> rounded(values.begin(), values.end());
        block.backend().template from_host<T>(rounded.data(), block.flat().data(), rounded.size());
        block.backend().synchronize();
    }
}

/// Draws a whole model, blocks on as many threads as there are; `final_layers` (0: config.layers) scales the residual
/// projections. use(block index, numbers in Wide) runs on the calling thread, in order.
template <class Wide, class Use>
void draw_model(const decoder_config& config, std::uint64_t seed, std::size_t final_layers, const Use& use) {
    const block_layout outer = outer_layout(config), layer = layer_layout(config, final_layers ? final_layers : config.layers);
    const std::size_t window = std::max<std::size_t>(1, std::min<std::size_t>(16, std::thread::hardware_concurrency()));
    std::deque<std::future<std::vector<Wide>>> ahead;
    std::size_t next = 0;
    for (std::size_t block = 0; block <= config.layers; ++block) {
        for (; next <= config.layers && ahead.size() < window; ++next)
            ahead.push_back(std::async(std::launch::async, [&, next] { return draw_block<Wide>(next == 0 ? outer : layer, seed, next); }));
        use(block, ahead.front().get());
        ahead.pop_front();
    }
}

}  // namespace depthgrow
