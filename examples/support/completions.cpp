#include "support/completions.hpp"

#include <algorithm>
#include <cmath>

namespace tools {

namespace {

constexpr const char* here = "request";

std::vector<std::int32_t> read_ids(const dg::json& list, std::size_t vocab) {
    std::vector<std::int32_t> out;
    for (const auto& id : list) {
        const bool known = id.is_number_integer() && (id.is_number_unsigned() || id.get<std::int64_t>() >= 0) && id.get<std::uint64_t>() < vocab;
        dg::require(known, here, ": expected prompt to hold token ids from 0 to ", vocab - 1, ", found ", dg::describe(&id));
        out.push_back(id.get<std::int32_t>());
    }
    return out;
}

void read_prompts(const dg::json& prompt, const text_tokens& text, const completion_limits& limits, completion_request& out) {
    if (prompt.is_string()) {
        out.prompts.push_back(text.encode_prompt(prompt.get<std::string>()));
    } else {
        dg::require(prompt.is_array() && !prompt.empty(), here, ": expected prompt to be a text, a list of texts, of token ids or of lists of token ids, found ", dg::describe(&prompt));
        if (prompt[0].is_number()) {
            out.prompts.push_back(read_ids(prompt, limits.vocab));
        } else {
            dg::require(prompt.size() <= limits.prompts, here, ": expected at most ", limits.prompts, " prompts, found ", prompt.size());
            for (const auto& one : prompt) {
                dg::require(one.is_string() || one.is_array(), here, ": expected prompt to hold texts or lists of token ids, found ", dg::describe(&one));
                out.prompts.push_back(one.is_string() ? text.encode_prompt(one.get<std::string>()) : read_ids(one, limits.vocab));
            }
        }
    }
    for (std::size_t i = 0; i < out.prompts.size(); ++i) {
        dg::require(!out.prompts[i].empty(), here, ": expected prompt ", i, " of at least 1 token, found 0");
        dg::require(out.prompts[i].size() <= limits.context, here, ": expected prompt ", i, " of at most ", limits.context, " tokens (the model's context), found ", out.prompts[i].size());
    }
}

void refuse_value(const dg::json_fields& fields, const char* key, const dg::json& only) {
    const dg::json* value = fields.find(key);
    dg::require(!value || *value == only, here, ": expected ", key, " ", only.dump(), " (nothing else is supported), found ", dg::describe(value));
}

}  // namespace

completion_request parse_completion(std::string_view body, const text_tokens& text, const completion_limits& limits) {
    const dg::json value = dg::parse_json(body, here);
    const dg::json_fields fields(value, here);
    completion_request out;
    const dg::json* prompt = fields.find("prompt");
    dg::require(prompt != nullptr, here, ": expected a prompt, found none");
    out.echo = fields.boolean("echo", false);
    out.max_tokens = static_cast<std::size_t>(std::min<std::uint64_t>(fields.count("max_tokens", 16), limits.context));
    out.temperature = fields.number("temperature", 1);
    dg::require(out.temperature >= 0 && std::isfinite(out.temperature), here, ": expected temperature of at least 0, found ", out.temperature);
    out.top_p = fields.positive_number("top_p", 1);
    dg::require(out.top_p <= 1, here, ": expected top_p of at most 1, found ", out.top_p);
    out.seed = fields.count("seed", 0);
    if (const dg::json* wanted = fields.find("logprobs"); wanted && !(wanted->is_boolean() && !wanted->get<bool>())) {
        out.logprobs = wanted->is_boolean() ? 1 : static_cast<std::size_t>(fields.count("logprobs"));
        dg::require(*out.logprobs <= 1, here, ": expected logprobs of at most 1, found ", *out.logprobs);
    }
    refuse_value(fields, "n", 1);
    refuse_value(fields, "best_of", 1);
    refuse_value(fields, "stream", false);
    if (const dg::json* stop = fields.find("stop")) {
        const dg::json list = stop->is_array() ? *stop : dg::json::array({*stop});
        dg::require(list.size() <= limits.stops, here, ": expected at most ", limits.stops, " stop texts, found ", list.size());
        for (const auto& one : list) {
            dg::require(one.is_string(), here, ": expected stop to be a text or a list of texts, found ", dg::describe(stop));
            if (!one.get_ref<const std::string&>().empty()) out.stop.push_back(one.get<std::string>());
        }
    }
    read_prompts(*prompt, text, limits, out);
    return out;
}

dg::json completion_json(const completion_request& request, const std::vector<completion_choice>& choices, const text_tokens& text, const std::string& model, std::uint64_t id) {
    dg::json list = dg::json::array();
    std::size_t read = 0, made = 0;
    for (std::size_t i = 0; i < choices.size(); ++i) {
        const auto& choice = choices[i];
        read += choice.prompt_tokens, made += choice.completion_tokens;
        dg::json entry = {{"index", i}, {"text", dg::valid_utf8(choice.text)}, {"finish_reason", choice.finish}, {"logprobs", nullptr}};
        if (request.logprobs) {
            dg::json tokens = dg::json::array(), offsets = dg::json::array(), of_token = dg::json::array(), top = dg::json::array();
            std::size_t offset = 0;
            for (std::size_t t = 0; t < choice.tokens.size(); ++t) {
                const std::string piece = text.decode({&choice.tokens[t], 1});
                tokens.push_back(dg::valid_utf8(piece));
                offsets.push_back(offset);
                offset += piece.size();
                if (t == 0 && choice.echoed) {
                    of_token.push_back(nullptr), top.push_back(nullptr);
                    continue;
                }
                of_token.push_back(choice.of_token[t]);
                dg::json likeliest = dg::json::object();
                if (*request.logprobs > 0) likeliest[dg::valid_utf8(text.decode({&choice.best[t], 1}))] = choice.of_best[t];
                top.push_back(std::move(likeliest));
            }
            entry["logprobs"] = {{"tokens", tokens}, {"token_logprobs", of_token}, {"top_logprobs", top}, {"text_offset", offsets}};
        }
        list.push_back(std::move(entry));
    }
    return {{"id", "cmpl-" + std::to_string(id)}, {"object", "text_completion"}, {"model", model}, {"choices", list},
            {"usage", {{"prompt_tokens", read}, {"completion_tokens", made}, {"total_tokens", read + made}}}};
}

}  // namespace tools
