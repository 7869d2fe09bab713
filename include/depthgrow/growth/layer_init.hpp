// How new layers begin (layer_init), what moments do (state_policy), and a growth: sources, beginnings, moments, seed.
// Assumes C++17; nothing here touches a layer. Names stand in one table each, which parsers, help and records read.
// Source: copies, Kapl et al. 2025 section 3.1; one late expansion from few layers needs random, arXiv 2511.04981.
#pragma once

#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/core/rng.hpp"
#include "depthgrow/growth/mixture.hpp"

namespace depthgrow {

enum class init_kind { copy, zero_residual, average, random, noise };

/// One way in which layers begin: its name in flags and records, and what it does.
struct init_entry {
    init_kind kind;
    std::string_view name, help;
};

inline constexpr init_entry init_table[] = {
    {init_kind::copy, "copy", "as their source"},
    {init_kind::zero_residual, "zero_residual", "as their source, adding nothing to the residual stream"},
    {init_kind::average, "average", "as the mean of the two kept layers that they stand between"},
    {init_kind::random, "random", "drawn as at the start of training"},
    {init_kind::noise, "noise", "as their source plus normal noise, noise:SIGMA times each tensor's root mean square"},
};

/// How new layers begin; `sigma` belongs to noise.
struct layer_init {
    init_kind kind = init_kind::copy;
    double sigma = 0;

    std::string_view name() const {
        for (const init_entry& entry : init_table)
            if (entry.kind == kind) return entry.name;
        fail("[layer_init] expected a kind of the table, got number ", static_cast<int>(kind));
    }
    /// "average", "noise:0.01": what `parse_layer_init` reads.
    std::string to_string() const {
        const std::string word(name());
        return kind == init_kind::noise ? word + ":" + detail::shortest_text(sigma) : word;
    }
    /// Whether a layer begins as a sum of layers, without knowledge of what it is made of.
    bool is_mixture() const { return kind == init_kind::copy || kind == init_kind::average; }

    friend bool operator==(const layer_init& a, const layer_init& b) { return a.kind == b.kind && a.sigma == b.sigma; }
    friend bool operator!=(const layer_init& a, const layer_init& b) { return !(a == b); }
};

/// "copy, zero_residual, average, random, noise:SIGMA".
inline std::string layer_init_names() {
    std::string all;
    for (const init_entry& entry : init_table)
        all += text(all.empty() ? "" : ", ", entry.name, entry.kind == init_kind::noise ? ":SIGMA" : "");
    return all;
}

/// Reads a name of the table; an unknown one is refused with all that there are.
inline layer_init parse_layer_init(std::string_view given) {
    const std::size_t colon = given.find(':');
    for (const init_entry& entry : init_table) {
        if (given.substr(0, colon) != entry.name || (colon != given.npos) != (entry.kind == init_kind::noise)) continue;
        layer_init init{entry.kind, 0};
        if (entry.kind != init_kind::noise) return init;
        const char *first = given.data() + colon + 1, *last = given.data() + given.size();
        const auto read = std::from_chars(first, last, init.sigma);
        require(read.ec == std::errc() && read.ptr == last && std::isfinite(init.sigma) && init.sigma > 0,
                "[layer_init] expected noise:SIGMA with a SIGMA above 0, got \"", given, "\"");
        return init;
    }
    fail("[layer_init] expected one of ", layer_init_names(), ", got \"", given, "\"");
}

/// What moments do at growth: follow their layers, start from zero in new layers, or start from zero in all layers.
enum class state_policy { copy, zero, all };

struct state_entry {
    state_policy policy;
    std::string_view name, help;
};

inline constexpr state_entry state_table[] = {
    {state_policy::copy, "copy", "as those of the layers that a layer is made of"},
    {state_policy::zero, "zero", "zero in new layers (asymmetric reset)"},
    {state_policy::all, "all", "zero in all layers"},
};

inline std::string_view name_of(state_policy policy) {
    for (const state_entry& entry : state_table)
        if (entry.policy == policy) return entry.name;
    fail("[state_policy] expected a policy of the table, got number ", static_cast<int>(policy));
}

inline state_policy parse_state_policy(std::string_view given) {
    std::string all;
    for (const state_entry& entry : state_table) {
        if (entry.name == given) return entry.policy;
        all += text(all.empty() ? "" : ", ", entry.name);
    }
    fail("[state_policy] expected one of ", all, ", got \"", given, "\"");
}

/// One growth: what each slot is made of, how the copies among them begin, what moments do, and the seed of the draws.
struct growth {
    mixture layers;
    layer_init init = {};
    state_policy state = state_policy::copy;
    std::uint64_t seed = 0;

