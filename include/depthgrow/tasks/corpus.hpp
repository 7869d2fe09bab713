// The built-in training corpus: an endless stream of documents of reasoning primitives, with their answers marked.
// Assumes byte text. Document i is a function of (seed, i), so that a resumed run needs no state.
// Training documents hold training items only, held-out documents evaluation items only (primitives.hpp).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/core/rng.hpp"
#include "depthgrow/tasks/primitives.hpp"

namespace depthgrow {

/// Text with one flag for each byte: 1 on the bytes of an answer and on the line end after it.
struct corpus_document {
    std::string task;
    std::string text;
    std::vector<unsigned char> answer;  // as long as text
};

/// What the corpus is made of.
struct corpus_options {
    std::vector<std::pair<std::string, double>> tasks;  // name and weight; empty: every task alike
    primitive_options items;
    std::size_t items_per_document = 6;  // five examples and a question, as in an evaluation prompt
};

/// Documents of a few items of one task each, separated and ended by an empty line.
class primitive_corpus {
public:
    explicit primitive_corpus(std::uint64_t seed, corpus_options options = {})
        : seed_(seed), options_(std::move(options)) {
        if (options_.tasks.empty())
            for (const auto& name : primitive_names()) options_.tasks.emplace_back(name, 1.0);
        require(options_.items_per_document > 0, "[corpus] expected at least one item in a document, got 0");
        for (const auto& [name, weight] : options_.tasks) {
            require_primitive(name);
            require(weight > 0 && weight < 1e12, "[corpus] expected a weight above 0 for ", name, ", got ", weight);
            total_ += weight;
        }
    }

    const corpus_options& options() const { return options_; }

    /// Training document `index`.
    corpus_document document(std::uint64_t index) const { return make(index, item_split::training); }
    /// Held-out document `index`.
    corpus_document held_out_document(std::uint64_t index) const { return make(index, item_split::evaluation); }

private:
    corpus_document make(std::uint64_t index, item_split split) const {
        rng random(seed_, mix_bits(index) + (split == item_split::evaluation ? 1 : 0));
        corpus_document document;
        double draw = random.uniform() * total_;
        document.task = options_.tasks.back().first;
        for (const auto& [name, weight] : options_.tasks) {
            if (draw < weight) {
                document.task = name;
                break;
            }
            draw -= weight;
        }
        for (std::size_t i = 0; i < options_.items_per_document; ++i) {
            const task_item item = make_item(document.task, random, options_.items, split);
            append(document, item.context, 0);
            append(document, item.answer, 1);
            append(document, item_separator.substr(0, 1), 1);
            append(document, item_separator.substr(1), 0);
        }
        return document;
    }

    static void append(corpus_document& document, std::string_view part, unsigned char flag) {
        document.text.append(part);
        document.answer.insert(document.answer.end(), part.size(), flag);
    }

    std::uint64_t seed_;
    corpus_options options_;
    double total_ = 0;
};

}  // namespace depthgrow
