// Ranks with a GPU each, for numbers in device memory: NCCL, on a stream beside the backend's.
// Assumes one device a process, made current before; an id that rank 0 made and the others were given (rendezvous.hpp).
// May be recorded in a CUDA graph: everything is ordered by events. Source: the NCCL user guide, 2.2x.
#pragma once

#include <cuda_runtime_api.h>
#include <nccl.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "depthgrow/backend/cuda/memory.hpp"
#include "depthgrow/comm/communicator.hpp"

namespace depthgrow {

class nccl_ranks : public communicator {
public:
    /// What all ranks of a run must be given: made by one, passed on to the others.
    static std::string make_id() {
        ncclUniqueId id;
        check(ncclGetUniqueId(&id), "ncclGetUniqueId");
        return {id.internal, sizeof id.internal};
    }

    /// Joins the others; returns once all have. `compute` is the stream that the backend works in. Over links as fast
    /// as NVLink gradients are best summed after the backward pass: beside it they take processors from its products,
    /// which costs more than it hides (2 H100: 0.8 % of a step of 360M). Over slower ones, `beside` it. Ranks that do
    /// not answer within `patience` are an error. Once all have joined, `lost` hears it before it is thrown, and may
    /// end the program: memory that goes out of scope on the way waits for the device, and that, maybe for long, for
    /// those ranks.
    nccl_ranks(const std::string& id, std::size_t rank, std::size_t size, cudaStream_t compute, bool beside = false,
               std::chrono::duration<double> patience = std::chrono::minutes(10),
               std::function<void(const std::string& why)> lost = {})
        : rank_(rank),
          size_(size),
          compute_(compute),
          beside_(beside),
          patience_(patience),
          lost_(std::move(lost)),
          words_(sum_bytes),
          host_words_(sum_bytes) {
        ncclUniqueId unique;
        require(id.size() == sizeof unique.internal, "[nccl] expected an id of ", sizeof unique.internal,
                " bytes, got ", id.size());
        std::copy(id.begin(), id.end(), unique.internal);
        cuda_detail::check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
        for (cudaEvent_t* event : {&before_, &after_})
            cuda_detail::check(cudaEventCreateWithFlags(event, cudaEventDisableTiming), "cudaEventCreate");
        comm_ = joined(unique, static_cast<int>(rank), static_cast<int>(size));
    }
    nccl_ranks(const nccl_ranks&) = delete;
    nccl_ranks& operator=(const nccl_ranks&) = delete;
    ~nccl_ranks() override {
        if (comm_ && std::uncaught_exceptions() > 0) end_what_waits();
        else if (comm_) (void)ncclCommDestroy(comm_);
        for (cudaEvent_t event : {before_, after_}) (void)cudaEventDestroy(event);
        (void)cudaStreamDestroy(stream_);
    }

    std::size_t rank() const override { return rank_; }
    std::size_t size() const override { return size_; }
    bool beside() const override { return beside_; }

    /// The stream that exchanges run in.
    cudaStream_t stream() const { return stream_; }

    void join() override {
        if (alone()) return;
        cuda_detail::check(cudaEventRecord(after_, stream_), "cudaEventRecord");
        cuda_detail::check(cudaStreamWaitEvent(compute_, after_, 0), "cudaStreamWaitEvent");
    }
    void settle() override {
        if (!alone()) wait(compute_);
    }
    void sum(span<double> host) override {
        constexpr std::size_t most = sum_bytes / sizeof(double);
        for (std::size_t first = 0; first < host.size() && !alone(); first += most)
            sum_piece(host.subspan(first, std::min(most, host.size() - first)));
    }

protected:
    void begin_group() override { ask(ncclGroupStart(), "ncclGroupStart"); }
    void end_group() override { ask(ncclGroupEnd(), "ncclGroupEnd"); }
    void do_all_reduce(comm_numbers numbers) override {
        wait_for_backend();
        ask(ncclAllReduce(numbers.data, numbers.data, numbers.count, type_of(numbers), ncclSum, comm_, stream_),
            "ncclAllReduce");
    }
    void do_reduce_scatter(comm_numbers whole) override {
        wait_for_backend();
        const std::size_t each = whole.count / size_;
        ask(ncclReduceScatter(whole.data, own(whole), each, type_of(whole), ncclSum, comm_, stream_),
            "ncclReduceScatter");
    }
    void do_all_gather(comm_numbers whole) override {
        wait_for_backend();
        ask(ncclAllGather(own(whole), whole.data, whole.count / size_, type_of(whole), comm_, stream_),
            "ncclAllGather");
    }
    void do_broadcast(comm_numbers numbers, std::size_t root) override {
        wait_for_backend();
        ask(ncclBroadcast(numbers.data, numbers.data, numbers.count, type_of(numbers), static_cast<int>(root), comm_,
                          stream_),
            "ncclBroadcast");
    }

    /// What is asked for next begins after the backend's work so far.
    void wait_for_backend() {
        require_ranks();
        cuda_detail::check(cudaEventRecord(before_, compute_), "cudaEventRecord");
        cuda_detail::check(cudaStreamWaitEvent(stream_, before_, 0), "cudaStreamWaitEvent");
    }

private:
    static constexpr std::size_t sum_bytes = 4096;

