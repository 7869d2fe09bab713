// Which share of every block of parameters a rank updates: contiguous, equal shares of the block's numbers.
// Assumes blocks whose memory is rounded up by `padded`; the numbers beyond the block's own stay zero.
// Shares of blocks make growth local: a copied layer is copied by every rank from its own share. Source: ZeRO, stage 1.
#pragma once

#include <algorithm>
#include <cstddef>

#include "depthgrow/comm/communicator.hpp"

namespace depthgrow {

struct sharding {
    std::size_t rank = 0, ranks = 1;

    sharding() = default;
    explicit sharding(const communicator& comm) : rank(comm.rank()), ranks(comm.size()) {}

    /// Shares begin at multiples of so many numbers: 16 bytes of the narrowest type.
    static constexpr std::size_t alignment = 8;
    /// Numbers of one rank's share of a block of `size`.
    std::size_t share(std::size_t size) const {
        if (ranks == 1) return size;
        const std::size_t each = (size + ranks - 1) / ranks;
        return (each + alignment - 1) / alignment * alignment;
    }
    /// Numbers that a block of `size` takes in memory.
    std::size_t padded(std::size_t size) const { return share(size) * ranks; }
    /// This rank's share of a padded block.
    template <class U> span<U> own(span<U> block) const {
        const std::size_t each = block.size() / ranks;
        return block.subspan(rank * each, each);
    }
    /// The part of [first, first + count) of a block of `size` that lies in this rank's share: where it begins in the
    /// block, and how many numbers it has.
    struct range {
        std::size_t first, count;
    };
    range own_part(std::size_t first, std::size_t count, std::size_t size) const {
        const std::size_t each = share(size), from = std::max(first, rank * each),
                          to = std::min(first + count, (rank + 1) * each);
        return {std::min(from, first + count), to > from ? to - from : 0};
    }
    /// Where this rank's share of a block of `size` begins.
    std::size_t begin(std::size_t size) const { return rank * share(size); }
    /// This rank's rows of `rows`, shares that differ by one row at most.
    range own_rows(std::size_t rows) const {
        const std::size_t first = rows * rank / ranks;
        return {first, rows * (rank + 1) / ranks - first};
    }
};

}  // namespace depthgrow
