// The families that the library computes, and a model's tensors as its family stores them.
// Assumes that config.json's model_type names the family.
// Order of tensors: embeddings, final norm, head, then the layers.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "depthgrow/io/families/gemma3.hpp"
#include "depthgrow/io/families/gpt2.hpp"
#include "depthgrow/io/families/gpt_neox.hpp"
#include "depthgrow/io/families/llama.hpp"
#include "depthgrow/io/families/olmo2.hpp"
#include "depthgrow/io/families/qwen.hpp"
#include "depthgrow/io/families/smollm3.hpp"

namespace depthgrow {

/// All families, by model_type.
inline const std::vector<family>& known_families() {
    static const std::vector<family> table = {families::llama(),  families::mistral(), families::qwen2(),
                                              families::qwen3(),  families::olmo2(),   families::smollm3(),
                                              families::gemma3(), families::gpt2(),    families::gpt_neox()};
    return table;
}
/// The family of a model_type; null when the library does not know it.
inline const family* find_family(std::string_view model_type) {
    for (const family& one : known_families())
        if (one.model_type == model_type) return &one;
    return nullptr;
}
inline const family& family_of(const decoder_config& c) {
    const family* found = find_family(c.family);
    require(found != nullptr, "[families] expected a known family, got ", c.family);
    return *found;
}
/// "llama, mistral, …" for errors and help.
inline std::string family_names() {
    std::string out;
    for (const family& one : known_families()) out += (out.empty() ? "" : ", ") + one.model_type;
    return out;
}

/// One tensor of a model's files and the run of memory that it holds.
struct model_tensor {
    std::string name;
    std::size_t block = 0;            // 0: outside the layers; 1 + l: layer l
    tensor_place place;               // of all its parts together: rows x cols in memory
    std::vector<tensor_place> parts;  // each of them
    stored_as how = stored_as::rows;
    std::size_t head_width = 0;

    /// Extents on disk.
    std::vector<std::size_t> shape() const {
        if (place.vector()) return {place.size()};
        if (how == stored_as::transposed) return {place.cols, place.rows};
        return {place.rows, place.cols};
    }
    /// Whether numbers lie on disk as they do in memory.
    bool plain() const { return how == stored_as::rows; }
};

namespace detail {

inline model_tensor tensor_of(const decoder_config& c, const block_layout& layout, const stored_parts& stored,
                              std::string name, std::size_t block) {
    model_tensor out{std::move(name), block, layout.at(stored.first), {}, stored.how, c.head_width()};
    const tensor_place& last = layout.at(stored.last);
    bool inside = false;
    for (const auto& place : layout.places) {
        inside = inside || place.which == stored.first;
        if (inside) out.parts.push_back(place);
        if (place.which == stored.last) break;
    }
    const std::size_t count = last.offset + last.size() - out.place.offset;
    if (out.place.vector()) out.place.cols = count;
    else out.place.rows = count / out.place.cols;
    return out;
}
/// Moves numbers between memory (rows x cols) and disk; `to_disk` says which way.
template <class T> std::vector<T> rearranged(const model_tensor& tensor, const std::vector<T>& from, bool to_disk) {
    std::vector<T> out(from.size());
    const std::size_t cols = tensor.place.vector() ? 1 : tensor.place.cols,
                      rows = from.size() / std::max<std::size_t>(cols, 1);
    if (tensor.how == stored_as::transposed) {
        for (std::size_t r = 0; r < rows; ++r)
            for (std::size_t c = 0; c < cols; ++c)
                (to_disk ? out[c * rows + r] : out[r * cols + c]) = to_disk ? from[r * cols + c] : from[c * rows + r];
        return out;
    }
    std::size_t first = 0;  // in memory: part after part; on disk: head after head, parts within
    const auto rows_of = [&](std::size_t p) {
        return tensor.parts[p].vector() ? tensor.parts[p].cols : tensor.parts[p].rows;
    };
    for (std::size_t p = 0; p < tensor.parts.size(); first += rows_of(p), ++p)
        for (std::size_t r = 0; r < rows_of(p); ++r) {
            const std::size_t head = r / tensor.head_width, channel = r % tensor.head_width;
            const std::size_t memory = (first + r) * cols,
                              disk = ((head * tensor.parts.size() + p) * tensor.head_width + channel) * cols;
            std::copy_n(from.begin() + static_cast<std::ptrdiff_t>(to_disk ? memory : disk), cols,
                        out.begin() + static_cast<std::ptrdiff_t>(to_disk ? disk : memory));
        }
    return out;
}

}  // namespace detail

/// Every tensor of a model's files, outer ones first.
inline std::vector<model_tensor> model_tensors(const decoder_config& c) {
    const family& own = family_of(c);
    const block_layout outer = outer_layout(c), layer = layer_layout(c);
    std::vector<model_tensor> out;
    for (const auto& stored : own.outer)
        if (outer.contains(stored.first)) out.push_back(detail::tensor_of(c, outer, stored, own.base + stored.name, 0));
    if (!c.tied)
        out.push_back(detail::tensor_of(c, outer, {own.head, part::head, part::head, stored_as::rows}, own.head, 0));
    for (std::size_t l = 0; l < c.layers; ++l)
        for (const auto& stored : own.layer)
            if (layer.contains(stored.first))
                out.push_back(detail::tensor_of(c, layer, stored, own.layer_tensor(l, stored.name), 1 + l));
    return out;
}
/// Splits "model.layers.3.mlp.up_proj.weight" into 3 and "mlp.up_proj.weight"; false for names outside the layers.
/// The base prefix may be missing.
inline bool split_layer_name(const family& own, std::string_view name, std::size_t& layer, std::string& rest) {
    if (name.substr(0, own.base.size()) == own.base) name.remove_prefix(own.base.size());
    if (name.substr(0, own.layers.size()) != own.layers) return false;
    name.remove_prefix(own.layers.size());
    const auto dot = name.find('.');
    if (dot == name.npos || dot == 0 || dot > 9 || name.substr(0, dot).find_first_not_of("0123456789") != name.npos)
        return false;
    layer = static_cast<std::size_t>(std::stoul(std::string(name.substr(0, dot))));
    rest = std::string(name.substr(dot + 1));
    return true;
}
/// A tensor of layer 0 by its name within the layer; nothing when the model has none of that name.
inline std::optional<model_tensor> tensor_in_layer(const decoder_config& c, std::string_view name_in_layer) {
    const block_layout layer = layer_layout(c);
    for (const auto& stored : family_of(c).layer)
        if (stored.name == name_in_layer && layer.contains(stored.first))
            return detail::tensor_of(c, layer, stored, stored.name, 1);
    return {};
}

}  // namespace depthgrow
