// Patterns that split text, matched as Oniguruma does: the first alternative that fits, repeats as long as can be.
// Assumes the part of that syntax which tokenizers use: literals, classes, \p{..}, \s, \d, groups, (?i:..) of ASCII,
// ? * + {n,m} of a character and ? of a group, possessive forms, (?!c). Anything else is refused, not approximated.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/io/tokenizers/pattern_parser.hpp"

namespace depthgrow {

class pattern {
public:
    static constexpr std::size_t none = std::string_view::npos;

    /// Of a regular expression; `file` names where it stands in errors.
    static pattern regex(std::string_view source, const std::string& file) {
        detail::pattern_parser parser(source, file);
        const auto choices = parser.parse();
        pattern made;
        made.sets_ = parser.take_sets();
        made.nodes_.push_back({});  // accept
        made.start_ = made.compile(choices, 0);
        require(made.nodes_.size() < 1000, file, ": expected a pattern of fewer than 1000 parts, found ",
                made.nodes_.size());
        for (std::size_t i = 0; i < made.nodes_.size(); ++i) made.find_starts(i);
        return made;
    }
    /// Of a text that stands for itself.
    static pattern literal(std::string text, const std::string& file) {
        require(!text.empty(), file, ": expected a pattern of at least one character, found an empty one");
        pattern made;
        made.literal_ = std::move(text);
        return made;
    }

    /// found(begin, end) for every match, from the left.
    template <class Found> void each(std::string_view text, Found found) const {
        if (!literal_.empty()) {
            for (std::size_t i = 0; (i = text.find(literal_, i)) != text.npos; i += literal_.size())
                found(i, i + literal_.size());
            return;
        }
        matcher match{*this, text, 1'000'000 + 1000 * static_cast<std::uint64_t>(text.size())};
        for (std::size_t i = 0; i < text.size();) {
            const std::size_t end = may_start(start_, text, i) ? match.from(start_, i) : none;
            if (end != none) found(i, end), i = end;
            else i += length_at(text, i);
        }
    }

private:
    enum class node_kind : std::uint8_t { accept, set, not_followed_by, choice };
    struct node {
        node_kind kind = node_kind::accept;
        bool possessive = false;
        std::size_t set = 0, least = 1, most = 1, next = 0;
        std::vector<std::size_t> branches;
        std::array<bool, 129> starts{};  // ASCII characters that may stand here; the last: any other, or the end
    };

    struct matcher {
        const pattern& of;
        std::string_view text;
        std::uint64_t budget;  // no pattern of a file may take for ever

        /// End of the match of node `n` and all after it; `none` when there is none. Depth is that of the pattern.
        std::size_t from(std::size_t n, std::size_t i) {
            for (;;) {
                const node& here = of.nodes_[n];
                if (here.kind == node_kind::accept) return i;
                if (here.kind == node_kind::choice) {
                    for (std::size_t branch : here.branches)
                        if (of.may_start(branch, text, i))
                            if (const std::size_t end = from(branch, i); end != none) return end;
                    return none;
                }
                const character_set& set = of.sets_[here.set];
                if (here.kind == node_kind::not_followed_by) {
                    if (i < text.size() && set.contains(code_at(text, i))) return none;
                    n = here.next;
                    continue;
                }
                std::size_t count = 0, end = i;
                while (count < here.most && end < text.size()) {
                    const auto byte = static_cast<unsigned char>(text[end]);
                    std::size_t length = 1;
                    if (byte < 128 ? !set.contains_ascii(byte) : !set.contains(detail::decode_utf8(text, end, length)))
                        break;
                    end += length, ++count;
                }
                if (count < here.least) return none;
                if (count > here.least && !here.possessive) {
                    for (; count > here.least; --count) {
                        spend();
                        if (of.may_start(here.next, text, end))
                            if (const std::size_t found = from(here.next, end); found != none) return found;
                        end -= character_before(text, end).length;
                    }
                }
                i = end, n = here.next;
            }
        }
        void spend() {
            require(budget-- > 0,
                    "[pattern] expected a pattern that splits text in reasonable time, got one that does not");
        }
    };

    static char32_t code_at(std::string_view text, std::size_t i) {
        std::size_t length = 1;
        return detail::decode_utf8(text, i, length);
    }
    static std::size_t length_at(std::string_view text, std::size_t i) {
        std::size_t length = 1;
        detail::decode_utf8(text, i, length);
        return length;
    }
    bool may_start(std::size_t n, std::string_view text, std::size_t i) const {
        const std::size_t byte = i < text.size() ? static_cast<unsigned char>(text[i]) : 128;
        return nodes_[n].starts[byte < 128 ? byte : 128];
    }

    /// The node of alternatives followed by node `next`.
    std::size_t compile(const detail::pattern_choices& choices, std::size_t next) {
        std::vector<std::size_t> branches;
        for (const auto& sequence : choices) {
            std::size_t after = next;
            for (std::size_t i = sequence.size(); i-- > 0;) after = compile(sequence[i], after);
            branches.push_back(after);
        }
        if (branches.size() == 1) return branches[0];
        node made;
        made.kind = node_kind::choice;
        made.branches = std::move(branches);
        return add(std::move(made));
    }
    std::size_t compile(const detail::pattern_part& part, std::size_t next) {
        node made;
        made.next = next;
        if (part.kind == detail::pattern_part::group) {
            const std::size_t inside = compile(part.choices, next);
            if (part.least == 1) return inside;
            made.kind = node_kind::choice;
            made.branches = {inside, next};
            return add(std::move(made));
        }
        made.kind = part.kind == detail::pattern_part::set ? node_kind::set : node_kind::not_followed_by;
        made.set = part.set_index, made.least = part.least, made.most = part.most, made.possessive = part.possessive;
        return add(std::move(made));
    }
    std::size_t add(node made) {
        nodes_.push_back(std::move(made));
        return nodes_.size() - 1;
    }
    /// What may stand where a node begins; nodes that follow it come before it in the list.
    void find_starts(std::size_t n) {
        node& here = nodes_[n];
        const auto join = [&](std::size_t other) {
            for (std::size_t c = 0; c < here.starts.size(); ++c)
                here.starts[c] = here.starts[c] || nodes_[other].starts[c];
        };
        if (here.kind == node_kind::accept) here.starts.fill(true);
        for (std::size_t branch : here.branches) join(branch);
        if (here.kind == node_kind::not_followed_by) join(here.next);
        if (here.kind != node_kind::set) return;
        for (unsigned char c = 0; c < 128; ++c) here.starts[c] = sets_[here.set].contains_ascii(c);
        here.starts[128] = true;
        if (here.least == 0) join(here.next);
    }

    std::string literal_;  // not empty: a text, no regular expression
    std::vector<character_set> sets_;
    std::vector<node> nodes_;
    std::size_t start_ = 0;
};

}  // namespace depthgrow
