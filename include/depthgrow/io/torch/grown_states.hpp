// Growth of torch's optimizer.state_dict() on disk: states follow their layers, parameters are numbered anew.
// Assumes a described family and param_names, or one group in named order, or Trainer's two; every shape is checked,
// and what cannot be proved is refused. Maths: sums as in growth/mixture.hpp, second moments by squared coefficients.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "depthgrow/growth/layer_init.hpp"
#include "depthgrow/growth/mixture.hpp"
#include "depthgrow/io/mixed_tensors.hpp"
#include "depthgrow/io/torch/named_order.hpp"
#include "depthgrow/io/torch/writer.hpp"
#include "depthgrow/io/torch_file.hpp"

namespace depthgrow {

/// A checked state dict: where the states of each parameter are.
class torch_states {
public:
    torch_states(const std::filesystem::path& path, const decoder_config& config) : file_(path), label_(path.string()) {
        const pickle& all = file_.values();
        const auto* state = all.find(all.whole(), "state");
        groups_ = all.find(all.whole(), "param_groups");
        require(state && state->kind == pickle_kind::dict && groups_ && groups_->kind == pickle_kind::list &&
                    !groups_->items.empty(),
                label_, ": expected an optimizer's state and param_groups, found something else");
        names_ = field(0, "param_names") ? given_names() : names_in_order(config);
        std::map<std::int64_t, const pickle_value*> by_number;
        for (std::size_t i = 0; i + 1 < state->items.size(); i += 2)
            by_number[all[state->items[i]].integer] = &all[state->items[i + 1]];
        std::map<std::string, model_tensor> tensors;
        for (auto& tensor : model_tensors(config)) tensors.emplace(tensor.name, tensor);
        std::int64_t number = 0;
        for (std::size_t group = 0; group < names_.size(); ++group) {
            const auto* params = field(group, "params");
            require(params && params->items.size() == names_[group].size(), label_, ": expected ", names_[group].size(),
                    " parameters in group ", group, ", found ", params ? params->items.size() : 0);
            for (std::size_t i = 0; i < params->items.size(); ++i, ++number) {
                const std::string& name = names_[group][i];
                const auto& param = all[params->items[i]];
                const auto found = by_number.find(number);
                require(param.kind == pickle_kind::integer && param.integer == number && found != by_number.end(),
                        label_, ": expected parameters numbered in order, each with its state, found another at ",
                        number);
                const auto tensor = tensors.find(name);
                require(tensor != tensors.end(), label_, ": expected param_names of the model's parameters, found ",
                        detail::quotable(name), " at ", number);
                require(of_.emplace(name, found->second).second, label_, ": expected each parameter once, found ", name,
                        " twice");
                check(*found->second, tensor->second);
            }
        }
        require(of_.size() == tensors.size(), label_, ": expected states of the model's ", tensors.size(),
                " parameters, found those of ", of_.size());
        require(of_.size() == by_number.size(), label_, ": expected states of ", of_.size(), " parameters, found ",
                by_number.size());
    }

    /// Writes the states of the grown model.
    void write(const std::filesystem::path& out, const mixture& rows, state_policy policy) const {
        const pickle& all = file_.values();
        const mixture squares = squared(rows);
        torch_pickle to;
        std::vector<std::vector<std::string>> grown;
        to.bytes += "}(";
        to.string("state");
        to.bytes += "}(";
        std::int64_t number = 0;
        for (const auto& names : names_) {
            grown.push_back(grown_names(names, rows));
            for (const std::string& name : grown.back()) {
                to.integer(number++);
                write_states(to, name, rows, squares, policy);
            }
        }
        to.op('u');
        to.string("param_groups");
        to.bytes += "](";
        number = 0;
        for (std::size_t group = 0; group < grown.size(); ++group) {
            write_group(to, all[groups_->items[group]], grown[group], number);
            number += static_cast<std::int64_t>(grown[group].size());
        }
        to.bytes += "eu";
        write_torch_file(out, to);
    }

private:
    using group_names = std::vector<std::vector<std::string>>;

    const pickle_value* field(std::size_t group, const char* name) const {
        return file_.values().find(file_.values()[groups_->items[group]], name);
    }

    /// Names as the file has them, in any order and any number of groups.
    group_names given_names() const {
        group_names out;
        for (std::size_t group = 0; group < groups_->items.size(); ++group) {
            const auto* names = field(group, "param_names");
            require(names && names->kind == pickle_kind::list, label_, ": expected param_names in every group");
            out.emplace_back();
            for (const auto item : names->items) out.back().push_back(file_.values()[item].text);
        }
        return out;
    }

    /// The order of named_parameters(), in one group or in Trainer's two.
    group_names names_in_order(const decoder_config& config) const {
        const std::size_t groups = groups_->items.size();
        require(groups <= 2, label_, ": expected one group of parameters, Trainer's two, or param_names, found ",
                groups, " groups");
        group_names out(groups);
        for (const auto& tensor : named_parameters(config, label_))
            out[groups == 2 && !is_decayed(tensor.name) ? 1 : 0].push_back(tensor.name);
        return out;
    }

