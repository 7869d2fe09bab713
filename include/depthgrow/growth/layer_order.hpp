// A layer order: the list of source layer indices that growth copies and interventions execute.
// Assumes C++17 and 0-based indices; every index is checked against the source depth when the order is made.
// Maths: Kapl et al. 2025 (arXiv 2512.08819), section 3.1, where a growth operator is a list of source indices.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "depthgrow/core/error.hpp"

namespace depthgrow {

/// Slot j of the result takes layer `order[j]` of a stack of `source_depth()` layers; a plain value.
class layer_order {
public:
    /// The empty order of an empty stack.
    layer_order() = default;

    /// Throws unless every index is below `source_depth`; the message names the slot and the index.
    layer_order(std::vector<std::size_t> sources, std::size_t source_depth)
        : sources_(std::move(sources)), source_depth_(source_depth) {
        for (std::size_t slot = 0; slot < sources_.size(); ++slot)
            require(sources_[slot] < source_depth_, "[layer_order] expected a layer index below ", source_depth_,
                    " at slot ", slot, ", got ", sources_[slot]);
    }
    layer_order(std::initializer_list<std::size_t> sources, std::size_t source_depth)
        : layer_order(std::vector<std::size_t>(sources), source_depth) {}

    /// 0 1 … depth-1.
    static layer_order identity(std::size_t depth) {
        layer_order order;
        order.source_depth_ = depth;
        for (std::size_t layer = 0; layer < depth; ++layer) order.sources_.push_back(layer);
        return order;
    }

    /// Number of layers after the order is applied.
    std::size_t size() const { return sources_.size(); }
    bool empty() const { return sources_.empty(); }
    /// Number of layers that the order is applied to.
    std::size_t source_depth() const { return source_depth_; }
    std::size_t operator[](std::size_t slot) const { return sources_[slot]; }
    std::vector<std::size_t>::const_iterator begin() const { return sources_.begin(); }
    std::vector<std::size_t>::const_iterator end() const { return sources_.end(); }
    const std::vector<std::size_t>& sources() const { return sources_; }

    /// Whether growth puts a copy into `slot`. A source layer stays itself in the first slot that names it and is
    /// copied into every later one; for MIDAS and LIDAS the new slots are therefore exactly the inserted block.
    bool is_new(std::size_t slot) const {
        for (std::size_t earlier = 0; earlier < slot; ++earlier)
            if (sources_[earlier] == sources_[slot]) return true;
        return false;
    }
    bool is_identity() const { return *this == identity(source_depth_); }

    /// "0 1 2 3".
    std::string to_string() const {
        std::string out;
        for (std::size_t source : sources_) {
            if (!out.empty()) out += ' ';
            out += std::to_string(source);
        }
        return out;
    }

    friend bool operator==(const layer_order& a, const layer_order& b) {
        return a.source_depth_ == b.source_depth_ && a.sources_ == b.sources_;
    }
    friend bool operator!=(const layer_order& a, const layer_order& b) { return !(a == b); }

private:
    std::vector<std::size_t> sources_;
    std::size_t source_depth_ = 0;
};

/// The one order that does what `inner` and then `outer` do: slot j takes `inner[outer[j]]`.
inline layer_order compose(const layer_order& outer, const layer_order& inner) {
    require(outer.source_depth() == inner.size(), "[compose] expected an outer order for ", inner.size(),
            " layers (size of the inner order), got one for ", outer.source_depth());
    std::vector<std::size_t> sources;
    for (std::size_t source : outer) sources.push_back(inner[source]);
    return {std::move(sources), inner.source_depth()};
}

/// Reads "0,1,2" or "0 1 2" (what `to_string` writes) as an order for a stack of `source_depth` layers.
inline layer_order parse_layer_order(std::string_view list, std::size_t source_depth) {
    constexpr std::size_t largest = 1000000;
    std::vector<std::size_t> sources;
    bool after_number = false, after_comma = false;
    for (std::size_t at = 0; at < list.size();) {
        const char here = list[at];
        if (here >= '0' && here <= '9') {
            std::size_t number = 0;
            for (; at < list.size() && list[at] >= '0' && list[at] <= '9'; ++at)
                if (number < largest) number = number * 10 + static_cast<std::size_t>(list[at] - '0');
            sources.push_back(number);
            after_number = true;
            after_comma = false;
        } else if (here == ' ' || (here == ',' && after_number)) {
            if (here == ',') after_number = false, after_comma = true;
            ++at;
        } else {
            fail("[parse_layer_order] expected layer indices separated by commas, got '", here, "' at character ",
                 at + 1, " of \"", list, "\"");
        }
    }
    require(!sources.empty() && !after_comma, "[parse_layer_order] expected a layer index at the end of \"", list,
            "\", got none");
    return {std::move(sources), source_depth};
}

}  // namespace depthgrow
