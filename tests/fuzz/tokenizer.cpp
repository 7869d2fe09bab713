// libFuzzer entry of the tokenizer: any bytes are a tokenizer or one sentence; a tokenizer takes any bytes as text.
// clang++-14 -std=c++20 -g -O1 -fsanitize=fuzzer,address,undefined -Iinclude tests/fuzz/tokenizer.cpp -o fuzz_tokenizer
// ./fuzz_tokenizer -max_total_time=300 CORPUS tests/fuzz/corpus/tokenizer
#include <algorithm>
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
    static const tokenizer trained =
        train_bpe(std::vector<std::string>{"the tower that the masons built in 1907, the tower they'd seen"},
                  {300, {"<s>"}, true, 1, 1});
    if (trained.decode(trained.encode(input)) != input) std::abort();
    // as a pattern that splits it: its matches follow each other
    try {
        const std::size_t half = std::min<std::size_t>(size / 2, 64);
        std::size_t done = 0;
        pattern::regex(input.substr(0, half), "pattern.json").each(input, [&](std::size_t begin, std::size_t end) {
            if (begin < done || end <= begin || end > input.size()) std::abort();
            done = end;
        });
    } catch (const error& problem) {
        if (std::string_view(problem.what()).find('\n') != std::string_view::npos) std::abort();
    }
    // the normalization form of a text is its own, and valid where the text is
    const std::string composed = to_nfc(input);
    if (to_nfc(composed) != composed || is_valid_utf8(composed) != is_valid_utf8(input)) std::abort();
    // as a file: a tokenizer, or one sentence; what it is asked to encode holds its own added tokens and more
    try {
        const tokenizer made(input, "fuzz.json");
        const std::string text = std::string(input.substr(0, 512)) + " <s> <t>  a\xcc\x81\xe2\x96\x81 12345\xff\xe6";
        const auto ids = made.encode(text), whole = made.encode_whole(text);
        for (std::int32_t id : whole)
            if (id < 0 || static_cast<std::size_t>(id) >= made.size()) std::abort();
        if (whole.size() != made.leading().size() + ids.size() + made.trailing().size()) std::abort();
        made.decode(whole, true);
        made.decode(ids);
        if (tokenizer(made.text(), "again.json").encode(text) != ids) std::abort();
    } catch (const error& problem) {
        const std::string sentence = problem.what();
        if (sentence.find('\n') != std::string::npos || sentence.rfind("again.json", 0) == 0) std::abort();
    }
    return 0;
}
