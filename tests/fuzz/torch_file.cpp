// libFuzzer entry of the reader of torch's files: any bytes give checked values or one sentence, never anything else.
// clang++-14 -std=c++20 -g -O1 -fsanitize=fuzzer,address,undefined -Iinclude tests/fuzz/torch_file.cpp -o
// fuzz_torch_file
// ./fuzz_torch_file -max_total_time=300 CORPUS tests/fuzz/corpus/torch_file
#include "depthgrow/io/torch_file.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const int handle = ::memfd_create("fuzz", 0);
    static const std::string path = "/proc/self/fd/" + std::to_string(handle);
    if (::ftruncate(handle, 0) != 0 || ::pwrite(handle, data, size, 0) != static_cast<ssize_t>(size)) std::abort();
    const auto sentence = [](const depthgrow::error& problem) {
        if (std::string(problem.what()).find('\n') != std::string::npos) std::abort();
    };
    try {
        const depthgrow::torch_file file(path);
        for (const auto& value : file.values().values)
            if (value.kind == depthgrow::pickle_kind::tensor && file.read_bytes(value).size() > size) std::abort();
    } catch (const depthgrow::error& problem) { sentence(problem); }
    try {  // and the pickle by itself, which few mutations of an archive reach
        depthgrow::read_pickle({reinterpret_cast<const char*>(data), size}, "pickle");
    } catch (const depthgrow::error& problem) { sentence(problem); }
    return 0;
}