    /// Whether `init` says how `slot` begins: a copy of a layer that another slot keeps. Slots that are written as sums
    /// of layers are what they say.
    bool begins(std::size_t slot) const { return layers.is_copy(slot) && layers.is_new(slot); }

    /// What each slot is a sum of before anything is drawn, cleared or disturbed: `layers`, with the averages put in.
    mixture rows() const {
        if (init.kind != init_kind::average) return layers;
        std::vector<mixture_row> rows(layers.begin(), layers.end());
        for (std::size_t slot = 0; slot < rows.size(); ++slot) {
            if (!begins(slot)) continue;
            std::size_t left = slot, right = slot;  // one past the kept slot on the left; the kept slot on the right
            while (left > 0 && begins(left - 1)) --left;
            while (right < rows.size() && begins(right)) ++right;
            const mixture_row before = left > 0 ? layers[left - 1] : mixture_row();
            const mixture_row after = right < rows.size() ? layers[right] : mixture_row();
            rows[slot] = before.empty() ? after : after.empty() ? before : mean(before, after);
        }
        return {std::move(rows), layers.source_depth()};
    }

    /// Whether the layers that stay are all layers in their order, so that identities between them change nothing.
    bool keeps_every_layer() const {
        std::size_t next = 0;
        for (std::size_t slot = 0; slot < layers.size(); ++slot) {
            if (!layers.is_copy(slot)) return false;
            if (!layers.is_new(slot) && layers.main_source(slot) != next++) return false;
        }
        return next == layers.source_depth();
    }

    /// "0 1 2 1 2 3 init=noise:0.01 state=zero seed=7"; what is as usual is not said.
    std::string to_string() const {
        std::string out = layers.to_string();
        if (init != layer_init()) out += " init=" + init.to_string();
        if (state != state_policy::copy) out += text(" state=", name_of(state));
        if (draws()) out += text(" seed=", seed);
        return out;
    }
    /// Whether the seed matters.
    bool draws() const { return init.kind == init_kind::random || init.kind == init_kind::noise; }

    friend bool operator==(const growth& a, const growth& b) {
        return a.layers == b.layers && a.init == b.init && a.state == b.state && a.seed == b.seed;
    }
    friend bool operator!=(const growth& a, const growth& b) { return !(a == b); }

private:
    static mixture_row mean(const mixture_row& a, const mixture_row& b) {
        mixture_row sum;
        for (const mixture_row* row : {&a, &b})
            for (mixture_term term : *row) {
                term.coefficient /= 2;
                std::size_t at = 0;
                while (at < sum.size() && sum[at].source != term.source) ++at;
                if (at < sum.size()) sum[at].coefficient += term.coefficient;
                else sum.push_back(term);
            }
        return sum;
    }
};

/// The generator of one tensor of a new layer: `part` is its name within the layer. What a slot begins with depends on
/// seed, slot and part alone, in memory as on disk.
inline rng begin_stream(std::uint64_t seed, std::size_t slot, std::string_view part) {
    std::uint64_t hash = 0xcbf29ce484222325ull;  // FNV-1a
    for (char c : part) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
    return rng(seed, hash ^ mix_bits(slot));
}

}  // namespace depthgrow