    /// A group's names in the grown model: each layer's in the order of the layer that it comes from.
    static std::vector<std::string> grown_names(const std::vector<std::string>& names, const mixture& rows) {
        std::vector<std::string> before, after;
        std::map<std::size_t, std::vector<std::string>> parts;
        std::string stack;
        for (const std::string& name : names) {
            std::string prefix, part;
            std::size_t layer = 0;
            if (split_at_number(name, prefix, layer, part)) parts[layer].push_back(part), stack = prefix;
            else (parts.empty() ? before : after).push_back(name);
        }
        for (std::size_t slot = 0; slot < rows.size(); ++slot)
            for (const std::string& part : parts[rows.main_source(slot)])
                before.push_back(text(stack, slot, ".", part));
        before.insert(before.end(), after.begin(), after.end());
        return before;
    }

    /// A group's fields as they were, but for its parameters, numbered from `first`, and their names.
    void write_group(torch_pickle& to, const pickle_value& fields, const std::vector<std::string>& names,
                     std::int64_t first) const {
        const pickle& all = file_.values();
        to.bytes += "}(";
        for (std::size_t i = 0; i + 1 < fields.items.size(); i += 2) {
            const pickle_value& key = all[fields.items[i]];
            to.value(all, key, label_);
            const bool named = key.text == "param_names";
            if (!named && key.text != "params") {
                to.value(all, all[fields.items[i + 1]], label_);
                continue;
            }
            to.bytes += "](";
            for (std::size_t k = 0; k < names.size(); ++k)
                if (named) to.string(names[k]);
                else to.integer(first + static_cast<std::int64_t>(k));
            to.op('e');
        }
        to.op('u');
    }

    void check(const pickle_value& states, const model_tensor& tensor) const {
        const pickle& all = file_.values();
        require(states.kind == pickle_kind::dict, label_, ": expected a dict of states, found another value");
        for (std::size_t i = 0; i + 1 < states.items.size(); i += 2) {
            const pickle_value& value = all[states.items[i + 1]];
            if (value.kind != pickle_kind::tensor || value.shape.empty()) continue;
            require(value.shape == tensor.shape(), label_, ": expected state ", all[states.items[i]].text, " of ",
                    tensor.name, " of shape ", shape_text(tensor.shape()), ", found ", shape_text(value.shape));
            require(dtype_from_name(file_.type_name(value)).has_value(), label_,
                    ": expected states of floating-point numbers, found ", file_.type_name(value));
        }
    }

    void write_states(torch_pickle& to, const std::string& name, const mixture& rows, const mixture& squares,
                      state_policy policy) const {
        const pickle& all = file_.values();
        std::string prefix, part;
        std::size_t slot = 0;
        const bool inside = split_at_number(name, prefix, slot, part);
        const auto source = [&](std::size_t layer) { return of_.at(text(prefix, layer, ".", part)); };
        const pickle_value& main = inside ? *source(rows.main_source(slot)) : *of_.at(name);
        const bool reset =
            inside && (policy == state_policy::all || (policy == state_policy::zero && rows.is_new(slot)));
        to.bytes += "}(";
        for (std::size_t i = 0; i + 1 < main.items.size(); i += 2) {
            const std::string& key = all[main.items[i]].text;
            const pickle_value& value = all[main.items[i + 1]];
            to.string(key);
            if (value.kind != pickle_kind::tensor) {
                to.value(all, value, label_);
                continue;
            }
            std::vector<std::pair<const pickle_value*, double>> terms;
            if (inside && !value.shape.empty() && !rows.is_copy(slot))
                for (const mixture_term& term : (key.ends_with("_sq") ? squares : rows)[slot]) {
                    const auto* other = all.find(*source(term.source), key);
                    require(other && other->shape == value.shape && file_.type_name(*other) == file_.type_name(value),
                            label_, ": expected state ", key, " in every layer of a sum, found it missing or another");
                    terms.push_back({other, term.coefficient});
                }
            const bool zero = reset && !value.shape.empty();
            to.tensor(file_.type_name(value), value.shape, [this, &value, terms, zero] {
                return zero ? std::vector<char>(bytes(value)) : terms.empty() ? file_.read_bytes(value) : sum(terms);
            });
        }
        to.op('u');
    }
    std::size_t bytes(const pickle_value& value) const {
        std::size_t out = safetensors_element_size(file_.type_name(value));
        for (std::size_t extent : value.shape) out *= extent;
        return out;
    }
    std::vector<char> sum(const std::vector<std::pair<const pickle_value*, double>>& terms) const {
        std::vector<double> total;
        for (const auto& [value, coefficient] : terms) {
            const auto numbers = file_.read(*value);
            total.resize(numbers.size());
            for (std::size_t i = 0; i < numbers.size(); ++i) total[i] += coefficient * numbers[i];
        }
        std::vector<char> out(bytes(*terms.front().first));
        store_rounded(*dtype_from_name(file_.type_name(*terms.front().first)), total.data(), out.data(), total.size());
        return out;
    }

    torch_file file_;
    std::string label_;
    const pickle_value* groups_ = nullptr;
    group_names names_;  // of each group
    std::map<std::string, const pickle_value*> of_;
};

}  // namespace depthgrow
