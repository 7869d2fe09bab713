// Growth operators, each a depth -> layer order (or mixture), their table, and interventions.
// Assumes C++17; no layer is touched here: `grow` makes layers by an order or mixture, an executor runs by an order.
// Maths: Kapl et al. 2025 section 3.1, eq. 1-2; Saunshi et al. 2024; Gong et al. 2019 (doubling); Kim et al. 2023;
// Yang et al. 2024 (LaCo, arXiv 2402.11187), whose layer collapse is theta_l + sum over k of (theta_{l+k} - theta_l).
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/growth/layer_order.hpp"
#include "depthgrow/growth/mixture.hpp"

namespace depthgrow {

namespace detail {

inline void append_range(std::vector<std::size_t>& sources, std::size_t first, std::size_t last) {
    for (std::size_t layer = first; layer < last; ++layer) sources.push_back(layer);
}

/// [0, end) then a second copy of [first, end) then [end, depth).
inline layer_order repeat_window(std::size_t depth, std::size_t first, std::size_t end) {
    std::vector<std::size_t> sources;
    append_range(sources, 0, end);
    append_range(sources, first, end);
    append_range(sources, end, depth);
    return {std::move(sources), depth};
}

inline void require_block(std::string_view name, std::size_t depth, std::size_t block) {
    require(block > 0, "[", name, "] expected a block of at least 1 layer, got 0");
    require(depth >= block, "[", name, "] expected a depth of at least ", block, " (one block), got ", depth);
}

inline void require_layers(std::string_view name, std::size_t depth) {
    require(depth > 0, "[", name, "] expected a depth of at least 1, got 0");
}

inline void require_window(std::string_view name, std::size_t depth, std::size_t start, std::size_t length) {
    require(length > 0, "[", name, "] expected a length of at least 1, got 0");
    require(start <= depth && length <= depth - start, "[", name, "] expected layers [", start, ", ", start, " + ",
            length, ") inside a depth of ", depth, ", got a range that ends outside it");
}

}  // namespace detail

/// What an operator that is chosen by name may be asked for; each reads its own.
struct operator_parameters {
    std::size_t block = 4;   ///< layers of a block; dropped layers for SOLAR
    std::size_t start = 0;   ///< first layer of a range
    std::size_t length = 1;  ///< layers of a range
};

/// MIDAS: the middle block (the lower one of two), copied right after itself. Depth must be whole blocks.
struct midas {
    std::size_t block = 4;
    static constexpr std::string_view name = "midas", reads = "block";
    static constexpr std::string_view help = "the middle block, copied right after itself";
    static midas from(const operator_parameters& given) { return {given.block}; }

    layer_order operator()(std::size_t depth) const {
        detail::require_block("midas", depth, block);
        require(depth % block == 0, "[midas] expected a depth that is a multiple of the block ", block, ", got ",
                depth);
        const std::size_t blocks = depth / block, middle = (blocks + 1) / 2 - 1;
        return detail::repeat_window(depth, middle * block, (middle + 1) * block);
    }
};

/// LIDAS: the middle `block` layers [ceil(L/2) - ceil(b/2), ceil(L/2) + floor(b/2)), copied right after their end.
/// Any depth of at least one block; equals MIDAS for an odd number of blocks.
struct lidas {
    std::size_t block = 4;
    static constexpr std::string_view name = "lidas", reads = "block";
    static constexpr std::string_view help = "the middle layers, copied right after themselves";
    static lidas from(const operator_parameters& given) { return {given.block}; }

    layer_order operator()(std::size_t depth) const {
        detail::require_block("lidas", depth, block);
        const std::size_t middle = (depth + 1) / 2;
        return detail::repeat_window(depth, middle - (block + 1) / 2, middle + block / 2);
    }
};

/// Gradual stacking: the last block, copied on top.
struct gradual {
    std::size_t block = 4;
    static constexpr std::string_view name = "gradual", reads = "block";
    static constexpr std::string_view help = "the last block, copied on top";
    static gradual from(const operator_parameters& given) { return {given.block}; }

