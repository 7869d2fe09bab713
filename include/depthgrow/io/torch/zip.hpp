// The zip archives that torch.save writes: where each stored entry lies, and its bytes on demand.
// Assumes nothing of the file: every offset and size is checked against it, entries are stored (never inflated) and do
// not overlap, so that what is read is never more than the file. Format: APPNOTE.TXT 6.3, zip64 too.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/io/input_file.hpp"
#include "depthgrow/io/text_file.hpp"

namespace depthgrow {

/// Bytes [begin, begin + size) of an archive.
struct zip_entry {
    std::uint64_t begin = 0, size = 0;
};

/// An open archive; refused, in one sentence, unless all of its entries are stored and lie apart.
class zip_file {
public:
    explicit zip_file(std::filesystem::path path)
        : file_(std::move(path), "a file of torch.save"), label_(file_.label()) {
        read_directory();
    }

    const std::filesystem::path& path() const { return file_.path(); }
    std::uint64_t size() const { return size_; }
    /// Every entry by its name.
    const std::map<std::string, zip_entry>& entries() const { return entries_; }

    /// Bytes [first, first + count) of an entry.
    void read(const zip_entry& entry, void* out, std::size_t count, std::uint64_t first = 0) const {
        require(first <= entry.size && count <= entry.size - first, label_, ": expected an entry of at least ", first,
                " + ", count, " bytes, found ", entry.size);
        file_.read_at(entry.begin + first, out, count);
    }
    /// All bytes of an entry.
    std::string content(const zip_entry& entry) const {
        std::string out(static_cast<std::size_t>(entry.size), '\0');
        read(entry, out.data(), out.size());
        return out;
    }

private:
    static std::uint64_t number(const std::string& bytes, std::size_t at, std::size_t width) {
        std::uint64_t value = 0;
        std::memcpy(&value, bytes.data() + at, width);
        return value;
    }
    std::string piece(std::uint64_t position, std::uint64_t bytes, const char* what) const {
        require(position <= size_ && bytes <= size_ - position, label_, ": expected ", what, " within the ", size_,
                " bytes of the file, found it at ", position, " (truncated?)");
        std::string out(static_cast<std::size_t>(bytes), '\0');
        file_.read_at(position, out.data(), out.size());
        return out;
    }

    void read_directory() {
        size_ = static_cast<std::uint64_t>(file_.facts().st_size);
        require(size_ >= 22 && piece(0, 4, "an entry") == std::string("PK\3\4", 4), label_,
                ": expected a zip archive, as torch.save writes it since torch 1.6, found another format");
        const std::uint64_t tail_size = std::min<std::uint64_t>(size_, 22 + 65535);
        const std::string tail = piece(size_ - tail_size, tail_size, "the end record");
        const std::size_t at = tail.rfind(std::string("PK\5\6", 4));
        require(at != tail.npos && at + 22 <= tail.size(), label_,
                ": expected a zip archive with its directory at the end, found none (truncated?)");
        const std::uint64_t end = size_ - tail_size + at;
        std::uint64_t count = number(tail, at + 10, 2), bytes = number(tail, at + 12, 4),
                      start = number(tail, at + 16, 4), stop = end;
        if (end >= 20) {
            const std::string locator = piece(end - 20, 20, "the zip64 locator");
            if (locator.compare(0, 4, std::string("PK\6\7", 4)) == 0) {
                const std::uint64_t place = number(locator, 8, 8);
                const std::string record = piece(place, 56, "the zip64 record");
                require(record.compare(0, 4, std::string("PK\6\6", 4)) == 0, label_, ": expected a zip64 record at ",
                        place, ", found something else");
                count = number(record, 32, 8), bytes = number(record, 40, 8), start = number(record, 48, 8);
                stop = place;
            }
        }
        require(start <= stop && bytes <= stop - start, label_, ": expected a directory of entries before byte ", stop,
                ", found ", bytes, " bytes at ", start);
        read_entries(piece(start, bytes, "the directory"), count, start);
    }

    void read_entries(const std::string& directory, std::uint64_t count, std::uint64_t data_end) {
        std::vector<zip_entry> extents;
        std::size_t at = 0;
        for (std::uint64_t i = 0; i < count; ++i) {
            require(directory.size() - at >= 46 && directory.compare(at, 4, std::string("PK\1\2", 4)) == 0, label_,
                    ": expected ", count, " entries in the directory, found ", i);
            const std::uint64_t flags = number(directory, at + 8, 2), method = number(directory, at + 10, 2),
                                name_size = number(directory, at + 28, 2), extra = number(directory, at + 30, 2),
                                comment = number(directory, at + 32, 2);
            std::uint64_t stored = number(directory, at + 20, 4), size = number(directory, at + 24, 4),
                          place = number(directory, at + 42, 4);
            require(directory.size() - at - 46 >= name_size + extra + comment, label_,
                    ": expected a whole directory, found that entry ", i, " is cut off");
            const std::string name = directory.substr(at + 46, name_size);
            read_wide(directory.substr(at + 46 + name_size, extra), size, stored, place);
            at += 46 + name_size + extra + comment;
            require(method == 0 && stored == size && (flags & 1) == 0, label_, ": expected entry ",
                    detail::quotable(name), " to be stored as it is, found it ",
                    (flags & 1) ? "encrypted" : "compressed");
            const std::string local = piece(place, 30, "an entry");
            require(local.compare(0, 4, std::string("PK\3\4", 4)) == 0, label_, ": expected entry ",
                    detail::quotable(name), " at ", place, ", found something else");
            const std::uint64_t begin = place + 30 + number(local, 26, 2) + number(local, 28, 2);
            require(begin <= data_end && size <= data_end - begin, label_, ": expected entry ", detail::quotable(name),
                    " of ", size, " bytes before the directory, found it at ", begin);
            require(entries_.emplace(name, zip_entry{begin, size}).second, label_, ": expected one entry ",
                    detail::quotable(name), ", found two");
            extents.push_back({place, begin + size - place});
        }
        std::sort(extents.begin(), extents.end(), [](const auto& a, const auto& b) { return a.begin < b.begin; });
        for (std::size_t i = 1; i < extents.size(); ++i)
            require(extents[i - 1].begin + extents[i - 1].size <= extents[i].begin, label_,
                    ": expected entries that lie apart, found two that overlap at ", extents[i].begin);
    }

    /// Sizes and place of 64 bits, each only where its field of 32 bits says so.
    void read_wide(const std::string& extra, std::uint64_t& size, std::uint64_t& stored, std::uint64_t& place) const {
        for (std::size_t at = 0; at + 4 <= extra.size();) {
            const std::uint64_t kind = number(extra, at, 2), length = number(extra, at + 2, 2);
            require(length <= extra.size() - at - 4, label_, ": expected whole extra fields, found one cut off");
            std::size_t next = at + 4;
            const std::size_t end = next + static_cast<std::size_t>(length);
            for (std::uint64_t* field : {&size, &stored, &place})
                if (kind == 1 && *field == 0xFFFFFFFFu) {
                    require(next + 8 <= end, label_, ": expected a zip64 field of 8 bytes, found it cut off");
                    *field = number(extra, next, 8), next += 8;
                }
            at = end;
        }
    }

    input_file file_;
    std::string label_;
    std::uint64_t size_ = 0;
    std::map<std::string, zip_entry> entries_;
};

}  // namespace depthgrow
