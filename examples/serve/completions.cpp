#include "serve/completions.hpp"

#include <algorithm>
#include <cmath>
#include <random>

namespace tools {

namespace {

constexpr const char* here = "request";

std::vector<std::int32_t> read_ids(const dg::json& list, std::size_t vocab) {
    std::vector<std::int32_t> out;
    for (const auto& id : list) {
        const bool known = id.is_number_integer() && (id.is_number_unsigned() || id.get<std::int64_t>() >= 0) &&
                           id.get<std::uint64_t>() < vocab;
        dg::require(known, here, ": expected prompt to hold token ids from 0 to ", vocab - 1, ", found ",
                    dg::describe(&id));
        out.push_back(id.get<std::int32_t>());
    }
    return out;
}

void read_prompts(const dg::json& prompt, const text_tokens& text, const completion_limits& limits,
                  completion_request& out) {
    if (prompt.is_string()) {
        out.prompts.push_back(text.encode_prompt(prompt.get<std::string>()));
    } else {
        dg::require(prompt.is_array() && !prompt.empty(), here,
                    ": expected prompt to be a text, a list of texts, of token ids or of lists of token ids, found ",
                    dg::describe(&prompt));
        if (prompt[0].is_number()) {
            out.prompts.push_back(read_ids(prompt, limits.vocab));
        } else {
            dg::require(prompt.size() <= limits.prompts, here, ": expected at most ", limits.prompts,
                        " prompts, found ", prompt.size());
            for (const auto& one : prompt) {
                dg::require(one.is_string() || one.is_array(), here,
                            ": expected prompt to hold texts or lists of token ids, found ", dg::describe(&one));
                out.prompts.push_back(one.is_string() ? text.encode_prompt(one.get<std::string>())
                                                      : read_ids(one, limits.vocab));
            }
        }
    }
    for (std::size_t i = 0; i < out.prompts.size(); ++i) {
        dg::require(!out.prompts[i].empty(), here, ": expected prompt ", i, " of at least 1 token, found 0");
        dg::require(out.prompts[i].size() <= limits.context, here, ": expected prompt ", i, " of at most ",
                    limits.context, " tokens (the model's context), found ", out.prompts[i].size());
    }
}

/// Fields that change nothing in an answer.
constexpr const char* harmless[] = {"model", "user", "metadata", "store", "service_tier", "request_id", "priority"};
/// Fields that are read below.
constexpr const char* known[] = {"prompt",
                                 "echo",
                                 "max_tokens",
                                 "min_tokens",
                                 "temperature",
                                 "top_p",
                                 "top_k",
                                 "min_p",
                                 "presence_penalty",
                                 "frequency_penalty",
                                 "repetition_penalty",
                                 "logit_bias",
                                 "seed",
                                 "n",
                                 "best_of",
                                 "logprobs",
                                 "stop",
                                 "stop_token_ids",
                                 "ignore_eos",
                                 "stream",
                                 "stream_options"};
/// Fields of others that would change the answer, and the value that would not.
const std::pair<const char*, dg::json> unsupported[] = {
    {"suffix", ""},        {"use_beam_search", false},
    {"length_penalty", 1}, {"early_stopping", false},
    {"typical_p", 1},      {"skip_special_tokens", false},
    {"mirostat", 0},       {"dry_multiplier", 0},
    {"tfs_z", 1},          {"include_stop_str_in_output", false},
};

bool says_nothing(const dg::json& value) {
    return value.is_null() || value == "" || (value.is_structured() && value.empty());
}

void refuse_unknown(const dg::json& request) {
    for (const auto& [key, value] : request.items()) {
        const auto same = [&name = key](const auto& one) { return name == one; };
        if (std::any_of(std::begin(known), std::end(known), same)) continue;
        if (std::any_of(std::begin(harmless), std::end(harmless), same) || says_nothing(value)) continue;
        bool neutral = false;
        for (const auto& [name, only] : unsupported) {
            if (key != name) continue;
            dg::require(value == only, here, ": expected ", name, " ", only.dump(),
                        " (nothing else is supported), found ", dg::describe(&value));
            neutral = true;
        }
        dg::require(neutral, here, ": expected fields that are supported, found \"", dg::detail::quotable(key, 40),
                    "\"");
    }
}

/// A finite number of a range.
double number_within(const dg::json_fields& fields, const char* key, double fallback, double low, double high) {
    const double value = fields.number(key, fallback);
    const bool within = value >= low && value <= high;
    dg::require(within, here, ": expected ", key, " from ", low, " to ", high, ", found ", value);
    return value;
}

std::int32_t token_id(const std::string& digits, const char* key, std::size_t vocab) {
    const bool number = !digits.empty() && digits.size() <= 9 && digits.find_first_not_of("0123456789") == digits.npos;
    dg::require(number && std::stoul(digits) < vocab, here, ": expected ", key, " to hold token ids from 0 to ",
                vocab - 1, ", found ", dg::detail::quotable(digits, 40));
    return static_cast<std::int32_t>(std::stoul(digits));
}

void read_sampling(const dg::json_fields& fields, const completion_limits& limits, token_sampling& out) {
    out.temperature = fields.number("temperature", 1);
    dg::require(out.temperature >= 0 && std::isfinite(out.temperature), here,
                ": expected temperature of at least 0, found ", out.temperature);
    out.top_p = fields.positive_number("top_p", 1);
    dg::require(out.top_p <= 1, here, ": expected top_p of at most 1, found ", out.top_p);
    if (const dg::json* top_k = fields.find("top_k"); top_k && *top_k != -1)  // -1, as 0: all
        out.top_k = static_cast<std::size_t>(fields.count("top_k"));
    out.min_p = number_within(fields, "min_p", 0, 0, 1);
    out.frequency_penalty = number_within(fields, "frequency_penalty", 0, -2, 2);
    out.presence_penalty = number_within(fields, "presence_penalty", 0, -2, 2);
    out.repetition_penalty = fields.positive_number("repetition_penalty", 1);
    dg::require(out.repetition_penalty >= 1e-3 && out.repetition_penalty <= 1e3, here,
                ": expected repetition_penalty from 0.001 to 1000, found ", out.repetition_penalty);
    if (!fields.find("logit_bias")) return;
    for (const auto& [id, value] : fields.object("logit_bias").items()) {
        dg::require(value.is_number() && std::abs(value.get<double>()) <= 100, here,
                    ": expected logit_bias to hold numbers from -100 to 100, found ", dg::describe(&value));
        const std::int32_t token = token_id(id, "logit_bias", limits.vocab);
        if (const double added = value.get<double>(); added != 0) out.bias[token] = added;
    }
}

/// A seed of its own for a request without one.
std::uint64_t fresh_seed() {
    std::random_device source;
    return (std::uint64_t{source()} << 32) | source();
}

}  // namespace

completion_request parse_completion(std::string_view body, const text_tokens& text, const completion_limits& limits) {
    const dg::json value = dg::parse_json(body, here);
    const dg::json_fields fields(value, here);
    completion_request out;
    refuse_unknown(value);
    const dg::json* prompt = fields.find("prompt");
    dg::require(prompt != nullptr, here, ": expected a prompt, found none");
    out.echo = fields.boolean("echo", false);
    out.max_tokens = static_cast<std::size_t>(std::min<std::uint64_t>(fields.count("max_tokens", 16), limits.context));
    out.min_tokens = static_cast<std::size_t>(fields.count("min_tokens", 0));
    dg::require(out.min_tokens <= out.max_tokens, here, ": expected min_tokens of at most max_tokens (", out.max_tokens,
                "), found ", out.min_tokens);
    out.ignore_eos = fields.boolean("ignore_eos", false);
    out.stream = fields.boolean("stream", false);
    if (fields.find("stream_options")) {
        dg::require(out.stream, here, ": expected stream_options beside \"stream\": true, found no stream");
        for (const auto& [key, given] : fields.object("stream_options").items())
            dg::require(key == "include_usage" || given.is_null() || given == false, here,
                        ": expected stream_options to hold include_usage, found \"", dg::detail::quotable(key, 40),
                        "\"");
        const dg::json_fields options(fields.object("stream_options"), std::string(here) + ": stream_options");
        out.stream_usage = options.boolean("include_usage", false);
    }
    read_sampling(fields, limits, out.sampling);
    if (fields.find("stop_token_ids"))
        for (const std::size_t id : fields.indices("stop_token_ids"))
            out.stop_token_ids.push_back(token_id(std::to_string(id), "stop_token_ids", limits.vocab));
    out.n = fields.positive("n", 1);
    const std::size_t best_of = fields.positive("best_of", out.n);
    dg::require(best_of == out.n, here, ": expected best_of ", out.n, " (as n; nothing else is supported), found ",
                best_of);
    out.seed = fields.find("seed") ? fields.count("seed") : fresh_seed();
    if (const dg::json* wanted = fields.find("logprobs"); wanted && !(wanted->is_boolean() && !wanted->get<bool>())) {
        out.logprobs = wanted->is_boolean() ? 1 : static_cast<std::size_t>(fields.count("logprobs"));
        dg::require(*out.logprobs <= 1, here, ": expected logprobs of at most 1, found ", *out.logprobs);
    }
    if (const dg::json* stop = fields.find("stop")) {
        const dg::json list = stop->is_array() ? *stop : dg::json::array({*stop});
        dg::require(list.size() <= limits.stops, here, ": expected at most ", limits.stops, " stop texts, found ",
                    list.size());
        for (const auto& one : list) {
            dg::require(one.is_string(), here, ": expected stop to be a text or a list of texts, found ",
                        dg::describe(stop));
            if (!one.get_ref<const std::string&>().empty()) out.stop.push_back(one.get<std::string>());
        }
    }
    read_prompts(*prompt, text, limits, out);
    dg::require(out.n <= limits.prompts / out.prompts.size(), here, ": expected at most ", limits.prompts,
                " choices (prompts times n), found ", out.prompts.size(), " times ", out.n);
    return out;
}

std::vector<std::size_t> text_offsets(const std::vector<std::string>& pieces) {
    std::string all;
    for (const auto& piece : pieces) all += piece;
    std::vector<std::size_t> character(all.size() + 1);  // of every byte
    std::size_t count = 0;
    for (std::size_t i = 0, length = 1; i < all.size(); i += length, ++count) {
        const bool broken = dg::detail::decode_utf8(all, i, length) == 0xfffd && length == 1;
        while (broken && i + length < all.size() && length < 3 &&
               dg::valid_utf8(std::string_view(all).substr(i, length + 1)) == "\xef\xbf\xbd")
            ++length;  // bytes that become one U+FFFD together
        for (std::size_t byte = i; byte < i + length; ++byte) character[byte] = count;
    }
    character[all.size()] = count;
    std::vector<std::size_t> out;
    std::size_t begin = 0;
    for (const auto& piece : pieces) out.push_back(character[begin]), begin += piece.size();
    return out;
}

namespace {

dg::json logprobs_json(const answer_facts& facts, const completion_choice& choice) {
    dg::json tokens = dg::json::array(), of_token = dg::json::array(), top = dg::json::array();
    std::vector<std::string> pieces;
    for (std::size_t t = 0; t < choice.tokens.size(); ++t) {
        pieces.push_back(facts.text.decode({&choice.tokens[t], 1}));
        tokens.push_back(dg::valid_utf8(pieces.back()));
        if (t == 0 && choice.echoed) {
            of_token.push_back(nullptr), top.push_back(nullptr);
            continue;
        }
        of_token.push_back(choice.of_token[t]);
        dg::json likeliest = dg::json::object();
        if (*facts.request.logprobs > 0)
            likeliest[dg::valid_utf8(facts.text.decode({&choice.best[t], 1}))] = choice.of_best[t];
        top.push_back(std::move(likeliest));
    }
    auto offsets = text_offsets(pieces);
    for (auto& offset : offsets) offset += choice.characters_before;
    return {{"tokens", tokens}, {"token_logprobs", of_token}, {"top_logprobs", top}, {"text_offset", offsets}};
}

dg::json choice_json(const answer_facts& facts, std::size_t index, const completion_choice& choice, bool last) {
    return {{"index", index},
            {"text", dg::valid_utf8(choice.text)},
            {"finish_reason", last ? dg::json(choice.finish) : dg::json(nullptr)},
            {"logprobs", facts.request.logprobs ? logprobs_json(facts, choice) : dg::json(nullptr)}};
}

dg::json envelope(const answer_facts& facts, dg::json choices) {
    return {{"id", "cmpl-" + std::to_string(facts.id)},
            {"object", "text_completion"},
            {"created", facts.created},
            {"model", facts.model},
            {"choices", std::move(choices)}};
}

dg::json usage(const completion_request& request, std::size_t made) {
    std::size_t read = 0;
    for (const auto& prompt : request.prompts) read += prompt.size();  // read once for its n choices
    return {{"prompt_tokens", read}, {"completion_tokens", made}, {"total_tokens", read + made}};
}

}  // namespace

dg::json completion_json(const answer_facts& facts, const std::vector<completion_choice>& choices) {
    dg::json list = dg::json::array();
    std::size_t made = 0;
    for (std::size_t i = 0; i < choices.size(); ++i) {
        made += choices[i].completion_tokens;
        list.push_back(choice_json(facts, i, choices[i], true));
    }
    auto out = envelope(facts, std::move(list));
    out["usage"] = usage(facts.request, made);
    return out;
}

dg::json stream_json(const answer_facts& facts, const stream_part& part) {
    return envelope(facts, dg::json::array({choice_json(facts, part.index, part.choice, part.last)}));
}

dg::json stream_usage_json(const answer_facts& facts, std::size_t completion_tokens) {
    auto out = envelope(facts, dg::json::array());
    out["usage"] = usage(facts.request, completion_tokens);
    return out;
}

}  // namespace tools
