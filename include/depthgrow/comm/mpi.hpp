// Ranks that are processes of an MPI run, for numbers in the host's memory.
// Assumes an MPI library with MPI_THREAD_FUNNELED, and numbers of float or double where sums are asked for.
// Every wait is bounded: a rank that does not answer is named. Source: the MPI standard, 3.1.
#pragma once

#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "depthgrow/comm/communicator.hpp"

namespace depthgrow {

/// The processes of MPI_COMM_WORLD. One object a process, made before anything else of MPI and kept to the end.
class mpi_ranks : public communicator {
public:
    /// Starts MPI. A rank that keeps the others waiting for longer than `patience` is lost: `lost` hears why before
    /// lost_ranks is thrown, and may end the program; from then on every operation throws that, and MPI is left alone.
    explicit mpi_ranks(std::chrono::duration<double> patience = std::chrono::minutes(10),
                       std::function<void(const std::string& why)> lost = {})
        : patience_(patience), lost_(std::move(lost)) {
        int provided = 0, rank = 0, size = 1;
        check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
        check(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
        check(MPI_Comm_rank(MPI_COMM_WORLD, &rank), "MPI_Comm_rank");
        check(MPI_Comm_size(MPI_COMM_WORLD, &size), "MPI_Comm_size");
        rank_ = static_cast<std::size_t>(rank), size_ = static_cast<std::size_t>(size);
    }
    mpi_ranks(const mpi_ranks&) = delete;
    mpi_ranks& operator=(const mpi_ranks&) = delete;
    /// Ends MPI where the run went well; else the launcher ends the others.
    ~mpi_ranks() override {
        if (std::uncaught_exceptions() == 0 && broken_.empty()) (void)MPI_Finalize();
    }

    std::size_t rank() const override { return rank_; }
    std::size_t size() const override { return size_; }

    /// Gathered and added in the order of the ranks, so that every rank has the same bits.
    void sum(span<double> host) override {
        std::vector<double> all(host.size() * size_);
        wait([&](MPI_Request* request) {
            return MPI_Iallgather(host.data(), number(host.size()), MPI_DOUBLE, all.data(), number(host.size()),
                                  MPI_DOUBLE, MPI_COMM_WORLD, request);
        });
        for (std::size_t i = 0; i < host.size(); ++i) {
            host[i] = 0;
            for (std::size_t r = 0; r < size_; ++r) host[i] += all[r * host.size() + i];
        }
    }

protected:
    void do_all_reduce(comm_numbers numbers) override {
        each_piece(numbers.count, [&](std::size_t first, int count) {
            wait([&](MPI_Request* request) {
                return MPI_Iallreduce(MPI_IN_PLACE, at(numbers, first), count, type_of(numbers), MPI_SUM,
                                      MPI_COMM_WORLD, request);
            });
        });
    }
    void do_reduce_scatter(comm_numbers whole) override {
        const std::size_t each = whole.count / size_, bytes = whole.bytes_each();
        share_.resize(each * bytes);
        const std::vector<int> counts(size_, number(each));
        wait([&](MPI_Request* request) {
            return MPI_Ireduce_scatter(whole.data, share_.data(), counts.data(), type_of(whole), MPI_SUM,
                                       MPI_COMM_WORLD, request);
        });
        std::memcpy(at(whole, rank_ * each), share_.data(), share_.size());
    }
    void do_all_gather(comm_numbers whole) override {
        const int bytes = number(whole.count / size_ * whole.bytes_each());
        wait([&](MPI_Request* request) {
            return MPI_Iallgather(MPI_IN_PLACE, bytes, MPI_BYTE, whole.data, bytes, MPI_BYTE, MPI_COMM_WORLD, request);
        });
    }
    void do_broadcast(comm_numbers numbers, std::size_t root) override {
        each_piece(numbers.count * numbers.bytes_each(), [&](std::size_t first, int count) {
            wait([&](MPI_Request* request) {
                return MPI_Ibcast(static_cast<char*>(numbers.data) + first, count, MPI_BYTE, static_cast<int>(root),
                                  MPI_COMM_WORLD, request);
            });
        });
    }

private:
    static constexpr int alive_tag = 1;

    static void check(int status, const char* what) {
        if (status == MPI_SUCCESS) return;
        char message[MPI_MAX_ERROR_STRING] = "";
        int length = 0;
        (void)MPI_Error_string(status, message, &length);
        fail("[mpi] expected ", what, " to succeed, found: ", message);
    }
    static int number(std::size_t count) {
        require(count <= static_cast<std::size_t>(std::numeric_limits<int>::max()),
                "[mpi] expected at most 2^31 - 1 numbers a rank, got ", count);
        return static_cast<int>(count);
    }
    static void* at(comm_numbers numbers, std::size_t first) {
        return static_cast<char*>(numbers.data) + first * numbers.bytes_each();
    }
    static MPI_Datatype type_of(comm_numbers numbers) {
        require(numbers.type == dtype::f32 || numbers.type == dtype::f64,
                "[mpi] expected sums of float or double, got two-byte numbers");
        return numbers.type == dtype::f64 ? MPI_DOUBLE : MPI_FLOAT;
    }
    template <class Body> static void each_piece(std::size_t count, const Body& body) {
        constexpr std::size_t most = std::size_t{1} << 30;
        for (std::size_t first = 0; first < count; first += most)
            body(first, static_cast<int>(std::min(most, count - first)));
    }
    /// Starts an operation and waits for its end: at first without a pause, then with short ones, not for ever.
    template <class Start> void wait(const Start& start) {
        if (!broken_.empty()) throw lost_ranks(broken_);  // what was under way still uses its memory
        MPI_Request request = MPI_REQUEST_NULL;
        check(start(&request), "an operation");
        if (ends_within(&request, patience_)) return;
        broken_ = text("[mpi] ", silent_ranks());
        if (lost_) lost_(broken_);
        throw lost_ranks(broken_);
    }
    static bool ends_within(MPI_Request* request, std::chrono::duration<double> patience) {
        const auto begun = std::chrono::steady_clock::now();
        for (int done = 0;;) {
            check(MPI_Test(request, &done, MPI_STATUS_IGNORE), "an operation");
            if (done) return true;
            const std::chrono::duration<double> waited = std::chrono::steady_clock::now() - begun;
            if (waited > patience) return false;
            if (waited > std::chrono::milliseconds(20)) std::this_thread::sleep_for(std::chrono::microseconds(200));
            else std::this_thread::yield();
        }
    }
    /// Asks every rank for a sign of life; those that wait as this one does give it.
    std::string silent_ranks() {
        const auto grace = std::min(std::chrono::duration<double>(5), patience_);
        std::vector<MPI_Request> heard(size_, MPI_REQUEST_NULL), told(size_, MPI_REQUEST_NULL);
        std::vector<char> signs(size_, 0);
        char sign = 1;
        for (std::size_t r = 0; r < size_; ++r)
            if (r != rank_) {
                (void)MPI_Irecv(&signs[r], 1, MPI_CHAR, static_cast<int>(r), alive_tag, MPI_COMM_WORLD, &heard[r]);
                (void)MPI_Isend(&sign, 1, MPI_CHAR, static_cast<int>(r), alive_tag, MPI_COMM_WORLD, &told[r]);
            }
        std::string names;
        const auto begun = std::chrono::steady_clock::now();
        for (std::size_t r = 0; r < size_; ++r) {
            if (r == rank_) continue;
            const std::chrono::duration<double> used = std::chrono::steady_clock::now() - begun;
            if (!ends_within(&heard[r], std::max(grace - used, std::chrono::duration<double>(0.01))))
                names += (names.empty() ? "" : ", ") + std::to_string(r);
        }
        return text("expected an answer from every rank within ", patience_.count(), " s, found none from rank ",
                    names.empty() ? std::string("(all answer now: the network was slow)") : names);
    }

    std::chrono::duration<double> patience_;
    std::function<void(const std::string&)> lost_;
    std::string broken_;  // why there is no use in asking the others any more
    std::size_t rank_ = 0, size_ = 1;
    std::vector<char> share_;  // of a sum that is shared out
};

}  // namespace depthgrow
