// Requests and responses of the completions endpoint as plain values: parsing with every check, and the JSON of a
// result. Contract: OpenAI's legacy completions with echo and log-probabilities, as lm-evaluation-harness's
// local-completions uses it (token_logprobs and top_logprobs have one entry a token, null for the first), with vLLM's
// further ways to sample. What a request asks for is done or refused by name, never passed over.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "depthgrow/io/json.hpp"
#include "serve/token_sampling.hpp"
#include "support/text_tokens.hpp"

namespace tools {

/// What a request may ask for.
struct completion_limits {
    std::size_t context = 0;  // tokens of prompt and completion
    std::size_t vocab = 0;
    std::size_t prompts = 256;  // in one request
    std::size_t stops = 64;
};

/// A checked request.
struct completion_request {
    std::vector<std::vector<std::int32_t>> prompts;
    std::size_t max_tokens = 16, min_tokens = 0, n = 1;  // n: choices of each prompt
    token_sampling sampling;
    std::uint64_t seed = 0;  // a fresh one where the request has none
    std::vector<std::int32_t> stop_token_ids;
    bool echo = false, ignore_eos = false, stream = false, stream_usage = false;
    std::optional<std::size_t> logprobs;  // likeliest tokens to list beside each; 0 or 1
    std::vector<std::string> stop;
};

/// Reads a request body; every refusal is one sentence naming the field. Texts become tokens by `text`.
completion_request parse_completion(std::string_view body, const text_tokens& text, const completion_limits& limits);

/// One finished choice: tokens of the prompt (when echoed) and of the completion with their scores.
struct completion_choice {
    std::vector<std::int32_t> tokens;       // echoed prompt, then completion
    std::vector<double> of_token, of_best;  // log-likelihoods; the first echoed token has none
    std::vector<std::int32_t> best;
    std::string text;  // what is said: echo and completion, cut before a stop
    std::string finish = "length";
    std::size_t prompt_tokens = 0, completion_tokens = 0;
    bool echoed = false;
    std::size_t characters_before = 0;  // of the tokens' text, where this is a part of a choice
};

/// The part of a choice that a stream sends next: its text and tokens since the last one.
struct stream_part {
    std::size_t index = 0;  // of the choice
    completion_choice choice;
    bool last = false;
};

/// For each token the characters of the text before the one in which it begins; U+FFFD counts as it is sent.
std::vector<std::size_t> text_offsets(const std::vector<std::string>& pieces);

/// What the JSON of an answer needs beside its choices.
struct answer_facts {
    const completion_request& request;
    const text_tokens& text;
    std::string model;
    std::uint64_t id = 0;
    std::int64_t created = 0;  // seconds since 1970
};
/// The response body of a request.
dg::json completion_json(const answer_facts& facts, const std::vector<completion_choice>& choices);
/// One event of a stream, and its last one when the request asks for the token counts.
dg::json stream_json(const answer_facts& facts, const stream_part& part);
dg::json stream_usage_json(const answer_facts& facts, std::size_t completion_tokens);

}  // namespace tools
