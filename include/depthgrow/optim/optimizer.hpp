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

/// One state of an optimiser in memory: the numbers, and the places of the parameters that have it.
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

/// Grows what an optimiser keeps of each layer by `rows` (those of `how`, squared for second moments), and resets it as
/// `how` asks.
template <class Set> void grow_layer_states(Set& set, const mixture& rows, const growth& how) {
    set.layers = grow(std::move(set.layers), rows);
    const mixture made = how.rows();
    for (std::size_t slot = 0; slot < made.size(); ++slot)
        if (how.state == state_policy::all || (how.state == state_policy::zero && made.is_new(slot)))
            set.layers[slot].set_zero();
}

/// The sum of squares of all gradients, in backend memory.
template <class T, class Backend> class gradient_squares {
public:
    explicit gradient_squares(Backend& backend) : squares_(backend, {1}) {}

    void measure(const parameter_set<wide_t<T>, Backend>& gradients) {
        Backend& backend = squares_.backend();
        backend.template fill<double>(squares_.data(), 1, 0.0);
        gradients.each(
            [&](const auto& block) { backend.template accumulate_squares<wide_t<T>>(block.flat(), squares_.data()); });
    }
    double norm() const {
        double squares = 0;
        squares_.backend().template to_host<double>(squares_.data(), &squares, 1);
        return std::sqrt(squares);
    }
    double* data() { return squares_.data(); }

private:
    tensor<double, Backend> squares_;
};

template <class Set> void check_depths(const char* name, std::size_t layers, const Set& gradients, const Set& states) {
    require(gradients.layers.size() == layers && states.layers.size() == layers, "[", name,
            "] expected gradients and states of ", layers, " layers, got ", gradients.layers.size(), " and ",
            states.layers.size());
}

}  // namespace detail

/// What a trainer asks of an optimiser. `prepare(rate)` counts a step and sends its constants to the backend; `update`
/// takes it with nothing of the host's, so that a backend may record and replay it: it changes the weights in the wide
/// type, and `rounded` (null, or the model's own in a low-precision type) to match. `gradient_norm()` is that before
/// clipping.
template <class O, class T, class Backend>
concept optimizer_for = requires(O optimizer, const O& same, Backend& backend, const decoder_config& config,
                                 typename O::constants_type constants, double rate, std::int64_t steps,
                                 parameter_set<wide_t<T>, Backend>& weights,
                                 const parameter_set<wide_t<T>, Backend>& gradients, parameter_set<T, Backend>* rounded,
                                 const growth& how) {
    { O::name } -> std::convertible_to<std::string_view>;
    O(backend, config, constants);
    optimizer.prepare(rate);
    optimizer.update(weights, gradients, rounded);
    optimizer.grow_layers(how);
    { same.gradient_norm() } -> std::convertible_to<double>;
    { same.steps() } -> std::convertible_to<std::int64_t>;
    optimizer.set_steps(steps);
    { optimizer.states().front().numbers } -> std::convertible_to<parameter_set<wide_t<T>, Backend>*>;
    { same.states().front().numbers } -> std::convertible_to<const parameter_set<wide_t<T>, Backend>*>;
};

}  // namespace depthgrow
