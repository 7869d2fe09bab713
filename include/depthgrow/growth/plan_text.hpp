// Growths and growth plans as text: "lidas block=4 init=average state=zero", one line a growth with its step in a plan.
// Assumes C++17; what a line does not say is as usual (copies, moments with their layers). Errors name the line.
// Source: the notation is the library's own; growth::to_string writes it.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "depthgrow/core/error.hpp"
#include "depthgrow/growth/layer_init.hpp"
#include "depthgrow/growth/operators.hpp"
#include "depthgrow/growth/schedule.hpp"

namespace depthgrow {

namespace detail {

/// The next word of `line`, which it is taken from; empty at the end.
inline std::string_view next_word(std::string_view& line) {
    const std::size_t first = std::min(line.find_first_not_of(" \t\r"), line.size());
    const std::size_t end = std::min(line.find_first_of(" \t\r", first), line.size());
    const std::string_view word = line.substr(first, end - first);
    line.remove_prefix(end);
    return word;
}

template <class Number> Number parse_count(std::string_view word, std::string_view what) {
    Number value = 0;
    const auto read = std::from_chars(word.data(), word.data() + word.size(), value);
    require(!word.empty() && read.ec == std::errc() && read.ptr == word.data() + word.size(), "[growth] expected ",
            what, " to be a whole number of at least 0, got \"", word, "\"");
    return value;
}

}  // namespace detail

/// Reads an operator's name, an order or a mixture, then any of init=, state=, seed=, block=, start= and length= (which
/// win over `parameters`), as a growth of `depth` layers. What `growth::to_string` writes is read back.
inline growth parse_growth(std::string_view given, std::size_t depth, operator_parameters parameters = {}) {
    growth how;
    std::string slots;
    for (std::string_view rest = given, word; !(word = detail::next_word(rest)).empty();) {
        const std::size_t equals = word.find('=');
        if (equals == word.npos) {
            slots += text(slots.empty() ? "" : " ", word);
            continue;
        }
        const std::string_view key = word.substr(0, equals), value = word.substr(equals + 1);
        if (key == "init") how.init = parse_layer_init(value);
        else if (key == "state") how.state = parse_state_policy(value);
        else if (key == "seed") how.seed = detail::parse_count<std::uint64_t>(value, key);
        else if (key == "block") parameters.block = detail::parse_count<std::size_t>(value, key);
        else if (key == "start") parameters.start = detail::parse_count<std::size_t>(value, key);
        else if (key == "length") parameters.length = detail::parse_count<std::size_t>(value, key);
        else fail("[growth] expected init=, state=, seed=, block=, start= or length=, got \"", word, "\"");
    }
    require(!slots.empty(), "[growth] expected an operator, an order or a mixture in \"", given, "\", got none");
    const bool named = slots[0] >= 'a' && slots[0] <= 'z';
    how.layers = named ? make_operator(slots, parameters).rows(depth) : parse_mixture(slots, depth);
    return how;
}

/// Reads a plan: a line "STEP GROWTH" for each growth, in the order of their steps (steps done when the model grows);
/// blank lines and what follows a # say nothing. `parameters` are those of operators whose line names none.
inline growth_plan parse_growth_plan(std::string_view lines, std::size_t initial_layers, std::size_t total_steps,
                                     const operator_parameters& parameters = {}) {
    growth_plan plan = plan_plain(initial_layers, total_steps);
    std::size_t number = 0;
    while (!lines.empty()) {
        std::string_view line = lines.substr(0, lines.find('\n'));
        lines.remove_prefix(std::min(line.size() + 1, lines.size()));
        ++number;
        line = line.substr(0, line.find('#'));
        const std::string_view word = detail::next_word(line);
        if (word.empty()) continue;
        try {
            growth_stage& last = plan.stages.back();
            const auto step = detail::parse_count<std::size_t>(word, "the step");
            require(step > last.first_step && step < total_steps, "expected a step above ", last.first_step,
                    " and below ", total_steps, ", got ", step);
            growth_stage stage;
            stage.how = parse_growth(line, last.layers, parameters);
            if (stage.how.layers.is_order()) stage.order = stage.how.layers.order();
            stage.layers = stage.how.layers.size();
            stage.first_step = step;
            stage.steps = total_steps - step;
            last.steps = step - last.first_step;
            plan.stages.push_back(std::move(stage));
        } catch (const error& problem) { fail("[growth_plan] line ", number, ": ", problem.what()); }
    }
    return plan;
}

}  // namespace depthgrow
