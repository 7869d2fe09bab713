// A mixture: which layers of a stack each slot of a new stack is made of, with their coefficients.
// Assumes C++17 and 0-based indices; a layer order is the mixture whose rows have one source of coefficient 1.
// Maths: depth growth as a linear map of layers, LiGO (Wang et al. 2023, arXiv 2303.00980) section 3.
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/growth/layer_order.hpp"

namespace depthgrow {

/// One layer that a slot is made of.
struct mixture_term {
    std::size_t source = 0;
    double coefficient = 1;

    friend bool operator==(const mixture_term& a, const mixture_term& b) {
        return a.source == b.source && a.coefficient == b.coefficient;
    }
    friend bool operator!=(const mixture_term& a, const mixture_term& b) { return !(a == b); }
};

/// What one slot is made of: sum of coefficient * layer over the terms, which are sorted by source.
using mixture_row = std::vector<mixture_term>;

namespace detail {

/// The shortest text that reads back as `value`.
inline std::string shortest_text(double value) {
    char digits[32];
    const auto end = std::to_chars(digits, digits + sizeof digits, value).ptr;
    return {digits, end};
}

}  // namespace detail

/// A list of rows over a stack of `source_depth()` layers; a plain value.
class mixture {
public:
    /// The empty mixture of an empty stack.
    mixture() = default;

    /// Terms of coefficient 0 are dropped. Throws unless every row has a term, every source is below `source_depth` and
    /// named once in its row, and every coefficient is finite; the message names the slot.
    mixture(std::vector<mixture_row> rows, std::size_t source_depth)
        : rows_(std::move(rows)), source_depth_(source_depth) {
        for (std::size_t slot = 0; slot < rows_.size(); ++slot) normalise(slot);
    }

    /// Every order is a mixture.
    mixture(const layer_order& order) : source_depth_(order.source_depth()) {
        for (std::size_t source : order) rows_.push_back({{source, 1}});
    }
    static mixture of(const layer_order& order) { return order; }

    /// Number of layers after the mixture is applied.
    std::size_t size() const { return rows_.size(); }
    bool empty() const { return rows_.empty(); }
    /// Number of layers that the mixture is applied to.
    std::size_t source_depth() const { return source_depth_; }
    const mixture_row& operator[](std::size_t slot) const { return rows_[slot]; }
    std::vector<mixture_row>::const_iterator begin() const { return rows_.begin(); }
    std::vector<mixture_row>::const_iterator end() const { return rows_.end(); }

    /// Whether `slot` is one layer as it is.
    bool is_copy(std::size_t slot) const { return rows_[slot].size() == 1 && rows_[slot][0].coefficient == 1; }
    /// Whether growth makes a layer for `slot`: all but the first slot that is a given layer as it is.
    bool is_new(std::size_t slot) const {
        if (!is_copy(slot)) return true;
        for (std::size_t earlier = 0; earlier < slot; ++earlier)
            if (rows_[earlier] == rows_[slot]) return true;
        return false;
    }
    /// The source that counts most in `slot` (the first of equals): whose place a mixed layer takes.
    std::size_t main_source(std::size_t slot) const {
        const mixture_row& row = rows_[slot];
        return std::max_element(row.begin(), row.end(),
                                [](const mixture_term& a, const mixture_term& b) {
                                    return std::fabs(a.coefficient) < std::fabs(b.coefficient);
                                })
            ->source;
    }

    bool is_order() const {
        for (std::size_t slot = 0; slot < size(); ++slot)
            if (!is_copy(slot)) return false;
        return true;
    }
    /// The same as an order; throws when a row is not one layer as it is.
    layer_order order() const {
        std::vector<std::size_t> sources;
        for (std::size_t slot = 0; slot < size(); ++slot) {
            require(is_copy(slot), "[mixture] expected single layers, as a layer order has them, got ", row_text(slot),
                    " at slot ", slot);
            sources.push_back(rows_[slot][0].source);
        }
        return {std::move(sources), source_depth_};
    }

    /// "0 1 0.5*1+0.5*2 2".
    std::string to_string() const {
        std::string out;
        for (std::size_t slot = 0; slot < size(); ++slot) out += (slot ? " " : "") + row_text(slot);
        return out;
    }
    /// One slot of it: "0.5*1+0.5*2".
    std::string row_text(std::size_t slot) const {
        std::string out;
        for (const mixture_term& term : rows_[slot]) {
            const bool minus = std::signbit(term.coefficient);
            const double size = std::fabs(term.coefficient);
            if (minus || !out.empty()) out += minus ? '-' : '+';
            if (size != 1) out += detail::shortest_text(size) + "*";
            out += std::to_string(term.source);
        }
        return out;
    }

