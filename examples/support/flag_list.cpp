#include "support/flag_list.hpp"

#include <algorithm>

namespace tools {

flag_list::flag_list(const std::vector<std::string>& words, const std::string& label) {
    std::string flag;
    for (const auto& word : words) {
        if (word.rfind("--", 0) == 0) {
            const auto equals = word.find('=');
            flag = word.substr(0, equals);
            set(flag, {});
            if (equals != word.npos) flags_.back().second.push_back(word.substr(equals + 1));
            continue;
        }
        dg::require(!flag.empty(), label, ": expected flags of train_smol like \"--steps 100\", found \"", word,
                    "\" before the first flag");
        flags_.back().second.push_back(word);
    }
}

void flag_list::set(const std::string& flag, std::vector<std::string> values) {
    erase(flag);
    flags_.emplace_back(flag, std::move(values));
}

void flag_list::set(const flag_list& more) {
    for (const auto& [flag, values] : more.flags_) set(flag, values);
}

void flag_list::erase(const std::string& flag) {
    std::erase_if(flags_, [&](const auto& one) { return one.first == flag; });
}

const std::vector<std::string>* flag_list::find(const std::string& flag) const {
    for (const auto& [name, values] : flags_)
        if (name == flag) return &values;
    return nullptr;
}

namespace {

/// "FILE:0.6,built-in:0.4" with its files replaced.
std::string mix_with_files(const std::string& mix, const std::function<std::string(const std::string&)>& file) {
    std::string out;
    for (const auto& entry : dg::parse_mix(mix)) {
        const std::string source = entry.source == "built-in" ? entry.source : file(entry.source);
        out += dg::text(out.empty() ? "" : ",", source, ":", dg::json(entry.weight).dump());
    }
    return out;
}

}  // namespace

flag_list flag_list::with_files(const std::function<std::string(const std::string&)>& file) const {
    flag_list out = *this;
    for (auto& [flag, values] : out.flags_)
        for (auto& value : values) {
            const bool vocabulary =
                flag == "--tokenizer" && value != "bytes" && value != "auto" && value.rfind("train:", 0) != 0;
            if (flag == "--mix") value = mix_with_files(value, file);
            else if (vocabulary || flag == "--data" || flag == "--growth-plan" || flag == "--config" ||
                     flag == "--init")
                value = file(value);
        }
    return out;
}

std::vector<std::string> flag_list::words() const {
    std::vector<std::string> out;
    for (const auto& [flag, values] : flags_) {
        out.push_back(flag);
        out.insert(out.end(), values.begin(), values.end());
    }
    return out;
}

std::string flag_list::text() const {
    std::string out;
    for (const auto& word : words()) {
        const bool plain = !word.empty() && word.find_first_of(" \t\n'\"$`\\*?;&|<>()[]{}#~!") == word.npos;
        out += out.empty() ? "" : " ";
        if (plain) {
            out += word;
            continue;
        }
        out += '\'';
        for (char c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
        out += '\'';
    }
    return out;
}

dg::json flag_list::to_json() const {
    dg::json out = dg::json::object();
    for (const auto& [flag, values] : flags_)
        out[flag] = values.empty() ? dg::json("") : values.size() == 1 ? dg::json(values[0]) : dg::json(values);
    return out;
}

std::vector<std::string> split_words(const std::string& line) {
    std::vector<std::string> out;
    for (std::size_t first = 0; (first = line.find_first_not_of(" \t\n", first)) != line.npos;) {
        const std::size_t end = std::min(line.find_first_of(" \t\n", first), line.size());
        out.push_back(line.substr(first, end - first));
        first = end;
    }
    return out;
}

training_settings read_training_flags(const flag_list& flags, const std::string& label) {
    training_settings settings;
    command_line line("train_smol [FLAGS]", "");
    add_training_flags(line, settings);
    auto words = flags.words();
    words.insert(words.begin(), "train_smol");
    std::vector<char*> pointers;
    for (auto& word : words) pointers.push_back(word.data());
    try {
        const bool read = line.parse(static_cast<int>(pointers.size()), pointers.data());
        dg::require(read, "expected no --help or --version, found one");
    } catch (const dg::error& problem) { dg::fail(label, ": ", problem.what()); }
    return settings;
}

}  // namespace tools
