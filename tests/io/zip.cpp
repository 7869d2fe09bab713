// Archives of zip64, whose sizes and places stand in fields of 64 bits, as torch.save writes them above 4 GiB.
#include "depthgrow/io/torch/zip.hpp"

#include <string>

#include "io/temporary.hpp"
#include "support/catch.hpp"

namespace dg = depthgrow;
using temporary::refusal;
using temporary::says;

namespace {

std::string bytes_of(std::uint64_t value, std::size_t width) {
    std::string out(width, '\0');
    std::memcpy(out.data(), &value, width);
    return out;
}

constexpr std::uint64_t elsewhere = 0xFFFFFFFFu;  // the true value stands in the zip64 field

struct zip64_options {
    std::uint64_t size = 5;             // what the wide fields say of the entry "a/data.pkl", which is "hello"
    std::uint64_t place = 0;            // and where it begins
    std::uint64_t field_length = 24;    // of the zip64 field: size, stored size, place
    std::uint64_t record_shift = 0;     // added to where the locator says that the zip64 record is
    std::uint64_t directory_shift = 0;  // added to where the record says that the directory is
};

/// An archive of one stored entry, every size and place in it given by zip64 fields alone.
std::string zip64_archive(const zip64_options& options) {
    const std::string name = "a/data.pkl", content = "hello";
    const std::string local = "PK\3\4" + bytes_of(45, 2) + bytes_of(0, 12) + bytes_of(elsewhere, 4) +
                              bytes_of(elsewhere, 4) + bytes_of(name.size(), 2) + bytes_of(20, 2) + name +
                              bytes_of(1, 2) + bytes_of(16, 2) + bytes_of(5, 8) + bytes_of(5, 8);
    const std::string wide = bytes_of(0xCAFE, 2) + bytes_of(2, 2) + "xy" +  // a field of another kind comes first
                             bytes_of(1, 2) + bytes_of(options.field_length, 2) +
                             (bytes_of(options.size, 8) + bytes_of(options.size, 8) + bytes_of(options.place, 8))
                                 .substr(0, options.field_length);
    const std::string directory = "PK\1\2" + bytes_of(45, 2) + bytes_of(45, 2) + bytes_of(0, 12) +
                                  bytes_of(elsewhere, 4) + bytes_of(elsewhere, 4) + bytes_of(name.size(), 2) +
                                  bytes_of(wide.size(), 2) + bytes_of(0, 10) + bytes_of(elsewhere, 4) + name + wide;
    const std::uint64_t start = local.size() + content.size(), record = start + directory.size();
    return local + content + directory + "PK\6\6" + bytes_of(44, 8) + bytes_of(45, 2) + bytes_of(45, 2) +
           bytes_of(0, 8) + bytes_of(1, 8) + bytes_of(1, 8) + bytes_of(directory.size(), 8) +
           bytes_of(start + options.directory_shift, 8) + "PK\6\7" + bytes_of(0, 4) +
           bytes_of(record + options.record_shift, 8) + bytes_of(1, 4) + "PK\5\6" + bytes_of(0, 4) +
           bytes_of(0xFFFF, 2) + bytes_of(0xFFFF, 2) + bytes_of(elsewhere, 4) + bytes_of(elsewhere, 4) + bytes_of(0, 2);
}

}  // namespace

TEST_CASE("an archive whose sizes and places are in zip64 fields is read") {
    const temporary::folder folder;
    const dg::zip_file file(folder.file("wide.pt", zip64_archive({})));
    REQUIRE(file.entries().size() == 1);
    REQUIRE(file.content(file.entries().at("a/data.pkl")) == "hello");
}

TEST_CASE("zip64 fields that lead out of the file are refused") {
    const temporary::folder folder;
    const auto refused = [&](const zip64_options& options) {
        const auto path = folder.file("wide.pt", zip64_archive(options));
        return refusal([&] { dg::zip_file{path}; });
    };
    CHECK(says(refused({.size = 6}), "of 6 bytes before the directory"));
    CHECK(says(refused({.size = std::uint64_t{1} << 40}), "of 1099511627776 bytes before the directory"));
    CHECK(says(refused({.size = ~std::uint64_t{0}}), "of 18446744073709551615 bytes before the directory"));
    CHECK(says(refused({.place = 1}), " at 1, found something else"));
    CHECK(says(refused({.place = ~std::uint64_t{0}}), "found it at 18446744073709551615 (truncated?)"));
    CHECK(says(refused({.field_length = 16}), "expected a zip64 field of 8 bytes, found it cut off"));
    CHECK(says(refused({.record_shift = 1}), "expected a zip64 record at "));
    CHECK(says(refused({.record_shift = 1000}), "expected the zip64 record within the "));
    CHECK(says(refused({.directory_shift = 1}), "expected a directory of entries before byte "));
}
