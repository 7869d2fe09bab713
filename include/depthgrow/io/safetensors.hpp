// safetensors files: a checked reader and a writer that streams, one tensor in memory at a time.
// Assumes POSIX and a little-endian machine. The reader trusts nothing: header, extents and offsets are all checked.
// Format: u64 header length, JSON {name: {dtype, shape, data_offsets}}, bytes (huggingface/safetensors).
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "depthgrow/core/dtype.hpp"
#include "depthgrow/core/error.hpp"
#include "depthgrow/io/atomic_file.hpp"
#include "depthgrow/io/input_file.hpp"
#include "depthgrow/io/json.hpp"

namespace depthgrow {

static_assert(std::endian::native == std::endian::little,
              "safetensors data is read as it lies: a little-endian machine is needed");

/// Longest header that is read or written, as in the format's own library.
inline constexpr std::uint64_t safetensors_header_limit = 100'000'000;

/// Bytes of one element of a dtype by its name in the format; 0 when the name is unknown.
inline std::size_t safetensors_element_size(std::string_view name) {
    struct known {
        std::string_view name;
        std::size_t bytes;
    };
    static constexpr known table[] = {{"F32", 4},     {"BF16", 2},   {"F16", 2},  {"F64", 8}, {"I64", 8},
                                      {"I32", 4},     {"I16", 2},    {"I8", 1},   {"U64", 8}, {"U32", 4},
                                      {"U16", 2},     {"U8", 1},     {"BOOL", 1}, {"C64", 8}, {"F8_E4M3", 1},
                                      {"F8_E5M2", 1}, {"F8_E8M0", 1}};
    for (const auto& [known_name, bytes] : table)
        if (known_name == name) return bytes;
    return 0;
}

/// The library's number format of that name; none for integers and for formats that the library cannot compute with.
inline std::optional<dtype> dtype_from_name(std::string_view name) {
    for (dtype type : {dtype::f64, dtype::f32, dtype::bf16, dtype::f16})
        if (name_of(type) == name) return type;
    return std::nullopt;
}

/// "(2, 3)".
inline std::string shape_text(const std::vector<std::size_t>& shape) {
    std::string out = "(";
    for (std::size_t axis = 0; axis < shape.size(); ++axis) out += (axis ? ", " : "") + std::to_string(shape[axis]);
    return out + ")";
}

/// What a file says of one tensor.
struct tensor_info {
    std::string type_name;           // as in the file: "F32", "I64", ...
    std::vector<std::size_t> shape;  // outermost first, row-major
    std::uint64_t begin = 0;         // bytes [begin, end) of the data part
    std::uint64_t end = 0;

    std::size_t bytes() const { return static_cast<std::size_t>(end - begin); }
    std::size_t elements() const {
        std::size_t product = 1;
        for (std::size_t extent : shape) product *= extent;
        return product;
    }
    std::optional<dtype> number_type() const { return dtype_from_name(type_name); }
};

/// An open safetensors file. The constructor reads and checks the whole header; tensors are read on demand, and refused
/// once the file is no longer the one whose header was read. (A file that is replaced by rename stays readable here.)
class safetensors_file {
public:
    explicit safetensors_file(std::filesystem::path path) : file_(std::move(path), "a safetensors file") {
        read_header();
    }

    const std::filesystem::path& path() const { return file_.path(); }
    /// The file's free string map, empty when it has none.
    const std::map<std::string, std::string>& metadata() const { return metadata_; }
    /// Every tensor by its name.
    const std::map<std::string, tensor_info>& tensors() const { return tensors_; }
    std::vector<std::string> names() const {
        std::vector<std::string> out;
        for (const auto& [name, info] : tensors_) out.push_back(name);
        return out;
    }
    bool contains(const std::string& name) const { return tensors_.count(name) > 0; }

    /// The tensor of that name, or a sentence saying that the file has none.
    const tensor_info& find(const std::string& name) const {
        const auto found = tensors_.find(name);
        require(found != tensors_.end(), path().string(), ": expected a tensor ", detail::quotable(name),
                ", found none of that name");
        return found->second;
    }

