// NumPy's .npy files, version 1.0: arrays of float16 (read only), float32 and float64; int32 and int64 (read only).
// Assumes a little-endian machine and row-major order; other dtypes and orders are refused, also bfloat16, which NumPy
// has no name for.
// Format: numpy.lib.format (magic, version, header length, Python literal padded to 64 bytes, data).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <limits>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "depthgrow/core/dtype.hpp"
#include "depthgrow/core/error.hpp"
#include "depthgrow/io/atomic_file.hpp"
#include "depthgrow/io/text_file.hpp"

namespace depthgrow {

/// A dense array with its extents, row-major.
template <class T> struct npy_array {
    std::vector<std::size_t> shape;
    std::vector<T> values;
};

/// Writes float or double values of an array; the file appears whole or not at all.
template <class T>
void write_npy(const std::filesystem::path& path, const std::vector<std::size_t>& shape, const T* values) {
    static_assert(std::is_same_v<T, float> || std::is_same_v<T, double>, "write_npy takes float or double values");
    std::size_t count = 1;
    std::string extents;
    for (std::size_t extent : shape) {
        count *= extent;
        extents += std::to_string(extent) + (shape.size() == 1 ? "," : ", ");
    }
    std::string header =
        text("{'descr': '", sizeof(T) == 4 ? "<f4" : "<f8", "', 'fortran_order': False, 'shape': (", extents, "), }");
    header.append(64 - (10 + header.size() + 1) % 64, ' ');
    header += '\n';
    require(header.size() < 65536, path.string(), ": expected few extents, got ", shape.size());
    const auto length = static_cast<std::uint16_t>(header.size());
    atomic_file file(path);
    file.write(std::string_view("\x93NUMPY\x01\x00", 8));
    file.write(&length, 2);
    file.write(header);
    file.write(values, count * sizeof(T));
    file.commit();
}

namespace detail {

/// `count` stored numbers of type Stored as T.
template <class T, class Stored> std::vector<T> npy_values(const char* data, std::size_t count) {
    std::vector<T> out(count);
    for (std::size_t i = 0; i < count; ++i) {
        Stored one;
        std::memcpy(&one, data + i * sizeof(Stored), sizeof(Stored));
        if constexpr (std::is_same_v<Stored, float16>) out[i] = static_cast<T>(static_cast<float>(one));
        else out[i] = static_cast<T>(one);
    }
    return out;
}

}  // namespace detail

/// Reads an array as T: of float16, float32 or float64; of int32 or int64 where T is an integer.
template <class T> npy_array<T> read_npy(const std::filesystem::path& path) {
    const std::string content = read_text_file(path), label = path.string();
    require(content.size() >= 10 && content.compare(0, 8, std::string_view("\x93NUMPY\x01\x00", 8)) == 0, label,
            ": expected an .npy file of version 1.0, found something else");
    const std::size_t length = static_cast<unsigned char>(content[8]) + 256u * static_cast<unsigned char>(content[9]);
    require(content.size() >= 10 + length, label, ": expected a header of ", length, " bytes, found ",
            content.size() - 10);
    const std::string header = content.substr(10, length);
    constexpr bool whole = std::is_integral_v<T>;
    char kind = 0;  // the digit of its descr
    for (const char one : {'2', '4', '8'})
        if (!(whole && one == '2') && header.find(text("'descr': '<", whole ? 'i' : 'f', one, "'")) != header.npos)
            kind = one;
    require(kind != 0, label, ": expected ", whole ? "<i4 or <i8" : "<f2, <f4 or <f8", " values, found ",
            detail::quotable(header, 60));
    require(header.find("'fortran_order': False") != header.npos, label, ": expected row-major order, found ",
            detail::quotable(header, 60));
    std::size_t at = header.find("'shape': (");
    require(at != header.npos, label, ": expected a shape, found ", detail::quotable(header, 60));
    npy_array<T> out;
    std::size_t count = 1;
    for (at += 10; at < header.size() && header[at] != ')'; ++at) {
        if (header[at] < '0' || header[at] > '9') continue;
        std::size_t extent = 0;
        for (; at < header.size() && header[at] >= '0' && header[at] <= '9'; ++at) {
            require(extent < 1'000'000'000'000'000u, label, ": expected extents that fit in memory, found more");
            extent = 10 * extent + static_cast<std::size_t>(header[at] - '0');
        }
        out.shape.push_back(extent);
        require(extent == 0 || count <= std::numeric_limits<std::size_t>::max() / 8 / extent, label,
                ": expected extents that fit in memory, found more");
        count *= extent;
        if (at < header.size() && header[at] == ')') break;
    }
    const auto width = static_cast<std::size_t>(kind - '0');
    require(content.size() - 10 - length == count * width, label, ": expected ", count * width,
            " bytes of data, found ", content.size() - 10 - length);
    const char* data = content.data() + 10 + length;
    if constexpr (whole)
        out.values = kind == '8' ? detail::npy_values<T, std::int64_t>(data, count)
                                 : detail::npy_values<T, std::int32_t>(data, count);
    else
        out.values = kind == '8'   ? detail::npy_values<T, double>(data, count)
                     : kind == '4' ? detail::npy_values<T, float>(data, count)
                                   : detail::npy_values<T, float16>(data, count);
    return out;
}

}  // namespace depthgrow
