// libtorch's optimisers at growth: parameters of new layers join their sources' groups, states follow their layers.
// Assumes libtorch 1.13 or newer and AdamW, Adam, SGD, RMSprop or Adagrad, or another optimiser with states of theirs.
// Source: Kapl et al. 2025 section 3.1 (states are copied with their layer); sums: growth/optimizer_traits.hpp.
#pragma once

#include <torch/optim/adagrad.h>
#include <torch/optim/adam.h>
#include <torch/optim/adamw.h>
#include <torch/optim/lbfgs.h>
#include <torch/optim/rmsprop.h>
#include <torch/optim/sgd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <sstream>
#include <string>
#include <type_traits>
#include <typeinfo>
#include <unordered_map>
#include <utility>
#include <vector>

#include "depthgrow/adapt/torch/tensors.hpp"

namespace depthgrow::detail {

/// The parameters of one layer with their names in it, in an order that all layers share.
using named_tensors = std::vector<std::pair<std::string, torch::Tensor>>;
using param_state = torch::optim::OptimizerParamState;

/// `tensor(t, power)` for each tensor of a state (power 2 for means of squares) and `step(count)` for its step count;
/// false for a state of an unknown kind.
template <class OnTensor, class OnStep> bool visit_state(param_state& state, OnTensor&& tensor, OnStep&& step) {
    const auto adam = [&](auto* s) {
        tensor(s->exp_avg(), 1), tensor(s->exp_avg_sq(), 2), tensor(s->max_exp_avg_sq(), 2), step(s->step());
        return true;
    };
    if (auto* s = dynamic_cast<torch::optim::AdamWParamState*>(&state)) return adam(s);
    if (auto* s = dynamic_cast<torch::optim::AdamParamState*>(&state)) return adam(s);
    if (auto* s = dynamic_cast<torch::optim::SGDParamState*>(&state)) return tensor(s->momentum_buffer(), 1), true;
    if (auto* s = dynamic_cast<torch::optim::RMSpropParamState*>(&state)) {
        tensor(s->square_avg(), 2), tensor(s->momentum_buffer(), 1), tensor(s->grad_avg(), 1), step(s->step());
        return true;
    }
    if (auto* s = dynamic_cast<torch::optim::AdagradParamState*>(&state))
        return tensor(s->sum(), 2), step(s->step()), true;
    return false;
}

inline std::vector<std::pair<torch::Tensor*, int>> tensors_of(param_state& state) {
    std::vector<std::pair<torch::Tensor*, int>> all;
    visit_state(
        state, [&](torch::Tensor& t, int power) { all.emplace_back(&t, power); }, [](std::int64_t) {});
    return all;
}

/// The key of a parameter's state: its address, which libtorch 1.13 writes as text.
template <class Key> Key state_key(const torch::Tensor& parameter) {
    if constexpr (std::is_same_v<Key, std::string>) {
        std::ostringstream address;
        address << parameter.unsafeGetTensorImpl();
        return address.str();
    } else {
        return parameter.unsafeGetTensorImpl();
    }
}

/// The growth of an optimiser in two halves: the constructor does all that can fail and only reads; commit() changes
/// the optimiser, and where memory runs out in it leaves it as it was.
class optimizer_growth {
    using states = std::decay_t<decltype(std::declval<torch::optim::Optimizer&>().state())>;
    using key = typename states::key_type;
    using state_of_key = std::pair<key, std::unique_ptr<param_state>>;

public:
    /// `before` has the parameters of each layer, `after` those of each slot (a kept layer's own, or a new layer's).
    optimizer_growth(torch::optim::Optimizer& optimizer, const std::vector<named_tensors>& before,
                     const std::vector<named_tensors>& after, const mixture& rows, state_policy policy)
        : optimizer_(optimizer), before_(before), after_(after), rows_(rows) {
        require(dynamic_cast<torch::optim::LBFGS*>(&optimizer) == nullptr,
                "[grow] expected AdamW, Adam, SGD, RMSprop or Adagrad, got LBFGS, whose state is not of single "
                "parameters");
        find_places();
        require_own_parameters();
        plan_groups();
        plan_states(policy);
    }

    void commit() {
        auto& all = optimizer_.state();
        std::size_t added = 0;
        try {
            for (auto& entry : fresh_) {
                auto& state = all[entry.first];
                ++added;
                std::swap(state, entry.second);  // what was there belonged to a tensor that is no more
            }
        } catch (...) {
            while (added > 0) all.erase(fresh_[--added].first);
            throw;
        }
        for (auto& entry : changed_) std::swap(all.find(entry.first)->second, entry.second);
        for (const key& gone : gone_) all.erase(gone);
        auto& groups = optimizer_.param_groups();
        for (std::size_t g = 0; g < groups.size(); ++g) groups[g].params().swap(groups_[g]);
    }

private:
    struct place {
        std::size_t layer, part;
    };

    void find_places() {
        for (std::size_t layer = 0; layer < before_.size(); ++layer)
            for (std::size_t part = 0; part < before_[layer].size(); ++part) {
                const auto& [name, tensor] = before_[layer][part];
                const auto found = places_.emplace(tensor.unsafeGetTensorImpl(), place{layer, part}).first;
                require(found->second.layer == layer, "[grow] expected every parameter in one layer, got ", name,
                        " of layer ", layer, ", which layer ", found->second.layer, " holds too");
            }
    }

