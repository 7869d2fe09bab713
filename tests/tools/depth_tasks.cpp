// The items that `evaluate` makes, read from files or generated, and how completions count.
#include "support/depth_tasks.hpp"

#include "depthgrow/io/atomic_file.hpp"
#include "io/temporary.hpp"
#include "support/catch.hpp"

namespace dg = depthgrow;
using temporary::refusal;

namespace {

struct task_file {
    temporary::folder here;
    std::filesystem::path path = here.path / "items.jsonl";
    tools::task read(const std::string& kind, const std::string& lines, std::size_t items = 1000) const {
        dg::write_file(path, lines);
        return tools::make_task(kind + "=" + path.string(), {items, 5, 256, 1});
    }
    std::string refused(const std::string& kind, const std::string& lines) const {
        const std::string said = refusal([&] { read(kind, lines); }), name = path.string();
        return said.rfind(name, 0) == 0 ? said.substr(name.size()) : said;
    }
};

}  // namespace

TEST_CASE("multiple-choice files: context, options, gold") {
    const task_file f;
    const auto task = f.read("choices",
                             "{\"context\": \"Q: 1\", \"options\": [\" a\", \" bc\"], \"gold\": 1}\n\n{\"context\": "
                             "\"Q: 2\", \"options\": [\"x\", \"y\", \"z\"], \"gold\": 0}\n");
    CHECK(task.kind == tools::answer_kind::choice);
    REQUIRE(task.questions.size() == 2);
    CHECK(task.questions[0].context == "Q: 1");
    CHECK(task.questions[0].options == std::vector<std::string>{" a", " bc"});
    CHECK(task.questions[0].gold == 1);
    CHECK(task.questions[1].where == f.path.string() + " line 3");
    CHECK(f.read("choices",
                 "{\"context\": \"a\", \"options\": [\"b\", \"c\"], \"gold\": 0}\n{\"context\": \"a\", \"options\": "
                 "[\"b\", \"c\"], \"gold\": 0}\n",
                 1)
              .questions.size() == 1);
    CHECK(f.refused("choices", "{\"context\": \"a\", \"options\": [\"b\", \"c\"], \"gold\": 2}") ==
          " line 1: expected gold below 2, found 2");
    CHECK(f.refused("choices", "{\"context\": \"a\", \"options\": [\"b\"], \"gold\": 0}")
              .find(" line 1: expected options to be a list of at least 2 strings, found") == 0);
    CHECK(f.refused("choices", "{\"context\": \"a\", \"options\": [\"b\", \"\"], \"gold\": 0}")
              .find(" line 1: expected options to hold non-empty strings") == 0);
    CHECK(f.refused("choices", "{\"context\": \"\", \"options\": [\"b\", \"c\"], \"gold\": 0}") ==
          " line 1: expected a context, found an empty one");
    CHECK(f.refused("choices", "\n{\"context\": 1}").find(" line 2") == 0);
    CHECK(f.refused("choices", "\n \n") == ": expected at least one item, found only empty lines");
    CHECK(refusal([] { tools::make_task("choices=/nowhere/items.jsonl", {}); }).find("/nowhere/items.jsonl") !=
          std::string::npos);
    CHECK(refusal([] { tools::make_task("riddles=x", {}); }) ==
          "--task: expected choices=FILE, lambada=FILE or generate=FILE, found riddles=x");
}

TEST_CASE("last-word files: everything before the last word is the context, the word comes with its space") {
    const task_file f;
    const auto task = f.read("lambada", "{\"text\": \"He said it again, and again \\n\"}\n");
    CHECK(task.kind == tools::answer_kind::last_word);
    CHECK(task.questions.at(0).context == "He said it again, and");
    CHECK(task.questions[0].options == std::vector<std::string>{" again"});
    CHECK(f.refused("lambada", "{\"text\": \"one\"}") == " line 1: expected text of at least two words, found one");
    CHECK(f.refused("lambada", "{\"text\": \" one\"}").find(" line 1: expected text of at least two words") == 0);
}

TEST_CASE("completions: the last number when the answer is one, else the text before the stop") {
    const task_file f;
    const auto task = f.read("generate",
                             "{\"prompt\": \"2 + 3 =\", \"answer\": \"1,234.50\"}\n{\"prompt\": \"Who?\", \"answer\": "
                             "\"Ada\", \"stop\": \".\"}\n");
    CHECK(task.kind == tools::answer_kind::completion);
    const auto &number = task.questions.at(0), &name = task.questions.at(1);
    CHECK(number.stop == "\n");
    for (const char* right : {" 1234.5\n7", "so 10 and then 1,234.5.", "$1234.50!"})
        CHECK(tools::completes(right, number));
    for (const char* wrong : {"", "none", "1234.5 or 6", "-1234.5", "\n1234.5"})
        CHECK_FALSE(tools::completes(wrong, number));
    for (const char* right : {" Ada. Or", "Ada"}) CHECK(tools::completes(right, name));
    for (const char* wrong : {"Adam.", "", "Oh, Ada."}) CHECK_FALSE(tools::completes(wrong, name));
    tools::question minus{"", {}, 0, "-7", "\n", ""};
    CHECK(tools::completes("it is -7", minus));
    CHECK_FALSE(tools::completes("10-7", minus));  // a difference, not a negative number
    CHECK(f.refused("generate", "{\"prompt\": \"a\", \"answer\": \"\"}") ==
          " line 1: expected an answer and a stop, found an empty one");
}

TEST_CASE("generated items are the same for a seed, have their shots, and end their answers with the line") {
    const auto once = tools::make_task("assign_basic_0", {4, 2, 256, 1}),
               again = tools::make_task("assign_basic_0", {4, 2, 256, 1}),
               other = tools::make_task("assign_basic_0", {4, 2, 256, 2});
    REQUIRE(once.questions.size() == 4);
    for (std::size_t i = 0; i < 4; ++i) {
        CHECK(once.questions[i].context == again.questions[i].context);
        CHECK(once.questions[i].gold == again.questions[i].gold);
        for (const auto& option : once.questions[i].options) CHECK(option.back() == '\n');
        std::size_t shots = 0;
        for (std::size_t at = 0; (at = once.questions[i].context.find("\n\n", at)) != std::string::npos; at += 2)
            ++shots;
        CHECK(shots == 2);
    }
    CHECK(once.questions[0].context != other.questions[0].context);
    CHECK(tools::make_task("arithmetic", {1, 0, 256, 1}).kind == tools::answer_kind::completion);
}
