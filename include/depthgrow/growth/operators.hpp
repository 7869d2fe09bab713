// Growth operators (MIDAS, LIDAS, gradual, doubling, interleave, SOLAR) and interventions, each a depth -> layer order.
// Assumes C++17; orders only, no layer is touched here. `grow` copies by an order, an executor runs by it.
// Maths: Kapl et al. 2025 section 3.1, eq. 1-2; Saunshi et al. 2024; Gong et al. 2019 (doubling); Kim et al. 2023.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/growth/layer_order.hpp"

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

/// MIDAS: the middle block (the lower one of two), copied right after itself. Depth must be whole blocks.
struct midas {
    std::size_t block = 4;

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

    layer_order operator()(std::size_t depth) const {
        detail::require_block("lidas", depth, block);
        const std::size_t middle = (depth + 1) / 2;
        return detail::repeat_window(depth, middle - (block + 1) / 2, middle + block / 2);
    }
};

/// Gradual stacking: the last block, copied on top.
struct gradual {
    std::size_t block = 4;

    layer_order operator()(std::size_t depth) const {
        detail::require_block("gradual", depth, block);
        return detail::repeat_window(depth, depth - block, depth);
    }
};

/// Progressive stacking: the whole stack twice, 0 … L-1 0 … L-1.
struct doubling {
    layer_order operator()(std::size_t depth) const {
        detail::require_layers("doubling", depth);
        return detail::repeat_window(depth, 0, depth);
    }
};

/// Every layer followed by its copy, 0 0 1 1 ….
struct interleave {
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

    layer_order operator()(std::size_t depth) const {
        detail::require_layers("solar", depth);
        require(depth > dropped, "[solar] expected a depth above the ", dropped, " dropped layers, got ", depth);
        std::vector<std::size_t> sources;
        detail::append_range(sources, 0, depth - dropped);
        detail::append_range(sources, dropped, depth);
        return {std::move(sources), depth};
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

/// Any of the operators above, chosen at run time; made from an operator struct or by `make_operator`.
class growth_operator {
public:
    enum class kind { midas, lidas, gradual, doubling, interleave, solar };

    growth_operator(depthgrow::midas op) : kind_(kind::midas), block_(op.block) {}
    growth_operator(depthgrow::lidas op) : kind_(kind::lidas), block_(op.block) {}
    growth_operator(depthgrow::gradual op) : kind_(kind::gradual), block_(op.block) {}
    growth_operator(depthgrow::doubling) : kind_(kind::doubling) {}
    growth_operator(depthgrow::interleave) : kind_(kind::interleave) {}
    growth_operator(depthgrow::solar op) : kind_(kind::solar), block_(op.dropped) {}

    layer_order operator()(std::size_t depth) const {
        switch (kind_) {
            case kind::midas: return depthgrow::midas{block_}(depth);
            case kind::lidas: return depthgrow::lidas{block_}(depth);
            case kind::gradual: return depthgrow::gradual{block_}(depth);
            case kind::doubling: return depthgrow::doubling{}(depth);
            case kind::interleave: return depthgrow::interleave{}(depth);
            default: return depthgrow::solar{block_}(depth);
        }
    }

    /// "midas", "lidas", …: what `make_operator` takes.
    std::string_view name() const { return name_of(kind_); }
    /// Layers in a block (dropped layers for SOLAR); 0 for operators without one.
    std::size_t block() const { return block_; }

    static constexpr std::size_t kinds = 6;
    static std::string_view name_of(kind which) {
        constexpr std::string_view names[kinds] = {"midas", "lidas", "gradual", "doubling", "interleave", "solar"};
        return names[static_cast<std::size_t>(which)];
    }

private:
    kind kind_;
    std::size_t block_ = 0;
};

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

/// The operator of that name with that block (for SOLAR: dropped layers); an unknown name is an error with the nearest.
inline growth_operator make_operator(std::string_view name, std::size_t block) {
    if (name == "midas") return midas{block};
    if (name == "lidas") return lidas{block};
    if (name == "gradual") return gradual{block};
    if (name == "doubling") return doubling{};
    if (name == "interleave") return interleave{};
    if (name == "solar") return solar{block};
    std::string_view nearest;
    std::size_t smallest = static_cast<std::size_t>(-1);
    std::string all;
    for (std::size_t k = 0; k < growth_operator::kinds; ++k) {
        const std::string_view candidate = growth_operator::name_of(static_cast<growth_operator::kind>(k));
        const std::size_t distance = detail::edit_distance(name, candidate);
        if (distance < smallest) smallest = distance, nearest = candidate;
        all += text(k ? ", " : "", candidate);
    }
    fail("[make_operator] expected one of ", all, ", got \"", name, "\"; did you mean ", nearest, "?");
}

}  // namespace depthgrow
