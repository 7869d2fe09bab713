// Encodes and decodes for tokenizer_styles.py: run_tokenizer TOKENIZER [ids] < FRAMES. A frame is a length (32 bits,
// little-endian) and as many bytes of text; for each comes one JSON line with the ids, those of the whole text, what
// they decode to, what is left of that without special tokens, and whether the bytes came back as they were. With "ids"
// a frame holds a JSON list.
#include <cstdio>
#include <string>

#include "depthgrow/io/tokenizer.hpp"

namespace dg = depthgrow;

int main(int argc, char** argv) {
    try {
        dg::require(argc == 2 || argc == 3, "run_tokenizer: expected a tokenizer.json and perhaps the word ids");
        const auto tokenizer = dg::read_tokenizer(argv[1]);
        unsigned char head[4];
        while (std::fread(head, 1, 4, stdin) == 4) {
            std::size_t bytes = 0;
            for (int i = 3; i >= 0; --i) bytes = bytes << 8 | head[i];
            std::string text(bytes, '\0');
            dg::require(std::fread(text.data(), 1, text.size(), stdin) == text.size(),
                        "run_tokenizer: expected whole frames");
            if (argc == 3) {
                const auto given = dg::parse_json(text, "frame").get<std::vector<std::int32_t>>();
                const dg::json record = {{"text", dg::valid_utf8(tokenizer.decode(given))},
                                         {"plain", dg::valid_utf8(tokenizer.decode(given, true))}};
                std::fputs(dg::json_line(record).c_str(), stdout);
                continue;
            }
            const auto ids = tokenizer.encode(text), whole = tokenizer.encode_whole(text);
            const std::string back = tokenizer.decode(ids);
            const dg::json record = {{"ids", ids},
                                     {"whole", whole},
                                     {"text", dg::valid_utf8(back)},
                                     {"plain", dg::valid_utf8(tokenizer.decode(whole, true))},
                                     {"same", back == text}};
            std::fputs(dg::json_line(record).c_str(), stdout);
        }
    } catch (const std::exception& problem) {
        std::fprintf(stderr, "%s\n", problem.what());
        return 1;
    }
}
