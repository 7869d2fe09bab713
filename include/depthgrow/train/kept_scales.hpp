// The scales of a backend that keeps some from step to step, as a run's file holds them, so that it goes on with them.
// Assumes that every rank calls at the same step: scales follow the rows that a rank sees, so each rank has its own.
// trainer_state.json, fp8_scales: a list a rank of {block, offset, use, numbers}; block 0 are the outer tensors, 1 + l
// is layer l; offset: of the weight in its block; use, numbers: the backend's (backend/cuda/fp8_scalings.hpp).
#pragma once

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "depthgrow/backend/capabilities.hpp"
#include "depthgrow/io/growth_record.hpp"
#include "depthgrow/train/trainer.hpp"

namespace depthgrow {

namespace detail {

/// Scales by the places of their weights, numbers in a row: block, offset, use, how many numbers, these. Those of
/// weights that are not the model's are left out.
template <class T, class Backend>
std::vector<double> scales_in_a_row(const std::vector<scale_state>& scales, const parameter_set<T, Backend>& weights) {
    std::vector<double> out;
    const auto add = [&](auto number) { out.push_back(static_cast<double>(number)); };
    for (const scale_state& one : scales)
        for (std::size_t b = 0; b <= weights.layers.size(); ++b) {
            const auto block = block_of(weights, b).flat();
            const T* weight = static_cast<const T*>(one.weight);
            if (std::less<>()(weight, block.data()) || !std::less<>()(weight, block.data() + block.size())) continue;
            add(b), add(weight - block.data());
            for (const std::size_t number : one.use) add(number);
            add(one.numbers.size());
            for (const float number : one.numbers) add(number);
        }
    return out;
}
inline json scales_list(span<const double> row) {
    json out = json::array();
    const auto count = [&](std::size_t i) { return static_cast<std::size_t>(row[i]); };
    for (std::size_t i = 0; i < row.size(); i += 6 + count(i + 5)) {
        const auto numbers = row.subspan(i + 6, count(i + 5));
        out.push_back({{"block", count(i)},
                       {"offset", count(i + 1)},
                       {"use", {count(i + 2), count(i + 3), count(i + 4)}},
                       {"numbers", std::vector<double>(numbers.begin(), numbers.end())}});
    }
    return out;
}
template <class T, class Backend>
scale_state scale_of(const json& entry, const parameter_set<T, Backend>& weights, const std::string& label) {
    const json_fields fields(entry, label);
    const auto block = fields.count("block"), offset = fields.count("offset");
    require(block <= weights.layers.size(), label, ": expected blocks below ", weights.layers.size() + 1, ", found ",
            block);
    const auto numbers = block_of(weights, block).flat();
    require(offset < numbers.size(), label, ": expected offsets below ", numbers.size(), " in block ", block,
            ", found ", offset);
    const auto use = fields.indices("use");
    scale_state out{numbers.data() + offset, {}, {}};
    require(use.size() == out.use.size(), label, ": expected use to hold ", out.use.size(), " integers, found ",
            use.size());
    std::copy(use.begin(), use.end(), out.use.begin());
    const json* list = fields.find("numbers");
    require(list && list->is_array(), label, ": expected numbers to be a list of numbers, found ", describe(list));
    for (const json& number : *list) {
        require(number.is_number() || number.is_null(), label, ": expected numbers to hold numbers, found ",
                describe(&number));
        out.numbers.push_back(number.is_null() ? std::numeric_limits<float>::infinity()  // JSON has none
                                               : number.get<float>());
    }
    return out;
}

}  // namespace detail

/// The scales of all ranks, a list each, on every rank; null where there are none.
template <class T, class Backend, class Optimizer> json scales_of(trainer<T, Backend, Optimizer>& run) {
    json out;
    if constexpr (keeps_scales<Backend>) {
        communicator& comm = run.ranks();
        std::vector<double> own;
        together(comm, [&] { own = detail::scales_in_a_row(run.model.backend().scales(), run.model.weights); });
        std::vector<double> sizes(comm.size());
        sizes[comm.rank()] = static_cast<double>(own.size());
        comm.sum(sizes);
        const auto own_begin = sizes.begin() + static_cast<std::ptrdiff_t>(comm.rank());
        std::vector<double> all(static_cast<std::size_t>(std::accumulate(sizes.begin(), sizes.end(), 0.0)));
        if (all.empty()) return out;
        std::copy(own.begin(), own.end(),
                  all.begin() + static_cast<std::ptrdiff_t>(std::accumulate(sizes.begin(), own_begin, 0.0)));
        comm.sum(all);  // every rank's numbers and zeros of the others
        span<const double> rest(all);
        for (const double size : sizes) {
            const auto count = static_cast<std::size_t>(size);
            out.push_back(detail::scales_list(rest.subspan(0, count)));
            rest = rest.subspan(count, rest.size() - count);
        }
    }
    return out;
}

/// Lets a backend go on from the scales in a run's `state` (trainer_state.json, named `label` in errors), once the
/// trainer has the run's depth; of another number of ranks, rank r takes list r modulo theirs. None: scales begin anew.
template <class T, class Backend, class Optimizer>
void restore_scales(const json& state, const std::string& label, trainer<T, Backend, Optimizer>& run) {
    if constexpr (keeps_scales<Backend>) {
        const json* lists = json_fields(state, label).find(fp8_scales_field);
        if (!lists) return;
        const std::string where = label + ", " + fp8_scales_field;
        together(run.ranks(), [&] {
            require(lists->is_array() && !lists->empty(), where, ": expected a list a rank, found ", describe(lists));
            const json& own = (*lists)[run.ranks().rank() % lists->size()];
            require(own.is_array(), where, ": expected a list of scales, found ", describe(&own));
            std::vector<scale_state> scales;
            for (const json& entry : own) scales.push_back(detail::scale_of(entry, run.model.weights, where));
            run.model.backend().restore_scales(scales);
        });
    }
}

}  // namespace depthgrow
