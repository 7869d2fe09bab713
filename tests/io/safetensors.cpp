// safetensors files: round trips, the fixtures, and every lie that a header can tell.
#include "depthgrow/io/safetensors.hpp"

#include <chrono>
#include <cstring>
#include <numeric>

#include "io/temporary.hpp"
#include "support/catch.hpp"

using namespace depthgrow;
using temporary::refusal;
using temporary::says;

namespace {

std::string raw_file(const std::string& header, std::size_t data_bytes) {
    const std::uint64_t length = header.size();
    std::string content(8, '\0');
    std::memcpy(content.data(), &length, 8);
    return content + header + std::string(data_bytes, '\0');
}

std::string refusal_of(const std::string& content) {
    const temporary::folder folder;
    const auto path = folder.file("m.safetensors", content);
    return refusal([&] { safetensors_file file(path); });
}

}  // namespace

TEST_CASE("what is written is read back, in every number format") {
    const temporary::folder folder;
    const auto path = folder.path / "m.safetensors";
    std::vector<double> values(60);
    std::iota(values.begin(), values.end(), -30.0);
    {
        safetensors_writer file(path,
                                {{"b", "F64", {3, 20}},
                                 {"a", "F32", {60}},
                                 {"h", "BF16", {5, 3, 4}},
                                 {"g", "F16", {60}},
                                 {"i", "I64", {2}},
                                 {"e", "F32", {0, 7}},
                                 {"s", "F32", {}}},
                                {{"note", "caf\xc3\xa9 \"quoted\""}});
        for (const char* name : {"h", "a", "g", "b"}) file.write(name, values.data(), values.size());
        const std::int64_t integers[] = {-1, 7};
        file.write_bytes("i", integers, 16);
        file.write("e", values.data(), 0);
        file.write("s", values.data(), 1);
        file.commit();
    }
    const safetensors_file file(path);
    CHECK(file.names() == std::vector<std::string>{"a", "b", "e", "g", "h", "i", "s"});
    CHECK(file.metadata() == std::map<std::string, std::string>{{"format", "pt"}, {"note", "caf\xc3\xa9 \"quoted\""}});
    CHECK(file.find("h").shape == std::vector<std::size_t>{5, 3, 4});
    for (const char* name : {"a", "b", "g", "h"}) {
        std::vector<double> wide(60);
        std::vector<float> narrow(60);
        file.read(name, wide.data(), 60);
        file.read(name, narrow.data(), 60);
        CHECK(wide == values);
        CHECK(std::equal(narrow.begin(), narrow.end(), values.begin(),
                         [](float a, double b) { return static_cast<double>(a) == b; }));
    }
    std::int64_t integers[2];
    file.read_bytes("i", integers, 16);
    CHECK(integers[0] == -1);
    CHECK(integers[1] == 7);
    CHECK(file.find("s").elements() == 1);
    CHECK(file.find("e").bytes() == 0);
    std::uint64_t length;
    std::memcpy(&length, temporary::content_of(path).data(), 8);
    CHECK(length % 8 == 0);
}

TEST_CASE("the fixtures open and hold what their configuration says") {
    for (const char* name : {"plain", "grouped"}) {
        const safetensors_file file(std::filesystem::path(DEPTHGROW_FIXTURES) / name / "model.safetensors");
        const tensor_info& norm = file.find("model.norm.weight");
        CHECK(norm.type_name == "F32");
        std::vector<double> values(norm.elements());
        file.read("model.norm.weight", values.data(), values.size());
        for (double value : values) CHECK((value > 0.1 && value < 10));
    }
}

TEST_CASE("a long tensor is converted piece by piece without a gap") {
    const temporary::folder folder;
    std::vector<float> values(100003), back(values.size());
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 251);
    safetensors_writer writer(folder.path / "m", {{"x", "BF16", {values.size()}}});
    writer.write("x", values.data(), values.size());
    writer.commit();
    const safetensors_file file(folder.path / "m");
    file.read("x", back.data(), back.size());
    CHECK(back == values);
}

