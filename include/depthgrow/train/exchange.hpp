// What ranks exchange around an optimiser step: gradients summed into shares, updated weights gathered from shares.
// Assumes blocks of padded sizes (comm/sharding.hpp), and the same passes in the same order on every rank.
// A layer's gradients may be on their way as soon as the backward pass is done with it. Source: Rajbhandari et al.
// 2020.
#pragma once

#include <cstdint>
#include <cstring>
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
    comm.settle();  // whoever takes it to the host waits without end
    return whole;
}

/// A number that tells blocks apart: a sum over their words, in any order the same.
template <class T, class Backend> std::uint64_t checksum(const parameter_block<T, Backend>& block) {
    if constexpr (requires { block.backend().word_sum(block.flat().data(), block.flat().size()); }) {
        return block.backend().word_sum(block.flat().data(), block.flat().size());
    } else {
        std::vector<T> numbers(block.flat().size());
        block.backend().template to_host<T>(block.flat().data(), numbers.data(), numbers.size());
        std::uint64_t sum = 0;
        for (std::size_t i = 0; i < numbers.size(); ++i) {
            std::uint64_t word = 0;
            std::memcpy(&word, &numbers[i], sizeof(T));
            sum += (word + 1) * (2 * static_cast<std::uint64_t>(i) + 1);
        }
        return sum;
    }
}

/// Refuses weights that are not those of every other rank, which a growth must leave alike.
template <class T, class Backend> void require_alike(const parameter_set<T, Backend>& weights, communicator& comm) {
    if (comm.alone()) return;
    std::uint64_t sum = 0;
    weights.each([&](const auto& block) { sum = sum * 3 + checksum(block); });
    const std::vector<double> own = {static_cast<double>(sum >> 32), static_cast<double>(sum & 0xffffffffu)};
    std::vector<double> all = own;
    comm.sum(all);
    const auto ranks = static_cast<double>(comm.size());
    const bool alike = all[0] == ranks * own[0] && all[1] == ranks * own[1];
    together(comm, [&] {
        require(alike, "[trainer] expected the same weights on every rank after a growth, found others on rank ",
                comm.rank(), " than on the average rank");
    });
}

template <class T, class Backend> class exchange {
public:
    using set = parameter_set<wide_t<T>, Backend>;
    /// `gathered_part`: bytes of weights that are gathered at a time.
    explicit exchange(communicator& comm, std::size_t gathered_part = std::size_t{768} << 20)
        : comm_(&comm), gathered_part_(gathered_part) {}

    /// Before a step's last backward pass: from then on the gradients of a layer are summed once the last of its uses
    /// in `order` (empty: each layer once) is done.
    void watch(set& gradients, span<const std::size_t> order) {
        if (comm_->alone()) return;
        uses_.assign(gradients.layers.size() + 1, order.empty() ? 1 : 0);
        for (std::size_t layer : order) ++uses_[1 + layer];
        std::size_t all = 0;
        gradients.each([&](const auto& block) { all += block.flat().size() * sizeof(wide_t<T>); });
        const std::size_t enough = comm_->beside() ? std::min(largest_message, all / messages) : all;
        gradients.use_done = [this, &gradients, enough](std::size_t block) {
            if (--uses_[block] > 0) return;
            ready_.push_back(block_of(gradients, block).flat());
            ready_bytes_ += ready_.back().size() * sizeof(wide_t<T>);
            if (ready_bytes_ >= enough) sum_ready();
        };
    }
    /// After that pass: the rest is summed, and later work of the backend waits for all of it. A layer that no rank
    /// ran has gradients of zero everywhere.
    void finish(set& gradients) {
        if (comm_->alone()) return;
        gradients.use_done = nullptr;
        ready_.push_back(gradients.outer.flat());
        sum_ready();
        comm_->join();
    }
    /// update(from, to) steps this rank's shares of blocks [from, to); those of large models are gathered while the
    /// next ones are stepped.
    template <class Update> void gather(parameter_set<T, Backend>& weights, const Update& update) {
        const std::size_t blocks = weights.layers.size() + 1;
        if (comm_->alone()) return update(std::size_t{0}, blocks);
        std::size_t from = 0, bytes = 0;
        for (std::size_t to = 1; to <= blocks; ++to) {
            bytes += block_of(weights, to - 1).flat().size() * sizeof(T);
            if (bytes < gathered_part_ && to < blocks) continue;
            update(from, to);
            comm_->grouped([&] {
                for (; from < to; ++from) comm_->all_gather(block_of(weights, from).flat());
            });
            bytes = 0;
        }
        comm_->join();
    }

private:
    /// Gradients go in messages of so many bytes, or in so many of one size where that is less: long ones are faster,
    /// and the last of them has nothing to hide behind.
    static constexpr std::size_t largest_message = std::size_t{160} << 20, messages = 8;

    void sum_ready() {
        comm_->grouped([&] {
            for (const auto& block : ready_) comm_->reduce_scatter(block);
        });
        ready_.clear();
        ready_bytes_ = 0;
    }

    communicator* comm_;
    std::size_t gathered_part_;
    std::vector<std::size_t> uses_;       // of each block, still to come
    std::vector<span<wide_t<T>>> ready_;  // blocks that are done, on the way to a message
    std::size_t ready_bytes_ = 0;
};

}  // namespace depthgrow