    friend bool operator==(const mixture& a, const mixture& b) {
        return a.source_depth_ == b.source_depth_ && a.rows_ == b.rows_;
    }
    friend bool operator!=(const mixture& a, const mixture& b) { return !(a == b); }

private:
    void normalise(std::size_t slot) {
        mixture_row& row = rows_[slot];
        for (const mixture_term& term : row) {
            require(term.source < source_depth_, "[mixture] expected a layer index below ", source_depth_, " at slot ",
                    slot, ", got ", term.source);
            require(std::isfinite(term.coefficient), "[mixture] expected finite coefficients at slot ", slot, ", got ",
                    term.coefficient, " for layer ", term.source);
        }
        std::sort(row.begin(), row.end(),
                  [](const mixture_term& a, const mixture_term& b) { return a.source < b.source; });
        for (std::size_t i = 1; i < row.size(); ++i)
            require(row[i].source != row[i - 1].source, "[mixture] expected every layer once at slot ", slot,
                    ", got layer ", row[i].source, " twice");
        row.erase(std::remove_if(row.begin(), row.end(), [](const mixture_term& t) { return t.coefficient == 0; }),
                  row.end());
        require(!row.empty(), "[mixture] expected a layer with a coefficient other than 0 at slot ", slot,
                ", got none");
    }

    std::vector<mixture_row> rows_;
    std::size_t source_depth_ = 0;
};

/// The one mixture that does what `inner` and then `outer` do: the product of their matrices, outer * inner.
inline mixture compose(const mixture& outer, const mixture& inner) {
    require(outer.source_depth() == inner.size(), "[compose] expected an outer mixture for ", inner.size(),
            " layers (size of the inner one), got one for ", outer.source_depth());
    std::vector<mixture_row> rows;
    std::vector<double> sums(inner.source_depth());
    for (const mixture_row& row : outer) {
        std::fill(sums.begin(), sums.end(), 0.0);
        for (const mixture_term& term : row)
            for (const mixture_term& part : inner[term.source])
                sums[part.source] += term.coefficient * part.coefficient;
        rows.emplace_back();
        for (std::size_t source = 0; source < sums.size(); ++source)
            if (sums[source] != 0) rows.back().push_back({source, sums[source]});
    }
    return {std::move(rows), inner.source_depth()};
}

/// The mixture with squared coefficients: what second moments grow by.
inline mixture squared(const mixture& given) {
    std::vector<mixture_row> rows(given.begin(), given.end());
    for (mixture_row& row : rows)
        for (mixture_term& term : row) term.coefficient *= term.coefficient;
    return {std::move(rows), given.source_depth()};
}

namespace detail {

/// Reads one slot of `whole`: "3", "0.5*1+0.5*2" or "-2*3+4".
inline mixture_row parse_mixture_row(std::string_view slot, std::string_view whole) {
    mixture_row row;
    const char *next = slot.data(), *const end = next + slot.size();
    const auto wrong = [&](const char* at) {
        fail("[parse_mixture] expected slots like 3 or 0.5*1+0.5*2, got \"", slot, "\" (character ",
             at - slot.data() + 1, ") in \"", whole, "\"");
    };
    while (next != end) {
        mixture_term term;
        if (*next == '-' || (*next == '+' && !row.empty())) term.coefficient = *next++ == '-' ? -1 : 1;
        else if (!row.empty()) wrong(next);
        double size = 0;
        if (const auto read = std::from_chars(next, end, size); read.ptr != end && *read.ptr == '*') {
            if (read.ec != std::errc() || std::signbit(size)) wrong(next);
            term.coefficient *= size;
            next = read.ptr + 1;
        }
        const auto read = std::from_chars(next, end, term.source);
        if (read.ec != std::errc() || read.ptr == next) wrong(next);
        next = read.ptr;
        row.push_back(term);
    }
    if (row.empty()) wrong(end);
    return row;
}

}  // namespace detail

/// Reads "0 1 0.5*1+0.5*2 2" (what `to_string` writes; commas do as well) as a mixture over `source_depth` layers.
inline mixture parse_mixture(std::string_view text, std::size_t source_depth) {
    std::vector<mixture_row> rows;
    bool due = true;  // a slot, after a comma and at the start
    for (std::size_t at = 0; at < text.size();) {
        if (text[at] == ' ' || (text[at] == ',' && !due)) {
            due = due || text[at] == ',';
            ++at;
            continue;
        }
        const std::size_t end = std::min(text.find_first_of(" ,", at), text.size());
        rows.push_back(detail::parse_mixture_row(text.substr(at, end - at), text));
        at = end;
        due = false;
    }
    require(!due, "[parse_mixture] expected a slot at the end of \"", text, "\", got none");
    return {std::move(rows), source_depth};
}

}  // namespace depthgrow
