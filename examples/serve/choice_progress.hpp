// One choice of an answer while it grows: its tokens, its text, where that ends, and what of it a stream may send.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <vector>

#include "depthgrow/analysis/batched_pieces.hpp"
#include "depthgrow/io/unicode.hpp"
#include "serve/completions.hpp"

namespace tools {

class choice_progress {
public:
    /// Choice `index` of `request`, of prompt index / n; `ends` are the model's tokens that end a text.
    choice_progress(const completion_request& request, std::size_t index, const std::vector<std::int32_t>& ends,
                    const text_tokens& text)
        : request_(request), index_(index), ends_(ends), text_(text), counts_(prompt()), random_(request.seed, index) {
        choice_.prompt_tokens = prompt().size();
        early_ends_ = request.stop_token_ids;  // not before min_tokens
        if (!request.ignore_eos) early_ends_.insert(early_ends_.end(), ends.begin(), ends.end());
    }

    std::size_t index() const { return index_; }
    const std::vector<std::int32_t>& prompt() const { return request_.prompts[index_ / request_.n]; }
    const completion_choice& choice() const { return choice_; }

    /// The prompt as a part of the answer, with the scores of what follows each of its tokens.
    void echo(const depthgrow::row_scores& scores) {
        choice_.echoed = true;
        choice_.tokens = prompt();
        const auto behind_the_first = [&](const auto& from, auto first) {
            auto out = from;
            out.back() = first;  // what follows the prompt is not its own
            std::rotate(out.begin(), out.end() - 1, out.end());
            return out;
        };
        choice_.of_token = behind_the_first(scores.of_following, 0.0);
        choice_.of_best = behind_the_first(scores.of_best, 0.0);
        choice_.best = behind_the_first(scores.best, -1);
        choice_.text = text_.decode(prompt());
        stop_from_ = choice_.text.size();
    }
    /// Whether the next token is the model's likeliest one whatever else the logits are.
    bool takes_likeliest() const {
        return request_.sampling.temperature == 0 && !request_.sampling.changes_logits() && !bans();
    }
    /// Draws the next token by what came of the last piece, its choice and, unless that is taken, its logits. Touches
    /// nothing but this choice: others may draw meanwhile.
    void draw(const depthgrow::piece_results& results) {
        drawn_ = results.best;
        if (takes_likeliest()) return;
        if (request_.sampling.changes_logits() || bans()) {
            auto changed = results.logits;
            change_logits(changed, request_.sampling, counts_, bans() ? early_ends_ : std::vector<std::int32_t>());
            drawn_ = choose_token(changed, request_.sampling, random_);
        } else {
            drawn_ = choose_token(results.logits, request_.sampling, random_);
        }
    }
    /// Adds the token drawn by these results; true when this choice ends with it. Log-likelihoods are the model's own.
    bool add(const depthgrow::piece_results& results) {
        const std::int32_t token = drawn_;
        double of_token = results.of_best;
        const auto logit = [&](std::int32_t id) { return results.logits[static_cast<std::size_t>(id)]; };
        if (token != results.best) of_token += logit(token) - logit(results.best);
        counts_.add(token);
        ++choice_.completion_tokens;
        choice_.tokens.push_back(token), choice_.best.push_back(results.best);
        choice_.of_token.push_back(of_token), choice_.of_best.push_back(results.of_best);
        const bool ended = say(token);
        return ended || choice_.completion_tokens == request_.max_tokens;
    }

    /// What a stream may send by now, if anything: all of it at the end; before, no text that may become a stop text,
    /// and tokens only up to the end of a character.
    std::optional<stream_part> unsent(bool last) {
        std::vector<std::string> pieces;
        for (std::size_t t = sent_tokens_; t < choice_.tokens.size(); ++t)
            pieces.push_back(text_.decode({&choice_.tokens[t], 1}));
        std::string all;
        for (const auto& piece : pieces) all += piece;
        if (!last &&
            (pieces.empty() || depthgrow::unfinished_utf8(all) > 0 || depthgrow::unfinished_utf8(choice_.text) > 0))
            return {};
        stream_part part{index_, {}, last};
        auto& out = part.choice;
        const std::size_t until = last ? choice_.text.size() : choice_.text.size() - may_become_stop();
        if (until > sent_text_) out.text = choice_.text.substr(sent_text_, until - sent_text_);
        const auto rest = [&](const auto& list) {
            return std::decay_t<decltype(list)>(list.begin() + static_cast<std::ptrdiff_t>(sent_tokens_), list.end());
        };
        out.tokens = rest(choice_.tokens), out.best = rest(choice_.best);
        out.of_token = rest(choice_.of_token), out.of_best = rest(choice_.of_best);
        out.echoed = choice_.echoed && sent_tokens_ == 0;
        out.finish = choice_.finish;
        out.completion_tokens = choice_.completion_tokens - sent_completion_;
        out.characters_before = sent_characters_;
        pieces.emplace_back();
        sent_characters_ += text_offsets(pieces).back();
        sent_completion_ = choice_.completion_tokens;
        sent_text_ = std::max(sent_text_, until), sent_tokens_ = choice_.tokens.size();
        return part;
    }

private:
    bool too_early() const { return choice_.completion_tokens < request_.min_tokens; }
    bool bans() const { return too_early() && !early_ends_.empty(); }
    /// Adds a token to the text; true when the text ends there.
    bool say(std::int32_t token) {
        const auto among = [&](const std::vector<std::int32_t>& list) {
            return std::find(list.begin(), list.end(), token) != list.end();
        };
        bool ended = (!request_.ignore_eos && among(ends_)) || among(request_.stop_token_ids);
        if (!ended) choice_.text += text_.decode({&token, 1});
        if (too_early()) {  // stop texts until here are none
            stop_from_ = choice_.text.size();
            return false;
        }
        std::size_t cut = choice_.text.npos;
        for (const auto& stop : request_.stop) cut = std::min(cut, choice_.text.find(stop, stop_from_));
        if (cut != choice_.text.npos) choice_.text.resize(cut), ended = true;
        else stop_from_ = choice_.text.size() - may_become_stop();
        if (ended) choice_.finish = "stop";
        return ended;
    }
    /// Bytes at the text's end that are the beginning of a stop text.
    std::size_t may_become_stop() const {
        const std::string_view said = std::string_view(choice_.text).substr(stop_from_);
        std::size_t most = 0;
        for (const std::string_view stop : request_.stop)
            for (std::size_t n = std::min(said.size(), stop.size() - 1); n > most; --n)
                if (said.substr(said.size() - n) == stop.substr(0, n)) most = n;
        return most;
    }
    const completion_request& request_;
    std::size_t index_;
    const std::vector<std::int32_t>& ends_;
    const text_tokens& text_;
    token_counts counts_;
    depthgrow::rng random_;
    std::int32_t drawn_ = -1;
    std::vector<std::int32_t> early_ends_;
    completion_choice choice_;
    std::size_t stop_from_ = 0;  // where in the text a stop text may begin
    std::size_t sent_text_ = 0, sent_tokens_ = 0, sent_completion_ = 0, sent_characters_ = 0;
};

}  // namespace tools
