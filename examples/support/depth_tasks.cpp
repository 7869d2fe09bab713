#include "support/depth_tasks.hpp"

#include "depthgrow/io/json.hpp"
#include "support/training_data.hpp"

namespace tools {

namespace {

template <class Read>
task read_task(const std::string& name, answer_kind kind, const std::string& file, std::size_t limit, Read read) {
    task out{name, kind, {}};
    const std::string content = dg::read_text_file(file);
    const auto add = [&](const std::string& label, const dg::json_fields& fields) {
        question item = read(fields, label);
        item.where = label;
        dg::require(!item.context.empty(), label, ": expected a context, found an empty one");
        out.questions.push_back(std::move(item));
        return out.questions.size() < limit;
    };
    if (limit > 0) dg::each_json_line(content, file, add);
    dg::require(!out.questions.empty(), file, ": expected at least one item, found only empty lines");
    return out;
}

question read_choice(const dg::json_fields& fields, const std::string& label) {
    question item;
    item.context = fields.string("context");
    const dg::json* options = fields.find("options");
    dg::require(options && options->is_array() && options->size() >= 2, label,
                ": expected options to be a list of at least 2 strings, found ", dg::describe(options));
    for (const auto& option : *options) {
        dg::require(option.is_string() && !option.get_ref<const std::string&>().empty(), label,
                    ": expected options to hold non-empty strings, found ", dg::describe(&option));
        item.options.push_back(option.get<std::string>());
    }
    item.gold = static_cast<std::size_t>(fields.count("gold"));
    dg::require(item.gold < item.options.size(), label, ": expected gold below ", item.options.size(), ", found ",
                item.gold);
    return item;
}

question read_last_word(const dg::json_fields& fields, const std::string& label) {
    const std::string text = fields.string("text");
    const auto end = text.find_last_not_of(" \t\r\n"),
               space = end == text.npos ? text.npos : text.find_last_of(" \t\n", end);
    dg::require(space != text.npos && space > 0, label, ": expected text of at least two words, found ",
                dg::detail::quotable(text, 40));
    return {text.substr(0, space), {text.substr(space, end + 1 - space)}, 0, {}, {}, {}};
}

question read_completion(const dg::json_fields& fields, const std::string& label) {
    question item;
    item.context = fields.string("prompt");
    item.answer = fields.string("answer");
    item.stop = fields.string("stop", "\n");
    dg::require(!item.answer.empty() && !item.stop.empty(), label,
                ": expected an answer and a stop, found an empty one");
    return item;
}

/// The last number in a text ("1,234.50" is 1234.5); false when there is none.
bool last_number(const std::string& text, double& value) {
    for (std::size_t end = text.size(); end > 0; --end) {
        if (text[end - 1] < '0' || text[end - 1] > '9') continue;
        std::size_t first = end;
        while (first > 0 &&
               ((text[first - 1] >= '0' && text[first - 1] <= '9') || text[first - 1] == '.' || text[first - 1] == ','))
            --first;
        const bool negative = first > 0 && text[first - 1] == '-' &&
                              (first == 1 || text[first - 2] < '0' || text[first - 2] > '9');  // not 10-7
        std::string digits;
        for (char c : text.substr(first, end - first))
            if (c != ',') digits += c;
        value = std::strtod(digits.c_str(), nullptr) * (negative ? -1 : 1);
        return true;
    }
    return false;
}

bool is_number(const std::string& text) {
    return !text.empty() && text.find_first_not_of("0123456789.,-+ ") == text.npos &&
           text.find_first_of("0123456789") != text.npos;
}

}  // namespace

bool completes(const std::string& completion, const question& item) {
    const std::string text = completion.substr(0, completion.find(item.stop));
    double got = 0, wanted = 0;
    if (is_number(item.answer) && last_number(item.answer, wanted)) return last_number(text, got) && got == wanted;
    return dg::exact_match(text, item.answer);
}

std::string task_help() {
    std::string names;
    for (const auto& name : dg::primitive_names()) names += " " + name;
    return "Built-in tasks:" + names +
           "\nTask files, one JSON object a line:\n"
           "  choices=FILE    {\"context\": \"2 + 2 =\", \"options\": [\" 4\", \" 5\"], \"gold\": 0}: the likeliest "
           "option\n"
           "  lambada=FILE    {\"text\": \"the whole passage\"}: its last word, and its perplexity\n"
           "  generate=FILE   {\"prompt\": \"Q: 2 + 2?\\nA:\", \"answer\": \"4\", \"stop\": \"\\n\"}: the completion "
           "up to stop";
}

task make_task(const std::string& name, const task_settings& settings) {
    if (const auto equals = name.find('='); equals != name.npos) {
        const std::string kind = name.substr(0, equals), file = name.substr(equals + 1);
        if (kind == "choices") return read_task(name, answer_kind::choice, file, settings.items, read_choice);
        if (kind == "lambada") return read_task(name, answer_kind::last_word, file, settings.items, read_last_word);
        if (kind == "generate") return read_task(name, answer_kind::completion, file, settings.items, read_completion);
        dg::fail("--task: expected choices=FILE, lambada=FILE or generate=FILE, found ", name);
    }
    task out{name, answer_kind::choice, {}};
    for (auto& [prompt, item] :
         dg::evaluation_set(name, settings.items, settings.shots, settings.seed, item_sizes(settings.context))) {
        question one{prompt,
                     item.options,
                     item.gold,
                     item.answer,
                     std::string(dg::answer_end),
                     name + " item " + std::to_string(out.questions.size())};
        for (auto& option : one.options) option += dg::answer_end;
        if (one.options.empty()) out.kind = answer_kind::completion;
        out.questions.push_back(std::move(one));
    }
    return out;
}

}  // namespace tools
