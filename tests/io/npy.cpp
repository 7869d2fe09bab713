// .npy files both ways.
#include "depthgrow/io/npy.hpp"

#include "io/temporary.hpp"
#include "support/catch.hpp"

using namespace depthgrow;
using temporary::refusal;
using temporary::says;

TEST_CASE("arrays of any rank survive a round trip") {
    const temporary::folder folder;
    const std::vector<std::vector<std::size_t>> shapes = {{}, {5}, {2, 3}, {2, 0, 3}, {1, 2, 3, 4}};
    for (const auto& shape : shapes) {
        std::size_t count = 1;
        for (std::size_t extent : shape) count *= extent;
        std::vector<double> values;
        for (std::size_t i = 0; i < count; ++i) values.push_back(static_cast<double>(i) / 3);
        write_npy(folder.path / "a.npy", shape, values.data());
        const auto back = read_npy<double>(folder.path / "a.npy");
        CHECK(back.shape == shape);
        CHECK(back.values == values);
        CHECK((temporary::content_of(folder.path / "a.npy").size() - 8 * count) % 64 == 0);
    }
}

TEST_CASE("the header is what NumPy writes") {
    const temporary::folder folder;
    const float values[] = {1, 2};
    write_npy(folder.path / "a.npy", {2}, values);
    const std::string content = temporary::content_of(folder.path / "a.npy");
    CHECK(content.substr(10, 60) == "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }   ");
    CHECK(content[127] == '\n');
}

TEST_CASE("other files are refused") {
    const temporary::folder folder;
    const float values[] = {1, 2};
    write_npy(folder.path / "a.npy", {2}, values);
    const std::string good = temporary::content_of(folder.path / "a.npy");
    const auto refused = [&](std::string content, std::size_t at, std::string_view change) {
        content.replace(at, change.size(), change);
        return refusal([&] { read_npy<float>(folder.file("b.npy", content)); });
    };
    CHECK(says(refused(good, 0, "x"), "expected an .npy file of version 1.0"));
    CHECK(says(refused(good, 22, "i4"), "expected <f2, <f4 or <f8 values, found"));
    CHECK(says(refused(good, good.find("False"), "True "), "expected row-major order"));
    CHECK(says(refused(good, good.find("2,"), "3,"), "expected 12 bytes of data, found 8"));
    CHECK(says(refused(good.substr(0, 40), 0, ""), "expected a header of 118 bytes, found 30"));
    CHECK(says(refused(good, good.find("(2,"), "(99999999999999999999,"), "expected extents that fit in memory"));
}

TEST_CASE("half precision and integers are read") {
    const temporary::folder folder;
    const float values[] = {0, 0};
    write_npy(folder.path / "a.npy", {2}, values);
    std::string half = temporary::content_of(folder.path / "a.npy").substr(0, 128) + std::string("\x00\x3e\x00\xc0", 4);
    half.replace(half.find("<f4"), 3, "<f2");
    CHECK(read_npy<double>(folder.file("half.npy", half)).values == std::vector<double>{1.5, -2});
    std::string whole = half.substr(0, 128) + std::string("\x07\0\0\0\xff\xff\xff\xff", 8);
    whole.replace(whole.find("<f2"), 3, "<i4");
    CHECK(read_npy<std::int64_t>(folder.file("whole.npy", whole)).values == std::vector<std::int64_t>{7, -1});
    CHECK(says(refusal([&] { read_npy<std::int64_t>(folder.file("half.npy", half)); }),
               "expected <i4 or <i8 values, found"));
    half.replace(half.find("<f2"), 3, "<V2");
    CHECK(says(refusal([&] { read_npy<double>(folder.file("v2.npy", half)); }), "expected <f2, <f4 or <f8 values"));
}
