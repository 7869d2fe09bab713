// Logits and greedy continuations of a checkpoint for tests/real_model/compare.py. Not part of the test command.
// Usage: run_model MODEL PROMPTS.jsonl OUT.safetensors NEW_TOKENS [THREADS]   (PROMPTS: {"tokens": [...]} lines)
#include <chrono>
#include <cstdio>

#include "depthgrow/analysis/cached_decoder.hpp"
#include "depthgrow/backend/blas.hpp"
#include "depthgrow/io/model_checkpoint.hpp"
#include "support/cli.hpp"
#include "support/cpu_backend.hpp"
#include "support/depth_files.hpp"

namespace dg = depthgrow;

int main(int argc, char** argv) {
    return tools::run_tool([&] {
        dg::require(argc >= 5, "expected MODEL PROMPTS OUT NEW_TOKENS, found ", argc - 1, " arguments");
        const auto limit = static_cast<std::size_t>(std::stoul(argv[4]));
        dg::blas backend(
            {tools::resolve_threads(argc > 5 ? std::stoi(argv[5]) : 0), tools::cpu_product_of("fp32").run});
        const auto model = dg::load_model<float>(backend, argv[1]);
        const auto& config = model.config();
        const auto prompts = tools::read_prompts(argv[2], {config.vocab, config.context, dg::encode_bytes, {2}});
        dg::tape<float, dg::blas> tape(backend);
        dg::cached_decoder<float, dg::blas> decoder(model);
        std::vector<std::pair<std::string, std::vector<float>>> arrays;
        std::vector<dg::tensor_entry> entries;
        double seconds = 0;
        std::size_t made = 0;
        for (std::size_t p = 0; p < prompts.size(); ++p) {
            const auto z = dg::logits<float, dg::blas>(model, tape, prompts[p].tokens, 1);
            entries.push_back({"logits." + std::to_string(p), "F32", {z.rows, z.cols}});
            arrays.emplace_back(entries.back().name, std::vector<float>(z.data, z.data + z.size()));
            const auto start = std::chrono::steady_clock::now();
            const auto tokens = decoder.complete(prompts[p].tokens, limit, [](const auto&) { return false; });
            seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
            made += tokens.size();
            entries.push_back({"tokens." + std::to_string(p), "F32", {tokens.size()}});
            arrays.emplace_back(entries.back().name, std::vector<float>(tokens.begin(), tokens.end()));
        }
        dg::safetensors_writer out(argv[3], entries);
        for (const auto& [name, values] : arrays) out.write(name, values.data(), values.size());
        out.commit();
        std::printf("{\"tokens\": %zu, \"seconds\": %.3f, \"tokens_per_second\": %.2f}\n", made, seconds,
                    static_cast<double>(made) / seconds);
    });
}
