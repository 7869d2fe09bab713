// JSON read with care: depth limit, no duplicate keys, no trailing text, errors as one sentence naming the file.
// Assumes files that fit in memory; numbers beyond double are refused, non-finite numbers are written as null.
// Parsing itself is nlohmann::json; this header adds the checks that it leaves to its callers.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/io/text_file.hpp"

namespace depthgrow {

using json = nlohmann::json;

/// Objects and arrays may nest this deep.
inline constexpr std::size_t json_depth_limit = 64;

namespace detail {

/// Builds the document while refusing what nlohmann::json accepts silently.
class strict_json_callback {
public:
    explicit strict_json_callback(std::string_view file) : file_(file) {}

    bool operator()(int, json::parse_event_t event, json& parsed) {
        using parse = json::parse_event_t;
        if (event == parse::object_start || event == parse::array_start) {
            require(depth_++ < json_depth_limit, file_, ": expected JSON nested at most ", json_depth_limit,
                    " deep, found more");
            if (event == parse::object_start) keys_.emplace_back();
        } else if (event == parse::object_end || event == parse::array_end) {
            --depth_;
            if (event == parse::object_end) keys_.pop_back();
        } else if (event == parse::key) {
            const auto& key = parsed.get_ref<const std::string&>();
            require(keys_.back().insert(key).second, file_, ": expected every key once, found \"", quotable(key),
                    "\" twice");
        }
        return true;
    }

private:
    std::string_view file_;
    std::size_t depth_ = 0;
    std::vector<std::set<std::string>> keys_;
};

}  // namespace detail

/// The JSON value that `text` holds, all of it; `file` names it in errors.
inline json parse_json(std::string_view text, std::string_view file) {
    detail::strict_json_callback check(file);
    try {
        return json::parse(text.begin(), text.end(), [&check](int depth, json::parse_event_t event, json& parsed) {
            return check(depth, event, parsed);
        });
    } catch (const json::exception& problem) {
        fail(file, ": expected valid JSON, found ", detail::quotable(detail::after_origin(problem.what())));
    }
}

/// The JSON value in a file.
inline json read_json_file(const std::filesystem::path& path) {
    return parse_json(read_text_file(path), path.string());
}

/// JSON text ending in a newline; NaN and infinities become null, broken UTF-8 becomes U+FFFD.
inline std::string json_text(const json& value, int indent = 1) {
    return value.dump(indent, ' ', false, json::error_handler_t::replace) + "\n";
}

/// One line of JSON text, for `.jsonl` logs.
inline std::string json_line(const json& value) { return json_text(value, -1); }

/// What an error says about a value found in a file: its text, cut short; "nothing" when absent.
inline std::string describe(const json* value) {
    return value ? detail::quotable(value->dump(-1, ' ', true, json::error_handler_t::replace), 60) : "nothing";
}

/// Typed access to the fields of one JSON object; every refusal is a sentence naming file, key and what was found.
/// Holds references: the object and the name must outlive it.
class json_fields {
public:
    json_fields(const json& object, std::string_view file) : object_(object), file_(file) {
        require(object.is_object(), file_, ": expected a JSON object, found ", describe(&object));
    }

    /// The field, or nullptr when it is absent or null.
    const json* find(const std::string& key) const {
        const auto found = object_.find(key);
        return found == object_.end() || found->is_null() ? nullptr : &*found;
    }
    /// An integer from 1 to 2^31 - 1; `fallback` when absent.
    std::size_t positive(const std::string& key, std::optional<std::size_t> fallback = {}) const {
        const std::uint64_t value = unsigned_or_refuse(key, fallback, "a positive integer");
        require(value >= 1 && value <= 0x7fffffffu, file_, ": expected ", key, " to be a positive integer, found ",
                value);
        return static_cast<std::size_t>(value);
    }
    /// An integer from 0 up; `fallback` when absent.
    std::uint64_t count(const std::string& key, std::optional<std::uint64_t> fallback = {}) const {
        return unsigned_or_refuse(key, fallback, "an integer of at least 0");
    }
    /// A finite number; `fallback` when absent.
    double number(const std::string& key, std::optional<double> fallback = {}) const {
        const json* value = find(key);
        if (!value && fallback) return *fallback;
        require(value && value->is_number(), file_, ": expected ", key, " to be a number, found ", describe(value));
        return value->get<double>();
    }
    /// A finite number above 0; `fallback` when absent.
    double positive_number(const std::string& key, std::optional<double> fallback = {}) const {
        const double value = number(key, fallback);
        require(value > 0, file_, ": expected ", key, " to be above 0, found ", value);
        return value;
    }
    bool boolean(const std::string& key, std::optional<bool> fallback = {}) const {
        const json* value = find(key);
        if (!value && fallback) return *fallback;
        require(value && value->is_boolean(), file_, ": expected ", key, " to be true or false, found ",
                describe(value));
        return value->get<bool>();
    }
    std::string string(const std::string& key, std::optional<std::string> fallback = {}) const {
        const json* value = find(key);
        if (!value && fallback) return *fallback;
        require(value && value->is_string(), file_, ": expected ", key, " to be a string, found ", describe(value));
        return value->get<std::string>();
    }
    const json& object(const std::string& key) const {
        const json* value = find(key);
        require(value && value->is_object(), file_, ": expected ", key, " to be an object, found ", describe(value));
        return *value;
    }
    /// A list of finite numbers.
    std::vector<double> numbers(const std::string& key) const {
        const json* value = find(key);
        const auto is_number = [](const json& element) { return element.is_number(); };
        require(value && value->is_array() && std::all_of(value->begin(), value->end(), is_number), file_,
                ": expected ", key, " to be a list of numbers, found ", describe(value));
        return value->get<std::vector<double>>();
    }
    /// A list of integers from 0 up.
    std::vector<std::size_t> indices(const std::string& key) const {
        const json* value = find(key);
        require(value && value->is_array(), file_, ": expected ", key, " to be a list of integers, found ",
                describe(value));
        std::vector<std::size_t> out;
        for (const json& element : *value) {
            require(is_count(&element), file_, ": expected ", key, " to hold integers of at least 0, found ",
                    describe(&element));
            out.push_back(element.get<std::size_t>());
        }
        return out;
    }

private:
    static bool is_count(const json* value) {  // values made in memory may be signed
        return value &&
               (value->is_number_unsigned() || (value->is_number_integer() && value->get<std::int64_t>() >= 0));
    }
    std::uint64_t unsigned_or_refuse(const std::string& key, std::optional<std::uint64_t> fallback,
                                     const char* kind) const {
        const json* value = find(key);
        if (!value && fallback) return *fallback;
        require(is_count(value), file_, ": expected ", key, " to be ", kind, ", found ", describe(value));
        return value->get<std::uint64_t>();
    }

    const json& object_;
    std::string_view file_;
};

/// body(label, fields of the line's object) for every line that is not blank, until it gives false; `label` is file and
/// line.
template <class Body> void each_json_line(const std::string& content, const std::string& file, const Body& body) {
    std::size_t number = 0;
    for (std::size_t first = 0; first < content.size();) {
        const std::size_t end = std::min(content.find('\n', first), content.size());
        const std::string_view line(content.data() + first, end - first);
        first = end + 1;
        ++number;
        if (line.find_first_not_of(" \t\r") == line.npos) continue;
        const std::string label = file + " line " + std::to_string(number);
        const json value = parse_json(line, label);
        if (!body(label, json_fields(value, label))) return;
    }
}

}  // namespace depthgrow