    layer_order operator()(std::size_t depth) const {
        detail::require_block("gradual", depth, block);
        return detail::repeat_window(depth, depth - block, depth);
    }
};

/// Progressive stacking: the whole stack twice, 0 … L-1 0 … L-1.
struct doubling {
    static constexpr std::string_view name = "doubling", reads = "";
    static constexpr std::string_view help = "the whole stack twice";
    static doubling from(const operator_parameters&) { return {}; }

    layer_order operator()(std::size_t depth) const {
        detail::require_layers("doubling", depth);
        return detail::repeat_window(depth, 0, depth);
    }
};

/// Every layer followed by its copy, 0 0 1 1 ….
struct interleave {
    static constexpr std::string_view name = "interleave", reads = "";
    static constexpr std::string_view help = "every layer followed by its copy";
    static interleave from(const operator_parameters&) { return {}; }

    layer_order operator()(std::size_t depth) const {
        detail::require_layers("interleave", depth);
        std::vector<std::size_t> sources;
        for (std::size_t layer = 0; layer < depth; ++layer) sources.insert(sources.end(), 2, layer);
        return {std::move(sources), depth};
    }
};

/// SOLAR depth up-scaling: two copies, without the last `dropped` layers of the first and the first of the second.
struct solar {
    std::size_t dropped = 8;
    static constexpr std::string_view name = "solar", reads = "block";
    static constexpr std::string_view help = "two copies, without `block` layers on either side of the seam";
    static solar from(const operator_parameters& given) { return {given.block}; }

    layer_order operator()(std::size_t depth) const {
        detail::require_layers("solar", depth);
        require(depth > dropped, "[solar] expected a depth above the ", dropped, " dropped layers, got ", depth);
        std::vector<std::size_t> sources;
        detail::append_range(sources, 0, depth - dropped);
        detail::append_range(sources, dropped, depth);
        return {std::move(sources), depth};
    }
};

/// LaCo's layer collapse: layers (start, start + length] merged into layer `start` and removed, so that the stack is
/// `length` layers shallower. One growth by `loop(depth, start, 1, length)` is what it undoes.
struct collapse {
    std::size_t start = 0, length = 1;
    static constexpr std::string_view name = "collapse", reads = "start, length";
    static constexpr std::string_view help = "the layers after layer `start`, `length` of them, merged into it (LaCo)";
    static collapse from(const operator_parameters& given) { return {given.start, given.length}; }

    mixture operator()(std::size_t depth) const {
        require(length > 0, "[collapse] expected a length of at least 1, got 0");
        require(start < depth && length < depth - start, "[collapse] expected a layer ", start, " with ", length,
                " layers after it in a depth of ", depth, ", got fewer");
        std::vector<mixture_row> rows;
        for (std::size_t layer = 0; layer < depth; ++layer) {
            if (layer <= start || layer > start + length) rows.push_back({{layer, 1}});
            if (layer == start) rows.back()[0].coefficient -= static_cast<double>(length);
            if (layer > start && layer <= start + length) rows[start].push_back({layer, 1});
        }
        return {std::move(rows), depth};
    }
};

/// The stack without layers [start, start + length).
inline layer_order skip(std::size_t depth, std::size_t start, std::size_t length) {
    detail::require_window("skip", depth, start, length);
    std::vector<std::size_t> sources;
    detail::append_range(sources, 0, start);
    detail::append_range(sources, start + length, depth);
    return {std::move(sources), depth};
}

/// Adjacent blocks [start, start + length) and [start + length, start + 2 length) exchanged, order inside kept.
inline layer_order swap_blocks(std::size_t depth, std::size_t start, std::size_t length) {
    detail::require_window("swap_blocks", depth, start, length);
    detail::require_window("swap_blocks", depth, start + length, length);
    std::vector<std::size_t> sources;
    detail::append_range(sources, 0, start);
    detail::append_range(sources, start + length, start + 2 * length);
    detail::append_range(sources, start, start + length);
    detail::append_range(sources, start + 2 * length, depth);
    return {std::move(sources), depth};
}

/// Layers [start, start + length) in reverse order.
inline layer_order reverse(std::size_t depth, std::size_t start, std::size_t length) {
    detail::require_window("reverse", depth, start, length);
    std::vector<std::size_t> sources;
    detail::append_range(sources, 0, start);
    for (std::size_t layer = start + length; layer > start; --layer) sources.push_back(layer - 1);
    detail::append_range(sources, start + length, depth);
    return {std::move(sources), depth};
}

/// Layers [start, start + length) run `times` extra times; 0 is the identity.
inline layer_order loop(std::size_t depth, std::size_t start, std::size_t length, std::size_t times) {
    detail::require_window("loop", depth, start, length);
    std::vector<std::size_t> sources;
    detail::append_range(sources, 0, start + length);
    for (std::size_t extra = 0; extra < times; ++extra) detail::append_range(sources, start, start + length);
    detail::append_range(sources, start + length, depth);
    return {std::move(sources), depth};
}

/// Any operator, chosen at run time: made from an operator struct (yours too: a name and a call from depth to order or
/// mixture) or by `make_operator`.
class growth_operator {
public:
    template <class Operator, class = decltype(Operator::name)>
    growth_operator(Operator op)
        : name_(Operator::name), rows_([op](std::size_t depth) { return mixture(op(depth)); }) {}

