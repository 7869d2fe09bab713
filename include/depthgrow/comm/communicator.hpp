// What the ranks of one run say to each other: sums, shares and copies of numbers that lie in a backend's memory.
// Assumes that every rank asks for the same operations, of the same sizes, in the same order.
// Names follow MPI and NCCL; the operations on equal shares of one array are those of ZeRO (Rajbhandari et al. 2020).
#pragma once

#include <cstddef>
#include <string>
#include <type_traits>
#include <vector>

#include "depthgrow/core/dtype.hpp"
#include "depthgrow/core/error.hpp"
#include "depthgrow/core/span.hpp"

namespace depthgrow {

/// Numbers of one type in the memory of the backend that the ranks compute with.
struct comm_numbers {
    void* data = nullptr;
    std::size_t count = 0;
    dtype type = dtype::f32;

    std::size_t bytes_each() const { return size_of(type); }
};

/// Ranks 0 … size() - 1, of which this process is one. An operation begins after what its backend was given so far,
/// and may run beside what the backend is given later: `join` makes later work wait for it.
class communicator {
public:
    virtual ~communicator() = default;
    virtual std::size_t rank() const = 0;
    virtual std::size_t size() const = 0;
    bool alone() const { return size() == 1; }
    bool first() const { return rank() == 0; }
    /// Whether sums of gradients gain by running beside the backward pass.
    virtual bool beside() const { return true; }

    /// Every number becomes its sum over the ranks.
    template <class U> void all_reduce(span<U> numbers) {
        if (!alone()) do_all_reduce(of(numbers));
    }
    /// Of `whole`, in size() equal shares, share r on rank r becomes its sum over the ranks; the others hold anything.
    template <class U> void reduce_scatter(span<U> whole) {
        if (!alone()) do_reduce_scatter(shared_out(whole));
    }
    /// Of `whole`, in size() equal shares, every rank gets share r from rank r.
    template <class U> void all_gather(span<U> whole) {
        if (!alone()) do_all_gather(shared_out(whole));
    }
    /// Every rank gets the numbers of rank `root`.
    template <class U> void broadcast(span<U> numbers, std::size_t root) {
        if (!alone()) do_broadcast(of(numbers), root);
    }
    /// What body() asks for goes as one: fewer starts, longer messages.
    template <class Body> void grouped(const Body& body) {
        begin_group();
        body();
        end_group();
    }
    /// Later work of the backend waits for all that was asked for here.
    virtual void join() {}
    /// Returns once the backend has done all that it was given; a rank that does not answer ends the wait in time.
    virtual void settle() {}
    /// Sums numbers of the host over the ranks, and waits for them; every rank gets the same bits.
    virtual void sum(span<double> host) = 0;
    /// Returns once every rank has called it.
    void barrier() {
        double nothing = 0;
        sum({&nothing, 1});
    }

protected:
    virtual void begin_group() {}
    virtual void end_group() {}
    virtual void do_all_reduce(comm_numbers) = 0;
    virtual void do_reduce_scatter(comm_numbers whole) = 0;
    virtual void do_all_gather(comm_numbers whole) = 0;
    virtual void do_broadcast(comm_numbers, std::size_t root) = 0;

private:
    template <class U> static comm_numbers of(span<U> numbers) {
        return {numbers.data(), numbers.size(), dtype_of<std::remove_const_t<U>>::value};
    }
    template <class U> comm_numbers shared_out(span<U> whole) const {
        require(whole.size() % size() == 0, "[comm] expected numbers for ", size(), " equal shares, got ",
                whole.size());
        return of(whole);
    }
};

/// The only rank of its run.
class single : public communicator {
public:
    std::size_t rank() const override { return 0; }
    std::size_t size() const override { return 1; }
    void sum(span<double>) override {}

protected:
    void do_all_reduce(comm_numbers) override {}
    void do_reduce_scatter(comm_numbers) override {}
    void do_all_gather(comm_numbers) override {}
    void do_broadcast(comm_numbers, std::size_t) override {}
};

/// What a trainer that was given no communicator talks to.
inline communicator& no_other_ranks() {
    static single only;
    return only;
}

/// What is thrown once another rank does not answer: ranks can do nothing together any more, so no save goes on from
/// it.
class lost_ranks : public error {
public:
    using error::error;
};

/// What a rank throws when another one tells why all of them fail.
class failed_elsewhere : public error {
public:
    failed_elsewhere() : error("another rank could not do its part") {}
};

/// Runs `body` on every rank and lets all fail when one does, with its sentence on the first rank that failed. Bodies
/// may nest.
template <class Body> void together(communicator& comm, const Body& body) {
    if (comm.alone()) return body();
    std::string problem;
    std::vector<double> failed(comm.size());
    try {
        body();
    } catch (const lost_ranks&) {
        throw;                           // nobody is there to be told
    } catch (const failed_elsewhere&) {  // within: the rank that tells why comes here with its sentence
    } catch (const std::exception& caught) {
        problem = caught.what();
        failed[comm.rank()] = 1;
    }
    comm.sum(failed);
    for (std::size_t r = 0; r < failed.size(); ++r) {
        if (failed[r] == 0) continue;
        if (r == comm.rank()) throw error(problem);
        throw failed_elsewhere();
    }
}

}  // namespace depthgrow
