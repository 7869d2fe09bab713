// The order in which a model of transformers names its parameters, by which torch's optimisers number their states.
// Assumes a family of io/families; the order is that of its modules and not that of a safetensors file. Others have
// none. Source: named_parameters() of transformers 5.24, of every family, and Trainer's groups: decay, then norms and
// biases.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/io/families/table.hpp"
#include "depthgrow/io/layer_stack.hpp"

namespace depthgrow {

namespace detail {

/// Modules of a layer, family by family as transformers makes them; a name is in one family's order or in several.
inline constexpr std::string_view named_order_modules[] = {
    // Llama, Mistral, Qwen, OLMo 2, SmolLM 3, Gemma 3
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "self_attn.q_norm",
    "self_attn.k_norm", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
    // GPT-2; GPT-NeoX has its norms first
    "ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj", "input_layernorm",
    "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm", "attention.query_key_value",
    "attention.dense", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h"};
inline constexpr std::string_view named_order_before[] = {"embed_tokens", "wte", "wpe", "embed_in"};
inline constexpr std::string_view named_order_behind[] = {"norm", "ln_f", "final_layer_norm", "lm_head", "embed_out"};

/// Place of a module in a table, or the table's size.
template <std::size_t N> std::size_t place_of(const std::string_view (&table)[N], std::string_view module) {
    return static_cast<std::size_t>(std::find(std::begin(table), std::end(table), module) - std::begin(table));
}

}  // namespace detail

/// The tensors of a described model in the order of named_parameters(); `label` begins the refusal.
inline std::vector<model_tensor> named_parameters(const decoder_config& config, const std::string& label) {
    using key = std::tuple<int, std::size_t, std::size_t, bool>;
    std::vector<std::pair<key, model_tensor>> order;
    for (auto& tensor : model_tensors(config)) {
        const std::string_view name = tensor.name;
        const bool bias = name.ends_with(".bias");
        std::string prefix, part;
        std::size_t layer = 0, place = 0;
        int where = 1;
        bool known = name.ends_with(".weight") || bias;
        if (split_at_number(name, prefix, layer, part)) {
            place = detail::place_of(detail::named_order_modules, part.substr(0, part.rfind('.')));
            known = known && place < std::size(detail::named_order_modules);
        } else {
            std::string_view module = name.substr(0, name.rfind('.'));
            module.remove_prefix(module.rfind('.') + 1);  // npos + 1 is 0
            place = detail::place_of(detail::named_order_before, module), where = 0, layer = 0;
            if (place == std::size(detail::named_order_before)) {
                place = detail::place_of(detail::named_order_behind, module), where = 2;
                known = known && place < std::size(detail::named_order_behind);
            }
        }
        require(known, label, ": expected parameters whose order is known, found ", detail::quotable(tensor.name),
                "; save the optimizer with param_names");
        order.emplace_back(key{where, layer, place, bias}, std::move(tensor));
    }
    std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    std::vector<model_tensor> out;
    for (auto& [unused, tensor] : order) out.push_back(std::move(tensor));
    return out;
}

/// Whether transformers' Trainer decays a parameter: neither biases nor norms.
inline bool is_decayed(std::string_view name) {
    const std::string_view module = name.substr(0, name.rfind('.'));
    const bool norm =
        module.ends_with("norm") || module.ends_with("ln_1") || module.ends_with("ln_2") || module.ends_with("ln_f");
    return !name.ends_with(".bias") && !norm;
}

}  // namespace depthgrow
