// Device memory and errors of the CUDA runtime, for the parts of the backend that plain g++ compiles.
// Assumes the device of the calling thread is the backend's.
// Everything that fails is a sentence with CUDA's own words.
#pragma once

#include <cuda_runtime_api.h>

#include <string>
#include <utility>

#include "depthgrow/core/error.hpp"

namespace depthgrow {

/// Device memory ran out: how much was asked for, how much was free.
class out_of_device_memory : public error {
public:
    using error::error;
};

namespace cuda_detail {

inline void check(cudaError_t status, const char* what) {
    if (status != cudaSuccess) fail("[cuda] ", what, " failed: ", cudaGetErrorString(status));
}

/// Throws out_of_device_memory when `bytes` cannot be had.
inline void* allocate(std::size_t bytes) {
    void* data = nullptr;
    const cudaError_t status = cudaMalloc(&data, bytes > 0 ? bytes : 1);
    if (status == cudaErrorMemoryAllocation) {
        (void)cudaGetLastError();
        std::size_t free = 0, total = 0;
        (void)cudaMemGetInfo(&free, &total);
        throw out_of_device_memory(text("[cuda] expected ", bytes >> 20, " MiB more of device memory, found ",
                                        free >> 20, " MiB free of ", total >> 20));
    }
    check(status, "cudaMalloc");
    return data;
}

/// A run of bytes on the device.
class device_bytes {
public:
    explicit device_bytes(std::size_t size = 0) { resize(size); }
    device_bytes(const device_bytes&) = delete;
    device_bytes& operator=(const device_bytes&) = delete;
    ~device_bytes() { (void)cudaFree(data_); }
    /// At least `size` bytes; what was there is lost when it grows.
    void resize(std::size_t size) {
        if (size <= size_) return;
        (void)cudaFree(std::exchange(data_, nullptr));
        size_ = 0;
        data_ = allocate(size);
        size_ = size;
    }
    void* data() const { return data_; }
    std::size_t size() const { return size_; }

private:
    void* data_ = nullptr;
    std::size_t size_ = 0;
};

/// A run of bytes of the host that copies may reach while the program goes on.
class pinned_bytes {
public:
    explicit pinned_bytes(std::size_t size) { check(cudaMallocHost(&data_, size), "cudaMallocHost"); }
    pinned_bytes(const pinned_bytes&) = delete;
    pinned_bytes& operator=(const pinned_bytes&) = delete;
    ~pinned_bytes() { (void)cudaFreeHost(data_); }
    void* data() const { return data_; }

private:
    void* data_ = nullptr;
};

}  // namespace cuda_detail
}  // namespace depthgrow
