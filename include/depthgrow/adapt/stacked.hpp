// grow_stacked: arrays that hold a tensor of all layers in one piece, [L, ...], as llm.c and scans over layers do.
// Assumes C++17 and the standard library. In place where the memory has room, else into other memory; all or nothing.
// Source: Kapl et al. 2025 section 3.1; moments of sums as in growth/optimizer_traits.hpp; sums in double, rounded
// once.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/core/span.hpp"
#include "depthgrow/growth/grow.hpp"

namespace depthgrow {

/// One kind of tensor in an array: `elements` numbers for each layer, [L, elements], or once for the whole model.
struct stacked_tensor {
    std::size_t elements = 0;
    bool per_layer = true;
    bool writes_residual = false;  ///< set to zero where new layers begin as zero_residual
    std::string_view name = {};    ///< the part whose draws noise takes; of two kinds that differ, two names
};

/// The kinds of tensor of an array, one after another.
using stacked_layout = std::vector<stacked_tensor>;

/// The number of elements of an array with `layers` layers.
inline std::size_t stacked_size(const stacked_layout& layout, std::size_t layers) {
    std::size_t size = 0;
    for (const stacked_tensor& tensor : layout) size += tensor.elements * (tensor.per_layer ? layers : 1);
    return size;
}

/// Parameters and Adam's moments, three arrays of one layout.
template <class T> struct stacked_adam { span<T> parameters, first_moment, second_moment; };

namespace detail {

/// Memory of one array, before or after, as addresses.
struct stacked_range {
    const void *first, *last;
    bool overlaps(const stacked_range& other) const {
        const std::less<const void*> below;
        return below(first, other.last) && below(other.first, last);
    }
};

/// One array that grows. The constructor does all that can fail and only reads.
template <class T> class stacked_job {
public:
    enum class role { parameters, first_moment, second_moment };

    stacked_job(const stacked_layout& layout, const growth& how, role what, span<const T> from, span<T> to)
        : layout_(&layout), from_(from), to_(to), rows_(how.rows()) {
        const init_kind kind = how.init.kind;
        if (what == role::parameters && !how.init.is_mixture() && kind != init_kind::noise &&
            (kind != init_kind::zero_residual || !any_writes_residual()))
            fail("[grow_stacked] expected a layout that knows how to begin as ", how.init.name(),
                 " (zero_residual needs a tensor that writes_residual, random is for the caller), got one that does "
                 "not");
        for (std::size_t slot = 0; slot < depth(); ++slot) {
            begins_.push_back(what == role::parameters && how.begins(slot));
            zero_.push_back(what != role::parameters && (how.state == state_policy::all ||
                                                         (how.state == state_policy::zero && rows_.is_new(slot))));
        }
        init_ = how.init, seed_ = how.seed;
        if (what == role::second_moment) rows_ = squared(rows_);
        const std::size_t before = stacked_size(layout, rows_.source_depth()), after = stacked_size(layout, depth());
        require(from.size() >= before, "[grow_stacked] expected ", before, " elements of ", rows_.source_depth(),
                " layers, got ", from.size());
        require(to.size() >= after, "[grow_stacked] expected room for ", after, " elements of ", depth(),
                " layers, got ", to.size());
        old_ = {from.data(), from.data() + before}, new_ = {to.data(), to.data() + after};
        require(in_place() || !old_.overlaps(new_),
                "[grow_stacked] expected to grow in place or into memory apart, got memory that overlaps");
        if (!in_place() || in_order()) return;
        std::size_t most = 0;
        for (const stacked_tensor& tensor : layout)
            if (tensor.per_layer) most = std::max(most, tensor.elements * rows_.source_depth());
        scratch_.resize(most);
    }

    bool disturbs(const stacked_job& other) const { return new_.overlaps(other.new_) || new_.overlaps(other.old_); }

    /// Growing, the last kind of tensor moves first, so that none is written over before it has moved; shrinking, the
    /// first does.
    void run() {
        const bool grows = depth() >= rows_.source_depth();
        std::size_t before = grows ? stacked_size(*layout_, rows_.source_depth()) : 0;
        std::size_t after = grows ? stacked_size(*layout_, depth()) : 0;
        for (std::size_t i = 0; i < layout_->size(); ++i) {
            const stacked_tensor& tensor = (*layout_)[grows ? layout_->size() - 1 - i : i];
            const std::size_t old_size = tensor.elements * (tensor.per_layer ? rows_.source_depth() : 1);
            const std::size_t new_size = tensor.elements * (tensor.per_layer ? depth() : 1);
            if (grows) before -= old_size, after -= new_size;
            if (tensor.per_layer) grow_tensor(tensor, from_.data() + before, to_.data() + after);
            else move(from_.data() + before, tensor.elements, to_.data() + after);
            if (!grows) before += old_size, after += new_size;
        }
    }

private:
    std::size_t depth() const { return rows_.size(); }
    bool in_place() const { return from_.data() == to_.data(); }
    bool any_writes_residual() const {
        return std::any_of(layout_->begin(), layout_->end(), [](const auto& tensor) { return tensor.writes_residual; });
    }
    /// Whether slots made from the last one down leave every source as it is until its turn: single layers, none from
    /// behind its slot.
    bool in_order() const {
        for (std::size_t slot = 0; slot < depth(); ++slot)
            if (!rows_.is_copy(slot) || rows_.main_source(slot) > slot) return false;
        return depth() >= rows_.source_depth();
    }
    static void move(const T* from, std::size_t count, T* to) {
        static_assert(std::is_trivially_copyable_v<T>, "depthgrow: arrays of layers hold numbers");
        if (count > 0) std::memmove(to, from, count * sizeof(T));
    }

    void grow_tensor(const stacked_tensor& tensor, const T* from, T* to) {
        const std::size_t size = tensor.elements;
        if (!scratch_.empty())
            from = (std::copy(from, from + size * rows_.source_depth(), scratch_.begin()), scratch_.data());
        for (std::size_t slot = depth(); slot-- > 0;) {
            T* place = to + slot * size;
            if (rows_.is_copy(slot)) move(from + rows_.main_source(slot) * size, size, place);
            else sum(rows_[slot], from, size, place);
            if (begins_[slot]) begin(tensor, slot, place);
            if (zero_[slot]) std::fill(place, place + size, T{});
        }
    }
    static void sum(const mixture_row& row, const T* from, std::size_t size, T* place) {
        for (std::size_t i = 0; i < size; ++i) {
            double total = 0;
            for (const mixture_term& term : row)
                total += term.coefficient * static_cast<double>(from[term.source * size + i]);
            place[i] = rounded<T>(total);
        }
    }
    void begin(const stacked_tensor& tensor, std::size_t slot, T* place) {
        if (init_.kind == init_kind::zero_residual && tensor.writes_residual)
            std::fill(place, place + tensor.elements, T{});
        if (init_.kind != init_kind::noise) return;
        span<T> numbers(place, tensor.elements);
        add_noise(numbers, init_.sigma, begin_stream(seed_, slot, tensor.name));
    }

    const stacked_layout* layout_;
    span<const T> from_;
    span<T> to_;
    stacked_range old_{}, new_{};
    mixture rows_;
    layer_init init_;
    std::uint64_t seed_ = 0;
    std::vector<bool> begins_, zero_;
    std::vector<T> scratch_;
};

}  // namespace detail

/// Grows an array by an order, a mixture or a growth, in place: `memory` begins with the values of `how`'s source depth
/// and has room for those of its depth (`stacked_size`). Within the memory where no slot takes a layer from behind it
/// (MIDAS, LIDAS, ...), else through a copy of one kind of tensor at a time. An array that is too small, or a beginning
/// that the layout does not know (random; zero_residual without `writes_residual`), is refused before a write.
template <class T, class How> void grow_stacked(span<T> memory, const stacked_layout& layout, const How& how) {
    using job = detail::stacked_job<T>;
    job(layout, detail::growth_of(how), job::role::parameters, memory, memory).run();
}

/// The same from one memory into another.
template <class T, class How>
void grow_stacked(span<const T> from, span<T> to, const stacked_layout& layout, const How& how) {
    using job = detail::stacked_job<T>;
    job(layout, detail::growth_of(how), job::role::parameters, from, to).run();
}

/// Parameters and moments together, all or nothing, from one memory into another or in place (`from` and `to` the
/// same): moments follow as `growth::state` says; how new layers begin concerns parameters alone.
template <class T, class How>
void grow_stacked(const stacked_adam<const T>& from, const stacked_adam<T>& to, const stacked_layout& layout,
                  const How& given) {
    using job = detail::stacked_job<T>;
    const growth& how = detail::growth_of(given);
    std::vector<job> jobs;
    jobs.emplace_back(layout, how, job::role::parameters, from.parameters, to.parameters);
    jobs.emplace_back(layout, how, job::role::first_moment, from.first_moment, to.first_moment);
    jobs.emplace_back(layout, how, job::role::second_moment, from.second_moment, to.second_moment);
    for (const job& one : jobs)
        for (const job& other : jobs)
            require(&one == &other || !one.disturbs(other),
                    "[grow_stacked] expected memory of its own for each array, got memory that overlaps");
    for (job& one : jobs) one.run();
}

/// Separate arrays of one tensor each, [L, ...], parameters and moments alike, by an order: all grow, or none when the
/// size of one is no multiple of the order's source depth.
template <class T, class... Vectors>
void grow_stacked(const layer_order& order, std::vector<T>& first, Vectors&... others) {
    const auto grown = [&](const auto& values) {
        using value = typename std::decay_t<decltype(values)>::value_type;
        const std::size_t layers = order.source_depth();
        require(layers > 0 && values.size() % layers == 0, "[grow_stacked] expected a multiple of ", layers,
                " elements (source depth of the order), got ", values.size());
        std::vector<value> made(values.size() / layers * order.size());
        grow_stacked(span<const value>(values), span<value>(made), {{values.size() / layers}}, order);
        return made;
    };
    std::tuple<std::vector<T>, Vectors...> all(grown(first), grown(others)...);
    std::tie(first, others...) = std::move(all);
}

}  // namespace depthgrow
