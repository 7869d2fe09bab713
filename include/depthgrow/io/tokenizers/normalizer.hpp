// Normalizers of a tokenizer.json: what happens to a text before it is split.
// Assumes NFC, Replace and Prepend, alone or in a Sequence; others are refused by name.
// Format: huggingface/tokenizers 1.0, "normalizer".
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/io/json.hpp"
#include "depthgrow/io/tokenizers/nfc.hpp"
#include "depthgrow/io/tokenizers/pattern.hpp"

namespace depthgrow {

namespace detail {

/// {"String": ..} or {"Regex": ..}.
inline pattern read_pattern(const json_fields& fields, const std::string& file) {
    const json_fields choice(fields.object("pattern"), file);
    if (choice.find("String")) return pattern::literal(choice.string("String"), file);
    return pattern::regex(choice.string("Regex"), file);
}

/// The steps of a part of the pipeline: those of its Sequence, nested or not, or the part itself.
inline void read_steps(const json& part, const char* list, const std::string& file, std::vector<const json*>& steps) {
    const json_fields fields(part, file);
    if (fields.string("type") != "Sequence") {
        require(steps.size() < 32, file, ": expected at most 32 ", list, ", found more");
        steps.push_back(&part);
        return;
    }
    const json* inner = fields.find(list);
    require(inner && inner->is_array(), file, ": expected ", list, " to be a list, found ", describe(inner));
    for (const json& step : *inner) read_steps(step, list, file, steps);
}

/// The text with every match of a pattern replaced.
inline std::string replace_all(const pattern& matches, std::string_view text, std::string_view content) {
    std::string out;
    std::size_t done = 0;
    matches.each(text, [&](std::size_t begin, std::size_t end) {
        out.append(text.substr(done, begin - done)).append(content);
        done = end;
    });
    return out.append(text.substr(done));
}

}  // namespace detail

class normalizer {
public:
    normalizer() = default;
    /// Of the field "normalizer"; nothing to do when it is absent.
    normalizer(const json* part, const std::string& file) {
        std::vector<const json*> list;
        if (part) detail::read_steps(*part, "normalizers", file, list);
        for (const json* one : list) {
            const json_fields fields(*one, file);
            const std::string type = fields.string("type");
            if (type == "NFC") steps_.push_back({kind::nfc, {}, {}});
            else if (type == "Prepend") steps_.push_back({kind::prepend, {}, fields.string("prepend")});
            else if (type == "Replace")
                steps_.push_back({kind::replace, {detail::read_pattern(fields, file)}, fields.string("content")});
            else
                fail(file, ": expected a normalizer NFC, Replace, Prepend or a Sequence of them, found ",
                     detail::quotable(type, 40));
        }
    }

    /// Whether texts stay as they are.
    bool empty() const { return steps_.empty(); }

    std::string operator()(std::string_view text) const {
        std::string out(text);
        for (const step& one : steps_) {
            if (one.what == kind::nfc) out = to_nfc(out);
            else if (one.what == kind::replace) out = detail::replace_all(one.matches[0], out, one.content);
            else if (!out.empty()) out.insert(0, one.content);
        }
        return out;
    }

private:
    enum class kind { nfc, replace, prepend };
    struct step {
        kind what;
        std::vector<pattern> matches;
        std::string content;
    };
    std::vector<step> steps_;
};

}  // namespace depthgrow
