// Post-processors of a tokenizer.json: the tokens that a whole text gets before and after its own.
// Assumes ByteLevel (which changes no tokens) and TemplateProcessing of one sequence, alone or in a Sequence.
// Format: huggingface/tokenizers 1.0, "post_processor"; templates of pairs are not read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/io/json.hpp"
#include "depthgrow/io/tokenizers/normalizer.hpp"

namespace depthgrow {

struct post_processor {
    std::vector<std::int32_t> leading, trailing;

    post_processor() = default;
    /// Of the field "post_processor"; ids must be below `size`.
    post_processor(const json* part, std::size_t size, const std::string& file) {
        std::vector<const json*> list;
        if (part) detail::read_steps(*part, "processors", file, list);
        for (const json* one : list) {
            const json_fields fields(*one, file);
            const std::string type = fields.string("type");
            if (type == "ByteLevel") continue;
            require(type == "TemplateProcessing", file,
                    ": expected a post_processor ByteLevel, TemplateProcessing or a Sequence of them, found ",
                    detail::quotable(type, 40));
            read_template(fields, size, file);
        }
    }

private:
    void read_template(const json_fields& fields, std::size_t size, const std::string& file) {
        const json* single = fields.find("single");
        require(single && single->is_array(), file, ": expected a template \"single\" that is a list, found ",
                describe(single));
        std::vector<std::int32_t> before, after;
        bool seen = false;
        for (const json& piece : *single) {
            const json_fields entry(piece, file);
            if (entry.find("Sequence")) {
                const std::string name = json_fields(entry.object("Sequence"), file).string("id");
                require(name == "A" && !seen, file, ": expected a template \"single\" with one sequence A, found ",
                        describe(single));
                seen = true;
                continue;
            }
            const std::string name = json_fields(entry.object("SpecialToken"), file).string("id");
            const json_fields special(fields.object("special_tokens"), file);
            for (std::size_t id : json_fields(special.object(name), file).indices("ids")) {
                require(id < size, file, ": expected ids of the template below ", size, ", found ", id);
                (seen ? after : before).push_back(static_cast<std::int32_t>(id));
            }
        }
        require(seen, file, ": expected a template \"single\" with one sequence A, found ", describe(single));
        leading.insert(leading.begin(), before.begin(), before.end());
        trailing.insert(trailing.end(), after.begin(), after.end());
    }
};

}  // namespace depthgrow
