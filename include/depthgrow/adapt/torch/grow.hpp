// grow(layers, optimizer, how): layers of libtorch in place, with the optimiser that trains them, all or nothing.
// Assumes libtorch 1.13 or newer. Layers: a ModuleList, a Sequential, or a sequence of modules, holders, tensors or
// structs of them. Source: Kapl et al. 2025 section 3.1; layers that stay are the same objects.
#pragma once

#include <torch/nn/modules/container/modulelist.h>
#include <torch/nn/modules/container/sequential.h>

#include <cstddef>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "depthgrow/adapt/torch/modules.hpp"
#include "depthgrow/adapt/torch/optimizer.hpp"

namespace depthgrow {

namespace detail {

/// Collects the tensors that an optimiser may hold, with their names in the layer.
template <class Layer> void collect(named_tensors& found, const std::string& name, const Layer& layer) {
    if constexpr (std::is_same_v<Layer, torch::Tensor>) {
        if (layer.defined()) found.emplace_back(name, layer);
    } else if constexpr (std::is_base_of_v<torch::nn::Module, Layer>) {
        for (const auto& parameter : layer.named_parameters())
            found.emplace_back(name + parameter.key(), parameter.value());
    } else if constexpr (std::is_same_v<Layer, torch::nn::AnyModule>) {
        collect<torch::nn::Module>(found, name, *layer.ptr());
    } else if constexpr (is_handle<Layer>::value) {
        if (layer) collect(found, name, *address_of(layer));
    } else if constexpr (sharing_of<Layer>() == sharing::parts) {
        std::size_t number = 0;
        const auto next = [&](const auto& part) { collect(found, text(name, number++, "."), part); };
        if constexpr (is_tuple<Layer>::value) std::apply([&](const auto&... parts) { (next(parts), ...); }, layer);
        else if constexpr (is_optional<Layer>::value) layer.has_value() ? next(*layer) : void();
        else if constexpr (is_container<Layer>::value)
            for (const auto& part : layer) next(part);
        else if constexpr (member_count<Layer>() > 0)
            visit_members(layer, [&](const auto&... parts) { (next(parts), ...); });
    }
}
template <class Layer> named_tensors parameters_of(const Layer& layer) {
    named_tensors found;
    collect(found, "", layer);
    return found;
}

/// What layers grow by: an order asks nothing of layers that cannot be added up.
inline const layer_order& rows_of(const layer_order& order) { return order; }
inline const mixture& rows_of(const mixture& rows) { return rows; }
inline mixture rows_of(const growth& how) { return how.rows(); }

/// Elements grown beside an optimiser: the constructor does all that can fail, the others move.
template <class Sequence, class Rows> class growth_with_optimizer {
    using traits = sequence_traits<Sequence>;

public:
    template <class OnNew>
    growth_with_optimizer(Sequence& layers, torch::optim::Optimizer* optimizer, const Rows& rows, const growth& how,
                          OnNew&& on_new)
        : given_(rows),
          rows_(how.rows()),
          after_(rows_.size()),
          before_(parameters_before(layers)),
          layers_(layers, given_, [&](auto& layer, std::size_t slot) {
              if constexpr (!std::is_same_v<Rows, layer_order>)
                  if (how.begins(slot)) begin_layer(layer, how.init, how.seed, slot);
              on_new(layer, slot);
              after_[slot] = parameters_of(layer);
          }) {
        for (std::size_t slot = 0; slot < rows_.size(); ++slot) {
            const named_tensors& source = before_[rows_.main_source(slot)];
            if (!rows_.is_new(slot)) after_[slot] = source;
            require(after_[slot].size() == source.size(), "[grow] expected ", source.size(),
                    " parameters in the new layer of slot ", slot, ", as in its source, got ", after_[slot].size());
        }
        std::size_t seen = before_.empty() || optimizer == nullptr ? 1 : 0;
        for (const named_tensors& layer : before_) seen += layer.size();
        require(seen > 0,
                "[grow] expected layers of modules, tensors or structs of them, whose parameters an optimizer "
                "holds, got layers in which none are seen");
        if (optimizer) optimizer_ = std::make_unique<optimizer_growth>(*optimizer, before_, after_, rows_, how.state);
    }
    growth_with_optimizer(const growth_with_optimizer&) = delete;

    /// Changes the optimiser, or throws and leaves it; nothing after it fails.
    void grow_optimizer() {
        if (optimizer_) optimizer_->commit();
    }
    Sequence finish() { return layers_.finish(); }

private:
    static std::vector<named_tensors> parameters_before(Sequence& layers) {
        std::vector<named_tensors> all;
        for (std::size_t layer = 0; layer < traits::size(layers); ++layer)
            all.push_back(parameters_of(traits::at(layers, layer)));
        return all;
    }

    Rows given_;
    mixture rows_;
    std::vector<named_tensors> after_, before_;
    growth_in_progress<Sequence, Rows> layers_;
    std::unique_ptr<optimizer_growth> optimizer_;
};

/// What a list of modules holds, and a new list of the same name, mode and tensors with other modules in it.
inline std::vector<std::shared_ptr<torch::nn::Module>> elements_of(const torch::nn::ModuleListImpl& list) {
    return {list.begin(), list.end()};
}
inline std::vector<torch::nn::AnyModule> elements_of(const torch::nn::SequentialImpl& list) {
    return {list.begin(), list.end()};
}
template <class List, class Element> List list_of(const List& like, const std::vector<Element>& elements) {
    const auto children = like.named_children();
    for (std::size_t i = 0; i < children.size(); ++i)
        require(children[i].key() == std::to_string(i),
                "[grow] expected children named 0, 1, ... in a list of layers, "
                "got ",
                children[i].key());
    require(
        children.size() == like.size() && like.named_parameters(false).size() + like.named_buffers(false).size() == 0,
        "[grow] expected a list that holds its layers alone, got one with tensors or modules of its own beside them");
    List made;
    made.train(like.is_training());
    for (const Element& element : elements) made.push_back(element);
    return made;
}

template <class Layers> struct is_module_list : std::false_type {};
template <> struct is_module_list<torch::nn::ModuleList> : std::true_type {};
template <> struct is_module_list<torch::nn::Sequential> : std::true_type {};

template <class Layers, class Rows, class OnNew>
void grow_in_place(Layers& layers, torch::optim::Optimizer* optimizer, const Rows& rows, const growth& how,
                   OnNew&& on_new) {
    if constexpr (is_module_list<Layers>::value) {
        require(!layers.is_empty(), "[grow] expected a list of modules, got an empty holder");
        auto elements = elements_of(*layers);
        growth_with_optimizer<decltype(elements), Rows> grown(elements, optimizer, rows, how, on_new);
        auto list = list_of(*layers, grown.finish());
        grown.grow_optimizer();
        *layers = std::move(list);
    } else {
        growth_with_optimizer<Layers, Rows> grown(layers, optimizer, rows, how, on_new);
        grown.grow_optimizer();
        layers = grown.finish();
    }
}

template <class Layers> using if_module_list = std::enable_if_t<is_module_list<Layers>::value>;
inline constexpr auto nothing_more = [](auto&, std::size_t) {};

}  // namespace detail

/// `grow(model->layers, optimizer, how)`: grows layers in place and the optimiser that trains them by a layer order, a
/// mixture or a growth (whose `state` says what states of new layers begin as; step counts are always carried over).
///
/// New layers are deep copies; their parameters are leaves without a gradient. They stand in their sources' groups, in
/// the order in which the grown model lists them; parameters of layers that no slot keeps leave groups and states.
/// Parameters that the optimiser does not hold, such as frozen ones, stay outside it. A list that is registered in a
/// model shows its new layers there, named by their slots; for a vector whose layers are children of a model, give the
/// model too (torch/children.hpp). A parameter in two layers is refused; one that also stands outside the layers
/// becomes a copy of its own in a new layer. When something throws, model and optimiser are as before.
template <class Layers, class How> void grow(Layers& layers, torch::optim::Optimizer& optimizer, const How& how) {
    detail::grow_in_place(layers, &optimizer, detail::rows_of(how), detail::growth_of(how), detail::nothing_more);
}

/// The same by an order, with states of new layers (`zero`) or of all (`all`) that begin at zero.
template <class Layers>
void grow(Layers& layers, torch::optim::Optimizer& optimizer, const layer_order& order, state_policy policy) {
    detail::grow_in_place(layers, &optimizer, order, growth{order, {}, policy}, detail::nothing_more);
}

/// The same, and calls `on_new(layer, slot)` for each new layer while nothing has changed: here a residual branch is
/// set to zero, say. A list's layers come as `std::shared_ptr<torch::nn::Module>&` or `torch::nn::AnyModule&`.
template <class Layers, class How, class OnNew>
void grow(Layers& layers, torch::optim::Optimizer& optimizer, const How& how, OnNew&& on_new) {
    detail::grow_in_place(layers, &optimizer, detail::rows_of(how), detail::growth_of(how), on_new);
}

/// `grow(model->layers, how)`: a ModuleList or Sequential without an optimiser, in place.
template <class List, class = detail::if_module_list<List>> void grow(List& layers, const layer_order& order) {
    detail::grow_in_place(layers, nullptr, order, detail::growth_of(order), detail::nothing_more);
}
template <class List, class = detail::if_module_list<List>> void grow(List& layers, const mixture& rows) {
    detail::grow_in_place(layers, nullptr, rows, detail::growth_of(rows), detail::nothing_more);
}
template <class List, class = detail::if_module_list<List>> void grow(List& layers, const growth& how) {
    detail::grow_in_place(layers, nullptr, how.rows(), how, detail::nothing_more);
}

}  // namespace depthgrow
