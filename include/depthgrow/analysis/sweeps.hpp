// Intervention sweeps: the loss under every skip, swap, reversal and loop of given lengths, beside the clean loss.
// Assumes prompts without padding; those of one length run together; an order that begins like the model's own starts
// from the clean run's residual there. Kinds and lengths: Kapl et al. 2025 (arXiv 2512.08819), figures 3 and 9; loops,
// Kapl et al. 2026, figure 6. Chosen: a swap exchanges adjacent blocks and keeps the order inside them; a loop repeats
// on top of the one ordinary run.
#pragma once

#include <numeric>
#include <string>
#include <vector>

#include "depthgrow/analysis/prompts.hpp"
#include "depthgrow/analysis/samples.hpp"
#include "depthgrow/analysis/shared_prompts.hpp"
#include "depthgrow/growth/operators.hpp"
#include "depthgrow/nn/forward.hpp"

namespace depthgrow {

/// One intervention and the order that runs it.
struct intervention {
    std::string kind;  // "skip", "swap", "reverse", "loop"
    std::size_t length = 0, start = 0, times = 0;
    layer_order order;
};

/// Every legal start of a kind at a length; none when the length does not fit.
inline std::vector<intervention> interventions(const std::string& kind, std::size_t length, std::size_t depth,
                                               std::size_t times = 1) {
    require(kind == "skip" || kind == "swap" || kind == "reverse" || kind == "loop",
            "[interventions] expected skip, swap, reverse or loop, got ", kind);
    require(length > 0, "[interventions] expected a length of at least 1, got 0");
    const std::size_t taken = kind == "swap" ? 2 * length : length;
    std::vector<intervention> out;
    for (std::size_t start = 0; start + taken <= depth; ++start) {
        if (kind == "skip" && length == depth) break;  // nothing would be left
        layer_order order = kind == "skip"      ? skip(depth, start, length)
                            : kind == "swap"    ? swap_blocks(depth, start, length)
                            : kind == "reverse" ? reverse(depth, start, length)
                                                : loop(depth, start, length, times);
        out.push_back({kind, length, start, kind == "loop" ? times : 0, std::move(order)});
    }
    return out;
}

/// The paper's: skip and swap with 1, 2, 4, 8; reverse 4; loop 4 with 1 to 4 extra repetitions.
inline std::vector<intervention> standard_interventions(std::size_t depth) {
    std::vector<intervention> out;
    const auto append = [&](std::vector<intervention> more) { out.insert(out.end(), more.begin(), more.end()); };
    for (const char* kind : {"skip", "swap"})
        for (std::size_t length : {1u, 2u, 4u, 8u}) append(interventions(kind, length, depth));
    append(interventions("reverse", 4, depth));
    for (std::size_t times : {1u, 2u, 3u, 4u}) append(interventions("loop", 4, depth, times));
    return out;
}

namespace detail {

/// Weighted sums of next-token losses of sequences under several orders.
template <class T, class Backend, decoder_model Model = decoder<T, Backend>> class order_runner {
public:
    explicit order_runner(const Model& model) : model_(model), backend_(model.backend()), tape_(model.backend()) {}

    /// sums: (prompts, orders). The prompts have one length and run together.
    void operator()(span<const prompt> prompts, span<const layer_order> orders, span<double> sums) {
        const std::size_t length = prompts[0].tokens.size(), rows = prompts.size() * length,
                          width = model_.config().width, L = model_.layers();
        std::vector<token> all, next;
        all.reserve(rows), next.reserve(rows);
        for (const prompt& one : prompts) {
            all.insert(all.end(), one.tokens.begin(), one.tokens.end());
            next.insert(next.end(), one.tokens.begin() + 1, one.tokens.end());
            next.push_back(-1);
        }
        ids_ = tensor<token, Backend>::from_host(backend_, {rows}, all);
        targets_ = tensor<token, Backend>::from_host(backend_, {rows}, next);
        ones_ = tensor<wide_t<T>, Backend>::filled(backend_, {rows}, 1);
        if (clean_.size() < L * rows * width) {
            clean_ = tensor<T, Backend>{};  // before the larger one
            clean_ = tensor<T, Backend>(backend_, {L * rows, width});
        }
        tape_.start(false);
        model_.residual(tape_, ids_.flat(), prompts.size(), nullptr, {},
                        [&](site where, std::size_t slot, matrix<T> h) {
                            if (where == site::resid_pre)
                                backend_.template copy<T>(h.data, clean_.rows().row(slot * rows), h.size());
                        });
        std::vector<std::vector<double>> weights;
        for (const prompt& one : prompts) weights.push_back(prediction_weights(one));
        for (std::size_t o = 0; o < orders.size(); ++o) {
            const auto losses = losses_under(orders[o], prompts.size(), rows);
            for (std::size_t p = 0; p < prompts.size(); ++p) {
                double sum = 0;
                for (std::size_t t = 0; t + 1 < length; ++t)
                    sum += weights[p][t] * static_cast<double>(losses[p * length + t]);
                require(std::isfinite(sum), "[sweep] expected a finite loss, got NaN or infinity under the order ",
                        orders[o].to_string());
                sums[p * orders.size() + o] = sum;
            }
        }
    }

private:
    /// Of every position, (rows): 0 at the last one of each sequence.
    std::vector<wide_t<T>> losses_under(const layer_order& order, std::size_t batch, std::size_t rows) {
        std::size_t same = 0;
        while (same + 1 < std::min(order.size(), model_.layers()) && order[same] == same) ++same;
        tape_.start(false);
        const auto h = tape_.make(rows, model_.config().width);
        backend_.template copy<T>(clean_.rows().row(same * rows), h.value.data, h.value.size());
        residual_stream<T> stream{h, {}};
        const auto extents = model_.extents(rows, batch);
        for (std::size_t slot = same; slot < order.size(); ++slot) {
            stream = model_.attention_sublayer(tape_, stream, order[slot], slot, extents, nullptr);
            stream = model_.mlp_sublayer(tape_, stream, order[slot], slot, nullptr);
        }
        const auto last = add_pending(tape_, stream);
        const auto losses = ops::linear_cross_entropy(tape_, model_.final_norm(tape_, last, nullptr), model_.head(),
                                                      targets_.flat(), ones_.flat());
        std::vector<wide_t<T>> host(rows);
        backend_.template to_host<wide_t<T>>(losses.data(), host.data(), rows);
        return host;
    }

    const Model& model_;
    Backend& backend_;
    tape<T, Backend> tape_;
    tensor<token, Backend> ids_, targets_;
    tensor<wide_t<T>, Backend> ones_;  // the operator's weights, which scale gradients alone
    tensor<T, Backend> clean_;         // (L * rows, C): what enters every layer
};

/// Prompts next to each other, of one length, four of them and `max_rows` tokens at most (one prompt at least): few, so
/// that ranks have batches to share.
inline std::vector<item_range> batches_of(span<const prompt> prompts, std::size_t max_rows) {
    constexpr std::size_t most = 4;
    std::vector<item_range> out;
    for (std::size_t p = 0; p < prompts.size(); ++p) {
        const std::size_t length = prompts[p].tokens.size();
        if (!out.empty() && prompts[out.back().first].tokens.size() == length && out.back().count < most &&
            (out.back().count + 1) * length <= max_rows)
            ++out.back().count;
        else out.push_back({p, 1});
    }
    return out;
}

}  // namespace detail

/// Mean next-token losses (nats) over all predictions of all prompts, by the prompts' weights: one column an order. The
/// ranks of `comm` share the prompts. At most `max_rows` tokens run together, which small models on a GPU gain from;
/// one prompt always does.
template <decoder_model Model, class T = typename Model::number, class Backend = typename Model::backend_type>
sample_table order_losses(const Model& model, span<const prompt> prompts, const std::vector<layer_order>& orders,
                          const bootstrap_options& bootstrap = {}, communicator& comm = no_other_ranks(),
                          std::size_t max_rows = 16384) {
    require(!prompts.empty(), "[sweep] expected at least 1 prompt, got 0");
    for (std::size_t p = 0; p < prompts.size(); ++p)
        detail::check_prompt(prompts[p], p, model.config().context, model.config().vocab);
    for (const layer_order& order : orders) {
        require(!order.empty(), "[sweep] expected an order of at least 1 layer, got none");
        require(order.source_depth() == model.layers(), "[sweep] expected an order of ", model.layers(),
                " layers, got one of ", order.source_depth());
    }
    sample_table out(orders.size(), prompts.size(), bootstrap);
    detail::order_runner<T, Backend, Model> run(model);
    const auto batches = detail::batches_of(prompts, max_rows);
    std::size_t largest = 0;
    for (const auto& batch : batches) largest = std::max(largest, batch.count);
    const auto measure = [&](std::size_t b, span<double> sums) {
        run(prompts.subspan(batches[b].first, batches[b].count), orders, sums);
    };
    share_out(comm, batches.size(), orders.size() * largest, measure, [&](std::size_t b, span<const double> sums) {
        for (std::size_t p = 0; p < batches[b].count; ++p) {
            const auto weights = detail::prediction_weights(prompts[batches[b].first + p]);
            out.add(sums.subspan(p * orders.size(), orders.size()),
                    std::accumulate(weights.begin(), weights.end(), 0.0));
        }
    });
    return out;
}

}  // namespace depthgrow
