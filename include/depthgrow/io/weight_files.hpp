// The tensors of a Hugging Face directory, in one file or in shards, whatever model they belong to.
// Assumes model.safetensors, or model.safetensors.index.json with its shards beside it; no configuration is read.
// Layout: huggingface/transformers.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/io/json.hpp"
#include "depthgrow/io/safetensors.hpp"

namespace depthgrow {

/// Refuses what is no directory, and by its name one that atomic_directory still writes, unless its writer asks.
inline void require_model_directory(const std::filesystem::path& directory, bool unfinished = false) {
    std::error_code ignored;
    const auto name = (directory.has_filename() ? directory : directory.parent_path()).filename().string();
    require(unfinished || name.rfind(".tmp-", 0) != 0, directory.string(),
            ": expected a finished model directory, found one that is being written or was left half written");
    require(std::filesystem::is_directory(directory, ignored), directory.string(),
            ": expected a model directory, found ",
            std::filesystem::exists(directory, ignored) ? "a file" : "nothing of that name");
}

/// The open weight files of a directory.
class weight_files {
public:
    explicit weight_files(std::filesystem::path directory) : directory_(std::move(directory)) {
        std::error_code ignored;
        const auto single = directory_ / "model.safetensors", index = directory_ / "model.safetensors.index.json";
        if (std::filesystem::exists(single, ignored)) open_single(single);
        else if (std::filesystem::exists(index, ignored)) open_shards(index);
        else fail(directory_.string(), ": expected model.safetensors or model.safetensors.index.json, found neither");
    }

    const std::filesystem::path& directory() const { return directory_; }
    /// The open files, shards in the order of their names.
    const std::vector<safetensors_file>& files() const { return files_; }
    bool sharded() const { return sharded_; }
    /// The string map of the first file.
    const std::map<std::string, std::string>& metadata() const { return files_.front().metadata(); }

    bool contains(const std::string& name) const { return where_.count(name) > 0; }
    /// The file that holds a tensor.
    const safetensors_file& file_of(const std::string& name) const {
        const auto found = where_.find(name);
        require(found != where_.end(), directory_.string(), ": expected a tensor ", detail::quotable(name),
                ", found none of that name");
        return files_[found->second];
    }
    const tensor_info& find(const std::string& name) const { return file_of(name).find(name); }
    /// Names of all tensors.
    std::vector<std::string> names() const {
        std::vector<std::string> out;
        for (const auto& [name, file] : where_) out.push_back(name);
        return out;
    }
    std::size_t size() const { return where_.size(); }

private:
    void open_single(const std::filesystem::path& path) {
        files_.emplace_back(path);
        for (const std::string& name : files_.back().names()) where_[name] = 0;
    }

    void open_shards(const std::filesystem::path& index) {
        sharded_ = true;
        const std::string label = index.string();
        const json document = read_json_file(index);
        const json& map = json_fields(document, label).object("weight_map");
        require(!map.empty(), label, ": expected weight_map to name tensors, found an empty one");
        std::map<std::string, std::size_t> opened;
        for (const auto& [name, value] : map.items()) {
            require(value.is_string(), label, ": expected weight_map to hold file names, found ", describe(&value));
            const auto& shard = value.get_ref<const std::string&>();
            require(
                !shard.empty() && shard[0] != '.' && shard.find_first_of(std::string_view("/\\\0", 3)) == shard.npos,
                label, ": expected file names inside the directory, found ", describe(&value));
            opened.emplace(shard, 0);
        }
        for (auto& [shard, position] : opened) {
            require(std::filesystem::exists(directory_ / shard), label, ": expected the shard ",
                    detail::quotable(shard), " beside it, found nothing of that name");
            position = files_.size();
            files_.emplace_back(directory_ / shard);
        }
        for (const auto& [name, value] : map.items()) {
            const std::size_t position = opened.at(value.get_ref<const std::string&>());
            require(files_[position].contains(name), files_[position].path().string(), ": expected tensor ",
                    detail::quotable(name), " (so says the index), found none of that name");
            where_[name] = position;
        }
    }

    std::filesystem::path directory_;
    bool sharded_ = false;
    std::vector<safetensors_file> files_;
    std::map<std::string, std::size_t> where_;
};

}  // namespace depthgrow