    /// The stored bytes [first, first + count) of a tensor.
    void read_bytes(const std::string& name, void* out, std::size_t count, std::size_t first = 0) const {
        const tensor_info& info = find(name);
        require(first <= info.bytes() && count <= info.bytes() - first, path().string(), ": expected tensor ",
                detail::quotable(name), " of at least ", first, " + ", count, " bytes, found ", info.bytes());
        file_.read_at(data_start_ + info.begin + first, out, count);
        require_unchanged();
    }

    /// Reads a tensor of floating-point numbers as float or double; `count` is its number of elements.
    template <class T> void read(const std::string& name, T* out, std::size_t count) const {
        const tensor_info& info = find(name);
        require(count == info.elements(), path().string(), ": expected tensor ", detail::quotable(name), " of ", count,
                " elements, found ", info.elements());
        read_range(name, out, count, 0);
    }
    /// The same for elements [first, first + count) in row-major order.
    template <class T> void read_range(const std::string& name, T* out, std::size_t count, std::size_t first) const {
        const tensor_info& info = find(name);
        const auto type = info.number_type();
        require(type.has_value(), path().string(), ": expected tensor ", detail::quotable(name),
                " to hold floating-point numbers, found ", info.type_name);
        require(first <= info.elements() && count <= info.elements() - first, path().string(), ": expected tensor ",
                detail::quotable(name), " of at least ", first, " + ", count, " elements, found ", info.elements());
        const std::size_t width = size_of(*type);
        const std::uint64_t start = data_start_ + info.begin + first * width;
        if (*type == dtype_of<T>::value) {
            file_.read_at(start, out, count * width);
            return require_unchanged();
        }
        std::array<char, 1 << 15> chunk;
        for (std::size_t done = 0; done < count;) {
            const std::size_t part = std::min(count - done, chunk.size() / width);
            file_.read_at(start + done * width, chunk.data(), part * width);
            convert_from(*type, chunk.data(), out + done, part);
            done += part;
        }
        require_unchanged();
    }

private:
    void require_unchanged() const {
        const auto now = file_.facts();
        require(static_cast<std::uint64_t>(now.st_size) == size_ && now.st_mtim.tv_sec == written_.tv_sec &&
                    now.st_mtim.tv_nsec == written_.tv_nsec,
                path().string(),
                ": expected a file that stays as it was opened, found that it was written to meanwhile");
    }

    void read_header() {
        const auto found = file_.facts();
        const auto size = size_ = static_cast<std::uint64_t>(found.st_size);
        written_ = found.st_mtim;
        require(size >= 10, path().string(), ": expected a safetensors file of at least 10 bytes, found ", size);
        std::uint64_t length = 0;
        file_.read_at(0, &length, 8);
        require(length <= safetensors_header_limit, path().string(), ": expected a header of at most ",
                safetensors_header_limit, " bytes, found the length ", length);
        require(length <= size - 8, path().string(), ": expected a header of ", length, " bytes, found a file of ",
                size, " bytes (truncated?)");
        data_start_ = 8 + length;
        std::string header(static_cast<std::size_t>(length), '\0');
        file_.read_at(8, header.data(), header.size());
        require(!header.empty() && header[0] == '{', path().string(),
                ": expected a header that begins with '{', found ", header.empty() ? "none" : "another byte");
        const std::string file = path().string();
        const json entries = parse_json(header, file);
        for (const auto& [name, entry] : entries.items()) {
            if (name == "__metadata__") read_metadata(entry, file);
            else tensors_.emplace(name, read_entry(name, entry, file, size - data_start_));
        }
        check_cover(file, size - data_start_);
    }

    void read_metadata(const json& entry, const std::string& file) {
        require(entry.is_object(), file, ": expected __metadata__ to be an object of strings, found ",
                describe(&entry));
        for (const auto& [key, value] : entry.items()) {
            require(value.is_string(), file, ": expected __metadata__ to hold strings only, found ", describe(&value));
            metadata_[key] = value.get<std::string>();
        }
    }

