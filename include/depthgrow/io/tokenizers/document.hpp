// A tokenizer.json written from a vocabulary and its merges: byte level, with or without the digit split.
// Assumes names in the letters of the byte alphabet. Every field is written that other libraries write.
// Format: huggingface/tokenizers 1.0.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "depthgrow/io/json.hpp"

namespace depthgrow {

/// A tokenizer.json document of a vocabulary (byte letters to ids) and merges (pairs of byte letters); the first
/// `special` tokens of the vocabulary are added tokens.
inline json tokenizer_document(json vocab, json merges, const std::vector<std::string>& special, bool split_digits) {
    const json level = {
        {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
    json added = json::array();
    for (const auto& content : special) {
        json entry = {{"id", vocab.at(content)}, {"content", content}, {"special", true}};
        for (const char* flag : {"single_word", "lstrip", "rstrip", "normalized"}) entry[flag] = false;
        added.push_back(std::move(entry));
    }
    const json digits = {{"type", "Digits"}, {"individual_digits", true}};
    json model = {{"type", "BPE"}, {"vocab", std::move(vocab)}, {"merges", std::move(merges)}};
    for (const char* key : {"dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix"})
        model[key] = nullptr;
    for (const char* key : {"fuse_unk", "byte_fallback", "ignore_merges"}) model[key] = false;
    json out = {{"version", "1.0"}, {"added_tokens", added}, {"decoder", level}, {"model", std::move(model)}};
    for (const char* key : {"truncation", "padding", "normalizer", "post_processor"}) out[key] = nullptr;
    out["pre_tokenizer"] = split_digits ? json{{"type", "Sequence"}, {"pretokenizers", {digits, level}}} : level;
    return out;
}

}  // namespace depthgrow
