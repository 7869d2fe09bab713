// What the JSON reader accepts and how it says no.
#include "depthgrow/io/json.hpp"

#include <cmath>
#include <limits>

#include "io/temporary.hpp"
#include "support/catch.hpp"

using namespace depthgrow;
using temporary::refusal;

TEST_CASE("valid JSON is read whole") {
    const json value = parse_json(R"({"a": [1, 2.5, "x", null, true], "b": {"c": -3}})", "f.json");
    CHECK(value["a"][1] == 2.5);
    CHECK(value["b"]["c"] == -3);
}

TEST_CASE("the same key in two objects is no duplicate") {
    CHECK_NOTHROW(parse_json(R"({"a": {"x": 1}, "b": {"x": 2}, "c": [{"x": 3}, {"x": 4}]})", "f.json"));
}

TEST_CASE("a duplicate key is refused by its name") {
    CHECK_THAT(refusal([] { parse_json(R"({"a": {"x": 1, "x": 2}})", "f.json"); }),
               Catch::Matchers::Equals("f.json: expected every key once, found \"x\" twice"));
}

TEST_CASE("text after the value is refused") {
    const std::string sentence = refusal([] { parse_json("{} {}", "f.json"); });
    CHECK_THAT(sentence, Catch::Matchers::StartsWith("f.json: expected valid JSON, found"));
    CHECK(sentence.find('\n') == sentence.npos);
}

TEST_CASE("truncated text, numbers beyond double and broken UTF-8 are refused") {
    for (const char* text : {"", "{\"a\": [1, 2", "[1e999]", "[\"\xff\xfe\"]", "nul", "\"\\ud800\""})
        CHECK_THAT(refusal([&] { parse_json(text, "f.json"); }),
                   Catch::Matchers::StartsWith("f.json: expected valid JSON, found"));
}

TEST_CASE("nesting is limited to 64") {
    CHECK_NOTHROW(parse_json(std::string(64, '[') + std::string(64, ']'), "f.json"));
    CHECK_THAT(refusal([] { parse_json(std::string(65, '[') + std::string(65, ']'), "f.json"); }),
               Catch::Matchers::Equals("f.json: expected JSON nested at most 64 deep, found more"));
    CHECK_THAT(refusal([] { parse_json(std::string(1000000, '['), "f.json"); }),
               Catch::Matchers::StartsWith("f.json: expected JSON nested"));
}

TEST_CASE("typed fields say which key is wrong and what was found") {
    const json value = parse_json(
        R"({"n": -3, "big": 99999999999, "half": 0.5, "s": "x", "l": [1, -2], "z": 0, "none": null})", "f.json");
    const json_fields fields(value, "f.json");
    CHECK(fields.number("half") == 0.5);
    CHECK(fields.positive("absent", 7) == 7);
    CHECK(fields.positive("none", 7) == 7);
    CHECK(fields.count("z") == 0);
    CHECK(refusal([&] { fields.positive("n"); }) == "f.json: expected n to be a positive integer, found -3");
    CHECK(refusal([&] { fields.positive("z"); }) == "f.json: expected z to be a positive integer, found 0");
    CHECK(refusal([&] { fields.positive("big"); }) ==
          "f.json: expected big to be a positive integer, found 99999999999");
    CHECK(refusal([&] { fields.positive("half"); }) == "f.json: expected half to be a positive integer, found 0.5");
    CHECK(refusal([&] { fields.positive("absent"); }) ==
          "f.json: expected absent to be a positive integer, found nothing");
    CHECK(refusal([&] { fields.boolean("s"); }) == "f.json: expected s to be true or false, found \"x\"");
    CHECK(refusal([&] { fields.string("n"); }) == "f.json: expected n to be a string, found -3");
    CHECK(refusal([&] { fields.object("l"); }) == "f.json: expected l to be an object, found [1,-2]");
    CHECK(refusal([&] { fields.indices("l"); }) == "f.json: expected l to hold integers of at least 0, found -2");
    CHECK(refusal([&] { fields.positive_number("n"); }) == "f.json: expected n to be above 0, found -3");
    CHECK(refusal([&] { json_fields(value["l"], "f.json"); }) == "f.json: expected a JSON object, found [1,-2]");
}

TEST_CASE("what is quoted of a file is short and printable") {
    const json value = std::string(1000, 'x') + "\x01\xff";
    CHECK(describe(&value).size() < 80);
    CHECK(detail::quotable("a\nb\x80") == "a?b?");
}

TEST_CASE("numbers that are not finite are written as null") {
    CHECK(json_line({{"loss", std::nan("")}, {"x", std::numeric_limits<double>::infinity()}}) ==
          "{\"loss\":null,\"x\":null}\n");
}

TEST_CASE("a double survives being written and read") {
    for (double value : {0.1, 1.0 / 3, 6.02214076e23, -5e-324})
        CHECK(parse_json(json_line(value), "f").get<double>() == value);
}

TEST_CASE("missing files, empty files and directories are told apart") {
    const temporary::folder folder;
    CHECK_THAT(refusal([&] { read_text_file(folder.path / "none.json"); }),
               Catch::Matchers::EndsWith("none.json: expected a file, found nothing of that name"));
    CHECK_THAT(refusal([&] { read_text_file(folder.path); }),
               Catch::Matchers::EndsWith(": expected a file, found a directory"));
    CHECK_THAT(refusal([&] { read_text_file(folder.file("empty.json", "")); }),
               Catch::Matchers::EndsWith("empty.json: expected content, found an empty file"));
    CHECK(read_json_file(folder.file("one.json", "{\"a\": 1}"))["a"] == 1);
}
