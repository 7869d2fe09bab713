// grow(model, prefix, layers, optimizer, how): a vector of modules whose elements are children of a model.
// Assumes libtorch 1.13 or newer; layer i is the child `prefix` + i of the model, as register_module named it.
// Source: Kapl et al. 2025 section 3.1.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "depthgrow/adapt/torch/grow.hpp"

namespace depthgrow {

namespace detail {

template <class Module> std::shared_ptr<torch::nn::Module> module_pointer(const std::shared_ptr<Module>& layer) {
    return layer;
}
template <class Contained>
std::shared_ptr<torch::nn::Module> module_pointer(const torch::nn::ModuleHolder<Contained>& layer) {
    return layer.ptr();
}

/// The children of a model that follow a vector of layers: add() registers those of new numbers and can fail, undo()
/// takes them back, replace() puts the others in their places.
class numbered_children {
public:
    template <class Layers>
    numbered_children(torch::nn::Module& model, const std::string& prefix, const Layers& before, const Layers& after)
        : model_(model), before_(before.size()) {
        for (const auto& layer : after) modules_.push_back(module_pointer(layer));
        for (std::size_t i = 0; i < std::max(before.size(), after.size()); ++i) names_.push_back(text(prefix, i));
        const auto children = model.named_children();
        for (std::size_t i = 0; i < names_.size(); ++i) {
            const auto* child = children.find(names_[i]);
            require((child == nullptr) == (i >= before_), "[grow] expected ", before_, " children of the model named ",
                    prefix, "0, ", prefix, "1, ..., as there are layers, got ", child ? "one more" : "none", " named ",
                    names_[i]);
            require(child == nullptr || child->get() == module_pointer(before[i]).get(), "[grow] expected layer ", i,
                    " as the child ", names_[i], " of the model, got another module");
        }
    }
    void add() {
        try {
            for (added_ = before_; added_ < modules_.size(); ++added_)
                model_.register_module(names_[added_], modules_[added_]);
        } catch (...) {
            undo();
            throw;
        }
    }
    void undo() {
        while (added_ > before_) model_.unregister_module(names_[--added_]);
    }
    void replace() {
        for (std::size_t i = 0; i < before_ && i < modules_.size(); ++i) model_.replace_module(names_[i], modules_[i]);
        for (std::size_t i = modules_.size(); i < before_; ++i) model_.unregister_module(names_[i]);
    }

private:
    torch::nn::Module& model_;
    std::size_t before_, added_ = 0;
    std::vector<std::string> names_;
    std::vector<std::shared_ptr<torch::nn::Module>> modules_;
};

}  // namespace detail

/// `grow(*model, "layer", model->layers, optimizer, how)`: as grow(layers, optimizer, how), for a vector of modules or
/// holders whose element i was registered in `model` as "layer" + i; its children follow. Children with new numbers
/// stand behind all others in `named_parameters()`.
template <class Layers, class How>
void grow(torch::nn::Module& model, const std::string& prefix, Layers& layers, torch::optim::Optimizer& optimizer,
          const How& how) {
    Layers elements = layers;  // handles of the same modules
    const auto rows = detail::rows_of(how);
    detail::growth_with_optimizer<Layers, std::decay_t<decltype(rows)>> grown(
        elements, &optimizer, rows, detail::growth_of(how), detail::nothing_more);
    Layers after = grown.finish();
    detail::numbered_children children(model, prefix, layers, after);
    children.add();
    try {
        grown.grow_optimizer();
    } catch (...) {
        children.undo();
        throw;
    }
    children.replace();
    layers = std::move(after);
}

}  // namespace depthgrow
