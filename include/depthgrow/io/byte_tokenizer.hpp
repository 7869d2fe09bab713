// tokenizer.json of the byte tokenizer, so that a checkpoint trained on bytes opens with its tokenizer elsewhere.
// Assumes token = byte. Format: a byte-level BPE without merges, whose 256 entries are the byte alphabet of GPT-2
// (Radford et al. 2019): printable bytes stand for themselves, the others for code points from 256 up.
#pragma once

#include <filesystem>
#include <string>

#include "depthgrow/io/atomic_file.hpp"
#include "depthgrow/io/json.hpp"

namespace depthgrow {

namespace detail {

/// The byte's letter in the byte-level alphabet, as UTF-8.
inline std::string byte_letter(unsigned byte) {
    const auto printable = [](unsigned b) { return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174 && b <= 255); };
    unsigned code = byte;
    if (!printable(byte)) {
        code = 256;
        for (unsigned b = 0; b < byte; ++b) code += printable(b) ? 0 : 1;
    }
    if (code < 128) return std::string(1, static_cast<char>(code));
    return {static_cast<char>(0xc0 | (code >> 6)), static_cast<char>(0x80 | (code & 0x3f))};
}

}  // namespace detail

/// Writes tokenizer.json and tokenizer_config.json of the byte tokenizer into a directory.
inline void write_byte_tokenizer(const std::filesystem::path& directory) {
    json vocab = json::object();
    for (unsigned byte = 0; byte < 256; ++byte) vocab[detail::byte_letter(byte)] = byte;
    const json level = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}};
    const json tokenizer = {{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}, {"added_tokens", json::array()},
                            {"normalizer", nullptr}, {"pre_tokenizer", level}, {"post_processor", nullptr}, {"decoder", level},
                            {"model", {{"type", "BPE"}, {"dropout", nullptr}, {"unk_token", nullptr}, {"continuing_subword_prefix", nullptr},
                                       {"end_of_word_suffix", nullptr}, {"fuse_unk", false}, {"byte_fallback", false}, {"vocab", vocab}, {"merges", json::array()}}}};
    write_file(directory / "tokenizer.json", json_text(tokenizer));
    write_file(directory / "tokenizer_config.json", json_text({{"tokenizer_class", "PreTrainedTokenizerFast"}, {"model_max_length", 1000000}, {"clean_up_tokenization_spaces", false}}));
}

}  // namespace depthgrow
