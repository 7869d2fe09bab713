// Decoders of a tokenizer.json: tokens, as the vocabulary spells them, back to text.
// Assumes ByteLevel, Metaspace, Replace, ByteFallback, Fuse, Strip, alone or in a Sequence; others are refused by name.
// Format: huggingface/tokenizers 1.0, "decoder". ByteLevel keeps bytes of no character; `valid_utf8` repairs them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/io/byte_alphabet.hpp"
#include "depthgrow/io/json.hpp"
#include "depthgrow/io/tokenizers/pipeline.hpp"

namespace depthgrow {

namespace detail {

/// The byte that a token such as <0x0A> stands for; -1 when it is another.
inline int fallback_byte(std::string_view name) {
    if (name.size() != 6 || name.substr(0, 3) != "<0x" || name[5] != '>') return -1;
    int value = 0;
    for (char c : name.substr(3, 2)) {
        const int digit = c >= '0' && c <= '9'   ? c - '0'
                          : c >= 'A' && c <= 'F' ? c - 'A' + 10
                          : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                                 : -1;
        if (digit < 0) return -1;
        value = value * 16 + digit;
    }
    return value;
}

}  // namespace detail

class token_decoder {
public:
    token_decoder() = default;
    /// Of the field "decoder"; tokens are joined with spaces when it is absent.
    token_decoder(const json* part, const std::string& file) : absent_(part == nullptr) {
        std::vector<const json*> list;
        if (part) detail::read_steps(*part, "decoders", file, list);
        for (const json* one : list) steps_.push_back(read_step(json_fields(*one, file), file));
        for (const step& one : steps_)
            require(one.what != kind::byte_level || steps_.size() == 1, file,
                    ": expected ByteLevel to be the only decoder, found ", steps_.size());
    }

    /// Whether a text is the bytes of its tokens, one after the other: ByteLevel and nothing else.
    bool plain_bytes() const { return steps_.size() == 1 && steps_[0].what == kind::byte_level; }

    /// The bytes that a token stands for amid others.
    std::string piece(std::string name) const {
        for (const step& one : steps_) {
            const int byte = one.what == kind::byte_fallback ? detail::fallback_byte(name) : -1;
            if (byte >= 0) name.assign(1, static_cast<char>(static_cast<unsigned char>(byte)));
            if (one.what == kind::byte_level) to_bytes(name);
            if (one.what == kind::metaspace || one.what == kind::replace)
                name = detail::replace_all(one.matches[0], name, one.content);
        }
        return name;
    }

    /// The text of tokens.
    std::string operator()(std::vector<std::string> tokens) const {
        for (const step& one : steps_) apply(one, tokens);
        return join(tokens, absent_ ? " " : "");
    }

private:
    enum class kind { byte_level, metaspace, replace, byte_fallback, fuse, strip };
    struct step {
        kind what = kind::fuse;
        std::vector<pattern> matches;
        std::string content;       // Replace: what stands for a match; Metaspace: a space; Strip: the character
        bool drops_first = false;  // Metaspace: the signs of the first token are no spaces
        std::size_t start = 0, stop = 0;
    };

    static step read_step(const json_fields& fields, const std::string& file) {
        const std::string type = fields.string("type");
        step out;
        if (type == "ByteLevel") out.what = kind::byte_level;
        else if (type == "ByteFallback") out.what = kind::byte_fallback;
        else if (type == "Fuse") out.what = kind::fuse;
        else if (type == "Replace") {
            out.what = kind::replace;
            out.matches.push_back(detail::read_pattern(fields, file));
            out.content = fields.string("content");
        } else if (type == "Metaspace") {
            const auto read = detail::read_metaspace(fields, file);
            out.what = kind::metaspace;
            out.matches.push_back(pattern::literal(read.replacement, file));
            out.content = " ", out.drops_first = read.prepend != prepend_scheme::never;
        } else if (type == "Strip") {
            out.what = kind::strip;
            out.content = fields.string("content");
            out.start = static_cast<std::size_t>(fields.count("start")),
            out.stop = static_cast<std::size_t>(fields.count("stop"));
            const bool one = !out.content.empty() && character_at(out.content, 0).length == out.content.size();
            require(one, file, ": expected content of Strip to be one character, found ",
                    detail::quotable(out.content, 20));
        } else
            fail(file,
                 ": expected a decoder ByteLevel, Metaspace, Replace, ByteFallback, Fuse, Strip or a Sequence of them, "
                 "found ",
                 detail::quotable(type, 40));
        return out;
    }

    static void to_bytes(std::string& name) {
        if (std::string bytes; from_byte_letters(name, bytes)) name = std::move(bytes);
    }
    static std::string join(const std::vector<std::string>& tokens, std::string_view between) {
        std::string out;
        for (std::size_t i = 0; i < tokens.size(); ++i) {
            if (i > 0) out += between;
            out += tokens[i];
        }
        return out;
    }

    static void apply(const step& now, std::vector<std::string>& tokens) {
        switch (now.what) {
            case kind::byte_level:
                for (std::string& name : tokens) to_bytes(name);
                tokens = {join(tokens, "")};
                break;
            case kind::metaspace:
                for (std::size_t i = 0; i < tokens.size(); ++i)
                    tokens[i] =
                        detail::replace_all(now.matches[0], tokens[i], i == 0 && now.drops_first ? "" : now.content);
                break;
            case kind::replace:
                for (std::string& name : tokens) name = detail::replace_all(now.matches[0], name, now.content);
                break;
            case kind::byte_fallback:
                join_bytes(tokens);
                break;
            case kind::fuse:
                tokens = {join(tokens, "")};
                break;
            case kind::strip:
                for (std::string& name : tokens) strip(name, now);
                break;
        }
    }
    /// Runs of byte tokens become one token: their bytes if those are characters, else U+FFFD for each.
    static void join_bytes(std::vector<std::string>& tokens) {
        std::vector<std::string> out;
        std::string run;
        const auto flush = [&] {
            if (run.empty()) return;
            std::string repaired;
            if (!is_valid_utf8(run))
                for (std::size_t i = 0; i < run.size(); ++i) append_utf8(0xfffd, repaired);
            out.push_back(repaired.empty() ? run : std::move(repaired));
            run.clear();
        };
        for (std::string& name : tokens) {
            if (const int byte = detail::fallback_byte(name); byte >= 0)
                run += static_cast<char>(static_cast<unsigned char>(byte));
            else {
                flush();
                out.push_back(std::move(name));
            }
        }
        flush();
        tokens = std::move(out);
    }
    static void strip(std::string& name, const step& now) {
        const std::size_t size = now.content.size();
        std::size_t begin = 0, end = name.size();
        for (std::size_t i = 0; i < now.start && name.compare(begin, size, now.content) == 0; ++i) begin += size;
        for (std::size_t i = 0; i < now.stop && end >= begin + size && name.compare(end - size, size, now.content) == 0;
             ++i)
            end -= size;
        name = name.substr(begin, end - begin);
    }

    std::vector<step> steps_;
    bool absent_ = false;
};

}  // namespace depthgrow
