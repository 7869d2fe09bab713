// Growth of torch's optimizer.state_dict() on disk: states follow their layers, parameters are numbered anew.
// Assumes a described family and one group in named order, or Trainer's two; every shape is checked, and what cannot be
// proved is refused. Maths: sums as in growth/mixture.hpp, second moments by squared coefficients.
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
    torch_states(const std::filesystem::path& path, const decoder_config& config)
        : file_(path), label_(path.string()), order_(named_parameters(config, label_)) {
        const pickle& all = file_.values();
        const auto* state = all.find(all.whole(), "state");
        groups_ = all.find(all.whole(), "param_groups");
        require(state && state->kind == pickle_kind::dict && groups_ && groups_->kind == pickle_kind::list, label_,
                ": expected an optimizer's state and param_groups, found something else");
        std::map<std::int64_t, const pickle_value*> by_number;
        for (std::size_t i = 0; i + 1 < state->items.size(); i += 2)
            by_number[all[state->items[i]].integer] = &all[state->items[i + 1]];
        const std::size_t groups = groups_->items.size();
        require(groups == 1 || groups == 2, label_, ": expected one group of parameters or Trainer's two, found ",
                groups);
        std::int64_t number = 0;
        for (std::size_t group = 0; group < groups; ++group) {
            std::vector<const model_tensor*> own;
            for (const auto& tensor : order_)
                if (groups == 1 || is_decayed(tensor.name) == (group == 0)) own.push_back(&tensor);
            const pickle_value& fields = all[groups_->items[group]];
            const auto* params = all.find(fields, "params");
            const auto* names = all.find(fields, "param_names");
            require(params && params->items.size() == own.size(), label_, ": expected ", own.size(),
                    " parameters in group ", group, ", found ", params ? params->items.size() : 0);
            require(!names || names->items.size() == own.size(), label_, ": expected as many param_names as params");
            for (std::size_t i = 0; i < own.size(); ++i, ++number) {
                const auto& param = all[params->items[i]];
                const auto found = by_number.find(number);
                require(param.kind == pickle_kind::integer && param.integer == number && found != by_number.end(),
                        label_, ": expected parameters numbered in order, each with its state, found another at ",
                        number);
                require(!names || all[names->items[i]].text == own[i]->name, label_, ": expected param_names ",
                        own[i]->name, " at ", number, ", found another");
                check(*found->second, *own[i]);
                of_[own[i]->name] = found->second;
            }
        }
        require(static_cast<std::size_t>(number) == by_number.size(), label_, ": expected states of ", number,
                " parameters, found ", by_number.size());
    }

    /// Writes the states of the grown model.
    void write(const std::filesystem::path& out, const decoder_config& grown, const mixture& rows,
               state_policy policy) const {
        const pickle& all = file_.values();
        const mixture squares = squared(rows);
        const auto order = named_parameters(grown, label_);
        torch_pickle to;
        std::vector<std::pair<std::int64_t, std::vector<std::string>>> groups;  // first number, names
        to.bytes += "}(";
        to.string("state");
        to.bytes += "}(";
        std::int64_t number = 0;
        for (std::size_t group = 0; group < groups_->items.size(); ++group) {
            groups.push_back({number, {}});
            for (const auto& tensor : order) {
                if (groups_->items.size() == 2 && is_decayed(tensor.name) != (group == 0)) continue;
                groups.back().second.push_back(tensor.name);
                to.integer(number++);
                write_states(to, tensor, rows, squares, policy);
            }
        }
        to.op('u');
        to.string("param_groups");
        to.bytes += "](";
        for (std::size_t group = 0; group < groups.size(); ++group) {
            const auto& fields = all[groups_->items[group]];
            to.bytes += "}(";
            for (std::size_t i = 0; i + 1 < fields.items.size(); i += 2) {
                const pickle_value& key = all[fields.items[i]];
                to.value(all, key, label_);
                const auto& [first, names] = groups[group];
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
        to.bytes += "eu";
        write_torch_file(out, to);
    }

private:
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

    void write_states(torch_pickle& to, const model_tensor& tensor, const mixture& rows, const mixture& squares,
                      state_policy policy) const {
        const pickle& all = file_.values();
        std::string prefix, part;
        std::size_t slot = 0;
        const bool inside = split_at_number(tensor.name, prefix, slot, part);
        const auto source = [&](std::size_t layer) { return of_.at(text(prefix, layer, ".", part)); };
        const pickle_value& main = inside ? *source(rows.main_source(slot)) : *of_.at(tensor.name);
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
    std::vector<model_tensor> order_;
    const pickle_value* groups_ = nullptr;
    std::map<std::string, const pickle_value*> of_;
};

}  // namespace depthgrow
