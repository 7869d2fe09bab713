// Working memory of one step: bump allocation from a few large blocks, with reuse of returned pieces by size.
// Assumes one owner and one stream of work.
// After the first step a step of the same extents allocates nothing.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "depthgrow/core/error.hpp"

namespace depthgrow {

template <class Backend> class arena {
public:
    explicit arena(Backend& backend) : backend_(&backend) {}
    arena(const arena&) = delete;
    arena& operator=(const arena&) = delete;
    ~arena() { release_blocks(); }

    /// Memory for `count` elements, 64-byte aligned; valid until given back or until `reset`.
    template <class T> T* take(std::size_t count) {
        const std::size_t bytes = rounded(count * sizeof(T));
        for (auto& shelf : returned_)
            if (shelf.bytes == bytes && !shelf.pieces.empty()) {
                auto* piece = shelf.pieces.back();
                shelf.pieces.pop_back();
                return reinterpret_cast<T*>(piece);
            }
        if (blocks_.empty() || blocks_.back().used + bytes > blocks_.back().size) add_block(bytes);
        auto& block = blocks_.back();
        auto* piece = block.data + block.used;
        block.used += bytes;
        return reinterpret_cast<T*>(piece);
    }
    /// Returns what `take<T>(count)` gave; a later take of the same size gets it.
    template <class T> void give(T* data, std::size_t count) {
        const std::size_t bytes = rounded(count * sizeof(T));
        auto shelf = std::find_if(returned_.begin(), returned_.end(), [&](const auto& s) { return s.bytes == bytes; });
        if (shelf == returned_.end()) shelf = returned_.insert(returned_.end(), {bytes, {}});
        shelf->pieces.push_back(reinterpret_cast<unsigned char*>(data));
    }
    /// Forgets every piece; several blocks become one of their total size.
    void reset() {
        for (auto& shelf : returned_) shelf.pieces.clear();
        if (blocks_.size() > 1) {
            const std::size_t total = bytes_used();
            release_blocks();
            reserve(total);
        }
        for (auto& block : blocks_) block.used = 0;
    }
    /// One block of `bytes` up front, so that the first step allocates nothing either.
    void reserve(std::size_t bytes) {
        if (bytes_reserved() >= bytes) return;
        require(bytes_used() == 0, "[arena] expected an empty arena to reserve into, got ", bytes_used(),
                " bytes in use");
        release_blocks();
        blocks_.push_back({backend_->template allocate<unsigned char>(bytes), bytes, 0});
    }
    /// Gives all memory back to the backend (before growth changes the sizes).
    void release() {
        for (auto& shelf : returned_) shelf.pieces.clear();
        release_blocks();
    }

    std::size_t bytes_used() const {
        std::size_t total = 0;
        for (const auto& block : blocks_) total += block.used;
        return total;
    }
    std::size_t bytes_reserved() const {
        std::size_t total = 0;
        for (const auto& block : blocks_) total += block.size;
        return total;
    }
    /// Changes whenever memory was taken from the backend or given back: what points into the arena is then void.
    std::size_t generation() const { return generation_; }
    Backend& backend() const { return *backend_; }

private:
    struct slab {
        unsigned char* data;
        std::size_t size, used;
    };
    struct size_class {
        std::size_t bytes;
        std::vector<unsigned char*> pieces;
    };
    static std::size_t rounded(std::size_t bytes) { return (std::max<std::size_t>(bytes, 1) + 255) / 256 * 256; }
    void add_block(std::size_t least) {
        const std::size_t size =
            std::max<std::size_t>(least, std::max<std::size_t>(std::size_t{1} << 20, bytes_reserved() / 4));
        blocks_.push_back({backend_->template allocate<unsigned char>(size), size, 0});
        ++generation_;
    }
    void release_blocks() {
        ++generation_;
        for (auto& block : blocks_) backend_->template deallocate<unsigned char>(block.data, block.size);
        blocks_.clear();
    }

    Backend* backend_;
    std::size_t generation_ = 0;
    std::vector<slab> blocks_;
    std::vector<size_class> returned_;
};

}  // namespace depthgrow
