// The pickles inside torch's files, read without running anything: plain values and descriptions of tensors.
// Assumes nothing: what asks for any other class or function is refused by its name; every opcode makes one value at
// most, so that memory is bounded by the pickle's length. Format: Python's pickletools, protocols 2 to 5.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/io/text_file.hpp"

namespace depthgrow {

enum class pickle_kind { none, boolean, integer, real, text, list, tuple, dict, global, storage, tensor };

/// A value of a pickle; values within are numbers of `pickle::values`.
struct pickle_value {
    pickle_kind kind = pickle_kind::none;
    std::int64_t integer = 0;  ///< boolean, integer; of a storage its elements, of a tensor its first element
    double real = 0;
    std::string text;                  ///< text; "module name" of a global; of a storage its key
    std::vector<std::uint32_t> items;  ///< list, tuple; of a dict key, value, key, value; of a tensor its storage
    std::vector<std::size_t> shape, strides;  ///< of a tensor
    std::string type_name;                    ///< of a storage: "F32", as safetensors files call it
};

/// A pickle that was read: its values, the whole one by `root`.
struct pickle {
    std::vector<pickle_value> values;
    std::uint32_t root = 0;

    const pickle_value& operator[](std::uint32_t at) const { return values[at]; }
    const pickle_value& whole() const { return values[root]; }
    /// The value of a dict's text key, or nullptr.
    const pickle_value* find(const pickle_value& dict, std::string_view key) const {
        if (dict.kind != pickle_kind::dict) return nullptr;
        for (std::size_t i = 0; i + 1 < dict.items.size(); i += 2) {
            const pickle_value& name = values[dict.items[i]];
            if (name.kind == pickle_kind::text && name.text == key) return &values[dict.items[i + 1]];
        }
        return nullptr;
    }
};

namespace detail {

inline constexpr std::string_view storage_classes[][2] = {
    {"torch FloatStorage", "F32"}, {"torch DoubleStorage", "F64"},    {"torch HalfStorage", "F16"},
    {"torch LongStorage", "I64"},  {"torch BFloat16Storage", "BF16"}, {"torch IntStorage", "I32"},
    {"torch ShortStorage", "I16"}, {"torch CharStorage", "I8"},       {"torch ByteStorage", "U8"},
    {"torch BoolStorage", "BOOL"}};

/// The dtype of a storage's class, "" for one that is not known.
inline std::string storage_type(std::string_view global) {
    for (const auto& [name, type] : storage_classes)
        if (name == global) return std::string(type);
    return "";
}
/// The class of a dtype's storage.
inline std::string_view storage_class(std::string_view type) {
    for (const auto& [name, known] : storage_classes)
        if (known == type) return name;
    return "";
}

class pickle_reader {
public:
    pickle_reader(std::string_view bytes, std::string label) : bytes_(bytes), label_(std::move(label)) {}

    pickle read() {
        require(bytes_.size() <= 0xFFFFFFFFu, label_, ": expected a pickle of at most 4 GiB, found ", bytes_.size(),
                " bytes");
        while (!step()) {}
        require(stack_.size() == 1 && marks_.empty(), label_, ": expected a pickle of one value, found ",
                stack_.size());
        out_.root = stack_.back();
        return std::move(out_);
    }

private:
    std::string_view take(std::uint64_t count) {
        require(count <= bytes_.size() - at_, label_, ": expected ", count, " more bytes of the pickle, found ",
                bytes_.size() - at_);
        const auto out = bytes_.substr(at_, static_cast<std::size_t>(count));
        at_ += out.size();
        return out;
    }
    std::uint64_t number(std::size_t width) {
        std::uint64_t value = 0;
        std::memcpy(&value, take(width).data(), width);
        return value;
    }
    std::string line() {
        const std::size_t end = bytes_.find('\n', at_);
        require(end != bytes_.npos, label_, ": expected the end of a name, found the end of the pickle");
        const std::string out(take(end - at_));
        ++at_;
        return out;
    }
    void push(pickle_value value) {
        out_.values.push_back(std::move(value));
        stack_.push_back(static_cast<std::uint32_t>(out_.values.size() - 1));
    }
    void push(pickle_kind kind, std::int64_t integer = 0) {
        pickle_value value;
        value.kind = kind, value.integer = integer;
        push(std::move(value));
    }
    void push_text(std::uint64_t size) {
        pickle_value value;
        value.kind = pickle_kind::text, value.text = take(size);
        push(std::move(value));
    }
    std::uint32_t pop() {
        const std::size_t floor = marks_.empty() ? 0 : marks_.back();
        require(stack_.size() > floor, label_, ": expected a value on the pickle's stack, found none");
        const std::uint32_t top = stack_.back();
        stack_.pop_back();
        return top;
    }
    std::vector<std::uint32_t> pop_to_mark() {
        require(!marks_.empty(), label_, ": expected a mark on the pickle's stack, found none");
        const auto from = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
        std::vector<std::uint32_t> out(from, stack_.end());
        stack_.erase(from, stack_.end());
        marks_.pop_back();
        return out;
    }
    /// The value that is filled next, of this kind.
    pickle_value& container(pickle_kind kind) {
        const std::uint32_t at = pop();
        stack_.push_back(at);
        require(out_.values[at].kind == kind, label_, ": expected a ", kind == pickle_kind::dict ? "dict" : "list",
                " to fill, found another value");
        return out_.values[at];
    }
    void fill(pickle_kind kind, const std::vector<std::uint32_t>& items) {
        pickle_value& to = container(kind);
        require(kind != pickle_kind::dict || items.size() % 2 == 0, label_,
                ": expected keys with values, found a key alone");
        to.items.insert(to.items.end(), items.begin(), items.end());
    }
    void push_tuple(std::vector<std::uint32_t> items) {
        pickle_value value;
        value.kind = pickle_kind::tuple, value.items = std::move(items);
        push(std::move(value));
    }
    void push_few(std::size_t count) {
        std::vector<std::uint32_t> items(count);
        for (std::size_t i = count; i-- > 0;) items[i] = pop();
        push_tuple(std::move(items));
    }
    void push_global(const std::string& module, const std::string& name) {
        pickle_value value;
        value.kind = pickle_kind::global, value.text = text(module, " ", name);
        const bool known = value.text == "torch._utils _rebuild_tensor_v2" || value.text == "collections OrderedDict" ||
                           !storage_type(value.text).empty();
        require(known, label_, ": expected plain values and tensors, found ", quotable(text(module, ".", name), 80),
                ", which is not run");
        push(std::move(value));
    }
    void get(std::uint64_t key) {
        const auto found = memo_.find(key);
        require(found != memo_.end(), label_, ": expected a value remembered as ", key, ", found none");
        stack_.push_back(found->second);
    }
    void put(std::uint64_t key) {
        const std::uint32_t at = pop();
        stack_.push_back(at);
        memo_[key] = at;
    }

