// Writes the weights of a Hugging Face directory: model.safetensors, or shards of bounded size with their index.
// Assumes a directory that is not yet visible (atomic_directory); tensors come in any order, one at a time.
// Layout: model-00001-of-0000N.safetensors and model.safetensors.index.json (huggingface/transformers).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "depthgrow/io/safetensors.hpp"

namespace depthgrow {

/// "model-00002-of-00003.safetensors" of shard 1 of 3.
inline std::string shard_name(std::size_t shard, std::size_t shards) {
    char name[64];
    std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", shard + 1, shards);
    return name;
}

/// Weights on their way into a directory. Shards are filled in the order of `entries`.
class checkpoint_writer {
public:
    /// Declares every tensor. `shard_bytes` bounds the tensors of one file (a larger tensor has a file of its own);
    /// 0 writes a single file without an index. `metadata` goes into every file's string map.
    checkpoint_writer(std::filesystem::path directory, const std::vector<tensor_entry>& entries,
                      std::size_t shard_bytes = 0, const std::map<std::string, std::string>& metadata = {})
        : directory_(std::move(directory)), sharded_(shard_bytes > 0) {
        std::vector<std::vector<tensor_entry>> shards(1);
        std::uint64_t filled = 0;
        for (const tensor_entry& entry : entries) {
            const std::uint64_t bytes = entry.bytes();
            if (sharded_ && filled > 0 && filled + bytes > shard_bytes) shards.emplace_back(), filled = 0;
            shards.back().push_back(entry);
            where_[entry.name] = shards.size() - 1;
            filled += bytes;
            bytes_ += bytes;
        }
        for (std::size_t i = 0; i < shards.size(); ++i) {
            names_.push_back(sharded_ ? shard_name(i, shards.size()) : "model.safetensors");
            files_.push_back(
                std::make_unique<safetensors_writer>(directory_ / names_.back(), std::move(shards[i]), metadata));
        }
    }

    /// Writes a whole tensor from float or double, converted to its declared dtype.
    template <class T> void write(const std::string& name, const T* data, std::size_t count) {
        file_of(name).write(name, data, count);
    }
    /// The file that a tensor goes into, for writing bytes, zeros or another file's tensor.
    safetensors_writer& file_of(const std::string& name) {
        const auto found = where_.find(name);
        require(found != where_.end(), directory_.string(), ": expected a declared tensor, got ", name);
        return *files_[found->second];
    }

    /// Bytes of all tensors.
    std::uint64_t bytes() const { return bytes_; }
    std::size_t files() const { return files_.size(); }

    /// Puts the files in place, then the index.
    void commit() {
        for (auto& file : files_) file->commit();
        if (!sharded_) return;
        json index = {{"metadata", {{"total_size", bytes_}}}};
        for (const auto& [name, shard] : where_) index["weight_map"][name] = names_[shard];
        write_file(directory_ / "model.safetensors.index.json", json_text(index, 2));
    }

private:
    std::filesystem::path directory_;
    bool sharded_;
    std::uint64_t bytes_ = 0;
    std::vector<std::string> names_;
    std::vector<std::unique_ptr<safetensors_writer>> files_;
    std::map<std::string, std::size_t> where_;
};

}  // namespace depthgrow
