// libFuzzer entry of the safetensors reader: any bytes give a checked file or one sentence, never anything else.
// clang++-14 -std=c++20 -g -O1 -fsanitize=fuzzer,address,undefined -Iinclude tests/fuzz/safetensors.cpp -o
// fuzz_safetensors
// ./fuzz_safetensors -max_total_time=300 CORPUS tests/fuzz/corpus/safetensors
#include "depthgrow/io/safetensors.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const int handle = ::memfd_create("fuzz", 0);
    static const std::string path = "/proc/self/fd/" + std::to_string(handle);
    if (::ftruncate(handle, 0) != 0 || ::pwrite(handle, data, size, 0) != static_cast<ssize_t>(size)) std::abort();
    try {
        const depthgrow::safetensors_file file(path);
        std::size_t total = 0;
        for (const auto& [name, info] : file.tensors()) {
            total += info.bytes();
            std::vector<char> bytes(info.bytes());
            file.read_bytes(name, bytes.data(), bytes.size());
            if (!info.number_type()) continue;
            std::vector<float> narrow(info.elements());
            std::vector<double> wide(info.elements());
            file.read(name, narrow.data(), narrow.size());
            file.read(name, wide.data(), wide.size());
        }
        if (total > size) std::abort();  // tensors cannot hold more than the file
    } catch (const depthgrow::error& problem) {
        if (std::string(problem.what()).find('\n') != std::string::npos) std::abort();
    }
    return 0;
}
