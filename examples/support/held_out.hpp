// A model in training on held-out tokens: share of right answers, and how early its output is decided.
// Assumes sets of held_out_sets.hpp. Overlap: spec and paper in metrics/overlap.hpp.
#pragma once

#include <algorithm>

#include "depthgrow/growth/layer_order.hpp"
#include "depthgrow/metrics/overlap.hpp"
#include "depthgrow/train/trainer.hpp"
#include "support/held_out_sets.hpp"

namespace tools {

/// The layers that the model runs now, one by one.
template <class T, class Backend, class Optimizer>
std::vector<std::size_t> layers_now(const dg::trainer<T, Backend, Optimizer>& trainer) {
    if (!trainer.run_order().empty()) return trainer.run_order();
    return dg::layer_order::identity(trainer.model.layers()).sources();
}

/// Share of questions whose every answer token is the model's first choice; about `rows` tokens run at a time.
template <class T, class Backend, class Optimizer>
double accuracy(dg::trainer<T, Backend, Optimizer>& trainer, const question_set& set, std::size_t rows) {
    Backend& backend = trainer.model.backend();
    const std::size_t length = set.length, at_once = std::max<std::size_t>(1, rows / length);
    std::size_t right = 0;
    for (std::size_t first = 0; first < set.questions; first += at_once) {
        const std::size_t count = std::min(at_once, set.questions - first);
        const dg::span<const dg::token> inputs(set.inputs.data() + first * length, count * length),
            targets(set.targets.data() + first * length, count * length);
        const auto ids = dg::tensor<dg::token, Backend>::from_host(backend, {inputs.size()}, inputs),
                   wanted = dg::tensor<dg::token, Backend>::from_host(backend, {targets.size()}, targets);
        const auto scores =
            dg::score_tokens(trainer.model, trainer.workspace(), ids.flat(), wanted.flat(), count, trainer.run_order());
        for (std::size_t q = 0; q < count; ++q) {
            bool all = true;
            for (std::size_t t = q * length; t < (q + 1) * length; ++t)
                all = all && (targets[t] < 0 || targets[t] == scores.best[t]);
            right += all ? 1 : 0;
        }
    }
    return static_cast<double>(right) / static_cast<double>(set.questions);
}

/// Top-5 overlap of the logit lens at the last layer's input with the head, over at most 16 of the windows, of every
/// source as many as the others where it has them.
template <class T, class Backend, class Optimizer>
double late_overlap(dg::trainer<T, Backend, Optimizer>& trainer, const held_out_windows& set) {
    const auto all = layers_now(trainer);
    if (all.size() < 2) return 1;
    Backend& backend = trainer.model.backend();
    const std::size_t length = set.inputs.size() / set.windows, vocab = trainer.model.config().vocab;
    const std::size_t rows = std::min({std::size_t{16}, set.windows, std::max<std::size_t>(1, 8192 / length)}),
                      tokens = rows * length;
    const auto ids = dg::tensor<dg::token, Backend>::from_host(backend, {tokens}, first_windows(set, rows));
    const auto host = [&](dg::span<const std::size_t> order) {
        const auto out = dg::logits(trainer.model, trainer.workspace(), ids.flat(), rows, order);
        std::vector<T> values(out.size());
        backend.template to_host<T>(out.data, values.data(), values.size());
        return std::vector<float>(values.begin(), values.end());
    };
    const auto full = host(all), lens = host(dg::span<const std::size_t>(all).subspan(0, all.size() - 1));
    double sum = 0;
    for (std::size_t t = 0; t < tokens; ++t)
        sum += dg::top_k_overlap(dg::span<const float>(lens.data() + t * vocab, vocab),
                                 dg::span<const float>(full.data() + t * vocab, vocab), 5);
    return sum / static_cast<double>(tokens);
}

}  // namespace tools