    const pickle_value& value(std::uint32_t at, pickle_kind kind, const char* what) const {
        require(out_.values[at].kind == kind, label_, ": expected ", what, ", found another value");
        return out_.values[at];
    }
    /// ('storage', class, key, location, elements).
    void push_storage() {
        const auto parts = value(pop(), pickle_kind::tuple, "a storage's description").items;
        require(parts.size() == 5 && value(parts[0], pickle_kind::text, "a storage").text == "storage", label_,
                ": expected a storage of five parts, found another reference");
        pickle_value out;
        out.kind = pickle_kind::storage;
        out.type_name = storage_type(value(parts[1], pickle_kind::global, "a storage's class").text);
        out.text = value(parts[2], pickle_kind::text, "a storage's key").text;
        out.integer = value(parts[4], pickle_kind::integer, "a storage's size").integer;
        require(!out.type_name.empty() && out.integer >= 0, label_, ": expected a storage of numbers, found another");
        push(std::move(out));
    }
    std::vector<std::size_t> extents(std::uint32_t at, const char* what) const {
        std::vector<std::size_t> out;
        for (std::uint32_t each : value(at, pickle_kind::tuple, what).items) {
            const std::int64_t extent = value(each, pickle_kind::integer, what).integer;
            require(extent >= 0, label_, ": expected ", what, " of no negative numbers, found ", extent);
            out.push_back(static_cast<std::size_t>(extent));
        }
        require(out.size() <= 64, label_, ": expected ", what, " of at most 64 axes, found ", out.size());
        return out;
    }
    /// Calls that are known: an empty OrderedDict, a tensor of (storage, first, shape, strides, ...).
    void reduce() {
        const auto arguments = value(pop(), pickle_kind::tuple, "arguments").items;
        const std::string called = value(pop(), pickle_kind::global, "the name of what is called").text;
        if (called == "collections OrderedDict") {
            require(arguments.empty(), label_, ": expected an OrderedDict made empty, found one made of arguments");
            return push(pickle_kind::dict);
        }
        require(called == "torch._utils _rebuild_tensor_v2" && arguments.size() >= 6, label_,
                ": expected a tensor of at least six arguments, found a call of ", quotable(called, 80));
        const pickle_value storage = value(arguments[0], pickle_kind::storage, "a tensor's storage");
        pickle_value out;
        out.kind = pickle_kind::tensor, out.items = {arguments[0]};
        out.integer = value(arguments[1], pickle_kind::integer, "a tensor's first element").integer;
        out.shape = extents(arguments[2], "a shape"), out.strides = extents(arguments[3], "strides");
        check_view(out, static_cast<std::uint64_t>(storage.integer));
        push(std::move(out));
    }
    /// A view within its storage and of no more elements than that has.
    void check_view(const pickle_value& view, std::uint64_t elements) const {
        require(view.shape.size() == view.strides.size(), label_, ": expected a stride for each of ", view.shape.size(),
                " axes, found ", view.strides.size());
        require(view.integer >= 0 && static_cast<std::uint64_t>(view.integer) <= elements, label_,
                ": expected a tensor within its storage of ", elements, " elements, found its first at ", view.integer);
        std::uint64_t count = 1, last = static_cast<std::uint64_t>(view.integer);
        for (std::size_t extent : view.shape)
            if (extent == 0) return;
        for (std::size_t axis = 0; axis < view.shape.size(); ++axis) {
            const std::uint64_t extent = view.shape[axis], stride = view.strides[axis];
            const bool fits = extent <= elements / count && (extent == 1 || stride <= (elements - last) / (extent - 1));
            require(fits, label_, ": expected a tensor within its storage of ", elements,
                    " elements, found a larger one");
            count *= extent, last += extent == 1 ? 0 : stride * (extent - 1);
        }
        require(last < elements, label_, ": expected a tensor within its storage of ", elements,
                " elements, found a larger one");
    }

