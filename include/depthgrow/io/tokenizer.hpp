// A tokenizer.json with a BPE model: text to tokens and back, as the tokenizers library does it.
// Assumes the parts that io/tokenizers knows; others are refused by name. Truncation and padding are left to callers.
// Format: huggingface/tokenizers 1.0; merges as "a b" or ["a", "b"]. Symbols without a token fall back to bytes, become
// unk_token or are dropped, as the file says.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/core/span.hpp"
#include "depthgrow/io/atomic_file.hpp"
#include "depthgrow/io/bpe.hpp"
#include "depthgrow/io/byte_alphabet.hpp"
#include "depthgrow/io/json.hpp"
#include "depthgrow/io/tokenizers/added_tokens.hpp"
#include "depthgrow/io/tokenizers/decoder.hpp"
#include "depthgrow/io/tokenizers/document.hpp"
#include "depthgrow/io/tokenizers/model_fields.hpp"
#include "depthgrow/io/tokenizers/normalizer.hpp"
#include "depthgrow/io/tokenizers/pipeline.hpp"
#include "depthgrow/io/tokenizers/post_processor.hpp"

namespace depthgrow {

class tokenizer {
public:
    /// Reads the text of a tokenizer.json; `file` names it in errors.
    tokenizer(std::string_view text, const std::string& file) : text_(text) {
        const json document = parse_json(text, file);
        const json_fields fields(document, file);
        normalizer_ = normalizer(fields.find("normalizer"), file);
        words_ = pre_tokenizer_chain(fields.find("pre_tokenizer"), file);
        decoder_ = token_decoder(fields.find("decoder"), file);
        added_ = read_added_tokens(fields, file);
        for (auto& one : added_) one.match = one.normalized ? normalizer_(one.content) : one.content;
        read_model(json_fields(fields.object("model"), file), file);
        std::vector<added_token_entry> exact, normalized;
        for (const auto& one : added_) (one.normalized ? normalized : exact).push_back(one);
        exact_ = added_token_set(std::move(exact), file);
        normalized_ = added_token_set(std::move(normalized), file);
        around_ = post_processor(fields.find("post_processor"), size(), file);
    }
    /// The tokenizer of a vocab.json and its merges.txt (GPT-2's encoder.json and vocab.bpe), as a tokenizer.json.
    static tokenizer from_vocab_and_merges(const std::filesystem::path& vocab, const std::filesystem::path& merges);

    /// Number of token ids: one more than the largest.
    std::size_t size() const { return pieces_.size(); }
    /// The bytes that a token stands for amid others; `decode` may strip what begins a text.
    const std::string& token(std::int32_t id) const { return pieces_[place_of(id)]; }
    /// The id of an added token such as "<|endoftext|>"; -1 when there is none of that content.
    std::int32_t added_token(std::string_view content) const {
        for (const auto& one : added_)
            if (one.content == content) return one.id;
        return -1;
    }
    bool is_special(std::int32_t id) const {
        return id >= 0 && static_cast<std::size_t>(id) < special_.size() && special_[static_cast<std::size_t>(id)] != 0;
    }
    bool splits_digits() const { return words_.splits_digits(); }
    /// What the file's template puts before and after a whole text, such as <|begin_of_text|>; `encode` leaves it out.
    span<const std::int32_t> leading() const { return around_.leading; }
    span<const std::int32_t> trailing() const { return around_.trailing; }

    /// Appends the tokens of a text, without those of the template; added tokens in it are found first.
    void encode(std::string_view text, std::vector<std::int32_t>& out) const {
        const auto add = [&](std::int32_t id) { out.push_back(id); };
        exact_.split(
            text,
            [&](std::size_t begin, std::size_t end) { encode_piece(text.substr(begin, end - begin), begin == 0, out); },
            add);
    }
    std::vector<std::int32_t> encode(std::string_view text) const {
        std::vector<std::int32_t> out;
        encode(text, out);
        return out;
    }
    /// The tokens of a whole text, between those of the file's template.
    std::vector<std::int32_t> encode_whole(std::string_view text) const {
        std::vector<std::int32_t> out = around_.leading;
        encode(text, out);
        out.insert(out.end(), around_.trailing.begin(), around_.trailing.end());
        return out;
    }

