// The reasoning primitives: templates, answers that are right, one seed one set, training and evaluation disjoint.
#include "depthgrow/tasks/primitives.hpp"

#include <cmath>
#include <map>
#include <set>
#include <sstream>

#include "depthgrow/tasks/corpus.hpp"
#include "io/temporary.hpp"
#include "support/catch.hpp"

using namespace depthgrow;
using temporary::refusal;

namespace {

std::vector<std::string> words_of(const std::string& line) {
    std::istringstream in(line);
    return {std::istream_iterator<std::string>(in), {}};
}

/// The value of the asked name, found by running the lines of the context from first to last; 0 when a line uses a
/// name that is not defined yet.
int solve(const std::string& context, std::size_t& assignments) {
    std::map<char, int> values;
    std::istringstream in(context);
    std::string line;
    char asked = 0;
    assignments = 0;
    while (std::getline(in, line)) {
        std::string packed;
        for (char c : line)
            if (c != ' ') packed += c;
        if (packed.size() > 4 && packed.substr(1, 4) == "=___") asked = packed[0];
        else if (packed.size() >= 3 && packed[1] == '=' && std::isdigit(static_cast<unsigned char>(packed[2])))
            values[packed[0]] = std::stoi(packed.substr(2)), ++assignments;
        else if (packed.size() == 3 && packed[1] == '=') {
            if (!values.count(packed[2]) || values.count(packed[0])) return 0;
            values[packed[0]] = values[packed[2]], ++assignments;
        } else if (line.rfind("What is the", 0) == 0) asked = line[line.size() - 2];
    }
    return values.count(asked) ? values[asked] : 0;
}

}  // namespace

TEST_CASE("the word list has distinct words of three letters") {
    std::set<std::string_view> words;
    for (std::size_t i = 0; i < three_letter_word_count; ++i) words.insert(three_letter_word(i));
    CHECK(words.size() == three_letter_word_count);
    CHECK(three_letter_word_count > 300);
    for (std::string_view word : words) CHECK(word.find_first_not_of("abcdefghijklmnopqrstuvwxyz") == word.npos);
}

TEST_CASE("copying repeats five words of ten and asks for the one that followed") {
    for (const char* task : {"copy_random", "copy_words"}) {
        rng random(3);
        std::set<std::size_t> starts;
        for (int i = 0; i < 200; ++i) {
            const task_item item = make_item(task, random);
            REQUIRE(item.context.substr(0, 19) == "Fill in the blank:\n");
            const auto words = words_of(item.context.substr(19));
            REQUIRE(words.size() == 17);
            CHECK(words[15] == "___.");
            CHECK(words[16] == "->");
            CHECK(std::set<std::string>(words.begin(), words.begin() + 10).size() == 10);
            const auto start =
                static_cast<std::size_t>(std::find(words.begin(), words.begin() + 10, words[10]) - words.begin());
            starts.insert(start);
            for (std::size_t k = 0; k < 5; ++k) CHECK(words[10 + k] == words[start + k]);
            CHECK(item.answer == words[start + 5]);
            CHECK(item.options == std::vector<std::string>(words.begin(), words.begin() + 10));
            CHECK(item.options[item.gold] == item.answer);
        }
        CHECK(starts == std::set<std::size_t>{0, 1, 2, 3, 4});
    }
}

TEST_CASE("assignments run in order, have one answer among five, and ask for the deepest level") {
    for (const std::string& task : primitive_names()) {
        if (task.rfind("assign", 0) != 0) continue;
        rng random(5);
        const auto depth = static_cast<std::size_t>(task.back() - '0');
        for (int i = 0; i < 100; ++i) {
            const task_item item = make_item(task, random);
            std::size_t assignments = 0;
            CHECK(std::to_string(solve(item.context, assignments)) == item.answer);
            CHECK(assignments == 5 * (depth + 1));
            CHECK(std::set<std::string>(item.options.begin(), item.options.end()).size() == 5);
            CHECK(item.options[item.gold] == item.answer);
            for (const auto& option : item.options) CHECK((std::stoi(option) >= 1 && std::stoi(option) <= 24));
        }
    }
}

TEST_CASE("the gold option is spread evenly") {
    for (const char* task : {"assign_math_0", "assign_math_1"}) {
        rng random(9);
        std::vector<int> counts(5);
        for (int i = 0; i < 2000; ++i) ++counts[make_item(task, random).gold];
        for (int count : counts) CHECK((count > 300 && count < 500));
    }
}

TEST_CASE("the three skins are those of the paper") {
    rng random(1);
    const std::string basic = make_item("assign_basic_0", random).context,
                      math = make_item("assign_math_0", random).context,
                      code = make_item("assign_code_0", random).context;
    CHECK(basic.rfind("Fill in blank:\n\n", 0) == 0);
    CHECK(basic.substr(basic.size() - 8) == "=___. ->");
    CHECK(math.rfind("The following is a set of simple mathematical equations.\n\n", 0) == 0);
    CHECK(math.find("\nWhat is the numerical value of ") != math.npos);
    CHECK(math.substr(math.size() - 9) == "?\nAnswer:");
    CHECK(code.rfind("The following is a very short Python program. Use the program to resolve the value of the "
                     "variable in the question.\n\nProgram:\n",
                     0) == 0);
    CHECK(code.find("\n\nQuestion:\nWhat is the value of ") != code.npos);
    CHECK(code.substr(code.size() - 10) == "?\n\nAnswer:");
}

