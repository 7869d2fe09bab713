// What ranks exchange around an optimiser step: gradients summed into shares, updated weights gathered from shares.
// Assumes blocks of padded sizes (comm/sharding.hpp), and the same passes in the same order on every rank.
// A layer's gradients are on their way as soon as the backward pass is done with it. Source: Rajbhandari et al. 2020.
#pragma once

#include <algorithm>
#include <vector>

#include "depthgrow/comm/sharding.hpp"
#include "depthgrow/nn/parameters.hpp"

namespace depthgrow {

/// Gives a block that holds this rank's share of `values` those numbers.
template <class T, class Backend>
void assign_share(parameter_block<T, Backend>& block, const std::vector<T>& values, const sharding& shards) {
    const auto own = shards.own_part(0, values.size(), values.size());
    block.backend().template from_host<T>(values.data() + own.first, block.flat().data(), own.count);
    block.backend().synchronize();
}

/// A whole block from every rank's share of it; every rank asks for it at once.
template <class T, class Backend>
parameter_block<T, Backend> whole_block(const parameter_block<T, Backend>& share, communicator& comm) {
    const sharding shards(comm);
    parameter_block<T, Backend> whole(share.backend(), share.flat().size() * comm.size());
    share.backend().template copy<T>(share.flat().data(), shards.own(whole.flat()).data(), share.flat().size());
    comm.all_gather(whole.flat());
    comm.join();
    return whole;
}

template <class T, class Backend> class exchange {
public:
    using set = parameter_set<wide_t<T>, Backend>;
    explicit exchange(communicator& comm) : comm_(&comm) {}

    /// Before a step's last backward pass: from then on the gradients of a layer are summed once the last of its uses
    /// in `order` (empty: each layer once) is done.
    void watch(set& gradients, span<const std::size_t> order) {
        if (comm_->alone()) return;
        uses_.assign(gradients.layers.size() + 1, order.empty() ? 1 : 0);
        for (std::size_t layer : order) ++uses_[1 + layer];
        gradients.use_done = [this, &gradients](std::size_t block) {
            if (--uses_[block] == 0) comm_->reduce_scatter(block_of(gradients, block).flat());
        };
    }
    /// After that pass: the rest is summed, and later work of the backend waits for all of it. A layer that no rank
    /// ran has gradients of zero everywhere.
    void finish(set& gradients) {
        if (comm_->alone()) return;
        gradients.use_done = nullptr;
        comm_->reduce_scatter(gradients.outer.flat());
        comm_->join();
    }
    /// After the update of the shares.
    void gather(parameter_set<T, Backend>& weights) {
        weights.each([&](auto& block) { comm_->all_gather(block.flat()); });
        comm_->join();
    }

private:
    communicator* comm_;
    std::vector<std::size_t> uses_;  // of each block, still to come
};

}  // namespace depthgrow
