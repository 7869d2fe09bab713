// Pieces of a text around the matches of a pattern, by the behaviours that a tokenizer.json names.
// Assumes matches in order that do not overlap; pieces that are empty are left out.
// Format: huggingface/tokenizers 1.0, Split: Isolated, Removed, MergedWithPrevious, MergedWithNext, Contiguous; invert.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/io/json.hpp"

namespace depthgrow {

/// What becomes of a match: a piece of its own, nothing, or part of a neighbour.
enum class split_behavior { isolated, removed, merged_with_previous, merged_with_next, contiguous };

namespace detail {

inline split_behavior read_behavior(const json_fields& fields, const std::string& file) {
    const std::string name = fields.string("behavior");
    if (name == "Isolated") return split_behavior::isolated;
    if (name == "Removed") return split_behavior::removed;
    if (name == "MergedWithPrevious") return split_behavior::merged_with_previous;
    if (name == "MergedWithNext") return split_behavior::merged_with_next;
    if (name == "Contiguous") return split_behavior::contiguous;
    fail(file, ": expected a behavior of Split such as Isolated, found ", quotable(name, 40));
}

/// Takes the matches of a text in order and gives the pieces.
class splitter {
public:
    splitter(split_behavior behavior, bool invert, std::size_t size)
        : behavior_(behavior), invert_(invert), size_(size) {}

    void match(std::size_t begin, std::size_t end) {
        if (done_ != begin) parts_.push_back({done_, begin, invert_});
        parts_.push_back({begin, end, !invert_});
        done_ = end;
    }

    /// emit(begin, end) for every piece.
    template <class Emit> void pieces(Emit emit) {
        if (done_ != size_) parts_.push_back({done_, size_, invert_});
        const bool backward = behavior_ == split_behavior::merged_with_next;
        if (backward) std::reverse(parts_.begin(), parts_.end());
        std::vector<part> out;
        bool before = false;  // was the part before a match
        for (const part& one : parts_) {
            if (one.match && behavior_ == split_behavior::removed) continue;
            if (!out.empty() && joins(one.match, before)) {
                if (backward) out.back().begin = one.begin;
                else out.back().end = one.end;
            } else out.push_back(one);
            before = one.match;
        }
        if (backward) std::reverse(out.begin(), out.end());
        for (const part& one : out) emit(one.begin, one.end);
    }

private:
    struct part {
        std::size_t begin, end;
        bool match;
    };
    bool joins(bool match, bool before) const {
        if (behavior_ == split_behavior::contiguous) return match == before;
        const bool merged =
            behavior_ == split_behavior::merged_with_previous || behavior_ == split_behavior::merged_with_next;
        return merged && match && !before;
    }

    split_behavior behavior_;
    bool invert_;
    std::size_t size_, done_ = 0;
    std::vector<part> parts_;
};

}  // namespace detail

}  // namespace depthgrow