    static tensor_info read_entry(const std::string& name, const json& entry, const std::string& file,
                                  std::uint64_t data_size) {
        const std::string label = file + ": tensor " + detail::quotable(name);
        const json_fields fields(entry, label);
        tensor_info info;
        info.type_name = fields.string("dtype");
        const std::size_t width = safetensors_element_size(info.type_name);
        require(width > 0, label, ": expected a known dtype, found ", detail::quotable(info.type_name, 20));
        info.shape = fields.indices("shape");
        const std::vector<std::size_t> offsets = fields.indices("data_offsets");
        require(offsets.size() == 2, label, ": expected two data_offsets, found ", offsets.size());
        info.begin = offsets[0];
        info.end = offsets[1];
        require(info.begin <= info.end && info.end <= data_size, label, ": expected data_offsets within the ",
                data_size, " bytes of data, found ", info.begin, " to ", info.end);
        std::uint64_t bytes = width;
        const bool nothing = std::find(info.shape.begin(), info.shape.end(), 0u) != info.shape.end();
        for (std::size_t extent : info.shape) {
            if (nothing) break;
            require(extent <= std::numeric_limits<std::uint64_t>::max() / bytes, label,
                    ": expected a shape that fits in memory, found ", shape_text(info.shape));
            bytes *= extent;
        }
        if (nothing) bytes = 0;
        require(bytes == info.end - info.begin, label, ": expected ", bytes, " bytes for ", info.type_name, " ",
                shape_text(info.shape), ", found ", info.end - info.begin);
        return info;
    }

    void check_cover(const std::string& file, std::uint64_t data_size) const {
        std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges;
        for (const auto& [name, info] : tensors_) ranges.emplace_back(info.begin, info.end);
        std::sort(ranges.begin(), ranges.end());
        std::uint64_t position = 0;
        for (const auto& [begin, end] : ranges) {
            require(begin == position, file, ": expected tensors without holes or overlap, found one at byte ", begin,
                    " where ", position, " was due");
            position = end;
        }
        require(position == data_size, file, ": expected ", position, " bytes of data, found ", data_size);
    }

    input_file file_;
    std::uint64_t size_ = 0;
    ::timespec written_{};
    std::uint64_t data_start_ = 0;
    std::map<std::string, tensor_info> tensors_;
    std::map<std::string, std::string> metadata_;
};

/// What is to be written under one name.
struct tensor_entry {
    std::string name;
    std::string type_name;  // "F32", "BF16", "I64", ...
    std::vector<std::size_t> shape;

    std::uint64_t bytes() const {
        std::uint64_t count = safetensors_element_size(type_name);
        for (std::size_t extent : shape) count *= extent;
        return count;
    }
};

/// Writes a safetensors file tensor by tensor, in any order; it appears at `commit`, whole or not at all. Several
/// processes may write one together (atomic_file::writers): each declares every tensor and writes its own.
class safetensors_writer {
public:
    /// Declares every tensor; wider elements lie first, then by name, so that all are aligned.
    safetensors_writer(const std::filesystem::path& path, std::vector<tensor_entry> entries,
                       std::map<std::string, std::string> metadata = {},
                       atomic_file::writers who = atomic_file::writers::one)
        : label_(path.string()), file_(path, who), alone_(who == atomic_file::writers::one) {
        std::sort(entries.begin(), entries.end(), [](const tensor_entry& a, const tensor_entry& b) {
            const std::size_t wide = safetensors_element_size(a.type_name),
                              other = safetensors_element_size(b.type_name);
            return wide != other ? wide > other : a.name < b.name;
        });
        metadata.emplace("format", "pt");
        json header = {{"__metadata__", metadata}};
        std::uint64_t position = 0;
        for (auto& entry : entries) {
            const std::size_t width = safetensors_element_size(entry.type_name);
            require(width > 0, label_, ": expected a known dtype for tensor ", entry.name, ", got ", entry.type_name);
            tensor_info info{entry.type_name, entry.shape, position, 0};
            info.end = position += info.elements() * width;
            require(entry.name != "__metadata__" && tensors_.emplace(entry.name, info).second, label_,
                    ": expected every tensor name once, got ", entry.name, " twice");
            header[entry.name] = {
                {"dtype", info.type_name}, {"shape", info.shape}, {"data_offsets", {info.begin, info.end}}};
            missing_[entry.name] = info.bytes();
        }
        std::string text = header.dump(-1, ' ', false, json::error_handler_t::replace);
        text.append((8 - text.size() % 8) % 8, ' ');
        const std::uint64_t length = text.size();
        require(length <= safetensors_header_limit, label_, ": expected a header of at most ", safetensors_header_limit,
                " bytes, got ", length);
        file_.write(&length, 8);
        file_.write(text);
        data_start_ = 8 + length;
    }

