// Tokens of a text in memory: what makes them, and a list of many.
// Assumes ids from 0 up that fit 32 bits. Needs the standard library only.
// The byte tokenizer here is the one that needs no vocabulary.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

namespace depthgrow {

/// A tokenizer as the data sees it: appends the tokens of a text.
using encode_function = std::function<void(std::string_view text, std::vector<std::int32_t>& tokens)>;

/// The byte tokenizer: token = byte.
inline void encode_bytes(std::string_view text, std::vector<std::int32_t>& tokens) {
    for (char c : text) tokens.push_back(static_cast<unsigned char>(c));
}

/// Many tokens, two bytes each while the vocabulary allows.
class token_list {
public:
    explicit token_list(std::size_t vocab) : two_bytes_(vocab <= 65536) {}

    std::size_t size() const { return two_bytes_ ? small_.size() : large_.size(); }
    std::int32_t operator[](std::size_t i) const {
        return two_bytes_ ? static_cast<std::int32_t>(small_[i]) : static_cast<std::int32_t>(large_[i]);
    }
    void push_back(std::uint32_t value) {
        if (two_bytes_) small_.push_back(static_cast<std::uint16_t>(value));
        else large_.push_back(value);
    }
    /// Copies tokens [first, first + count).
    void copy(std::size_t first, std::size_t count, std::int32_t* out) const {
        for (std::size_t i = 0; i < count; ++i) out[i] = (*this)[first + i];
    }

private:
    bool two_bytes_;
    std::vector<std::uint16_t> small_;
    std::vector<std::uint32_t> large_;
};

}  // namespace depthgrow