TEST_CASE("every tensor is aligned to its elements, whatever the names") {
    const temporary::folder folder;
    const double values[3] = {1, 2, 3};
    safetensors_writer writer(folder.path / "m",
                              {{"a", "BF16", {3}}, {"b", "U8", {1}}, {"c", "F64", {3}}, {"d", "F32", {3}}});
    for (const char* name : {"a", "c", "d"}) writer.write(name, values, 3);
    writer.write_bytes("b", "x", 1);
    writer.commit();
    const safetensors_file file(folder.path / "m");
    for (const auto& [name, info] : file.tensors()) CHECK(info.begin % safetensors_element_size(info.type_name) == 0);
}

TEST_CASE("files that are none, or cut short, are refused") {
    const temporary::folder folder;
    CHECK(says(refusal([&] { safetensors_file file(folder.path / "none"); }),
               "none: expected a safetensors file, found nothing of that name"));
    CHECK(says(refusal([&] { safetensors_file file(folder.path); }), "found something that is no file"));
    CHECK(says(refusal_of(""), "expected a safetensors file of at least 10 bytes, found 0"));
    CHECK(says(refusal_of(raw_file("{}", 0).substr(0, 9)), "at least 10 bytes, found 9"));
    std::string long_header = raw_file("{\"a\":1}", 0);
    long_header[1] = 1;
    CHECK(says(refusal_of(long_header), "expected a header of 263 bytes, found a file of 15 bytes (truncated?)"));
    long_header[6] = 1;
    CHECK(says(refusal_of(long_header), "expected a header of at most 100000000 bytes, found the length 28147"));
    CHECK(says(refusal_of(raw_file("[1,2]     ", 0)), "expected a header that begins with '{', found another byte"));
    CHECK(says(refusal_of(raw_file("{\"a\": ", 0)), "expected valid JSON"));
    CHECK(refusal_of(raw_file("{}", 0)) == "nothing thrown");
}

TEST_CASE("headers that lie are refused by tensor and by what was found") {
    const auto entry = [](const char* type, const char* shape, const char* offsets) {
        return std::string("{\"dtype\":\"") + type + "\",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}";
    };
    const auto one = [&](const char* type, const char* shape, const char* offsets) {
        return refusal_of(raw_file("{\"w\":" + entry(type, shape, offsets) + "}", 24));
    };
    CHECK(one("F32", "[2,3]", "[0,24]") == "nothing thrown");
    CHECK(one("I8", "[24]", "[0,24]") == "nothing thrown");
    CHECK(says(one("F31", "[2,3]", "[0,24]"), "tensor w: expected a known dtype, found F31"));
    CHECK(says(one("F32", "[2,4]", "[0,24]"), "tensor w: expected 32 bytes for F32 (2, 4), found 24"));
    CHECK(says(one("F32", "[2,3]", "[0,25]"), "expected data_offsets within the 24 bytes of data, found 0 to 25"));
    CHECK(says(one("F32", "[2,3]", "[24,0]"), "found 24 to 0"));
    CHECK(says(one("F32", "[2,3]", "[0,12,24]"), "expected two data_offsets, found 3"));
    CHECK(says(one("F32", "[2,-3]", "[0,24]"), "expected shape to hold integers of at least 0, found -3"));
    CHECK(says(one("F32", "[2,3.5]", "[0,24]"), "found 3.5"));
    CHECK(says(one("F32", "6", "[0,24]"), "expected shape to be a list of integers, found 6"));
    CHECK(says(one("F32", "[4611686018427387904,4]", "[0,0]"), "expected a shape that fits in memory"));
    CHECK(says(one("F64", "[9223372036854775808,2,0]", "[0,24]"), "expected 0 bytes"));
    CHECK(says(one("F32", "[5]", "[4,24]"),
               "expected tensors without holes or overlap, found one at byte 4 where 0 was due"));
    CHECK(says(one("F32", "[5]", "[0,20]"), "expected 20 bytes of data, found 24"));
    CHECK(says(refusal_of(raw_file(
                   "{\"w\":" + entry("F32", "[4]", "[0,16]") + ",\"v\":" + entry("F32", "[4]", "[8,24]") + "}", 24)),
               "without holes or overlap, found one at byte 8 where 16 was due"));
    CHECK(says(refusal_of(raw_file(
                   "{\"w\":" + entry("F32", "[3]", "[0,12]") + ",\"w\":" + entry("F32", "[3]", "[12,24]") + "}", 24)),
               "expected every key once, found \"w\" twice"));
    CHECK(says(refusal_of(raw_file("{\"w\":7}", 0)), "tensor w: expected a JSON object, found 7"));
    CHECK(says(refusal_of(raw_file("{\"w\":{\"shape\":[1]}}", 0)),
               "tensor w: expected dtype to be a string, found nothing"));
    CHECK(says(refusal_of(raw_file("{\"__metadata__\":{\"a\":1}}", 0)),
               "expected __metadata__ to hold strings only, found 1"));
    CHECK(says(refusal_of(raw_file("{\"__metadata__\":[]}", 0)), "expected __metadata__ to be an object of strings"));
}