    /// Writes a whole tensor from float or double, converted to its declared dtype.
    template <class T> void write(const std::string& name, const T* data, std::size_t count) {
        const tensor_info& info = declared(name);
        const auto type = info.number_type();
        require(type.has_value(), label_, ": expected raw bytes for tensor ", name, " of ", info.type_name,
                ", got numbers");
        require(count == info.elements(), label_, ": expected ", info.elements(), " elements for tensor ", name,
                ", got ", count);
        if (*type == dtype_of<T>::value) return write_bytes(name, data, info.bytes());
        std::array<char, 1 << 15> chunk;
        const std::size_t width = size_of(*type);
        for (std::size_t done = 0; done < count;) {
            const std::size_t part = std::min(count - done, chunk.size() / width);
            convert_to(*type, data + done, chunk.data(), part);
            file_.write_at(data_start_ + info.begin + done * width, chunk.data(), part * width);
            done += part;
        }
        missing_[name] = 0;
    }

    /// Writes a whole tensor as stored bytes.
    void write_bytes(const std::string& name, const void* data, std::size_t bytes) {
        const tensor_info& info = declared(name);
        require(bytes == info.bytes(), label_, ": expected ", info.bytes(), " bytes for tensor ", name, ", got ",
                bytes);
        file_.write_at(data_start_ + info.begin, data, bytes);
        missing_[name] = 0;
    }
    /// Writes the tensor `source` of another file under `name`, byte for byte and a few megabytes at a time.
    void copy(const std::string& name, const safetensors_file& from, const std::string& source) {
        const tensor_info &info = declared(name), &given = from.find(source);
        require(given.type_name == info.type_name && given.shape == info.shape, label_, ": expected ", info.type_name,
                " ", shape_text(info.shape), " for tensor ", name, ", got ", given.type_name, " ",
                shape_text(given.shape));
        write_pieces(name, [&](std::vector<char>& piece, std::size_t first) {
            from.read_bytes(source, piece.data(), piece.size(), first);
        });
    }
    /// Writes a tensor of zeros.
    void write_zeros(const std::string& name) {
        write_pieces(name, [](std::vector<char>& piece, std::size_t) { std::fill(piece.begin(), piece.end(), '\0'); });
    }

    /// Writes a tensor from fill(piece, first): the bytes from `first` on into the vector `piece`, a few megabytes a
    /// call and a multiple of 8, whole elements.
    template <class Fill> void write_pieces(const std::string& name, Fill fill) {
        const tensor_info& info = declared(name);
        std::vector<char> piece;
        for (std::size_t first = 0; first < info.bytes(); first += piece.size()) {
            piece.resize(std::min<std::size_t>(info.bytes() - first, std::size_t{1} << 22));
            fill(piece, first);
            file_.write_at(data_start_ + info.begin + first, piece.data(), piece.size());
        }
        missing_[name] = 0;
    }

    /// Puts the file in place; refuses while a declared tensor has not been written, by this process where it is alone.
    void commit() {
        for (const auto& [name, bytes] : missing_)
            require(bytes == 0 || !alone_, label_, ": expected every declared tensor to be written, got none for ",
                    name);
        file_.commit();
    }

private:
    const tensor_info& declared(const std::string& name) const {
        const auto found = tensors_.find(name);
        require(found != tensors_.end(), label_, ": expected a declared tensor, got ", name);
        return found->second;
    }

    std::string label_;
    atomic_file file_;
    bool alone_;
    std::uint64_t data_start_ = 0;
    std::map<std::string, tensor_info> tensors_;
    std::map<std::string, std::uint64_t> missing_;  // bytes still due
};

}  // namespace depthgrow
