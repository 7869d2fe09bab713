// A tokenizer.json as byte-level BPE: text to tokens and back.
// Assumes GPT-2's scheme with or without the digit split; normalizers, other patterns, templates and byte fallback are
// refused by field. Format: huggingface/tokenizers 1.0; merges as "a b" or ["a", "b"]. Bytes without a token are dropped,
// or become unk_token when the file names one, as in that library.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/core/span.hpp"
#include "depthgrow/io/atomic_file.hpp"
#include "depthgrow/io/bpe.hpp"
#include "depthgrow/io/byte_alphabet.hpp"
#include "depthgrow/io/json.hpp"
#include "depthgrow/io/pre_tokenizer.hpp"

namespace depthgrow {

class tokenizer {
public:
    /// Reads the text of a tokenizer.json; `file` names it in errors.
    tokenizer(std::string_view text, const std::string& file) : text_(text) {
        const json document = parse_json(text, file);
        const json_fields fields(document, file);
        read_pipeline(fields, file);
        const json& model = fields.object("model");
        read_model(json_fields(model, file), file, read_added(fields, file));
    }
    /// The tokenizer of a vocab.json and its merges.txt (GPT-2's encoder.json and vocab.bpe), as a tokenizer.json.
    static tokenizer from_vocab_and_merges(const std::filesystem::path& vocab, const std::filesystem::path& merges);

    /// Number of token ids: one more than the largest.
    std::size_t size() const { return bpe_.size(); }
    /// The bytes that a token stands for.
    const std::string& token(std::int32_t id) const {
        require(id >= 0 && static_cast<std::size_t>(id) < size(), "[tokenizer] expected token ids below ", size(), ", got ", id);
        return bpe_.token(static_cast<std::size_t>(id));
    }
    /// The id of an added token such as "<|endoftext|>"; -1 when there is none of that content.
    std::int32_t added_token(std::string_view content) const {
        for (const added& one : added_)
            if (one.content == content) return one.id;
        return -1;
    }
    bool is_special(std::int32_t id) const {
        return std::any_of(added_.begin(), added_.end(), [&](const added& one) { return one.id == id && one.special; });
    }
    bool splits_digits() const { return words_.split_digits; }

    /// Appends the tokens of a text; added tokens in it are found first, the leftmost and longest.
    void encode(std::string_view text, std::vector<std::int32_t>& out) const {
        std::size_t start = 0;
        for (std::size_t i = 0; !added_.empty() && i < text.size(); ++i) {
            if (!starts_added_[static_cast<unsigned char>(text[i])]) continue;
            for (const added& one : added_) {  // longest first
                if (text.compare(i, one.content.size(), one.content) != 0) continue;
                encode_words(text.substr(start, i - start), out);
                out.push_back(one.id);
                start = i + one.content.size();
                i = start - 1;
                break;
            }
        }
        encode_words(text.substr(start), out);
    }
    std::vector<std::int32_t> encode(std::string_view text) const {
        std::vector<std::int32_t> out;
        encode(text, out);
        return out;
    }

    /// The bytes of tokens; valid UTF-8 when the tokens are those of a text (`valid_utf8` repairs others).
    std::string decode(span<const std::int32_t> ids, bool skip_special = false) const {
        std::string out;
        for (std::int32_t id : ids)
            if (const std::string& bytes = token(id); !skip_special || !is_special(id)) out += bytes;
        return out;
    }

    /// The file's content, for writing it beside a model.
    const std::string& text() const { return text_; }

private:
    struct added {
        std::string content;
        std::int32_t id = 0;
        bool special = false;
    };

    void encode_words(std::string_view text, std::vector<std::int32_t>& out) const {
        words_(text, [&](std::string_view word) { bpe_.encode(word, out); });
    }

