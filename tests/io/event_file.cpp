// Event files: checksums of published values, frames that add up, and what TensorBoard's package reads from them.
#include "depthgrow/io/event_file.hpp"

#include <fstream>
#include <iterator>

#include "io/temporary.hpp"
#include "support/catch.hpp"

namespace dg = depthgrow;

namespace {

std::vector<std::string> records_of(const std::filesystem::path& file) {
    std::ifstream in(file, std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(in), {}};
    std::vector<std::string> out;
    for (std::size_t at = 0; at < bytes.size();) {
        std::uint64_t size = 0;
        std::memcpy(&size, bytes.data() + at, 8);
        REQUIRE(at + 16 + size <= bytes.size());
        out.push_back(bytes.substr(at + 12, size));
        REQUIRE(bytes.substr(at, 16 + size) == dg::detail::event_frame(out.back()));
        at += 16 + size;
    }
    return out;
}

}  // namespace

TEST_CASE("CRC-32C has the values that RFC 3720 gives", "[event_file]") {
    CHECK(dg::detail::crc32c("123456789") == 0xe3069283u);
    CHECK(dg::detail::crc32c(std::string(32, '\0')) == 0x8a9136aau);
    CHECK(dg::detail::crc32c(std::string(32, '\xff')) == 0x62a8ab43u);
}

TEST_CASE("A frame has the bytes that TensorBoard's own writer gives it", "[event_file]") {
    using namespace std::string_literals;
    CHECK(dg::detail::event_frame("depth") == "\x05\0\0\0\0\0\0\0\xea\xb2\x04\x3e"s + "depth\xa3\x29\x57\x22"s);
}

TEST_CASE("An event file holds its version, where the run begins, and scalars by tag", "[event_file]") {
    const temporary::folder folder;
    dg::event_file events(folder.path, 40);
    events.add(41, {{"train/loss", 2.5}, {"train/lr", 1e-3}});
    events.add(300, {{"train/loss", 0.5}});
    const auto records = records_of(events.path());
    REQUIRE(records.size() == 4);
    const auto after_time = [&](std::size_t i) {
        CHECK(records[i].substr(0, 1) == "\x09");  // wall_time, a double
        return records[i].substr(9);
    };
    using namespace std::string_literals;
    CHECK(after_time(0) ==
          "\x1a\x0d"
          "brain.Event:2"s);
    CHECK(after_time(1) == "\x10\x29\x3a\x02\x08\x01"s);  // step 41, session_log {START}
    CHECK(after_time(2) ==
          "\x10\x29\x2a\x24"
          "\x0a\x11\x0a\x0atrain/loss\x15\x00\x00\x20\x40"
          "\x0a\x0f\x0a\x08train/lr\x15\x6f\x12\x83\x3a"s);
    CHECK(after_time(3) == "\x10\xac\x02\x2a\x13\x0a\x11\x0a\x0atrain/loss\x15\x00\x00\x00\x3f"s);
}

TEST_CASE("A second file of one second has a name that comes later", "[event_file]") {
    const temporary::folder folder;
    const dg::event_file one(folder.path, 0), two(folder.path, 5);
    CHECK(one.path() < two.path());
    CHECK_THROWS_AS(dg::event_file(folder.path / "absent", 0), dg::error);
}
