// libtorch's modules as layers: deep copies that keep what clone() forgets, refused where they would not be copies.
// Assumes libtorch 1.13 or newer and modules that are torch::nn::Cloneable and register in reset(), as clone() needs.
// A copy keeps dtype, device, requires_grad of each parameter, buffers, ties inside the layer, and train or eval mode.
#pragma once

#include <torch/nn/module.h>
#include <torch/nn/modules/container/any.h>
#include <torch/nn/pimpl.h>
#include <torch/utils.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

#include "depthgrow/adapt/torch/tensors.hpp"

namespace depthgrow {

namespace detail {

/// Puts the default generator back: clone() initialises a module before it copies into it, and a copy draws nothing.
class keep_generator {
public:
    keep_generator() : generator_(at::detail::getDefaultCPUGenerator()) {
        const std::lock_guard<std::mutex> lock(generator_.mutex());
        state_ = generator_.get_state();
    }
    ~keep_generator() {
        const std::lock_guard<std::mutex> lock(generator_.mutex());
        generator_.set_state(state_);
    }
    keep_generator(const keep_generator&) = delete;
    keep_generator& operator=(const keep_generator&) = delete;

private:
    at::Generator generator_;
    torch::Tensor state_;
};

/// Where a tensor's numbers are; two tensors of one place are tied. Null for a tensor without numbers.
inline const void* place_of(const torch::Tensor& tensor) {
    return tensor.defined() && tensor.has_storage() && tensor.numel() > 0 ? tensor.data_ptr() : nullptr;
}

/// Checks that `copy` has the tensors of `source` by name and shape, in memory of its own, tied where those are tied.
template <class Dict>
void check_copied_tensors(const std::string& type, const Dict& source, const Dict& copy, bool ties_matter) {
    const auto expected = [&](bool holds, const std::string& name, const char* what) {
        require(holds, "[grow] expected a clone() of ", type, " that ", what, ", got one that does not for ", name);
    };
    require(source.size() == copy.size(), "[grow] expected a clone() of ", type, " with ", source.size(),
            " tensors as its original has, got ", copy.size());
    for (std::size_t i = 0; i < source.size(); ++i) {
        const std::string& name = source[i].key();
        const torch::Tensor &from = source[i].value(), &to = copy[i].value();
        expected(name == copy[i].key() && from.sizes() == to.sizes() && from.dtype() == to.dtype(), name,
                 "has the names, shapes and dtypes of its original");
        expected(place_of(from) == nullptr || place_of(from) != place_of(to), name,
                 "shares no memory with its original");
        for (std::size_t j = 0; ties_matter && j < i; ++j)
            expected((place_of(from) && place_of(from) == place_of(source[j].value())) ==
                         (place_of(to) && place_of(to) == place_of(copy[j].value())),
                     name, "keeps tied parameters tied (tie them in clone(), not only in reset())");
    }
}

/// Gives `copy`, made by clone(), what clone() forgets; throws one sentence where it is no deep copy of `source`.
inline void finish_clone(const torch::nn::Module& source, const std::shared_ptr<torch::nn::Module>& copy) {
    const std::string type = source.name();
    require(copy != nullptr, "[grow] expected a clone() of ", type, " that has its type, got another");
    const torch::nn::Module& made = *copy;
    require(typeid(made) == typeid(source), "[grow] expected a clone() of ", type, " that has its type, got ",
            c10::demangle(typeid(made).name()));
    const auto parameters = source.named_parameters();
    auto copied = copy->named_parameters();
    check_copied_tensors(type, parameters, copied, true);
    check_copied_tensors(type, source.named_buffers(), copy->named_buffers(), false);
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        torch::Tensor& parameter = copied[i].value();
        require(parameter.is_leaf(), "[grow] expected a clone() of ", type, " whose parameters are leaves, got ",
                parameters[i].key());
        parameter.set_requires_grad(parameters[i].value().requires_grad());
        parameter.mutable_grad() = torch::Tensor();
    }
    const auto modules = source.modules(), copies = copy->modules();
    for (std::size_t i = 0; i < modules.size() && i < copies.size(); ++i)  // parents stand before their children
        if (copies[i]->is_training() != modules[i]->is_training()) copies[i]->train(modules[i]->is_training());
}

/// What `clone` makes of a module, finished. The default generator stays as it is: reset(), which clone() runs, draws.
template <class Clone> auto clone_module(const torch::nn::Module& source, Clone&& clone) {
    const keep_generator generator;
    try {
        return clone();
    } catch (const c10::Error& wrong) {
        const std::string said = wrong.what_without_backtrace();
        fail("[grow] expected ", source.name(),
             " and its children to be torch::nn::Cloneable and to register in reset(), got \"",
             said.substr(0, said.find('\n')), "\"");
    }
}
inline std::shared_ptr<torch::nn::Module> clone_module(const torch::nn::Module& source) {
    auto copy = clone_module(source, [&] { return source.clone(); });
    finish_clone(source, copy);
    return copy;
}

using module_terms = std::vector<std::pair<const torch::nn::Module*, double>>;

/// The term that counts most, the first of equals.
template <class Terms> std::size_t main_term(const Terms& terms) {
    std::size_t most = 0;
    for (std::size_t t = 1; t < terms.size(); ++t)
        if (std::fabs(terms[t].second) > std::fabs(terms[most].second)) most = t;
    return most;
}

/// Makes the parameters of `mixed` the sums of those of the terms; its buffers stay.
inline void mix_parameters(torch::nn::Module& mixed, const module_terms& terms) {
    std::vector<torch::OrderedDict<std::string, torch::Tensor>> given;
    for (const auto& term : terms) given.push_back(term.first->named_parameters());
    const torch::NoGradGuard no_grad;
    auto parameters = mixed.named_parameters();
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        std::vector<std::pair<const torch::Tensor*, double>> parts;
        for (std::size_t t = 0; t < terms.size(); ++t) {
            require(given[t].size() == parameters.size() && given[t][i].key() == parameters[i].key(),
                    "[mix] expected modules of the same parameters, got ", mixed.name(), " and ",
                    terms[t].first->name());
            parts.emplace_back(&given[t][i].value(), terms[t].second);
        }
        parameters[i].value().copy_(mix_tensors(parts));
    }
}

