// Reasoning primitives: copying, variable assignment, pre-school maths and arithmetic, generated from a seed.
// Assumes nothing of models or tokenizers: an item is text. Training and evaluation items never share their content.
// Source: Saunshi et al. 2024, section 5 and appendix B; headers of the copying tasks as in Kapl et al. 2025.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/core/rng.hpp"
#include "depthgrow/core/span.hpp"
#include "depthgrow/tasks/words.hpp"

namespace depthgrow {

/// One question. The text that a model completes is `context`, what it should write is `answer`.
struct task_item {
    std::string task;
    std::string context;
    std::string answer;
    std::vector<std::string> options;  // what to choose from; empty where the completion must match exactly
    std::size_t gold = 0;              // options[gold] == answer
    std::uint64_t key = 0;             // hash of the defining content; decides training or evaluation
};

/// Sizes of the items; the defaults are those of the papers, smaller ones fit a short context of bytes.
struct primitive_options {
    std::size_t words = 10;      // distinct words of a copying item
    std::size_t repeated = 5;    // words repeated before the gap, fewer than `words`
    std::size_t bases = 5;       // base assignments, and aliases of each level
    std::size_t largest = 24;    // values are distinct integers 1..largest
    bool short_headers = false;  // a word or two instead of the sentences around the math and code skins
};

/// Which items may be drawn. An eighth of all items, by a hash of their key, is for evaluation, the rest for training.
enum class item_split { any, training, evaluation };

/// Whether an item of this key belongs to evaluation.
inline bool is_evaluation_key(std::uint64_t key) { return mix_bits(key) % 8 == 0; }

/// Every task, in the order of reports.
inline const std::vector<std::string>& primitive_names() {
    static const std::vector<std::string> names = {
        "copy_random",   "copy_words",    "assign_basic_0", "assign_basic_1", "assign_basic_2",
        "assign_math_0", "assign_math_1", "assign_math_2",  "assign_code_0",  "assign_code_1",
        "assign_code_2", "psm",           "arithmetic"};
    return names;
}

/// What follows an answer in every document and prompt. Option scores that include it are free of the prefix effect:
/// without it "1" can never score below "12", which caps assignment over digits near 0.89.
inline constexpr std::string_view answer_end = "\n";

/// Examples of one prompt, and items of one document, are separated by an empty line.
inline constexpr std::string_view item_separator = "\n\n";

namespace detail {

/// FNV-1a, the hash of an item's content.
inline std::uint64_t hash_text(std::string_view content) {
    std::uint64_t hash = 0xcbf29ce484222325ull;
    for (char c : content) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
    return hash;
}

inline std::string random_word(rng& random) {
    std::string word(3, 'a');
    for (char& letter : word) letter = static_cast<char>('a' + random.below(26));
    return word;
}

inline task_item copy_item(bool real_words, rng& random, const primitive_options& sizes) {
    require(sizes.words >= 2 && sizes.words <= three_letter_word_count && sizes.repeated >= 1 &&
                sizes.repeated < sizes.words,
            "[primitives] expected 2 to ", three_letter_word_count, " words and fewer repeated ones, got ", sizes.words,
            " and ", sizes.repeated);
    task_item item;
    while (item.options.size() < sizes.words) {
        std::string word =
            real_words ? std::string(three_letter_word(random.below(three_letter_word_count))) : random_word(random);
        if (std::find(item.options.begin(), item.options.end(), word) == item.options.end())
            item.options.push_back(std::move(word));
    }
    const std::size_t start = random.below(sizes.words - sizes.repeated);
    item.gold = start + sizes.repeated;
    std::string content;
    for (const std::string& word : item.options) content += word + " ";
    item.key = hash_text("copy " + content);
    item.context = (sizes.short_headers ? "Fill in:\n" : "Fill in the blank:\n") + content;
    for (std::size_t i = start; i < item.gold; ++i) item.context += item.options[i] + " ";
    item.context += "___. ->";
    item.answer = item.options[item.gold];
    return item;
}

/// The assignments of one item: names level by level, each with what it is set to.
struct assignment_program {
    std::vector<std::pair<char, std::string>> lines;
    std::vector<std::string> values;
    char query = 'a';
    std::size_t gold = 0;
    std::uint64_t key = 0;
};

inline assignment_program random_program(std::size_t depth, rng& random, const primitive_options& sizes) {
    const std::size_t width = sizes.bases;
    require(width >= 2 && width * (depth + 1) <= 26 && width <= sizes.largest,
            "[primitives] expected 2 or more bases with letters and values for all, got ", width, " bases, depth ",
            depth, ", values to ", sizes.largest);
    std::string letters = "abcdefghijklmnopqrstuvwxyz";
    random.shuffle(letters);
    std::vector<std::size_t> numbers(sizes.largest);
    for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = i + 1;
    random.shuffle(numbers);
    assignment_program program;
    std::vector<std::size_t> base_of(width);  // of each name of the current level
    std::string content = "assign ";
    for (std::size_t i = 0; i < width; ++i) {
        program.values.push_back(std::to_string(numbers[i]));
        base_of[i] = i;
    }
    for (std::size_t level = 0; level <= depth; ++level) {
        std::vector<std::size_t> source(width);  // position in the level before
        for (std::size_t i = 0; i < width; ++i) source[i] = i;
        if (level > 0) random.shuffle(source);
        std::vector<std::size_t> next_base(width);
        std::vector<std::pair<char, std::string>> lines;
        for (std::size_t i = 0; i < width; ++i) {
            const std::string right =
                level == 0 ? program.values[i] : std::string(1, letters[(level - 1) * width + source[i]]);
            next_base[i] = base_of[source[i]];
            lines.emplace_back(letters[level * width + i], right);
        }
        base_of = next_base;
        if (level == 0) {  // the set of base assignments is what defines an item, whatever its skin, depth and order
            auto sorted = lines;
            std::sort(sorted.begin(), sorted.end());
            for (const auto& [left, right] : sorted) content += left + right + " ";
        }
        random.shuffle(lines);
        program.lines.insert(program.lines.end(), lines.begin(), lines.end());
    }
    const std::size_t asked = random.below(width);
    program.query = letters[depth * width + asked];
    program.gold = base_of[asked];
    program.key = hash_text(content);
    return program;
}

inline task_item assignment_item(std::string_view skin, std::size_t depth, rng& random,
                                 const primitive_options& sizes) {
    const assignment_program program = random_program(depth, random, sizes);
    const bool brief = sizes.short_headers;
    const std::string name(1, program.query);
    const auto lines = [&program](std::string_view equals) {
        std::string out;
        for (const auto& [left, right] : program.lines) out += text(left, equals, right, '\n');
        return out;
    };
    task_item item;
    if (skin == "basic") {
        item.context = (brief ? "Fill in:\n" : "Fill in blank:\n\n") + lines("=") + name + "=___. ->";
    } else if (skin == "math") {
        item.context = (brief ? "Equations:\n" : "The following is a set of simple mathematical equations.\n\n") +
                       lines("=") + (brief ? "Value of " + name : "What is the numerical value of " + name) +
                       "?\nAnswer:";
    } else {
        item.context = brief ? "Program:\n" + lines(" = ") + "Value of " + name + "?\nAnswer:"
                             : "The following is a very short Python program. Use the program to resolve the value of "
                               "the variable in the "
                               "question.\n\nProgram:\n" +
                                   lines(" = ") + "\nQuestion:\nWhat is the value of " + name + "?\n\nAnswer:";
    }
    item.options = program.values;
    item.gold = program.gold;
    item.answer = item.options[item.gold];
    item.key = program.key;
    return item;
}

/// Two signed digits 1..9 and their sum: "-3", "+2", "-1".
struct signed_sum {
    int first, second;
    std::uint64_t key;

