// Writes files as torch.save does: a stored zip with data.pkl of protocol 2 and each tensor's bytes at a multiple
// of 64. Assumes values of a pickle that was read and tensors made one at a time; whole or not at all. Format:
// torch/serialization.py and APPNOTE.TXT 6.3 (zip64 where sizes ask for it).
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/io/atomic_file.hpp"
#include "depthgrow/io/torch/pickle.hpp"

namespace depthgrow {

/// A pickle of protocol 2 in the making, with the tensors that it describes.
class torch_pickle {
public:
    /// Makes a tensor's bytes when they are written.
    using bytes_of = std::function<std::vector<char>()>;

    std::string bytes = std::string("\x80\x02", 2);
    std::vector<bytes_of> tensors;

    void op(char code) { bytes += code; }
    void number(std::uint64_t value, std::size_t width) { bytes.append(reinterpret_cast<const char*>(&value), width); }
    void integer(std::int64_t value) {
        const bool narrow = value == static_cast<std::int32_t>(value);
        if (narrow) op('J');
        else bytes += std::string("\x8a\x08", 2);
        number(static_cast<std::uint64_t>(value), narrow ? 4 : 8);
    }
    void string(std::string_view value) {
        op('X');
        number(value.size(), 4);
        bytes += value;
    }
    void tensor(std::string_view type, const std::vector<std::size_t>& shape, bytes_of make) {
        std::size_t count = 1;
        for (std::size_t extent : shape) count *= extent;
        bytes += "ctorch._utils\n_rebuild_tensor_v2\n((";
        string("storage");
        const std::string_view storage = detail::storage_class(type);
        bytes += text("c", storage.substr(0, storage.find(' ')), "\n", storage.substr(storage.find(' ') + 1), "\n");
        string(std::to_string(tensors.size()));
        string("cpu");
        integer(static_cast<std::int64_t>(count));
        bytes += "tQ";
        integer(0);
        op('(');
        for (std::size_t extent : shape) integer(static_cast<std::int64_t>(extent));
        bytes += "t(";
        for (std::size_t axis = 0; axis < shape.size(); ++axis) {
            std::size_t stride = 1;
            for (std::size_t inner = axis + 1; inner < shape.size(); ++inner) stride *= shape[inner];
            integer(static_cast<std::int64_t>(stride));
        }
        bytes +=
            "t\x89"
            "ccollections\nOrderedDict\n)RtR";
        tensors.push_back(std::move(make));
    }
    /// A value that is no tensor and holds none.
    void value(const pickle& from, const pickle_value& value, const std::string& label, int depth = 0) {
        require(depth < 16, label, ": expected values at most 16 deep, found more");
        switch (value.kind) {
            case pickle_kind::none:
                return op('N');
            case pickle_kind::boolean:
                return op(static_cast<char>(value.integer ? 0x88 : 0x89));
            case pickle_kind::integer:
                return integer(value.integer);
            case pickle_kind::real: {
                op('G');
                const auto bits = std::bit_cast<std::uint64_t>(value.real);
                for (int shift = 56; shift >= 0; shift -= 8) op(static_cast<char>(bits >> shift));
                return;
            }
            case pickle_kind::text:
                return string(value.text);
            case pickle_kind::list:
            case pickle_kind::tuple:
            case pickle_kind::dict: {
                const bool list = value.kind == pickle_kind::list, tuple = value.kind == pickle_kind::tuple;
                bytes += tuple ? "(" : list ? "](" : "}(";
                for (std::uint32_t each : value.items) this->value(from, from[each], label, depth + 1);
                require(bytes.size() < (1u << 30), label, ": expected less than 1 GiB of values, found more");
                return op(tuple ? 't' : list ? 'e' : 'u');
            }
            default:
                fail(label, ": expected plain values beside the states, found a tensor");
        }
    }
};

namespace detail {

inline std::uint32_t crc32(const char* data, std::size_t size) {
    static const auto table = [] {
        std::array<std::uint32_t, 256> out{};
        for (std::uint32_t i = 0; i < 256; ++i) {
            std::uint32_t bits = i;
            for (int k = 0; k < 8; ++k) bits = bits & 1 ? 0xEDB88320u ^ bits >> 1 : bits >> 1;
            out[i] = bits;
        }
        return out;
    }();
    std::uint32_t sum = ~0u;
    for (std::size_t i = 0; i < size; ++i) sum = table[(sum ^ static_cast<unsigned char>(data[i])) & 255] ^ sum >> 8;
    return ~sum;
}

class stored_zip {
public:
    explicit stored_zip(const std::filesystem::path& path) : file_(path) {}

