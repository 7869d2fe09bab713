// Files into tokens: text, JSON lines or token files.
// Assumes that the tokens fit in memory.
// Batches for training are drawn from them by training_data.hpp.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/io/json.hpp"
#include "depthgrow/io/text_file.hpp"
#include "depthgrow/io/token_list.hpp"

namespace depthgrow {

/// How files become tokens.
struct token_options {
    std::size_t vocab = 256;                // tokens are below it
    encode_function encode = encode_bytes;  // for text
    std::string separator = "\n\n";         // text put after every document of a `.jsonl` file
    std::size_t bin_bytes = 0;  // bytes of a token in a `.bin` file; 0: 2 up to a vocabulary of 65536, else 4
};

namespace detail {

/// Bytes that belong to no valid UTF-8 sequence (lengths and lead bytes are checked).
inline std::size_t invalid_utf8_bytes(std::string_view content) {
    std::size_t invalid = 0;
    for (std::size_t i = 0; i < content.size();) {
        const auto lead = static_cast<unsigned char>(content[i]);
        const std::size_t length = lead < 0x80                   ? 1
                                   : lead >= 0xc2 && lead < 0xe0 ? 2
                                   : lead >= 0xe0 && lead < 0xf0 ? 3
                                   : lead >= 0xf0 && lead < 0xf5 ? 4
                                                                 : 0;
        bool whole = length > 0 && i + length <= content.size();
        for (std::size_t k = 1; whole && k < length; ++k)
            whole = (static_cast<unsigned char>(content[i + k]) & 0xc0u) == 0x80u;
        if (!whole) ++invalid;
        i += whole ? length : 1;
    }
    return invalid;
}

inline void refuse_binary(std::string_view content, const std::string& label) {
    const auto zero = content.find('\0');
    require(zero == content.npos, label, ": expected text, found a zero byte at position ", zero, " (a binary file?)");
    const std::size_t invalid = invalid_utf8_bytes(content);
    require(invalid <= content.size() / 20, label, ": expected UTF-8 text, found ", invalid, " of ", content.size(),
            " bytes that are none (a binary file?)");
}

inline void append_checked(const std::vector<std::int32_t>& tokens, const token_options& options,
                           const std::string& label, token_list& out) {
    for (std::int32_t value : tokens) {
        require(value >= 0 && static_cast<std::size_t>(value) < options.vocab, label,
                ": expected tokens below the vocabulary of ", options.vocab, ", found ", value, " at position ",
                out.size());
        out.push_back(static_cast<std::uint32_t>(value));
    }
}

/// Where a long text may be cut without changing its tokens: after a line end between two letters or signs.
inline std::size_t piece_end(std::string_view content, std::size_t first) {
    const auto blank = [](char c) { return c == ' ' || (c >= '\t' && c <= '\r'); };
    for (std::size_t i = first + (1u << 20); i + 1 < content.size(); ++i)
        if (content[i] == '\n' && !blank(content[i - 1]) && !blank(content[i + 1])) return i + 1;
    return content.size();
}

/// Tokens of `width` bytes each, least significant first.
inline std::uint32_t token_at(std::string_view content, std::size_t width, std::size_t i) {
    std::uint32_t value = 0;
    for (std::size_t k = 0; k < width; ++k)
        value |= static_cast<std::uint32_t>(static_cast<unsigned char>(content[i * width + k])) << (8 * k);
    return value;
}

/// Whether what was read as tokens of 2 bytes is 4 bytes a token: the upper halves are 0, all but a few, while most of
/// the lower ones are not. Files of fewer than 16 tokens say nothing.
inline bool reads_as_four_bytes(std::string_view content) {
    const std::size_t pairs = content.size() / 4;
    if (content.size() % 4 != 0 || pairs < 16) return false;
    std::size_t low_zeros = 0, high_zeros = 0;
    for (std::size_t i = 0; i < pairs; ++i) {
        low_zeros += token_at(content, 2, 2 * i) == 0;
        high_zeros += token_at(content, 2, 2 * i + 1) == 0;
    }
    return high_zeros >= pairs - pairs / 10 && low_zeros < pairs / 2;
}

/// Whether what was read as tokens of 4 bytes is 2 bytes a token: half of the words of 4 bytes or more are beyond the
/// vocabulary, as two tokens side by side are.
inline bool reads_as_two_bytes(std::string_view content, std::size_t vocab) {
    std::size_t beyond = 0;
    for (std::size_t i = 0; i < content.size() / 4; ++i) beyond += token_at(content, 4, i) >= vocab;
    return 2 * beyond >= content.size() / 4;
}

inline void append_binary(const std::string& content, const token_options& options, const std::string& label,
                          token_list& out) {
    const std::size_t width = options.bin_bytes ? options.bin_bytes : options.vocab <= 65536 ? 2 : 4;
    require(width == 2 || width == 4, label, ": expected tokens of 2 or 4 bytes, got ", width);
    const std::string wanted =
        text(label, ": expected tokens of ", 8 * width, " bits",
             options.bin_bytes ? "" : text(" (as a vocabulary of ", options.vocab, " has them)"), ", found ");
    require(content.size() % width == 0, wanted, content.size(), " bytes, no multiple of ", width);
    require(options.bin_bytes || width == 4 || !reads_as_four_bytes(content), wanted,
            "what reads as 32 bits a token: every second one of 16 bits is 0");
    for (std::size_t i = 0; i < content.size() / width; ++i) {
        const std::uint32_t value = token_at(content, width, i);
        if (value < options.vocab) {
            out.push_back(value);
            continue;
        }
        require(options.bin_bytes || width == 2 || !reads_as_two_bytes(content, options.vocab), wanted,
                "what reads as 16 bits a token: most ids of 32 bits are beyond the vocabulary, as ", value,
                " at position ", i);
        fail(label, ": expected tokens below the vocabulary of ", options.vocab, ", found ", value, " at position ", i);
    }
}

}  // namespace detail

/// body(label, text) for the texts of a `.txt` or `.jsonl` (field `text`) file, each document followed by `separator`
/// in the latter; long texts come in pieces that tokenize apart. Errors name file and line; a file without any text is
/// one.
template <class Body> void each_text(const std::filesystem::path& path, const std::string& separator, Body body) {
    const std::string file = path.string(), kind = path.extension().string(), content = read_text_file(path);
    bool blank = true;
    const auto pieces = [&](const std::string& label, std::string_view text) {
        blank = blank && text.find_first_not_of(" \t\r\n\v\f") == text.npos;
        for (std::size_t first = 0; first < text.size();) {
            const std::size_t end = detail::piece_end(text, first);
            body(label, text.substr(first, end - first));
            first = end;
        }
    };
    if (kind == ".jsonl") {
        std::size_t documents = 0;
        each_json_line(content, file, [&](const std::string& label, const json_fields& fields) {
            ++documents;
            pieces(label, fields.string("text") + separator);
            return true;
        });
        return require(!blank, file, ": expected documents with text, found ", documents,
                       documents ? ", all of them empty" : "");
    }
    require(kind == ".txt", file, ": expected a name ending in .txt, .jsonl or .bin, found ",
            kind.empty() ? "no ending" : kind);
    detail::refuse_binary(content, file);
    pieces(file, content);
    require(!blank, file, ": expected text, found only blanks");
}

/// The tokens of a `.txt`, `.jsonl` (field `text`) or `.bin` (little-endian) file; errors name file, line or position.
inline token_list load_tokens(const std::filesystem::path& path, const token_options& options = {}) {
    token_list out(options.vocab);
    if (path.extension() == ".bin") {
        detail::append_binary(read_text_file(path), options, path.string(), out);
    } else {
        std::vector<std::int32_t> tokens;
        each_text(path, options.separator, [&](const std::string& label, std::string_view text) {
            tokens.clear();
            options.encode(text, tokens);
            detail::append_checked(tokens, options, label, out);
        });
    }
    require(out.size() > 0, path.string(), ": expected text, found none");
    return out;
}

}  // namespace depthgrow
