// Scalars of a run as an event file, which TensorBoard draws: TFRecord frames around Event messages of protobuf.
// Assumes one writer a file; a file is made anew, and TensorBoard reads all files of a folder in the order of names.
// Source: tensorboard/compat/proto/event.proto, summary.proto; tsl/lib/io/record_writer.h for frames (CRC-32C, masked).
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "depthgrow/io/appended_file.hpp"

namespace depthgrow {

namespace detail {

/// CRC-32C (Castagnoli), least significant bit first.
inline std::uint32_t crc32c(std::string_view bytes) {
    static const auto table = [] {
        std::array<std::uint32_t, 256> out{};
        for (std::uint32_t byte = 0; byte < 256; ++byte) {
            std::uint32_t rest = byte;
            for (int bit = 0; bit < 8; ++bit) rest = rest >> 1 ^ (rest & 1 ? 0x82f63b78u : 0u);
            out[byte] = rest;
        }
        return out;
    }();
    std::uint32_t crc = ~0u;
    for (char c : bytes) crc = crc >> 8 ^ table[(crc ^ static_cast<unsigned char>(c)) & 0xff];
    return ~crc;
}

/// Whole numbers and floats as they lie in memory, least significant byte first.
template <class U> std::string little_endian(U value) {
    std::string out(sizeof value, '\0');
    std::memcpy(out.data(), &value, sizeof value);
    return out;
}

/// A record's frame: its length and its bytes, each with its masked checksum.
inline std::string event_frame(std::string_view record) {
    const auto masked = [](std::string_view bytes) {
        const std::uint32_t crc = crc32c(bytes);
        return little_endian<std::uint32_t>((crc >> 15 | crc << 17) + 0xa282ead8u);
    };
    const std::string length = little_endian<std::uint64_t>(record.size());
    return length + masked(length) + std::string(record) + masked(record);
}

inline std::string varint(std::uint64_t value) {
    std::string out;
    for (; value >= 128; value >>= 7) out += static_cast<char>(value | 128);
    return out + static_cast<char>(value);
}
/// Fields of a protobuf message: doubles and floats as they are, whole numbers as varints, strings and messages with
/// their length.
inline std::string double_field(unsigned number, double value) {
    return varint(number << 3 | 1) + little_endian(value);
}
inline std::string float_field(unsigned number, float value) { return varint(number << 3 | 5) + little_endian(value); }
inline std::string integer_field(unsigned number, std::uint64_t value) { return varint(number << 3) + varint(value); }
inline std::string bytes_field(unsigned number, std::string_view value) {
    return varint(number << 3 | 2) + varint(value.size()) + std::string(value);
}

}  // namespace detail

class event_file {
public:
    using scalars = std::vector<std::pair<std::string, double>>;

    /// A new file in `folder`, named such that later ones come after it. `step`: what the run begins or goes on at;
    /// whatever older files say of later steps is then out of date, and TensorBoard is told so.
    event_file(const std::filesystem::path& folder, std::size_t step) : out_(new_name(folder)) {
        write(detail::bytes_field(3, "brain.Event:2"));
        constexpr std::uint64_t start = 1;  // SessionLog.START
        write(detail::integer_field(2, step + 1) + detail::bytes_field(7, detail::integer_field(1, start)));
    }

    const std::filesystem::path& path() const { return out_.path(); }

    /// Values after `step` steps, by tag. Where the disk is full they wait for the next ones.
    void add(std::size_t step, const scalars& values) {
        std::string summary;
        for (const auto& [tag, value] : values)
            summary +=
                detail::bytes_field(1, detail::bytes_field(1, tag) + detail::float_field(2, static_cast<float>(value)));
        write(detail::integer_field(2, step) + detail::bytes_field(5, summary));
    }

    /// Throws unless all values stand in the file.
    void require_whole() { out_.require_whole(); }

private:
    static std::filesystem::path new_name(const std::filesystem::path& folder) {
        const auto seconds = static_cast<std::uint64_t>(now());
        for (unsigned same = 0;; ++same) {
            auto name = folder / text("events.out.tfevents.", seconds, ".depthgrow.", same);
            if (!std::filesystem::exists(std::filesystem::symlink_status(name))) return name;
        }
    }
    static double now() {
        return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
    }
    void write(const std::string& fields) {
        (void)out_.add(detail::event_frame(detail::double_field(1, now()) + fields));
    }

    appended_file out_;
};

}  // namespace depthgrow
