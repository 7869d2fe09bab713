// The field "model" of a tokenizer.json: ids, merges in both spellings, the unknown token, the tokens of bytes.
// Assumes a vocabulary of names and ids that the caller has read; merges must join two of its tokens to a third.
// Format: huggingface/tokenizers 1.0, BPE.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/io/bpe.hpp"
#include "depthgrow/io/json.hpp"

namespace depthgrow::detail {

using token_ids = std::unordered_map<std::string, std::int32_t>;

inline std::int32_t read_id(const json* value, const std::string& file) {
    const bool whole =
        value && value->is_number_integer() && (value->is_number_unsigned() || value->get<std::int64_t>() >= 0);
    require(whole && value->get<std::uint64_t>() < 0x7fffffffu, file, ": expected token ids from 0 up, found ",
            describe(value));
    return value->get<std::int32_t>();
}

inline std::string fallback_name(std::size_t byte) {
    static constexpr std::string_view digits = "0123456789ABCDEF";
    return std::string("<0x") + digits[byte >> 4] + digits[byte & 15] + ">";
}
inline std::int32_t find_id(const token_ids& ids, const std::string& name) {
    const auto found = ids.find(name);
    return found == ids.end() ? -1 : found->second;
}
inline std::int32_t unknown_of(const json_fields& model, const token_ids& ids, const std::string& file) {
    const std::string unknown = model.string("unk_token", "");
    const std::int32_t id = unknown.empty() ? -1 : find_id(ids, unknown);
    require(unknown.empty() || id >= 0, file, ": expected unk_token ", quotable(unknown, 40),
            " in the vocabulary, found none");
    return id;
}

inline std::vector<bpe_merge> read_merges(const json_fields& model, const token_ids& ids, const std::string& file) {
    const json* list = model.find("merges");
    require(list && list->is_array(), file, ": expected merges to be a list, found ", describe(list));
    std::vector<bpe_merge> out;
    for (const json& value : *list) {
        const auto refuse = [&](const char* what) {
            fail(file, ": expected merge ", out.size(), " to ", what, ", found ", describe(&value));
        };
        std::string left, right;
        if (value.is_string()) {
            const auto& both = value.get_ref<const std::string&>();
            const auto space = both.find(' ');
            if (space == both.npos) refuse("be two tokens");
            left = both.substr(0, space), right = both.substr(space + 1);
        } else {
            if (!value.is_array() || value.size() != 2 || !value[0].is_string() || !value[1].is_string())
                refuse("be two tokens");
            left = value[0].get<std::string>(), right = value[1].get<std::string>();
        }
        if (left.empty() || right.empty()) refuse("be two tokens that are not empty");
        const auto a = ids.find(left), b = ids.find(right), whole = ids.find(left + right);
        if (a == ids.end() || b == ids.end() || whole == ids.end())
            refuse("join two tokens of the vocabulary to a third");
        out.push_back({a->second, b->second, whole->second});
    }
    return out;
}

}  // namespace depthgrow::detail