    void add(const std::string& name, const char* data, std::size_t size) {
        const bool large = size >= 0xFFFFFFFFu, far = at_ >= 0xFFFFFFFFu;
        std::string wide;
        if (large) put(wide, 1, 2), put(wide, 16, 2), put(wide, size, 8), put(wide, size, 8);
        const std::size_t start = at_ + 30 + name.size() + wide.size() + 4, pad = (64 - start % 64) % 64;
        std::string extra = wide;
        put(extra, 0x4246, 2), put(extra, pad, 2);
        extra.append(pad, 'Z');
        std::string facts;  // what both headers say
        put(facts, 0x0800, 2), put(facts, 0, 2), put(facts, 0, 4), put(facts, crc32(data, size), 4);
        for (int i = 0; i < 2; ++i) put(facts, large ? 0xFFFFFFFFu : size, 4);
        put(facts, name.size(), 2);
        std::string head("PK\3\4", 4);
        put(head, large ? 45 : 20, 2);
        head += facts;
        put(head, extra.size(), 2);
        head += name + extra;
        file_.write(head);
        file_.write(data, size);
        std::string far_extra;
        if (large || far) {
            put(far_extra, 1, 2), put(far_extra, (large ? 16u : 0u) + (far ? 8u : 0u), 2);
            if (large) put(far_extra, size, 8), put(far_extra, size, 8);
            if (far) put(far_extra, at_, 8);
        }
        directory_ += std::string("PK\1\2", 4);
        put(directory_, 45, 2), put(directory_, 45, 2);
        directory_ += facts;
        put(directory_, far_extra.size(), 2), put(directory_, 0, 8), put(directory_, 0, 2);
        put(directory_, far ? 0xFFFFFFFFu : at_, 4);
        directory_ += name + far_extra;
        at_ += head.size() + size, ++count_;
    }
    void commit() {
        const std::uint64_t start = at_, end = at_ + directory_.size();
        std::string out = directory_ + std::string("PK\6\6", 4);
        put(out, 44, 8), put(out, 45, 2), put(out, 45, 2), put(out, 0, 8), put(out, count_, 8), put(out, count_, 8);
        put(out, directory_.size(), 8), put(out, start, 8);
        out += std::string("PK\6\7", 4);
        put(out, 0, 4), put(out, end, 8), put(out, 1, 4);
        out += std::string("PK\5\6", 4);
        const std::uint64_t few = std::min<std::uint64_t>(count_, 0xFFFF);
        put(out, 0, 4), put(out, few, 2), put(out, few, 2);
        put(out, std::min<std::uint64_t>(directory_.size(), 0xFFFFFFFFu), 4);
        put(out, std::min<std::uint64_t>(start, 0xFFFFFFFFu), 4), put(out, 0, 2);
        file_.write(out);
        file_.commit();
    }

private:
    static void put(std::string& to, std::uint64_t value, std::size_t width) {
        to.append(reinterpret_cast<const char*>(&value), width);
    }
    atomic_file file_;
    std::string directory_;
    std::uint64_t at_ = 0, count_ = 0;
};

}  // namespace detail

/// Writes the file; `values` is whole but for its end.
inline void write_torch_file(const std::filesystem::path& path, torch_pickle& values) {
    values.op('.');
    detail::stored_zip zip(path);
    zip.add("archive/data.pkl", values.bytes.data(), values.bytes.size());
    zip.add("archive/byteorder", "little", 6);
    for (std::size_t i = 0; i < values.tensors.size(); ++i) {
        const std::vector<char> bytes = values.tensors[i]();
        zip.add(text("archive/data/", i), bytes.data(), bytes.size());
    }
    zip.add("archive/version", "3\n", 2);
    zip.commit();
}

}  // namespace depthgrow