    explicit signed_sum(rng& random)
        : first(draw(random)), second(draw(random)), key(hash_text(text("sum ", first, ' ', second))) {}
    int total() const { return first + second; }
    static int draw(rng& random) {
        const int digit = 1 + static_cast<int>(random.below(9));
        return random.below(2) ? digit : -digit;
    }
    static std::string with_sign(int number) {
        return (number < 0 ? "-" : "+") + std::to_string(number < 0 ? -number : number);
    }
};

inline task_item school_item(rng& random) {
    const signed_sum sum(random);
    std::string letters = "abcdefghijklmnopqrstuvwxyz";
    random.shuffle(letters);
    const char first = letters[0], second = letters[1], result = letters[2];
    const std::string one = text(first, '=', sum.first < 0 ? -sum.first : sum.first, '\n'),
                      two = text(second, '=', sum.second < 0 ? -sum.second : sum.second, '\n');
    task_item item;
    item.context =
        (random.below(2) ? one + two : two + one) + text(result, '=', sum.first < 0 ? '-' : '+', first,
                                                         sum.second < 0 ? '-' : '+', second, '\n', result, "=___ ->");
    item.answer = text(signed_sum::with_sign(sum.first), signed_sum::with_sign(sum.second), '=', sum.total());
    item.key = sum.key;
    return item;
}

inline task_item arithmetic_item(rng& random) {
    const signed_sum sum(random);
    task_item item;
    item.context = signed_sum::with_sign(sum.first) + signed_sum::with_sign(sum.second) + "=";
    item.answer = std::to_string(sum.total());
    item.key = sum.key;
    return item;
}

inline task_item any_item(const std::string& task, rng& random, const primitive_options& sizes) {
    if (task == "copy_random" || task == "copy_words") return copy_item(task == "copy_words", random, sizes);
    if (task == "psm") return school_item(random);
    if (task == "arithmetic") return arithmetic_item(random);
    const auto second = task.rfind('_');
    return assignment_item(std::string_view(task).substr(7, second - 7), static_cast<std::size_t>(task.back() - '0'),
                           random, sizes);
}

}  // namespace detail

/// Refuses a task name that is not in `primitive_names()`.
inline void require_primitive(const std::string& task) {
    const auto& names = primitive_names();
    if (std::find(names.begin(), names.end(), task) != names.end()) return;
    std::string list;
    for (const auto& name : names) list += (list.empty() ? "" : ", ") + name;
    fail("[primitives] expected one of ", list, ", got ", task);
}

/// The next item of a task from a random stream, among those of `split`.
inline task_item make_item(const std::string& task, rng& random, const primitive_options& sizes = {},
                           item_split split = item_split::any) {
    require_primitive(task);
    for (;;) {
        task_item item = detail::any_item(task, random, sizes);
        if (split != item_split::any && is_evaluation_key(item.key) != (split == item_split::evaluation)) continue;
        item.task = task;
        return item;
    }
}

/// `shots` solved items and then the open one, joined by empty lines: what a model is given.
inline std::string few_shot_prompt(span<const task_item> shots, const task_item& item) {
    std::string prompt;
    for (const task_item& shot : shots) prompt.append(shot.context).append(shot.answer).append(item_separator);
    return prompt + item.context;
}

/// One question of an evaluation set with its prompt.
struct evaluation_item {
    std::string prompt;
    task_item item;
};

/// `count` questions of a task with `shots` examples each, all from the evaluation split, a function of the seed.
inline std::vector<evaluation_item> evaluation_set(const std::string& task, std::size_t count, std::size_t shots,
                                                   std::uint64_t seed, const primitive_options& sizes = {}) {
    rng random(seed, detail::hash_text("evaluation " + task));
    std::vector<evaluation_item> out;
    for (std::size_t i = 0; i < count; ++i) {
        std::vector<task_item> examples;
        for (std::size_t s = 0; s < shots; ++s)
            examples.push_back(make_item(task, random, sizes, item_split::evaluation));
        task_item item = make_item(task, random, sizes, item_split::evaluation);
        out.push_back({few_shot_prompt(examples, item), std::move(item)});
    }
    return out;
}

}  // namespace depthgrow