TEST_CASE("school maths and arithmetic are right") {
    rng random(2);
    for (int i = 0; i < 300; ++i) {
        const task_item sum = make_item("arithmetic", random);
        int first = 0, second = 0, total = 0;
        REQUIRE(std::sscanf((sum.context + sum.answer).c_str(), "%d%d=%d", &first, &second, &total) == 3);
        CHECK(first + second == total);
        CHECK(sum.options.empty());
        const task_item school = make_item("psm", random);
        REQUIRE(std::sscanf(school.answer.c_str(), "%d%d=%d", &first, &second, &total) == 3);
        CHECK(first + second == total);
        char one, two, result, again;
        int one_value, two_value;
        char sign_a, name_a, sign_b, name_b;
        REQUIRE(std::sscanf(school.context.c_str(), "%c=%d\n%c=%d\n%c=%c%c%c%c\n%c=___ ->", &one, &one_value, &two,
                            &two_value, &result, &sign_a, &name_a, &sign_b, &name_b, &again) == 10);
        CHECK(result == again);
        const auto value = [&](char sign, char name) {
            return (sign == '-' ? -1 : 1) * (name == one ? one_value : two_value);
        };
        CHECK(value(sign_a, name_a) == first);
        CHECK(value(sign_b, name_b) == second);
    }
}

TEST_CASE("an evaluation set is a function of its seed, another for another seed") {
    const auto a = evaluation_set("assign_code_2", 20, 5, 1), b = evaluation_set("assign_code_2", 20, 5, 1),
               c = evaluation_set("assign_code_2", 20, 5, 2);
    for (std::size_t i = 0; i < 20; ++i) {
        CHECK(a[i].prompt == b[i].prompt);
        CHECK(a[i].prompt != c[i].prompt);
    }
    CHECK(evaluation_set("assign_code_2", 5, 5, 1)[4].prompt == a[4].prompt);
}

TEST_CASE("five solved examples and the question are separated by empty lines") {
    const std::vector<task_item> shots = {{"t", "a=", "1", {}, 0, 0}, {"t", "b=", "2", {}, 0, 0}};
    CHECK(few_shot_prompt(shots, {"t", "c=", "3", {}, 0, 0}) == "a=1\n\nb=2\n\nc=");
    const auto set = evaluation_set("arithmetic", 3, 5, 1);
    for (const auto& item : set) CHECK(std::count(item.prompt.begin(), item.prompt.end(), '\n') == 10);
}

TEST_CASE("training and evaluation never share the content of an item") {
    for (const std::string& task : primitive_names()) {
        rng random(4);
        std::set<std::uint64_t> training, evaluation;
        for (int i = 0; i < 400; ++i) {
            training.insert(make_item(task, random, {}, item_split::training).key);
            evaluation.insert(make_item(task, random, {}, item_split::evaluation).key);
        }
        for (std::uint64_t key : evaluation) CHECK(training.count(key) == 0);
        for (const auto& item : evaluation_set(task, 50, 2, 3)) CHECK(is_evaluation_key(item.item.key));
    }
}

TEST_CASE("both splits of arithmetic have sums, together all 324") {
    rng random(4);
    std::set<std::string> training, evaluation;
    for (int i = 0; i < 20000; ++i) {
        training.insert(make_item("arithmetic", random, {}, item_split::training).context);
        evaluation.insert(make_item("arithmetic", random, {}, item_split::evaluation).context);
    }
    CHECK(training.size() + evaluation.size() == 324);
    CHECK(evaluation.size() >= 20);
}

TEST_CASE("the key of an assignment is its bases, whatever the skin and the order") {
    const primitive_options two{10, 5, 2, 2, false};  // few enough for equal bases to come up
    rng random(6);
    std::map<std::set<std::string>, std::uint64_t> keys;
    for (int i = 0; i < 3000; ++i) {
        const task_item item = make_item(i % 2 ? "assign_basic_0" : "assign_math_0", random, two);
        std::set<std::string> bases;
        std::istringstream in(item.context);
        for (std::string line; std::getline(in, line);)
            if (line.size() == 3 && line[1] == '=') bases.insert(line);
        const auto [known, fresh] = keys.emplace(bases, item.key);
        CHECK(known->second == item.key);
    }
    CHECK(keys.size() > 300);
}

TEST_CASE("smaller items fit a context of 128 bytes") {
    primitive_options small;
    small.words = 6;
    small.repeated = 2;
    small.bases = 3;
    small.short_headers = true;
    rng random(8);
    for (const std::string& task : primitive_names())
        for (int i = 0; i < 50; ++i) {
            const task_item item = make_item(task, random, small);
            CHECK(item.context.size() + item.answer.size() < 128);
        }
}

TEST_CASE("unknown tasks and impossible sizes are refused") {
    rng random(1);
    CHECK(temporary::says(refusal([&] { make_item("assign_basic_3", random); }),
                          "[primitives] expected one of copy_random, copy_words, "));
    CHECK(temporary::says(refusal([&] {
                              make_item("copy_words", random, {5, 5});
                          }),
                          "fewer repeated ones, got 5 and 5"));
    CHECK(temporary::says(refusal([&] { make_item("assign_math_2", random, {10, 5, 9}); }), "got 9 bases, depth 2"));
    CHECK(temporary::says(refusal([&] { make_item("assign_math_0", random, {10, 5, 5, 4}); }), "values to 4"));
}