    static std::string problem_of(ncclResult_t status, const char* what) {
        if (status == ncclSuccess || status == ncclInProgress) return {};
        return text("[nccl] expected ", what, " to succeed, found: ", ncclGetErrorString(status), " (",
                    ncclGetLastError(nullptr), ")");
    }
    static void check(ncclResult_t status, const char* what) {
        if (const auto problem = problem_of(status, what); !problem.empty()) fail(problem);
    }
    /// The same of what involves other ranks, while the device may wait for them.
    void ask(ncclResult_t status, const char* what) {
        if (const auto problem = problem_of(status, what); !problem.empty()) give_up(problem);
    }
    /// Ends what the device still waits for, or freeing memory would wait too.
    [[noreturn]] void give_up(const std::string& why) {
        broken_ = why;
        if (lost_) lost_(why);
        end_what_waits();
        throw lost_ranks(why);
    }
    void require_ranks() const {
        if (!comm_) throw lost_ranks(broken_);
    }
    static ncclDataType_t type_of(comm_numbers numbers) {
        switch (numbers.type) {
            case dtype::f64:
                return ncclDouble;
            case dtype::f32:
                return ncclFloat;
            case dtype::bf16:
                return ncclBfloat16;
            default:
                return ncclHalf;
        }
    }
    void sum_piece(span<double> host) {
        require_ranks();
        auto *device = static_cast<double*>(words_.data()), *pinned = static_cast<double*>(host_words_.data());
        const std::size_t bytes = host.size() * sizeof(double);
        std::copy(host.begin(), host.end(), pinned);
        cuda_detail::check(cudaMemcpyAsync(device, pinned, bytes, cudaMemcpyHostToDevice, stream_), "a copy");
        ask(ncclAllReduce(device, device, host.size(), ncclDouble, ncclSum, comm_, stream_), "ncclAllReduce");
        cuda_detail::check(cudaMemcpyAsync(pinned, device, bytes, cudaMemcpyDeviceToHost, stream_), "a copy");
        wait(stream_);
        std::copy_n(pinned, host.size(), host.begin());
    }
    void* own(comm_numbers whole) const {
        return static_cast<char*>(whole.data) + rank_ * (whole.count / size_) * whole.bytes_each();
    }
    /// A communicator, once all ranks have joined it. The others' silence ends the wait, though not NCCL's own, which
    /// then lives as long as the process.
    ncclComm_t joined(const ncclUniqueId& id, int rank, int size) const {
        int device = 0;
        cuda_detail::check(cudaGetDevice(&device), "cudaGetDevice");
        auto work = std::make_shared<std::packaged_task<ncclComm_t()>>([id, rank, size, device] {
            cuda_detail::check(cudaSetDevice(device), "cudaSetDevice");
            ncclComm_t made = nullptr;
            check(ncclCommInitRank(&made, size, id, rank), "ncclCommInitRank");
            return made;
        });
        auto made = work->get_future();
        std::thread([work] { (*work)(); }).detach();
        const auto patience = std::min<std::chrono::duration<double>>(patience_, std::chrono::minutes(10));
        if (made.wait_for(patience) != std::future_status::ready)
            fail("[nccl] expected ", size, " ranks to join within ", patience.count(), " s, found fewer");
        return made.get();
    }
    /// Ends what the device still waits for of other ranks. NCCL itself returns from it only when every CUDA graph with
    /// exchanges in it is gone and the other ranks have ended theirs, so another thread waits for that.
    void end_what_waits() {
        std::thread([comm = std::exchange(comm_, nullptr)] { (void)ncclCommAbort(comm); }).detach();
    }
    /// Waits for a stream, not for ever, and hears of other ranks' failures meanwhile.
    void wait(cudaStream_t stream) {
        const auto begun = std::chrono::steady_clock::now();
        for (;;) {
            const cudaError_t status = cudaStreamQuery(stream);
            if (status == cudaSuccess) return;
            if (status != cudaErrorNotReady) cuda_detail::check(status, "work on the device");
            ncclResult_t problem = ncclSuccess;
            ask(ncclCommGetAsyncError(comm_, &problem), "ncclCommGetAsyncError");
            const std::chrono::duration<double> waited = std::chrono::steady_clock::now() - begun;
            if (problem != ncclSuccess)
                give_up(text("[nccl] expected the other ranks' work to succeed, found: ", ncclGetErrorString(problem)));
            if (waited > patience_)
                give_up(text("[nccl] expected an answer from every rank within ", patience_.count(), " s, found none"));
            std::this_thread::yield();
        }
    }

    std::size_t rank_, size_;
    cudaStream_t compute_, stream_ = nullptr;
    bool beside_;
    std::chrono::duration<double> patience_;
    std::function<void(const std::string&)> lost_;
    cuda_detail::device_bytes words_;       // of host numbers to be summed
    cuda_detail::pinned_bytes host_words_;  // a copy to memory of another kind would wait for the device, without end
    cudaEvent_t before_ = nullptr, after_ = nullptr;
    ncclComm_t comm_ = nullptr;
    std::string broken_;  // why there is no communicator any more
};

}  // namespace depthgrow
