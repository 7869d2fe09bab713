// libFuzzer entry of the JSON reader and of config.json: any text gives a model configuration or one sentence.
// clang++-14 -std=c++20 -g -O1 -fsanitize=fuzzer,address,undefined -Iinclude tests/fuzz/json_config.cpp -o
// fuzz_json_config
// ./fuzz_json_config -max_total_time=300 CORPUS tests/fuzz/corpus/json_config
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "depthgrow/io/hf_directory.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace depthgrow;
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    try {
        const json value = parse_json(text, "fuzz.json");
        if (parse_json(json_text(value), "again.json") != value)
            std::abort();  // what was read is written and read back
        const hf_config config = parse_hf_config(value, "config.json");
        const decoder_config& model = config.model;
        const decoder_config again = parse_hf_config(hf_config_fields(model, config.fields), "again.json").model;
        if (again.layers != model.layers || again.width != model.width || again.ropes != model.ropes ||
            again.kinds != model.kinds || again.norms != model.norms)
            std::abort();
    } catch (const error& problem) {
        const std::string sentence = problem.what();
        if (sentence.find('\n') != std::string::npos || sentence.rfind("again.json", 0) == 0) std::abort();
    }
    return 0;
}