    void read_level(const json& value, const std::string& file) {
        const json_fields level(value, file);
        require(!level.boolean("add_prefix_space", true), file, ": expected add_prefix_space false in pre_tokenizer, found true");
        words_.use_pattern = level.boolean("use_regex", true);
    }
    void read_pipeline(const json_fields& fields, const std::string& file) {
        require(!fields.find("normalizer"), file, ": expected no normalizer, found ", describe(fields.find("normalizer")));
        const json& outer = fields.object("pre_tokenizer");
        const auto type = [&](const json& value) { return json_fields(value, file).string("type"); };
        std::vector<const json*> steps = {&outer};
        if (type(outer) == "Sequence") {
            const json* list = json_fields(outer, file).find("pretokenizers");
            require(list && list->is_array(), file, ": expected pretokenizers to be a list, found ", describe(list));
            steps.clear();
            for (const json& step : *list) steps.push_back(&step);
        }
        if (steps.size() == 2 && type(*steps[0]) == "Digits") {
            require(json_fields(*steps[0], file).boolean("individual_digits", false), file, ": expected individual_digits true in pre_tokenizer, found false");
            words_.split_digits = true;
            steps.erase(steps.begin());
        }
        require(steps.size() == 1 && type(*steps[0]) == "ByteLevel", file, ": expected pre_tokenizer ByteLevel, or Digits and ByteLevel, found ", describe(&outer));
        read_level(*steps[0], file);
        for (const char* key : {"post_processor", "decoder"})
            if (const json* value = fields.find(key)) require(type(*value) == "ByteLevel", file, ": expected ", key, " ByteLevel, found ", describe(value));
    }

    std::vector<added> read_added(const json_fields& fields, const std::string& file) {
        std::vector<added> out;
        const json* list = fields.find("added_tokens");
        if (!list) return out;
        require(list->is_array(), file, ": expected added_tokens to be a list, found ", describe(list));
        for (const json& value : *list) {
            const json_fields entry(value, file);
            added one{entry.string("content"), read_id(entry.find("id"), file), entry.boolean("special", false)};
            require(!one.content.empty(), file, ": expected added_tokens with content, found an empty one");
            for (const char* key : {"single_word", "lstrip", "rstrip"})
                require(!entry.boolean(key, false), file, ": expected ", key, " false in added_tokens, found true for ", detail::quotable(one.content, 40));
            out.push_back(std::move(one));
        }
        return out;
    }

    static std::int32_t read_id(const json* value, const std::string& file) {
        const bool whole = value && value->is_number_integer() && (value->is_number_unsigned() || value->get<std::int64_t>() >= 0);
        require(whole && value->get<std::uint64_t>() < 0x7fffffffu, file, ": expected token ids from 0 up, found ", describe(value));
        return value->get<std::int32_t>();
    }

    void read_model(const json_fields& model, const std::string& file, std::vector<added> additions) {
        const std::string kind = model.string("type", "BPE");
        require(kind == "BPE", file, ": expected model type BPE, found ", detail::quotable(kind, 40));
        for (const char* key : {"byte_fallback", "fuse_unk"})
            require(!model.boolean(key, false), file, ": expected ", key, " false, found true");
        for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
            require(model.string(key, "").empty(), file, ": expected no ", key, ", found ", describe(model.find(key)));
        require(model.number("dropout", 0) == 0, file, ": expected no dropout, found ", describe(model.find("dropout")));

        const json& vocab = model.object("vocab");
        std::unordered_map<std::string, std::int32_t> ids;
        std::size_t count = 0;
        const std::size_t limit = 4 * (vocab.size() + additions.size()) + 65536;  // a few ids may be unused, not most
        const auto claim = [&](const std::string& name, std::int32_t id) {
            require(static_cast<std::size_t>(id) < limit, file, ": expected token ids below ", limit, " for ", vocab.size(), " tokens, found ", id);
            count = std::max(count, static_cast<std::size_t>(id) + 1);
            ids.emplace(name, id);
        };
        for (const auto& [name, id] : vocab.items()) claim(name, read_id(&id, file));
        for (const added& one : additions) {
            const auto known = ids.find(one.content);
            require(known == ids.end() || known->second == one.id, file, ": expected added token ", detail::quotable(one.content, 40), " under one id, found ", one.id, " and ",
                    known == ids.end() ? one.id : known->second);
            claim(one.content, one.id);
        }
        require(count > 0, file, ": expected a vocabulary, found an empty one");
        std::vector<std::string> tokens(count);
        std::vector<char> taken(count, 0);
        std::string bytes;
        for (const auto& [name, id] : ids) {
            const auto place = static_cast<std::size_t>(id);
            require(!taken[place], file, ": expected every token id once, found ", id, " twice");
            taken[place] = 1;
            tokens[place] = from_byte_letters(name, bytes) ? bytes : name;
        }
        for (const added& one : additions) tokens[static_cast<std::size_t>(one.id)] = one.content;
        const std::string unknown = model.string("unk_token", "");
        std::int32_t unknown_id = -1;
        if (!unknown.empty()) {
            require(ids.count(unknown) > 0, file, ": expected unk_token ", detail::quotable(unknown, 40), " in the vocabulary, found none");
            unknown_id = ids[unknown];
        }
        const auto merges = read_merges(model, ids, file);
        try {
            bpe_ = bpe(std::move(tokens), merges, unknown_id, model.boolean("ignore_merges", false));
        } catch (const error& problem) {
            fail(file, ": ", problem.what());
        }
        added_ = std::move(additions);
        std::stable_sort(added_.begin(), added_.end(), [](const added& a, const added& b) { return a.content.size() > b.content.size(); });
        for (const added& one : added_) starts_added_[static_cast<unsigned char>(one.content[0])] = true;
    }

