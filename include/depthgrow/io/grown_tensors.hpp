// The tensors of a grown file: their names by slot, where each one's numbers come from, which of them are sums.
// Assumes a stack of layers PREFIX.N.REST; optimizer states have a word before the prefix, as exp_avg.PREFIX.N.REST.
// Source: slots and rows as in growth/mixture.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "depthgrow/growth/mixture.hpp"
#include "depthgrow/io/hf_directory.hpp"
#include "depthgrow/io/layer_stack.hpp"
#include "depthgrow/io/mixed_tensors.hpp"
#include "depthgrow/io/safetensors.hpp"

namespace depthgrow {

namespace detail {

/// A tensor of the grown file and where its numbers come from.
struct grown_tensor {
    std::string name, source;  // of a sum, the source that counts most
    std::string before, part;  // in a layer: what stands before the prefix, and the name within the layer
    std::optional<std::size_t> slot;
};

/// How a model names what stands outside its layers: the end of the embedding's name, and a head that is left out.
struct outer_names {
    std::string embedding = "embed_tokens.weight", head;
};

/// The tensors of a grown file: embedding, layers by slot, the rest by name.
inline std::vector<grown_tensor> grow_names(const std::vector<std::string>& names, const layer_stack& stack,
                                            const mixture& rows, const outer_names& outer, const std::string& label) {
    std::map<std::size_t, std::vector<std::pair<std::string, std::string>>> layers;  // layer -> (before, part)
    std::vector<grown_tensor> first, rest;
    std::string before, part;
    std::size_t layer = 0;
    for (const auto& name : names) {
        if (split_in_stack(name, stack.prefix, before, layer, part)) {
            require(layer < stack.layers, label, ": expected ", stack.layers, " layers, found a tensor ",
                    quotable(name));
            layers[layer].emplace_back(before, part);
        } else if (name.ends_with(outer.embedding)) {
            first.push_back({name, name, "", "", {}});
        } else if (name != outer.head) {
            rest.push_back({name, name, "", "", {}});
        }
    }
    for (std::size_t slot = 0; slot < rows.size(); ++slot)
        for (const auto& [pre, rear] : layers[rows.main_source(slot)]) {
            const auto source = text(pre, stack.prefix, rows.main_source(slot), ".", rear);
            first.push_back({text(pre, stack.prefix, slot, ".", rear), source, pre, rear, slot});
        }
    first.insert(first.end(), rest.begin(), rest.end());
    return first;
}

/// Files of a growth, weights or moments: where they are read and by which rows they grow.
struct growth_source {
    const std::function<const safetensors_file&(const std::string&)> file_of;
    const layer_stack& stack;

    const tensor_info& find(const std::string& name) const { return file_of(name).find(name); }
    std::string name_of(const grown_tensor& tensor, std::size_t layer) const {
        return text(tensor.before, stack.prefix, layer, ".", tensor.part);
    }
    std::uint64_t bytes(const std::vector<grown_tensor>& tensors) const {
        std::uint64_t sum = 0;
        for (const auto& tensor : tensors) sum += find(tensor.source).bytes();
        return sum;
    }
    std::vector<tensor_entry> entries(const std::vector<grown_tensor>& tensors) const {
        std::vector<tensor_entry> out;
        for (const auto& tensor : tensors) {
            const tensor_info& info = find(tensor.source);
            out.push_back({tensor.name, info.type_name, info.shape});
        }
        return out;
    }
    /// Whether a tensor is computed as a sum; refuses one whose parts differ in shape or dtype, or are no numbers.
    bool is_sum(const grown_tensor& tensor, const mixture& rows) const {
        if (!tensor.slot || rows.is_copy(*tensor.slot)) return false;
        const tensor_info& main = find(tensor.source);
        if (is_buffer(tensor.part, main)) return false;
        require_numbers(tensor.source);
        for (const mixture_term& term : rows[*tensor.slot]) {
            const tensor_info& other = find(name_of(tensor, term.source));
            require(other.type_name == main.type_name && other.shape == main.shape,
                    file_of(tensor.source).path().string(), ": expected ", main.type_name, " ", shape_text(main.shape),
                    " for tensor ", quotable(name_of(tensor, term.source)), ", to add it to ", quotable(tensor.source),
                    ", found ", other.type_name, " ", shape_text(other.shape));
        }
        return true;
    }
    void require_numbers(const std::string& name) const {
        const tensor_info& info = find(name);
        require(info.number_type().has_value(), file_of(name).path().string(), ": expected tensor ", quotable(name),
                " to hold floating-point numbers to compute with, found ", info.type_name);
    }
    std::vector<tensor_term> terms(const grown_tensor& tensor, const mixture_row& row) const {
        std::vector<tensor_term> out;
        for (const mixture_term& term : row) {
            const std::string name = name_of(tensor, term.source);
            out.push_back({&file_of(name), name, term.coefficient});
        }
        return out;
    }
};

/// Second moments are exp_avg_sq.*, max_exp_avg_sq.*: they grow by squared coefficients.
inline bool is_second_moment(const grown_tensor& tensor) { return tensor.before.find("_sq.") != std::string::npos; }

}  // namespace detail

}  // namespace depthgrow