/// What a copied module begins as: noise on every parameter that is not tied to one before, by its name in the layer.
inline void begin_module(torch::nn::Module& module, const layer_init& init, std::uint64_t seed, std::size_t slot) {
    if (init.kind != init_kind::noise) refuse_beginning(init);
    std::vector<const void*> seen;
    for (const auto& parameter : module.named_parameters()) {
        const void* place = place_of(parameter.value());
        if (std::find(seen.begin(), seen.end(), place) != seen.end()) continue;
        seen.push_back(place);
        add_tensor_noise(parameter.value(), init.sigma, begin_stream(seed, slot, parameter.key()));
    }
}

/// layer_traits of handles of modules; `Handle` is made from a shared_ptr to `Impl`.
template <class Handle, class Impl> struct module_layer_traits {
    static const Impl& module_of(const Handle& layer) {
        require(static_cast<bool>(layer), "[clone] expected a module, got an empty handle");
        return *layer;
    }
    static Handle handle_of(const std::shared_ptr<torch::nn::Module>& made) {
        auto typed = std::dynamic_pointer_cast<Impl>(made);
        require(typed != nullptr, "[grow] expected a clone() that has its original's type, got ", made->name());
        return Handle(std::move(typed));
    }
    static Handle clone(const Handle& layer) { return handle_of(clone_module(module_of(layer))); }
    static Handle mix(const std::vector<std::pair<const Handle*, double>>& terms) {
        module_terms modules;
        for (const auto& [layer, coefficient] : terms) modules.emplace_back(&module_of(*layer), coefficient);
        auto mixed = clone_module(*modules[main_term(modules)].first);
        mix_parameters(*mixed, modules);
        return handle_of(mixed);
    }
    static void begin(Handle& layer, const layer_init& init, std::uint64_t seed, std::size_t slot) {
        if constexpr (has_begin<Impl>::value) layer->begin(init, seed, slot);
        else begin_module(*layer, init, seed, slot);
    }
};

template <class Handle>
inline constexpr bool is_module_holder = std::is_base_of_v<torch::detail::ModuleHolderIndicator, Handle>;

}  // namespace detail

/// Modules behind shared_ptr: `clone` through the module's own clone(), `mix` parameter by parameter, `begin` through a
/// member begin(init, seed, slot) of the module, else noise.
template <class Module>
struct layer_traits<std::shared_ptr<Module>, std::enable_if_t<std::is_base_of_v<torch::nn::Module, Module>>>
    : detail::module_layer_traits<std::shared_ptr<Module>, Module> {};

/// Module holders (torch::nn::Linear, and what TORCH_MODULE makes).
template <class Holder>
struct layer_traits<Holder, std::enable_if_t<detail::is_module_holder<Holder>>>
    : detail::module_layer_traits<Holder, typename Holder::ContainedType> {};

/// A module of a Sequential, whose type is hidden.
template <> struct layer_traits<torch::nn::AnyModule> {
    static torch::nn::AnyModule clone(const torch::nn::AnyModule& layer) {
        const auto source = layer.ptr();
        auto copy = detail::clone_module(*source, [&] { return layer.clone(); });
        detail::finish_clone(*source, copy.ptr());
        return copy;
    }
    static torch::nn::AnyModule mix(const std::vector<std::pair<const torch::nn::AnyModule*, double>>& terms) {
        detail::module_terms modules;
        for (const auto& [layer, coefficient] : terms) modules.emplace_back(layer->ptr().get(), coefficient);
        auto mixed = clone(*terms[detail::main_term(terms)].first);
        detail::mix_parameters(*mixed.ptr(), modules);
        return mixed;
    }
    static void begin(torch::nn::AnyModule& layer, const layer_init& init, std::uint64_t seed, std::size_t slot) {
        detail::begin_module(*layer.ptr(), init, seed, slot);
    }
};

}  // namespace depthgrow
