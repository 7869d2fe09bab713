// Text and tokens as the tools see them: bytes, or a tokenizer.json given by --tokenizer or found beside the model.
// The file is opened when text first needs it, so that token prompts work beside a tokenizer that is not supported.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "depthgrow/io/tokenizer.hpp"
#include "depthgrow/io/tokens.hpp"

namespace tools {

namespace dg = depthgrow;

/// Help of the flag --tokenizer where a model is given.
inline constexpr const char* tokenizer_help =
    "auto (the model's tokenizer.json, bytes without one), bytes, or a tokenizer.json";

class text_tokens {
public:
    /// `choice` is "bytes", "auto" or a file; a tokenizer with more tokens than `vocab` is refused when it is opened.
    text_tokens(std::string choice, const std::string& model_directory, std::size_t vocab);

    /// Null for bytes.
    const dg::tokenizer* file() const;
    void encode(std::string_view text, std::vector<std::int32_t>& out) const;
    std::vector<std::int32_t> encode(std::string_view text) const {
        std::vector<std::int32_t> out;
        encode(text, out);
        return out;
    }
    /// A text that begins a sequence: with the tokens that the model's tokenizer puts first (Llama's and Gemma's
    /// <bos>).
    std::vector<std::int32_t> encode_prompt(std::string_view text) const {
        std::vector<std::int32_t> out;
        if (const auto* opened = file()) out.assign(opened->leading().begin(), opened->leading().end());
        encode(text, out);
        return out;
    }
    /// The bytes of tokens; ids that are no token become U+FFFD.
    std::string decode(dg::span<const std::int32_t> ids) const;
    /// For the readers of data. The object must outlive it.
    dg::encode_function encoder() const {
        return [this](std::string_view text, std::vector<std::int32_t>& out) { encode(text, out); };
    }
    /// The same for texts that each begin a sequence.
    dg::encode_function prompt_encoder() const {
        return [this](std::string_view text, std::vector<std::int32_t>& out) {
            const auto ids = encode_prompt(text);
            out.insert(out.end(), ids.begin(), ids.end());
        };
    }

private:
    std::string choice_;
    std::size_t vocab_;
    mutable std::shared_ptr<const dg::tokenizer> file_;
};

}  // namespace tools
