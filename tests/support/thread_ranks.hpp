// Ranks that are threads of one process: what a test of several ranks talks through.
// Assumes backends whose memory the host reads; a rank that fails ends the program.
#pragma once

#include <barrier>
#include <cstring>
#include <functional>
#include <thread>
#include <vector>

#include "depthgrow/comm/communicator.hpp"

namespace thread_ranks {

namespace dg = depthgrow;

/// What the ranks share: a slot each, and a place to meet.
struct meeting {
    explicit meeting(std::size_t size) : slots(size), arrived(static_cast<std::ptrdiff_t>(size)) {}
    std::vector<std::vector<unsigned char>> slots;
    std::barrier<> arrived;
};

class one_of_many : public dg::communicator {
public:
    one_of_many(meeting& others, std::size_t number) : others_(others), number_(number) {}
    std::size_t size() const override { return others_.slots.size(); }
    std::size_t rank() const override { return number_; }
    void sum(dg::span<double> host) override { add<double>(host.data(), 0, host.size(), host.size()); }

protected:
    void do_all_reduce(dg::comm_numbers n) override {
        with_type(n, [&](auto* data) { add(data, 0, n.count, n.count); });
    }
    void do_reduce_scatter(dg::comm_numbers n) override {
        const std::size_t each = n.count / size();
        with_type(n, [&](auto* data) { add(data, number_ * each, each, n.count); });
    }
    void do_all_gather(dg::comm_numbers n) override {
        const std::size_t bytes = n.count / size() * n.bytes_each();
        auto* data = static_cast<unsigned char*>(n.data);
        others_.slots[number_].assign(data + number_ * bytes, data + (number_ + 1) * bytes);
        others_.arrived.arrive_and_wait();
        for (std::size_t r = 0; r < size(); ++r) std::memcpy(data + r * bytes, others_.slots[r].data(), bytes);
        others_.arrived.arrive_and_wait();
    }
    void do_broadcast(dg::comm_numbers n, std::size_t root) override {
        const std::size_t bytes = n.count * n.bytes_each();
        auto* data = static_cast<unsigned char*>(n.data);
        if (number_ == root) others_.slots[root].assign(data, data + bytes);
        others_.arrived.arrive_and_wait();
        std::memcpy(data, others_.slots[root].data(), bytes);
        others_.arrived.arrive_and_wait();
    }

private:
    template <class Body> static void with_type(dg::comm_numbers n, const Body& body) {
        if (n.type == dg::dtype::f64) body(static_cast<double*>(n.data));
        else if (n.type == dg::dtype::f32) body(static_cast<float*>(n.data));
        else dg::fail("expected sums of float or double");
    }
    /// Numbers [first, first + count) of `whole` become their sums, in the order of the ranks.
    template <class U> void add(U* data, std::size_t first, std::size_t count, std::size_t whole) {
        others_.slots[number_].resize(whole * sizeof(U));
        std::memcpy(others_.slots[number_].data(), data, whole * sizeof(U));
        others_.arrived.arrive_and_wait();
        for (std::size_t i = first; i < first + count; ++i) {
            data[i] = 0;
            for (const auto& slot : others_.slots) data[i] += reinterpret_cast<const U*>(slot.data())[i];
        }
        others_.arrived.arrive_and_wait();
    }

    meeting& others_;
    std::size_t number_;
};

/// body(communicator) on every one of `size` ranks at once.
inline void run(std::size_t size, const std::function<void(dg::communicator&)>& body) {
    meeting all(size);
    std::vector<std::thread> threads;
    for (std::size_t r = 0; r < size; ++r)
        threads.emplace_back([&, r] {
            one_of_many self(all, r);
            body(self);
        });
    for (auto& thread : threads) thread.join();
}

}  // namespace thread_ranks
