// The built-in corpus: documents that depend on (seed, index) alone, answers marked, splits disjoint.
#include "depthgrow/tasks/corpus.hpp"

#include <map>
#include <set>

#include "io/temporary.hpp"
#include "support/catch.hpp"

using namespace depthgrow;
using temporary::refusal;

TEST_CASE("a document is a function of seed and index") {
    const primitive_corpus corpus(1), same(1), other(2);
    for (std::uint64_t index : {0ull, 1ull, 123456789ull, ~0ull}) {
        CHECK(corpus.document(index).text == same.document(index).text);
        CHECK(corpus.document(index).text != other.document(index).text);
        CHECK(corpus.document(index).text != corpus.document(index + 1).text);
        CHECK(corpus.document(index).text != corpus.held_out_document(index).text);
    }
}

TEST_CASE("flags mark the answers and the line end after each, nothing else") {
    corpus_options options;
    options.tasks = {{"arithmetic", 1}};
    options.items_per_document = 3;
    const corpus_document document = primitive_corpus(1, options).document(5);
    REQUIRE(document.answer.size() == document.text.size());
    std::string marked, answers;
    for (std::size_t i = 0; i < document.text.size(); ++i)
        if (document.answer[i]) marked += document.text[i];
    for (auto at = document.text.find('='); at != document.text.npos; at = document.text.find('=', at + 1))
        answers += document.text.substr(at + 1, document.text.find('\n', at) - at);
    CHECK(marked == answers);
    CHECK(std::count(marked.begin(), marked.end(), '\n') == 3);
    CHECK(document.text.substr(document.text.size() - 2) == "\n\n");
}

TEST_CASE("documents hold items of their own split only") {
    corpus_options options;
    options.tasks = {{"arithmetic", 1}};
    const primitive_corpus corpus(3, options);
    std::set<std::string> training, held_out;
    const auto collect = [](const std::string& text, std::set<std::string>& into) {
        for (std::size_t first = 0; first < text.size();) {
            const auto end = text.find("\n\n", first);
            into.insert(text.substr(first, end - first));
            first = end + 2;
        }
    };
    for (std::uint64_t i = 0; i < 2000; ++i) {
        collect(corpus.document(i).text, training);
        collect(corpus.held_out_document(i).text, held_out);
    }
    CHECK(training.size() + held_out.size() == 324);
    for (const auto& item : held_out) CHECK(training.count(item) == 0);
}

TEST_CASE("tasks come by their weights, all alike when none are named") {
    std::map<std::string, int> counts;
    const primitive_corpus all(1);
    for (std::uint64_t i = 0; i < 5200; ++i) ++counts[all.document(i).task];
    CHECK(counts.size() == primitive_names().size());
    for (const auto& [task, count] : counts) CHECK((count > 320 && count < 480));
    corpus_options options;
    options.tasks = {{"psm", 3}, {"copy_words", 1}};
    const primitive_corpus two(1, options);
    counts.clear();
    for (std::uint64_t i = 0; i < 2000; ++i) ++counts[two.document(i).task];
    CHECK(counts.size() == 2);
    CHECK((counts["psm"] > 1400 && counts["psm"] < 1600));
}

TEST_CASE("wrong options are refused") {
    corpus_options options;
    options.tasks = {{"sorting", 1}};
    CHECK(temporary::says(refusal([&] { primitive_corpus corpus(1, options); }), ", got sorting"));
    options.tasks = {{"psm", -1}};
    CHECK(refusal([&] { primitive_corpus corpus(1, options); }) ==
          "[corpus] expected a weight above 0 for psm, got -1");
    options.tasks.clear();
    options.items_per_document = 0;
    CHECK(temporary::says(refusal([&] { primitive_corpus corpus(1, options); }), "at least one item"));
}
