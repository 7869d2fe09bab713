#include "support/held_out_sets.hpp"

#include <algorithm>

#include "depthgrow/tasks/corpus.hpp"
#include "support/training_data.hpp"

namespace tools {

namespace {

/// The tokens of an item, and how many at their end are its answer.
struct tokenized_item {
    std::vector<std::int32_t> tokens;
    std::size_t answer = 0;
};

std::vector<tokenized_item> tokenized(const dg::encode_function& encode,
                                      const std::vector<dg::evaluation_item>& items) {
    std::vector<tokenized_item> out(items.size());
    for (std::size_t i = 0; i < items.size(); ++i) {
        encode(items[i].prompt, out[i].tokens);
        const std::size_t before = out[i].tokens.size();
        encode(items[i].item.answer + std::string(dg::answer_end), out[i].tokens);
        out[i].answer = out[i].tokens.size() - before;
    }
    return out;
}

/// Inputs of the longest item.
std::size_t longest(const std::vector<tokenized_item>& items) {
    std::size_t longest = 0;
    for (const auto& item : items) longest = std::max(longest, item.tokens.size() - 1);
    return longest;
}

question_set make_questions(const resolved_run& run, const std::string& task, std::size_t count) {
    const auto encode = run.encoder();
    const auto sizes = item_sizes(run.length);
    std::size_t shots = 5;
    for (; shots > 0; --shots)
        if (longest(tokenized(encode, dg::evaluation_set(task, 16, shots, 12345, sizes))) <= run.length) break;
    const auto items = tokenized(encode, dg::evaluation_set(task, count, shots, 12345, sizes));
    const std::size_t length = std::min(run.length, longest(items));
    question_set set{task, count, length, std::vector<std::int32_t>(count * length, 0),
                     std::vector<std::int32_t>(count * length, -1)};
    for (std::size_t i = 0; i < count; ++i) {
        const auto& whole = items[i].tokens;
        const std::size_t skip = whole.size() > length + 1 ? whole.size() - length - 1 : 0;
        for (std::size_t p = skip; p + 1 < whole.size(); ++p) {
            set.inputs[i * length + p - skip] = whole[p];
            if (p + 1 + items[i].answer >= whole.size()) set.targets[i * length + p - skip] = whole[p + 1];
        }
    }
    return set;
}

}  // namespace

held_out_windows make_windows(const resolved_run& run, const dg::training_data& data) {
    dg::token_batch part;
    held_out_windows out;
    std::vector<std::int32_t> inputs, targets;
    const std::size_t share = std::max<std::size_t>(1, run.settings.eval_windows / data.sources());
    for (std::size_t source = 0; source < data.sources(); ++source) {
        const std::size_t available = data.held_out_windows(source);
        data.held_out(source, 0, available ? std::min(share, available) : share, part);
        part.split(inputs, targets);
        out.inputs.insert(out.inputs.end(), inputs.begin(), inputs.end());
        out.targets.insert(out.targets.end(), targets.begin(), targets.end());
        out.weights.insert(out.weights.end(), part.weights.begin(), part.weights.end());
        out.windows += part.rows;
        out.of_source.push_back(part.rows);
    }
    return out;
}

std::vector<std::int32_t> first_windows(const held_out_windows& set, std::size_t count) {
    std::vector<std::size_t> taken(set.of_source.size());
    for (std::size_t left = count; left > 0;) {
        const std::size_t before = left;
        for (std::size_t s = 0; s < taken.size() && left > 0; ++s)
            if (taken[s] < set.of_source[s]) ++taken[s], --left;
        if (left == before) break;
    }
    const auto length = static_cast<std::ptrdiff_t>(set.inputs.size() / set.windows);
    std::vector<std::int32_t> out;
    auto from = set.inputs.begin();
    for (std::size_t s = 0; s < taken.size(); ++s) {
        out.insert(out.end(), from, from + static_cast<std::ptrdiff_t>(taken[s]) * length);
        from += static_cast<std::ptrdiff_t>(set.of_source[s]) * length;
    }
    return out;
}

std::vector<question_set> make_question_sets(const resolved_run& run) {
    std::vector<question_set> out;
    if (!run.built_in) return out;
    for (const auto& task : run.tasks) out.push_back(make_questions(run, task, 64));
    return out;
}

}  // namespace tools