    /// An optimiser that holds no parameter of layers that train was made for another model.
    void require_own_parameters() const {
        bool train = false;
        for (const auto& layer : before_)
            for (const auto& named : layer) train = train || named.second.requires_grad();
        std::size_t held = 0, own = 0;
        for (const auto& group : optimizer_.param_groups())
            for (const torch::Tensor& parameter : group.params())
                ++held, own += places_.count(parameter.unsafeGetTensorImpl());
        require(!train || own > 0, "[grow] expected an optimiser that holds parameters of the layers, got one with ",
                held,
                " others and none of theirs; was it made for another model? (layers that are not trained have "
                "requires_grad false, or grow without an optimiser)");
    }

    /// A group keeps its order. Layers in it stand in the order of their slots, in each run of parameters whose layers
    /// ascend: whether parameters were listed layer by layer or kind by kind, the list is that of the grown model.
    void plan_groups() {
        for (const auto& group : optimizer_.param_groups()) {
            std::vector<torch::Tensor> grown;
            std::vector<place> run;
            const auto end_run = [&] {
                for (std::size_t slot = 0; slot < rows_.size() && !run.empty(); ++slot)
                    for (const place& at : run)
                        if (at.layer == rows_.main_source(slot)) grown.push_back(after_[slot][at.part].second);
                run.clear();
            };
            for (const torch::Tensor& parameter : group.params()) {
                const auto found = places_.find(parameter.unsafeGetTensorImpl());
                if (found == places_.end() || (!run.empty() && found->second.layer < run.back().layer)) end_run();
                if (found == places_.end()) grown.push_back(parameter);
                else run.push_back(found->second);
            }
            end_run();
            groups_.push_back(std::move(grown));
        }
    }

    param_state* state_of(std::size_t layer, std::size_t part) {
        auto& all = optimizer_.state();
        const auto found = all.find(state_key<key>(before_[layer][part].second));
        return found == all.end() ? nullptr : found->second.get();
    }

    /// The state of a slot's part: of its layer, or the sum of those of its layers; null where none has one.
    std::unique_ptr<param_state> made_state(std::size_t slot, std::size_t part, bool zero) {
        std::vector<std::pair<param_state*, double>> sources;
        param_state* most = nullptr;
        for (const mixture_term& term : rows_[slot]) {
            param_state* state = state_of(term.source, part);
            if (state == nullptr) continue;
            sources.emplace_back(state, term.coefficient);
            if (most == nullptr || term.source == rows_.main_source(slot)) most = state;
        }
        if (most == nullptr) return nullptr;
        std::unique_ptr<param_state> made = most->clone();
        const param_state& kind = *most;
        require(visit_state(
                    *made, [](torch::Tensor&, int) {}, [](std::int64_t) {}),
                "[grow] expected states of AdamW, Adam, SGD, RMSprop or Adagrad, got ",
                c10::demangle(typeid(kind).name()));
        const torch::NoGradGuard no_grad;
        const auto tensors = tensors_of(*made);
        for (std::size_t i = 0; i < tensors.size(); ++i) {
            torch::Tensor& tensor = *tensors[i].first;
            if (!tensor.defined()) continue;
            if (zero) tensor = torch::zeros_like(tensor);
            else if (rows_.is_copy(slot)) tensor = clone_tensor(tensor);
            else tensor = mixed_state(sources, i);
        }
        std::int64_t largest = 0;
        for (const auto& source : sources)
            visit_state(
                *source.first, [](torch::Tensor&, int) {},
                [&](std::int64_t step) { largest = std::max(largest, step); });
        visit_state(
            *made, [](torch::Tensor&, int) {}, [&](std::int64_t& step) { step = largest; });
        return made;
    }

    static torch::Tensor mixed_state(const std::vector<std::pair<param_state*, double>>& sources, std::size_t index) {
        std::vector<std::pair<const torch::Tensor*, double>> terms;
        for (const auto& [state, coefficient] : sources) {
            const auto [tensor, power] = tensors_of(*state)[index];
            if (tensor->defined()) terms.emplace_back(tensor, power == 2 ? coefficient * coefficient : coefficient);
        }
        return mix_tensors(terms);
    }

    void plan_states(state_policy policy) {
        std::vector<bool> kept(before_.size(), false);
        for (std::size_t slot = 0; slot < rows_.size(); ++slot) {
            const bool is_new = rows_.is_new(slot);
            if (!is_new) kept[rows_.main_source(slot)] = true;
            if (!is_new && policy != state_policy::all) continue;
            for (std::size_t part = 0; part < after_[slot].size(); ++part) {
                auto state = made_state(slot, part, policy != state_policy::copy);
                auto address = state_key<key>(after_[slot][part].second);
                if (state) (is_new ? fresh_ : changed_).emplace_back(std::move(address), std::move(state));
                else if (is_new) gone_.push_back(std::move(address));  // of a tensor that was here before
            }
        }
        for (std::size_t layer = 0; layer < before_.size(); ++layer)
            for (const auto& parameter : before_[layer])
                if (!kept[layer]) gone_.push_back(state_key<key>(parameter.second));
    }

    torch::optim::Optimizer& optimizer_;
    const std::vector<named_tensors>&before_, &after_;
    const mixture& rows_;
    std::unordered_map<const void*, place> places_;
    std::vector<std::vector<torch::Tensor>> groups_;
    std::vector<state_of_key> fresh_, changed_;
    std::vector<key> gone_;
};

}  // namespace depthgrow::detail
