// libFuzzer entry of the tokenizer: any bytes are a tokenizer or one sentence; a tokenizer takes any bytes as text.
// clang++-14 -std=c++20 -g -O1 -fsanitize=fuzzer,address,undefined -Iinclude tests/fuzz/tokenizer.cpp -o fuzz_tokenizer
// ./fuzz_tokenizer -max_total_time=300 CORPUS tests/fuzz/corpus/tokenizer
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "depthgrow/io/bpe_trainer.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace depthgrow;
    const std::string_view input(reinterpret_cast<const char*>(data), size);
    // as text: a tokenizer with every byte gives it back, whatever it is
    static const tokenizer trained = train_bpe(std::vector<std::string>{"the tower that the masons built in 1907, the tower they'd seen"}, {300, {"<s>"}, true, 1, 1});
    if (trained.decode(trained.encode(input)) != input) std::abort();
    // as a file: a tokenizer, or one sentence
    try {
        const tokenizer made(input, "fuzz.json");
        const auto ids = made.encode(input);
        for (std::int32_t id : ids)
            if (id < 0 || static_cast<std::size_t>(id) >= made.size()) std::abort();
        made.decode(ids);
        if (tokenizer(made.text(), "again.json").encode(input) != ids) std::abort();
    } catch (const error& problem) {
        const std::string sentence = problem.what();
        if (sentence.find('\n') != std::string::npos || sentence.rfind("again.json", 0) == 0) std::abort();
    }
    return 0;
}
