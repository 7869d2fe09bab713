// tokenizer.json of the byte tokenizer, so that a checkpoint trained on bytes opens with its tokenizer elsewhere.
// Assumes token = byte. Format: a byte-level BPE without merges, whose 256 entries are the byte alphabet of GPT-2
// (Radford et al. 2019): printable bytes stand for themselves, the others for code points from 256 up.
#pragma once

#include <filesystem>
#include <string>

#include "depthgrow/io/atomic_file.hpp"
#include "depthgrow/io/byte_alphabet.hpp"
#include "depthgrow/io/json.hpp"

namespace depthgrow {

/// Writes tokenizer.json and tokenizer_config.json of the byte tokenizer into a directory.
inline void write_byte_tokenizer(const std::filesystem::path& directory) {
    // as text: lists of lists would take a compiler seconds in every unit that includes this
    json tokenizer = json::parse(R"({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": {}, "merges": []}})");
    json& vocab = tokenizer["model"]["vocab"];
    for (unsigned byte = 0; byte < 256; ++byte)
        vocab[to_byte_letters(std::string(1, static_cast<char>(static_cast<unsigned char>(byte))))] = byte;
    write_file(directory / "tokenizer.json", json_text(tokenizer));
    write_file(directory / "tokenizer_config.json", json_text(json::parse(R"({
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 1000000,
        "clean_up_tokenization_spaces": false})")));
}

}  // namespace depthgrow
