// What a trainer asks of an optimiser, and a table of those that there are: names, help, and which states each keeps.
// Assumes states with the places of the model's parameters, float or double as the master weights are.
// Names of states are those of torch.optim: exp_avg, exp_avg_sq, momentum_buffer.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "depthgrow/backend/capabilities.hpp"
#include "depthgrow/comm/sharding.hpp"
#include "depthgrow/growth/grow.hpp"
#include "depthgrow/nn/parameters.hpp"

namespace depthgrow {

/// One state of an optimiser on disk: NAME.TENSOR for every parameter that has it.
struct state_kind {
    std::string_view name;
    bool (*kept)(bool in_layer, role kind);
};

struct optimizer_entry {
    std::string_view name, help;
    std::vector<state_kind> states;
};

/// Whether Muon steps a parameter by its matrix; AdamW steps the others.
inline bool is_muon_matrix(bool in_layer, role kind) {
    return in_layer && (kind == role::matrix || kind == role::residual_out);
}

/// Every optimiser by name; flags, files and errors read this table.
inline const std::vector<optimizer_entry>& optimizer_table() {
    constexpr auto all = [](bool, role) { return true; };
    constexpr auto others = [](bool in_layer, role kind) { return !is_muon_matrix(in_layer, kind); };
    static const std::vector<optimizer_entry> table = {
        {"adamw", "both moments of every parameter", {{"exp_avg", all}, {"exp_avg_sq", all}}},
        {"sgd_nesterov", "SGD with Nesterov's momentum", {{"momentum_buffer", all}}},
        {"muon",
         "orthogonalised momentum for the matrices of layers, AdamW for the rest",
         {{"exp_avg", others}, {"exp_avg_sq", others}, {"momentum_buffer", is_muon_matrix}}},
    };
    return table;
}

/// "adamw, sgd_nesterov, muon".
inline std::string optimizer_names() {
    std::string all;
    for (const auto& entry : optimizer_table()) all += text(all.empty() ? "" : ", ", entry.name);
    return all;
}
/// The entry of a name; null when there is none.
inline const optimizer_entry* find_optimizer(std::string_view name) {
    for (const auto& entry : optimizer_table())
        if (entry.name == name) return &entry;
    return nullptr;
}

/// One block that an optimiser steps, all of it or this rank's share (comm/sharding.hpp). `rounded` is empty, or the
/// model's own weights in a low-precision type.
template <class T> struct trained_block {
    span<wide_t<T>> weight;
    span<const wide_t<T>> gradient;
    span<T> rounded;
};

/// One state of an optimiser in memory, all of it or this rank's shares: the numbers, and the places of the parameters
/// that have it.
template <class Set> struct optimizer_state {
    std::string_view name;
    Set* numbers;
    block_layout outer, layer;

    const block_layout& layout(std::size_t block) const { return block == 0 ? outer : layer; }
};

/// The places of a layout that `keep(place)` names, where they are.
template <class Keep> block_layout part_of(const block_layout& whole, const Keep& keep) {
    block_layout out;
    for (const auto& place : whole.places)
        if (keep(place)) out.append({place}), out.places.back().offset = place.offset;
    out.size = whole.size;
    return out;
}
/// The same moved together; parts that lay side by side still do.
template <class Keep> block_layout packed_part_of(const block_layout& whole, const Keep& keep) {
    block_layout out;
    std::vector<tensor_place> group;
    std::size_t end = 0;
    for (const auto& place : whole.places) {
        if (!keep(place)) continue;
        if (!group.empty() && place.offset != end) out.append(std::exchange(group, {}));
        group.push_back(place);
        end = place.offset + place.size();
    }
    out.append(group);
    return out;
}

namespace detail {

/// Zeros for a state of every parameter, or for this rank's shares of them.
template <class Set, class Backend> Set state_of(Backend& backend, const decoder_config& config, const sharding& own) {
    return {backend, own.share(outer_layout(config).size), own.share(layer_layout(config).size), config.layers};
}

/// Grows what an optimiser keeps of each layer by `rows` (those of `how`, squared for second moments), and resets it as
/// `how` asks.
template <class Set> void grow_layer_states(Set& set, const mixture& rows, const growth& how) {
    set.layers = grow(std::move(set.layers), rows);
    const mixture made = how.rows();
    for (std::size_t slot = 0; slot < made.size(); ++slot)
        if (how.state == state_policy::all || (how.state == state_policy::zero && made.is_new(slot)))
            set.layers[slot].set_zero();
}

/// The sum of squares of all gradients of all ranks' shares, in backend memory.
template <class T, class Backend> class gradient_squares {
public:
    gradient_squares(Backend& backend, communicator& comm) : comm_(&comm), squares_(backend, {1}) {}

    void measure(span<const trained_block<T>> blocks) {
        Backend& backend = squares_.backend();
        backend.template fill<double>(squares_.data(), 1, 0.0);
        if constexpr (updates_together<Backend, T>) {
            gradients_.clear();
            for (const auto& block : blocks) gradients_.push_back(block.gradient);
            backend.accumulate_squares_together(span<const span<const wide_t<T>>>(gradients_), squares_.data());
        } else {
            for (const auto& block : blocks)
                backend.template accumulate_squares<wide_t<T>>(block.gradient, squares_.data());
        }
        comm_->all_reduce(span<double>(squares_.data(), 1));
        comm_->join();
    }
    double norm() const {
        double squares = 0;
        squares_.backend().template to_host<double>(squares_.data(), &squares, 1);
        return std::sqrt(squares);
    }
    double* data() { return squares_.data(); }

private:
    communicator* comm_;
    tensor<double, Backend> squares_;
    std::vector<span<const wide_t<T>>> gradients_;  // of the step at hand; kept for its memory
};

template <class T, class Set> void check_blocks(const char* name, span<const trained_block<T>> blocks, Set& states) {
    require(blocks.size() == states.layers.size() + 1, "[", name, "] expected weights and gradients of ",
            states.layers.size(), " layers, got ", blocks.size() - 1);
    for (std::size_t b = 0; b < blocks.size(); ++b)
        require(blocks[b].gradient.size() == blocks[b].weight.size() &&
                    (blocks[b].rounded.empty() || blocks[b].rounded.size() == blocks[b].weight.size()),
                "[", name, "] expected as many gradients and rounded weights as weights of block ", b, ", got ",
                blocks[b].gradient.size(), " and ", blocks[b].rounded.size(), " of ", blocks[b].weight.size());
}

}  // namespace detail

/// What a trainer asks of an optimiser, made with its share of the ranks' work. `prepare(rate, skip_above)` counts a
/// step and sends its constants to the backend. `measure(blocks)`, then `update(blocks, from, to)` for parts that
/// together are all blocks, take the step with nothing of the host's, so that a backend may record and replay it: an
/// update changes the weights of blocks [from, to) in the wide type, and the rounded ones to match; block 0 is the
/// outer one, block 1 + l layer l. `gradient_norm()` is that of all ranks' gradients, before clipping; above
/// `skip_above` (0: never) it keeps the step from changing anything.
template <class O, class T, class Backend>
concept optimizer_for = requires(O optimizer, const O& same, Backend& backend, const decoder_config& config,
                                 typename O::constants_type constants, communicator& comm, double rate,
                                 std::int64_t steps, span<const trained_block<T>> blocks, std::size_t block,
                                 const growth& how) {
    { O::name } -> std::convertible_to<std::string_view>;
    O(backend, config, constants, comm);
    optimizer.prepare(rate, rate);
    optimizer.measure(blocks);
    optimizer.update(blocks, block, block);
    optimizer.grow_layers(how);
    { same.gradient_norm() } -> std::convertible_to<double>;
    { same.steps() } -> std::convertible_to<std::int64_t>;
    optimizer.set_steps(steps);
    { optimizer.states().front().numbers } -> std::convertible_to<parameter_set<wide_t<T>, Backend>*>;
    { same.states().front().numbers } -> std::convertible_to<const parameter_set<wide_t<T>, Backend>*>;
};

}  // namespace depthgrow
