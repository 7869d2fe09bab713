// Which tensors of a checkpoint are its layers, found from names alone: PREFIX.N.REST, as model.layers.3.mlp.bias.
// Assumes that N is the first number between dots, counts from 0 without gaps, and that every layer has the same RESTs.
// Source: the naming habit of huggingface/transformers; no family is named here.
#pragma once

#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/io/text_file.hpp"

namespace depthgrow {

/// Tensors that belong together by their names.
struct layer_stack {
    std::string prefix;      ///< with its dot: "model.layers."
    std::size_t layers = 0;  ///< distinct numbers after the prefix
    std::string fault;       ///< why these are no layers, "" when they are
};

namespace detail {

/// Reads the number at the start of `rest` and the dot behind it; false when there is none.
inline bool take_number(std::string_view& rest, std::size_t& number) {
    const std::size_t dot = rest.find('.');
    if (dot == rest.npos || dot == 0 || dot > 9 || rest.substr(0, dot).find_first_not_of("0123456789") != rest.npos ||
        (dot > 1 && rest[0] == '0'))
        return false;
    number = 0;
    for (char digit : rest.substr(0, dot)) number = 10 * number + static_cast<std::size_t>(digit - '0');
    rest.remove_prefix(dot + 1);
    return true;
}

}  // namespace detail

/// Splits "model.layers.3.mlp.bias" into "model.layers.", 3 and "mlp.bias", at its first number.
inline bool split_at_number(std::string_view name, std::string& prefix, std::size_t& number, std::string& part) {
    for (std::size_t dot = name.find('.'); dot != name.npos; dot = name.find('.', dot + 1)) {
        std::string_view rest = name.substr(dot + 1);
        if (!detail::take_number(rest, number)) continue;
        prefix = name.substr(0, dot + 1);
        part = rest;
        return true;
    }
    return false;
}

/// Splits a name of a known stack, which may have something before the prefix ("exp_avg.model.layers.3.mlp.bias").
inline bool split_in_stack(std::string_view name, std::string_view prefix, std::string& before, std::size_t& number,
                           std::string& part) {
    const std::size_t at = name.find(prefix);
    if (at == name.npos || (at > 0 && name[at - 1] != '.')) return false;
    std::string_view rest = name.substr(at + prefix.size());
    if (!detail::take_number(rest, number)) return false;
    before = name.substr(0, at);
    part = rest;
    return true;
}

/// Every group of numbered tensors, by prefix.
inline std::vector<layer_stack> find_stacks(const std::vector<std::string>& names) {
    std::map<std::string, std::map<std::size_t, std::set<std::string>>> groups;
    std::string prefix, part;
    std::size_t number = 0;
    for (const std::string& name : names)
        if (split_at_number(name, prefix, number, part)) groups[prefix][number].insert(part);
    std::vector<layer_stack> stacks;
    for (const auto& [where, layers] : groups) {
        layer_stack stack{where, layers.size(), ""};
        std::size_t due = 0;
        const auto& first = layers.begin()->second;
        for (const auto& [layer, parts] : layers) {
            if (!stack.fault.empty()) break;
            if (layer != due++) stack.fault = text("layer ", due - 1, " is missing");
            for (const auto& [mine, other] : {std::pair(&parts, &first), std::pair(&first, &parts)})
                for (const std::string& each : *mine)
                    if (stack.fault.empty() && other->count(each) == 0)
                        stack.fault = text(detail::quotable(each), " is not in every layer");
        }
        stacks.push_back(std::move(stack));
    }
    return stacks;
}

/// The layers of a model that the configuration says has `depth` of them. `wanted` ("model.layers") chooses one of
/// several stacks; without it a second one is refused by name, and so are tensors that are no regular layers.
inline layer_stack choose_stack(const std::vector<std::string>& names, std::size_t depth, const std::string& wanted,
                                const std::string& label) {
    const std::string prefix = wanted.empty() || wanted.back() == '.' ? wanted : wanted + ".";
    std::vector<layer_stack> whole, broken;
    for (layer_stack& stack : find_stacks(names)) {
        if (!prefix.empty() && stack.prefix != prefix) continue;
        if (stack.layers == 1 && depth != 1) continue;  // a list of one, such as the only part of a head
        (stack.fault.empty() ? whole : broken).push_back(std::move(stack));
    }
    std::string all;
    for (const layer_stack& stack : whole) all += text(all.empty() ? "" : ", ", stack.prefix, " (", stack.layers, ")");
    if (whole.empty()) {
        for (const layer_stack& stack : broken)
            if (stack.layers == depth || !prefix.empty())
                fail(label, ": expected ", stack.prefix, "N to be layers with the same tensors, found that ",
                     stack.fault);
        fail(label, ": expected layers with names like ", prefix.empty() ? "model.layers." : prefix,
             "N.mlp.weight, N from 0 up, found none");
    }
    require(whole.size() == 1, label, ": expected one stack of layers, or --layers-prefix to choose one, found ", all);
    require(whole[0].layers == depth, label, ": expected ", depth, " layers, as config.json says, found ", all);
    return whole[0];
}

}  // namespace depthgrow
