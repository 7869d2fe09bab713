// Parameters layer by layer: one arena a layer, the same shape for gradients and moments, so that cloning a layer is
// one copy and no other layer moves. Assumes the places of nn/description.hpp; query, key, value (and gate, up) lie
// together. Initialisation: SmolLM's (huggingface/smollm): normal, std 1/sqrt(width), what adds to the residual /
// sqrt(2 L_final).
#pragma once

#include <algorithm>
#include <cmath>
#include <deque>
#include <functional>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include "depthgrow/autograd/tape.hpp"
#include "depthgrow/core/rng.hpp"
#include "depthgrow/growth/layer_init.hpp"
#include "depthgrow/nn/description.hpp"
#include "depthgrow/tensor/tensor.hpp"

namespace depthgrow {

/// The numbers of one block (a layer, or the outer tensors) in one arena.
template <class T, class Backend> class parameter_block {
public:
    parameter_block() = default;
    parameter_block(Backend& backend, std::size_t size) : numbers_(tensor<T, Backend>::filled(backend, {size}, T(0))) {}

    /// A deep copy: what growth makes a new layer with.
    parameter_block clone() const {
        parameter_block copy;
        copy.numbers_ = numbers_.clone();
        return copy;
    }
    /// The sum of coefficient * block: what a slot that mixes layers is made of. Sums in double on the host, rounded
    /// once.
    static parameter_block mix(const std::vector<std::pair<const parameter_block*, double>>& terms) {
        const parameter_block& like = *terms.front().first;
        const std::size_t size = like.flat().size();
        std::vector<double> sum(size, 0.0);
        std::vector<T> values(size);
        for (const auto& [block, coefficient] : terms) {
            require(block->flat().size() == size, "[mix] expected blocks of ", size, " numbers, got ",
                    block->flat().size());
            block->backend().template to_host<T>(block->flat().data(), values.data(), size);
            for (std::size_t i = 0; i < size; ++i)
                sum[i] += coefficient * static_cast<double>(static_cast<wide_t<T>>(values[i]));
        }
        parameter_block made(like.backend(), size);
        std::transform(sum.begin(), sum.end(), values.begin(),
                       [](double x) { return static_cast<T>(static_cast<wide_t<T>>(x)); });
        made.backend().template from_host<T>(values.data(), made.flat().data(), size);
        made.backend().synchronize();
        return made;
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
template <class T, class Backend> struct parameter_set {
    parameter_block<T, Backend> outer;
    std::vector<parameter_block<T, Backend>> layers;
    bool fresh = false;  // of gradients: the next pass overwrites matrices instead of adding to them
    /// Of gradients: called in the backward pass when a use of block 1 + l of layer l has added all that it adds.
    std::function<void(std::size_t block)> use_done;

    parameter_set() = default;
    /// Zeros for `depth` layers.
    parameter_set(Backend& backend, const decoder_config& c, std::size_t depth)
        : parameter_set(backend, outer_layout(c).size, layer_layout(c).size, depth) {}
    /// The same for blocks of other sizes: rounded up, or shares.
    parameter_set(Backend& backend, std::size_t outer_size, std::size_t layer_size, std::size_t depth)
        : outer(backend, outer_size) {
        for (std::size_t l = 0; l < depth; ++l) layers.emplace_back(backend, layer_size);
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

/// body(place, block) for every tensor; block 0 is the outer one, block 1 + l is layer l.
template <class Body> void each_tensor(const decoder_config& c, Body body) {
    const block_layout outer = outer_layout(c), layer = layer_layout(c);
    for (const auto& place : outer.places) body(place, std::size_t{0});
    for (std::size_t l = 0; l < c.layers; ++l)
        for (const auto& place : layer.places) body(place, 1 + l);
}

/// "q of layer 3", "embedding": a parameter in words.
inline std::string tensor_title(part which, std::size_t block) {
    return block == 0 ? std::string(name_of(which)) : text(name_of(which), " of layer ", block - 1);
}

/// Block 0 is the outer one, block 1 + l is layer l.
template <class Set> auto& block_of(Set& set, std::size_t index) {
    return index == 0 ? set.outer : set.layers[index - 1];
}

/// The numbers of one block: every tensor from its own stream, so that they depend on nothing but seed and place.
template <class Wide>
std::vector<Wide> draw_block(const decoder_config& c, const block_layout& layout, std::uint64_t seed,
                             std::uint64_t index, std::size_t final_layers) {
    std::vector<Wide> values(layout.size, Wide(0));
    for (std::size_t p = 0; p < layout.places.size(); ++p) {
        const auto& place = layout.places[p];
        const double deviation = initial_deviation(c, place.kind, final_layers),
                     constant = initial_constant(c, place.kind);
        rng random(seed, index * 64 + p);
        for (std::size_t i = 0; i < place.size(); ++i)
            values[place.offset + i] = static_cast<Wide>(deviation > 0 ? deviation * random.normal() : constant);
    }
    return values;
}

/// How one parameter of a new layer begins: `values` hold what it was copied from, row by row. `c` is the grown model.
/// The disk and the trainer both begin with this, so that both make the same numbers.
inline void begin_part(const decoder_config& c, const tensor_place& place, span<double> values, const layer_init& init,
                       std::uint64_t seed, std::size_t slot) {
    if (init.kind == init_kind::zero_residual) {
        if (writes_residual(c, place.which)) std::fill(values.begin(), values.end(), 0.0);
        return;
    }
    rng random = begin_stream(seed, slot, std::string(name_of(place.which)));
    if (init.kind == init_kind::random) {
        const double deviation = initial_deviation(c, place.kind, c.layers), constant = initial_constant(c, place.kind);
        for (double& value : values) value = deviation > 0 ? deviation * random.normal() : constant;
    } else if (init.kind == init_kind::noise) {
        double squares = 0;
        for (double value : values) squares += value * value;
        const double size =
            init.sigma * std::sqrt(squares / static_cast<double>(std::max<std::size_t>(values.size(), 1)));
        for (double& value : values) value += size * random.normal();
    }
}

/// The description of a grown model: what a layer is follows the source that counts most. Refuses what cannot grow so:
/// sums of layers of different kinds, and layers that begin as identities where the others move or depend on their
/// slot.
inline decoder_config grown_config(const decoder_config& c, const growth& how) {
    require(how.layers.source_depth() == c.layers, "[grow] expected a growth of ", c.layers, " layers, got one of ",
            how.layers.source_depth());
    require(!how.layers.empty(), "[grow] expected a growth to at least one layer, got none");
    if (how.init.kind == init_kind::zero_residual) {
        require(c.norms == norm_placement::pre,
                "[grow] expected norm placement pre for new layers that begin as identities, got ", name_of(c.norms));
        require(how.keeps_every_layer(),
                "[grow] expected every layer kept in place for new layers that begin as identities, got ",
                how.layers.to_string());
    }
    const mixture rows = how.rows();
    std::vector<std::size_t> sources;
    for (std::size_t slot = 0; slot < rows.size(); ++slot) {
        sources.push_back(rows.main_source(slot));
        for (const mixture_term& term : rows[slot])
            require(c.kind(term.source) == c.kind(sources[slot]),
                    "[grow] expected layers of one kind in a sum, got layers ", sources[slot], " and ", term.source,
                    " with other windows or rotary positions at slot ", slot);
    }
    return c.with_layers(sources);
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

/// Lets the layer of a new slot begin, part by part and each number rounded once; `c` is the grown model.
template <class T, class Backend>
void begin_block(parameter_block<T, Backend>& block, const decoder_config& c, const layer_init& init,
                 std::uint64_t seed, std::size_t slot) {
    std::vector<T> numbers(block.flat().size());
    block.backend().template to_host<T>(block.flat().data(), numbers.data(), numbers.size());
    std::vector<double> values;
    for (const auto& place : layer_layout(c).places) {
        const auto first = numbers.begin() + static_cast<std::ptrdiff_t>(place.offset);
        values.assign(first, first + static_cast<std::ptrdiff_t>(place.size()));
        begin_part(c, place, values, init, seed, slot);
        std::transform(values.begin(), values.end(), first, [](double x) { return static_cast<T>(x); });
    }
    assign_block(block, numbers);
    block.backend().synchronize();
}

/// Draws a whole model, blocks on as many threads as there are; `final_layers` (0: config.layers) scales the residual
/// projections. use(block index, numbers in Wide) runs on the calling thread, in order.
template <class Wide, class Use>
void draw_model(const decoder_config& config, std::uint64_t seed, std::size_t final_layers, const Use& use) {
    const block_layout outer = outer_layout(config), layer = layer_layout(config);
    const std::size_t depth = final_layers ? final_layers : config.layers;
    const std::size_t window = std::max<std::size_t>(1, std::min<std::size_t>(16, std::thread::hardware_concurrency()));
    std::deque<std::future<std::vector<Wide>>> ahead;
    std::size_t next = 0;
    for (std::size_t block = 0; block <= config.layers; ++block) {
        for (; next <= config.layers && ahead.size() < window; ++next)
            ahead.push_back(std::async(std::launch::async, [&, next] {
                return draw_block<Wide>(config, next == 0 ? outer : layer, seed, next, depth);
            }));
        use(block, ahead.front().get());
        ahead.pop_front();
    }
}

}  // namespace depthgrow
