// What goes into a batched decoder and what comes out, as plain numbers on the host.
// Assumes nothing of models or backends, so that code behind a wall can pass them on.
// Used by row_scores.hpp and batched_decoder.hpp.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "depthgrow/backend/contract.hpp"

namespace depthgrow {

/// Of each row, in nats: the log-likelihood of what follows (0 where that is -1) and of the likeliest token. Where the
/// two tokens are one, the two numbers are the same bits.
struct row_scores {
    std::vector<double> of_following, of_best;
    std::vector<token> best;
    std::vector<char> finite;  // whether all logits of the row are; else its numbers mean nothing
};

/// Tokens that one sequence takes in together.
struct token_piece {
    std::optional<std::size_t> sequence;  // none: a whole sequence of which nothing is kept
    span<const token> ids;
    span<const token> following;  // for scores: what follows each of the ids, -1 where unknown; empty: no scores
    bool logits = false;          // whether those after the last of the ids are wanted
    bool choice = false;          // whether the likeliest token there is wanted, which may spare their way to the host
};

/// What came of a piece.
struct piece_results {
    row_scores scores;           // of every id, when asked for
    std::vector<double> logits;  // (V), when asked for
    token best = 0;              // the likeliest token, when a choice was asked for
    double of_best = 0;          // and its log-likelihood
    bool finite = true;          // whether all logits that were computed for it are
};

}  // namespace depthgrow