    /// The order at `depth`; throws for an operator that mixes layers.
    layer_order operator()(std::size_t depth) const { return rows_(depth).order(); }
    /// The same of any operator, as a mixture.
    mixture rows(std::size_t depth) const { return rows_(depth); }

    /// "midas", "lidas", …: what `make_operator` takes.
    std::string_view name() const { return name_; }

private:
    std::string name_;
    std::function<mixture(std::size_t)> rows_;
};

/// An operator as tools know it.
struct operator_entry {
    std::string_view name, help;
    std::string_view reads;  ///< names of the parameters that it reads, "" for none
    bool is_order;           ///< an order at every depth, so that models can be grown by it as they train
    growth_operator (*make)(const operator_parameters&);
};

namespace detail {

template <class Operator> growth_operator make_from(const operator_parameters& given) { return Operator::from(given); }

template <class Operator> constexpr operator_entry entry_of() {
    using made = decltype(std::declval<const Operator&>()(std::size_t{}));
    return {Operator::name, Operator::help, Operator::reads, std::is_same_v<made, layer_order>, &make_from<Operator>};
}

}  // namespace detail

/// All operators: what parses names, lists them or explains them reads this table.
inline constexpr operator_entry operator_table[] = {
    detail::entry_of<midas>(),    detail::entry_of<lidas>(),      detail::entry_of<gradual>(),
    detail::entry_of<doubling>(), detail::entry_of<interleave>(), detail::entry_of<solar>(),
    detail::entry_of<collapse>(),
};

/// Their names; without those that mix layers when `orders_only`.
inline std::vector<std::string> operator_names(bool orders_only = false) {
    std::vector<std::string> names;
    for (const operator_entry& entry : operator_table)
        if (entry.is_order || !orders_only) names.emplace_back(entry.name);
    return names;
}

namespace detail {

/// Levenshtein distance.
inline std::size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
    for (std::size_t i = 1; i <= a.size(); ++i) {
        std::size_t diagonal = row[0];
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t above = row[j];
            const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
            const std::size_t stepped = (above < row[j - 1] ? above : row[j - 1]) + 1;
            row[j] = replaced < stepped ? replaced : stepped;
            diagonal = above;
        }
    }
    return row[b.size()];
}

}  // namespace detail

/// The operator of that name; an unknown name is an error with the nearest.
inline growth_operator make_operator(std::string_view name, const operator_parameters& parameters) {
    std::string_view nearest;
    std::size_t smallest = static_cast<std::size_t>(-1);
    std::string all;
    for (const operator_entry& entry : operator_table) {
        if (entry.name == name) return entry.make(parameters);
        const std::size_t distance = detail::edit_distance(name, entry.name);
        if (distance < smallest) smallest = distance, nearest = entry.name;
        all += text(all.empty() ? "" : ", ", entry.name);
    }
    fail("[make_operator] expected one of ", all, ", got \"", name, "\"; did you mean ", nearest, "?");
}
/// The same with a block (for SOLAR: dropped layers).
inline growth_operator make_operator(std::string_view name, std::size_t block) {
    operator_parameters parameters;
    parameters.block = block;
    return make_operator(name, parameters);
}

}  // namespace depthgrow
