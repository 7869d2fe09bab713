// Trains a byte-level BPE vocabulary on text and writes it as a tokenizer.json that other libraries open.
#include <cstdio>
#include <filesystem>

#include "depthgrow/io/bpe_trainer.hpp"
#include "depthgrow/io/tokens.hpp"
#include "support/cli.hpp"
#include "support/console.hpp"
#include "support/json_output.hpp"
#include "support/training_data.hpp"

namespace {

namespace dg = depthgrow;

struct settings {
    std::vector<std::string> data, special = {"<|endoftext|>"};
    std::string out, digits = "single", json;
    std::size_t vocab = 4096, least = 2;
    int threads = 0;
    bool quiet = false;
};

void run(settings s) {
    const bool one_file = s.out.ends_with(".json");
    if (one_file) dg::require_output_file(s.out);
    else s.out = dg::output_directory(s.out).string();
    tools::stopwatch watch;
    const int threads = tools::resolve_threads(s.threads);
    std::size_t bytes = 0;
    const auto texts = tools::read_texts(s.data, bytes);
    const double read = watch.seconds();
    const auto made = dg::train_bpe(texts, {s.vocab, s.special, s.digits == "single", s.least, threads});
    const double trained = watch.seconds();
    if (one_file) dg::write_file(s.out, made.text());
    else {
        std::error_code problem;
        std::filesystem::create_directories(s.out, problem);
        dg::require(!problem, s.out, ": expected a directory that can be made, found: ", problem.message());
        dg::write_tokenizer(s.out, made);
    }
    tools::stopwatch encoding;
    std::vector<std::int32_t> ids;
    std::size_t sampled = 0, tokens = 0;
    for (const auto& text : texts) {
        if (sampled > 20'000'000) break;
        ids.clear();
        made.encode(text, ids);
        sampled += text.size(), tokens += ids.size();
    }
    const double seconds = encoding.seconds(), each = static_cast<double>(sampled) / static_cast<double>(tokens);
    const dg::json record = {{"tokens", made.size()},
                             {"bytes", bytes},
                             {"bytes_per_token", each},
                             {"seconds", trained},
                             {"encode_bytes_per_second", static_cast<double>(sampled) / seconds}};
    if (!s.quiet && s.json != "-") {
        std::printf("%zu tokens from %sB in %.1f s (%.1f s of it reading), %d threads; %s\n", made.size(),
                    tools::human(static_cast<double>(bytes)).c_str(), trained, read, threads, s.out.c_str());
        std::printf("%.3f bytes a token on the training text; encoding at %sB/s on one core\n", each,
                    tools::human(static_cast<double>(sampled) / seconds).c_str());
        if (made.size() < s.vocab)
            std::printf("fewer tokens than asked for: no other pair occurs %zu times\n", s.least);
    }
    tools::write_json(s.json, record);
}

}  // namespace

int main(int argc, char** argv) {
    return tools::run_tool([&] {
        settings s;
        tools::command_line flags("train_tokenizer --data FILE --out FILE [FLAGS]",
                                  "Trains a byte-level BPE vocabulary on text: tokenizer.json, the same on every run.");
        flags.add_required("--data", s.data, "files, .txt or .jsonl with \"text\"");
        flags.add_required("--out", s.out,
                           "a .json file to write, or a directory for tokenizer.json and tokenizer_config.json");
        flags.add("--vocab", s.vocab, "Tokens in all: special tokens, 256 bytes, merges");
        flags.add("--special", s.special, "Special tokens, ids from 0");
        flags.add_choice("--digits", s.digits, {"single", "runs"},
                         "Every digit a token of its own (SmolLM), or runs of digits merge (GPT-2)");
        flags.add("--least", s.least, "A pair must occur this often to become a token");
        flags.add_threads(s.threads);
        flags.add_json(s.json);
        flags.add_quiet(s.quiet);
        flags.examples({"train_tokenizer --data book.txt --vocab 4096 --out tokenizer.json",
                        "train_smol --data book.txt --tokenizer tokenizer.json",
                        "train_tokenizer --data one.txt two.jsonl --digits runs --out tokenizer"});
        if (!flags.parse(argc, argv)) return;
        run(s);
    });
}
