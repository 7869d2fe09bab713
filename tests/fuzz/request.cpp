// libFuzzer entry of the completions request: any body is a request within its limits or one sentence.
// clang++-14 -std=c++20 -g -O1 -fsanitize=fuzzer,address,undefined -Iinclude -Iexamples tests/fuzz/request.cpp \
//   examples/serve/completions.cpp examples/support/text_tokens.cpp -o fuzz_request
// ./fuzz_request -max_total_time=300 CORPUS tests/fuzz/corpus/request
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "serve/completions.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const tools::text_tokens text("bytes", "", 256);
    const tools::completion_limits limits{64, 256, 4, 3};
    try {
        const auto request = tools::parse_completion({reinterpret_cast<const char*>(data), size}, text, limits);
        if (request.prompts.empty() || request.prompts.size() > limits.prompts || request.stop.size() > limits.stops ||
            request.max_tokens > limits.context)
            std::abort();
        if (request.min_tokens > request.max_tokens) std::abort();
        if (request.n * request.prompts.size() > limits.prompts) std::abort();
        for (const auto& [id, added] : request.sampling.bias)
            if (id < 0 || id >= 256 || !(added >= -100 && added <= 100)) std::abort();
        for (std::int32_t id : request.stop_token_ids)
            if (id < 0 || id >= 256) std::abort();
        std::vector<tools::completion_choice> choices;
        for (const auto& prompt : request.prompts) {
            if (prompt.empty() || prompt.size() > limits.context) std::abort();
            for (std::int32_t id : prompt)
                if (id < 0 || id >= 256) std::abort();
            const std::vector<double> scores(prompt.size(), -1.5);
            for (std::size_t i = 0; i < request.n; ++i)
                choices.push_back(
                    {prompt, scores, scores, prompt, text.decode(prompt), "length", prompt.size(), 0, request.echo, 0});
        }
        depthgrow::json_line(tools::completion_json({request, text, "model", 1, 0}, choices));
    } catch (const depthgrow::error& problem) {
        if (std::string(problem.what()).find('\n') != std::string::npos) std::abort();
    }
    return 0;
}