TEST_CASE("wrong requests are refused by name") {
    const safetensors_file file(std::filesystem::path(DEPTHGROW_FIXTURES) / "plain" / "model.safetensors");
    float few[3];
    CHECK(
        says(refusal([&] { file.find("model.nothing"); }), "expected a tensor model.nothing, found none of that name"));
    CHECK(says(refusal([&] { file.read("model.norm.weight", few, 3); }),
               "expected tensor model.norm.weight of 3 elements, found 32"));
    CHECK(says(refusal([&] { file.read_bytes("model.norm.weight", few, 4, 125); }), "found 128"));
}

TEST_CASE("a file that is written to while it is open is refused; one that is replaced stays as it was") {
    const temporary::folder folder;
    const auto content = raw_file("{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8);
    const auto path = folder.file("m", content);
    const safetensors_file file(path);
    double wide[2];
    float narrow[2];
    char bytes[8];
    file.read("w", wide, 2);
    write_file(path, content + "more");  // by rename: the open file keeps its bytes
    CHECK(refusal([&] { file.read("w", wide, 2), file.read("w", narrow, 2), file.read_bytes("w", bytes, 8); }) ==
          "nothing thrown");
    const auto grows = folder.file("n", content), renewed = folder.file("o", content);
    const safetensors_file longer(grows), later(renewed);
    std::filesystem::resize_file(grows, content.size() + 4);
    std::filesystem::last_write_time(renewed, std::filesystem::last_write_time(renewed) + std::chrono::seconds(1));
    for (const auto* one : {&longer, &later}) {
        const char* sentence = "expected a file that stays as it was opened, found that it was written to meanwhile";
        CHECK(says(refusal([&] { one->read("w", wide, 2); }), sentence));
        CHECK(says(refusal([&] { one->read("w", narrow, 2); }), sentence));
        CHECK(says(refusal([&] { one->read_bytes("w", bytes, 8); }), sentence));
    }
}

TEST_CASE("the writer refuses what was not declared, wrong sizes and a commit before the end") {
    const temporary::folder folder;
    const auto path = folder.path / "m";
    const float values[4] = {};
    CHECK(says(refusal([&] {
                   safetensors_writer file(path, {{"a", "F32", {2}}, {"a", "F32", {2}}});
               }),
               "expected every tensor name once, got a twice"));
    CHECK(says(refusal([&] {
                   safetensors_writer file(path, {{"a", "float", {2}}});
               }),
               "expected a known dtype for tensor a, got float"));
    safetensors_writer file(path, {{"a", "F32", {2}}, {"i", "I32", {2}}});
    CHECK(says(refusal([&] { file.write("b", values, 2); }), "expected a declared tensor, got b"));
    CHECK(says(refusal([&] { file.write("a", values, 3); }), "expected 2 elements for tensor a, got 3"));
    CHECK(says(refusal([&] { file.write("i", values, 2); }), "expected raw bytes for tensor i of I32, got numbers"));
    file.write("a", values, 2);
    CHECK(says(refusal([&] { file.commit(); }), "expected every declared tensor to be written, got none for i"));
    CHECK_FALSE(std::filesystem::exists(path));
}