    /// Runs one opcode; true at the end of the pickle.
    bool step() {
        const auto code = static_cast<unsigned char>(take(1)[0]);
        switch (code) {
            case 0x80: {
                const auto version = number(1);
                require(version >= 2 && version <= 5, label_, ": expected a pickle of protocol 2 to 5, found ",
                        version);
                break;
            }
            case 0x95:
                number(8);
                break;
            case '.':
                return true;
            case '(':
                marks_.push_back(stack_.size());
                break;
            case 'N':
                push(pickle_kind::none);
                break;
            case 0x88:
                push(pickle_kind::boolean, 1);
                break;
            case 0x89:
                push(pickle_kind::boolean, 0);
                break;
            case 'K':
                push(pickle_kind::integer, static_cast<std::int64_t>(number(1)));
                break;
            case 'M':
                push(pickle_kind::integer, static_cast<std::int64_t>(number(2)));
                break;
            case 'J':
                push(pickle_kind::integer, static_cast<std::int32_t>(number(4)));
                break;
            case 0x8a: {
                const std::uint64_t width = number(1);
                require(width <= 8, label_, ": expected an integer of at most 8 bytes, found ", width);
                std::uint64_t bits = number(static_cast<std::size_t>(width));
                if (width > 0 && width < 8 && (bits >> (8 * width - 1))) bits |= ~std::uint64_t{0} << (8 * width);
                push(pickle_kind::integer, static_cast<std::int64_t>(bits));
                break;
            }
            case 'G': {
                std::uint64_t bits = 0;
                for (char byte : take(8)) bits = bits << 8 | static_cast<unsigned char>(byte);
                pickle_value real;
                real.kind = pickle_kind::real, real.real = std::bit_cast<double>(bits);
                push(std::move(real));
                break;
            }
            case 'X':
                push_text(number(4));
                break;
            case 0x8c:
                push_text(number(1));
                break;
            case 0x8d:
                push_text(number(8));
                break;
            case '}':
                push(pickle_kind::dict);
                break;
            case ']':
                push(pickle_kind::list);
                break;
            case ')':
                push_few(0);
                break;
            case 0x85:
                push_few(1);
                break;
            case 0x86:
                push_few(2);
                break;
            case 0x87:
                push_few(3);
                break;
            case 't':
                push_tuple(pop_to_mark());
                break;
            case 'a': {
                const auto item = pop();
                fill(pickle_kind::list, {item});
                break;
            }
            case 'e':
                fill(pickle_kind::list, pop_to_mark());
                break;
            case 's': {
                const auto item = pop(), key = pop();
                fill(pickle_kind::dict, {key, item});
                break;
            }
            case 'u':
                fill(pickle_kind::dict, pop_to_mark());
                break;
            case 'q':
                put(number(1));
                break;
            case 'r':
                put(number(4));
                break;
            case 0x94:
                put(memo_.size());
                break;
            case 'h':
                get(number(1));
                break;
            case 'j':
                get(number(4));
                break;
            case 'c': {
                const auto module = line(), name = line();
                push_global(module, name);
                break;
            }
            case 0x93: {
                const auto name = value(pop(), pickle_kind::text, "a name").text;
                push_global(value(pop(), pickle_kind::text, "a module's name").text, name);
                break;
            }
            case 'Q':
                push_storage();
                break;
            case 'R':
                reduce();
                break;
            default:
                fail(label_, ": expected the pickle of plain values and tensors, found opcode ",
                     static_cast<int>(code));
        }
        return false;
    }

    std::string_view bytes_;
    std::string label_;
    std::size_t at_ = 0;
    pickle out_;
    std::vector<std::uint32_t> stack_;
    std::vector<std::size_t> marks_;
    std::unordered_map<std::uint64_t, std::uint32_t> memo_;
};

}  // namespace detail

/// Reads a pickle; `label` begins the sentences of refusals.
inline pickle read_pickle(std::string_view bytes, const std::string& label) {
    return detail::pickle_reader(bytes, label).read();
}

}  // namespace depthgrow
