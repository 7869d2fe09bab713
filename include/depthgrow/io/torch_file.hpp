// Files of torch.save: the values of data.pkl, and the numbers of its tensors on demand, one tensor in memory at a
// time. Assumes a little-endian file of torch 1.6 or newer; nothing in it is executed, everything is checked before it
// is used. Format: torch/serialization.py: NAME/data.pkl, NAME/data/KEY, NAME/byteorder.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "depthgrow/core/dtype.hpp"
#include "depthgrow/io/safetensors.hpp"
#include "depthgrow/io/torch/pickle.hpp"
#include "depthgrow/io/torch/zip.hpp"

namespace depthgrow {

/// An open file of torch.save, checked as a whole: every tensor lies in its storage, every storage in the file.
class torch_file {
public:
    explicit torch_file(const std::filesystem::path& path) : zip_(path) {
        const std::string label = path.string();
        for (const auto& [name, entry] : zip_.entries())
            if (name.ends_with("/data.pkl")) {
                require(root_.empty(), label, ": expected one data.pkl, found two");
                root_ = name.substr(0, name.size() - 8);
            }
        require(!root_.empty(), label, ": expected data.pkl, as torch.save writes it, found none");
        if (const auto order = zip_.entries().find(root_ + "byteorder"); order != zip_.entries().end())
            require(order->second.size == 6 && zip_.content(order->second) == "little", label,
                    ": expected byteorder little, found another");
        values_ = read_pickle(zip_.content(zip_.entries().at(root_ + "data.pkl")), label);
        for (const auto& value : values_.values) {
            if (value.kind != pickle_kind::storage) continue;
            const std::uint64_t width = safetensors_element_size(value.type_name);
            const auto found = zip_.entries().find(root_ + "data/" + value.text);
            require(found != zip_.entries().end(), label, ": expected an entry data/", detail::quotable(value.text, 40),
                    ", found none");
            require(static_cast<std::uint64_t>(value.integer) <= found->second.size / width, label,
                    ": expected a storage of ", value.integer, " ", value.type_name, " in data/", value.text,
                    ", found ", found->second.size, " bytes");
        }
    }

    const std::filesystem::path& path() const { return zip_.path(); }
    /// What was saved.
    const pickle& values() const { return values_; }

    /// "F32", "I64", ...
    const std::string& type_name(const pickle_value& tensor) const { return storage_of(tensor).type_name; }

    /// A tensor's stored bytes in row-major order, whatever its strides.
    std::vector<char> read_bytes(const pickle_value& tensor) const {
        const pickle_value& storage = storage_of(tensor);
        const std::size_t width = safetensors_element_size(storage.type_name);
        std::size_t count = 1, span = 1, due = 1;
        bool contiguous = true;
        for (std::size_t extent : tensor.shape) count *= extent;
        if (count == 0) return {};
        for (std::size_t axis = tensor.shape.size(); axis-- > 0;) {
            span += (tensor.shape[axis] - 1) * tensor.strides[axis];
            contiguous = contiguous && (tensor.shape[axis] == 1 || tensor.strides[axis] == due);
            due *= tensor.shape[axis];
        }
        std::vector<char> bytes(span * width);
        zip_.read(zip_.entries().at(root_ + "data/" + storage.text), bytes.data(), bytes.size(),
                  static_cast<std::uint64_t>(tensor.integer) * width);
        if (contiguous) return bytes;
        std::vector<char> out(count * width);
        std::vector<std::size_t> index(tensor.shape.size());
        for (std::size_t i = 0; i < count; ++i) {
            std::size_t from = 0;
            for (std::size_t axis = 0; axis < index.size(); ++axis) from += index[axis] * tensor.strides[axis];
            std::memcpy(out.data() + i * width, bytes.data() + from * width, width);
            for (std::size_t axis = index.size(); axis-- > 0;) {
                if (++index[axis] < tensor.shape[axis]) break;
                index[axis] = 0;
            }
        }
        return out;
    }
    /// A tensor of floating-point numbers in row-major order.
    std::vector<double> read(const pickle_value& tensor) const {
        const auto type = dtype_from_name(type_name(tensor));
        require(type.has_value(), path().string(), ": expected a tensor of floating-point numbers, found ",
                type_name(tensor));
        const std::vector<char> bytes = read_bytes(tensor);
        std::vector<double> out(bytes.size() / size_of(*type));
        if (*type == dtype::f64) std::memcpy(out.data(), bytes.data(), bytes.size());
        else convert_from(*type, bytes.data(), out.data(), out.size());
        return out;
    }

private:
    const pickle_value& storage_of(const pickle_value& tensor) const {
        require(tensor.kind == pickle_kind::tensor, path().string(), ": expected a tensor, found another value");
        return values_[tensor.items.front()];
    }

    zip_file zip_;
    std::string root_;
    pickle values_;
};

}  // namespace depthgrow