    /// The text of tokens; valid UTF-8 when they are those of a text (`valid_utf8` repairs others).
    std::string decode(span<const std::int32_t> ids, bool skip_special = false) const {
        std::string out;
        std::vector<std::string> names;
        for (std::int32_t id : ids) {
            const std::size_t place = place_of(id);
            if (skip_special && skipped_[place]) continue;
            if (decoder_.plain_bytes()) out += pieces_[place];
            else if (used_[place]) names.push_back(names_[place]);
        }
        return decoder_.plain_bytes() ? out : decoder_(std::move(names));
    }

    /// The file's content, for writing it beside a model.
    const std::string& text() const { return text_; }

private:
    using id_map = detail::token_ids;

    std::size_t place_of(std::int32_t id) const {
        const bool known = id >= 0 && static_cast<std::size_t>(id) < size();
        require(known, "[tokenizer] expected token ids below ", size(), ", got ", id);
        return static_cast<std::size_t>(id);
    }

    /// What is left between added tokens that are looked for as they are.
    void encode_piece(std::string_view text, bool at_start, std::vector<std::int32_t>& out) const {
        std::string changed;
        if (!normalizer_.empty()) text = changed = normalizer_(text);
        const auto words = [&](std::size_t begin, std::size_t end) {
            words_(text.substr(begin, end - begin), at_start && begin == 0,
                   [&](std::string_view word) { bpe_.encode(word, out); });
        };
        normalized_.split(text, words, [&](std::int32_t id) { out.push_back(id); });
    }

    void read_model(const json_fields& model, const std::string& file) {
        const std::string kind = model.string("type", "BPE");
        require(kind == "BPE", file, ": expected model type BPE, found ", detail::quotable(kind, 40));
        for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
            require(model.string(key, "").empty(), file, ": expected no ", key, ", found ", describe(model.find(key)));
        require(model.number("dropout", 0) == 0, file, ": expected no dropout, found ",
                describe(model.find("dropout")));

        const json& vocab = model.object("vocab");
        const std::size_t limit = 4 * (vocab.size() + added_.size()) + 65536;  // a few ids may be unused, not most
        id_map ids;
        for (const auto& [name, value] : vocab.items()) {
            const std::int32_t id = detail::read_id(&value, file);
            require(static_cast<std::size_t>(id) < limit, file, ": expected token ids below ", limit, " for ",
                    vocab.size(), " tokens, found ", id);
            name_token(id, name, file);
            ids.emplace(name, id);
        }
        name_added(ids, file);
        require(!names_.empty(), file, ": expected a vocabulary, found an empty one");
        bpe_options options;
        options.characters = !words_.byte_level();
        options.whole_words = model.boolean("ignore_merges", false);
        options.fuse_unknown = model.boolean("fuse_unk", false);
        options.byte_fallback = model.boolean("byte_fallback", false);
        require(!options.byte_fallback || options.characters, file,
                ": expected byte_fallback false beside ByteLevel, found true");
        options.unknown = detail::unknown_of(model, ids, file);
        for (std::size_t byte = 0; byte < 256; ++byte)
            options.bytes[byte] = detail::find_id(ids, detail::fallback_name(byte));
        const auto merges = detail::read_merges(model, ids, file);
        fill_pieces(ids, merges, options.whole_words, file);
        std::vector<std::string> tokens(names_.size());
        std::string bytes;
        for (const auto& [name, id] : ids) {
            auto& known = tokens[static_cast<std::size_t>(id)];
            if (options.characters) known = name;
            else if (from_byte_letters(name, bytes)) known = bytes;
        }
        try {
            bpe_ = bpe(std::move(tokens), merges, options);
        } catch (const error& problem) { fail(file, ": ", problem.what()); }
    }

    void name_token(std::int32_t id, const std::string& name, const std::string& file) {
        const auto place = static_cast<std::size_t>(id);
        if (place >= names_.size()) names_.resize(place + 1), used_.resize(place + 1, 0);
        require(!used_[place], file, ": expected every token id once, found ", id, " twice");
        names_[place] = name, used_[place] = 1;
    }
    /// Added tokens of the vocabulary keep its ids; others have those that follow, in order, as that library gives
    /// them.
    void name_added(const id_map& ids, const std::string& file) {
        auto next = static_cast<std::int32_t>(ids.size());
        std::set<std::string> special, seen;
        for (const auto& one : added_) {
            require(seen.insert(one.content).second, file, ": expected every added token once, found ",
                    detail::quotable(one.content, 40), " twice");
            const auto known = ids.find(one.content);
            const std::int32_t wanted = known != ids.end() ? known->second : next++;
            require(one.id == wanted, file, ": expected added token ", detail::quotable(one.content, 40), " under id ",
                    wanted, known != ids.end() ? " (the vocabulary's)" : " (the next free one)", ", found ", one.id);
            if (known == ids.end()) name_token(one.id, one.content, file);
            names_[static_cast<std::size_t>(one.id)] = one.match;  // the normalized form is what is decoded
            if (one.special) special.insert(one.content);
        }
        special_.resize(names_.size(), 0), skipped_.resize(names_.size(), 0);
        for (const auto& one : added_) special_[static_cast<std::size_t>(one.id)] = one.special ? 1 : 0;
        for (std::size_t id = 0; id < names_.size(); ++id) skipped_[id] = special.count(names_[id]) > 0 ? 1 : 0;
    }