    static std::vector<bpe_merge> read_merges(const json_fields& model, const std::unordered_map<std::string, std::int32_t>& ids, const std::string& file) {
        const json* list = model.find("merges");
        require(list && list->is_array(), file, ": expected merges to be a list, found ", describe(list));
        std::vector<bpe_merge> out;
        for (const json& value : *list) {
            const auto refuse = [&](const char* what) { fail(file, ": expected merge ", out.size(), " to ", what, ", found ", describe(&value)); };
            std::string left, right;
            if (value.is_string()) {
                const auto& both = value.get_ref<const std::string&>();
                const auto space = both.find(' ');
                if (space == both.npos) refuse("be two tokens");
                left = both.substr(0, space), right = both.substr(space + 1);
            } else {
                if (!value.is_array() || value.size() != 2 || !value[0].is_string() || !value[1].is_string()) refuse("be two tokens");
                left = value[0].get<std::string>(), right = value[1].get<std::string>();
            }
            if (left.empty() || right.empty()) refuse("be two tokens that are not empty");
            const auto a = ids.find(left), b = ids.find(right), whole = ids.find(left + right);
            if (a == ids.end() || b == ids.end() || whole == ids.end()) refuse("join two tokens of the vocabulary to a third");
            out.push_back({a->second, b->second, whole->second});
        }
        return out;
    }

    std::string text_;
    pre_tokenizer words_;
    bpe bpe_;
    std::vector<added> added_;  // longest content first
    std::array<bool, 256> starts_added_{};
};

/// A tokenizer.json document of a vocabulary (byte letters to ids) and merges (pairs of byte letters); the first
/// `special` tokens of the vocabulary are added tokens.
inline json tokenizer_document(json vocab, json merges, const std::vector<std::string>& special, bool split_digits) {
    const json level = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
    json added = json::array();
    for (const auto& content : special)
        added.push_back({{"id", vocab.at(content)}, {"content", content}, {"single_word", false}, {"lstrip", false}, {"rstrip", false}, {"normalized", false}, {"special", true}});
    const json digits = {{"type", "Digits"}, {"individual_digits", true}};
    const json pre = split_digits ? json{{"type", "Sequence"}, {"pretokenizers", {digits, level}}} : level;
    return {{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}, {"added_tokens", added}, {"normalizer", nullptr}, {"pre_tokenizer", pre},
            {"post_processor", nullptr}, {"decoder", level},
            {"model", {{"type", "BPE"}, {"dropout", nullptr}, {"unk_token", nullptr}, {"continuing_subword_prefix", nullptr}, {"end_of_word_suffix", nullptr}, {"fuse_unk", false},
                       {"byte_fallback", false}, {"ignore_merges", false}, {"vocab", std::move(vocab)}, {"merges", std::move(merges)}}}};
}

inline tokenizer tokenizer::from_vocab_and_merges(const std::filesystem::path& vocab, const std::filesystem::path& merges) {
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
    if (const auto comma = source.find(','); comma != source.npos) return tokenizer::from_vocab_and_merges(source.substr(0, comma), source.substr(comma + 1));
    std::filesystem::path file = source;
    if (std::filesystem::is_directory(file)) file /= "tokenizer.json";
    return {read_text_file(file), file.string()};
}

/// Writes tokenizer.json and a tokenizer_config.json, so that the directory opens in other libraries.
inline void write_tokenizer(const std::filesystem::path& directory, const tokenizer& made) {
    write_file(directory / "tokenizer.json", made.text());
    json config = {{"tokenizer_class", "PreTrainedTokenizerFast"}, {"model_max_length", 1000000}, {"clean_up_tokenization_spaces", false}};
    if (made.added_token("<|endoftext|>") >= 0)
        for (const char* key : {"bos_token", "eos_token", "unk_token"}) config[key] = "<|endoftext|>";
    write_file(directory / "tokenizer_config.json", json_text(config));
}

}  // namespace depthgrow