    /// What tokens decode to. An added token of letters that stand for other bytes is its own text as long as no text
    /// of those bytes is encoded as that id; else one of the two would be lost.
    void fill_pieces(const id_map& ids, const std::vector<bpe_merge>& merges, bool whole_words,
                     const std::string& file) {
        pieces_.resize(names_.size());
        for (std::size_t id = 0; id < names_.size(); ++id) pieces_[id] = decoder_.piece(names_[id]);
        if (!decoder_.plain_bytes()) return;
        std::vector<char> merged(names_.size(), 0);
        for (const bpe_merge& one : merges) merged[static_cast<std::size_t>(one.result)] = 1;
        for (const auto& one : added_) {
            const auto place = static_cast<std::size_t>(one.id);
            if (pieces_[place] == one.match) continue;
            const bool shared =
                ids.count(one.content) > 0 && (whole_words || merged[place] || pieces_[place].size() == 1);
            require(!shared, file, ": expected added tokens that stand for nothing else, found ",
                    describe_text(one.content), ", which is also what the vocabulary calls other bytes");
            pieces_[place] = one.match;
        }
    }
    static std::string describe_text(const std::string& text) {
        const json value = text;
        return describe(&value);
    }

    std::string text_;
    normalizer normalizer_;
    pre_tokenizer_chain words_;
    token_decoder decoder_;
    post_processor around_;
    bpe bpe_;
    std::vector<added_token_entry> added_;     // in the file's order
    added_token_set exact_, normalized_;       // by where they are looked for
    std::vector<std::string> names_, pieces_;  // of ids: as the file spells them, and the bytes they stand for
    std::vector<char> used_, special_, skipped_;
};

inline tokenizer tokenizer::from_vocab_and_merges(const std::filesystem::path& vocab,
                                                  const std::filesystem::path& merges) {
    const json words = read_json_file(vocab);
    require(words.is_object(), vocab.string(), ": expected an object of tokens and ids, found ", describe(&words));
    const std::string content = read_text_file(merges);
    json pairs = json::array();
    for (std::size_t first = 0; first < content.size();) {
        const std::size_t end = std::min(content.find('\n', first), content.size());
        std::string line = content.substr(first, end - first);
        first = end + 1;
        if (!line.empty() && line.back() == '\r') line.pop_back();
        if (!line.empty() && line.rfind("#version", 0) != 0) pairs.push_back(line);
    }
    std::vector<std::string> special;
    if (words.contains("<|endoftext|>")) special.push_back("<|endoftext|>");
    return {json_text(tokenizer_document(words, std::move(pairs), special, false)), vocab.string()};
}

/// The tokenizer of a tokenizer.json, of a directory that holds one, or of "VOCAB.json,MERGES.txt".
inline tokenizer read_tokenizer(const std::string& source) {
    if (const auto comma = source.find(','); comma != source.npos)
        return tokenizer::from_vocab_and_merges(source.substr(0, comma), source.substr(comma + 1));
    std::filesystem::path file = source;
    if (std::filesystem::is_directory(file)) file /= "tokenizer.json";
    return {read_text_file(file), file.string()};
}

/// Writes tokenizer.json and a tokenizer_config.json, so that the directory opens in other libraries.
inline void write_tokenizer(const std::filesystem::path& directory, const tokenizer& made) {
    write_file(directory / "tokenizer.json", made.text());
    json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                   {"model_max_length", 1000000},
                   {"clean_up_tokenization_spaces", false}};
    if (made.added_token("<|endoftext|>") >= 0)
        for (const char* key : {"bos_token", "eos_token", "unk_token"}) config[key] = "<|endoftext|>";
    write_file(directory / "tokenizer_config.json", json_text(config));
}

}  // namespace depthgrow
