// Intervention sweeps: the loss under every skip, swap, reversal and loop of given lengths, beside the clean loss.
// Assumes prompts without padding; an order that begins like the model's own starts from the clean run's residual
// there. Kinds and lengths: Kapl et al. 2025 (arXiv 2512.08819), figures 3 and 9; loops, Kapl et al. 2026, figure 6.
// Chosen: a swap exchanges adjacent blocks and keeps the order inside them; a loop repeats on top of the one ordinary
// run.
#pragma once

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

/// Sums of next-token losses of one sequence under several orders.
template <class T, class Backend, decoder_model Model = decoder<T, Backend>> class order_runner {
public:
    explicit order_runner(const Model& model) : model_(model), backend_(model.backend()), tape_(model.backend()) {}

    std::vector<double> operator()(span<const token> tokens, span<const layer_order> orders) {
        const std::size_t length = tokens.size(), width = model_.config().width, L = model_.layers();
        ids_ = tensor<token, Backend>::from_host(backend_, {length}, tokens);
        std::vector<token> next(tokens.begin() + 1, tokens.end());
        next.push_back(-1);
        targets_ = tensor<token, Backend>::from_host(backend_, {length}, next);
        weights_ = tensor<wide_t<T>, Backend>::filled(backend_, {length}, 1);
        if (clean_.size() < L * length * width) clean_ = tensor<T, Backend>(backend_, {L * length, width});
        tape_.start(false);
        model_.residual(tape_, ids_.flat(), 1, nullptr, {}, [&](site where, std::size_t slot, matrix<T> h) {
            if (where == site::resid_pre) backend_.template copy<T>(h.data, clean_.rows().row(slot * length), h.size());
        });
        std::vector<double> sums;
        for (const layer_order& order : orders) sums.push_back(loss_sum(order, length));
        return sums;
    }

private:
    double loss_sum(const layer_order& order, std::size_t length) {
        std::size_t same = 0;
        while (same + 1 < std::min(order.size(), model_.layers()) && order[same] == same) ++same;
        tape_.start(false);
        const auto h = tape_.make(length, model_.config().width);
        backend_.template copy<T>(clean_.rows().row(same * length), h.value.data, h.value.size());
        residual_stream<T> stream{h, {}};
        const auto extents = model_.extents(length, 1);
        for (std::size_t slot = same; slot < order.size(); ++slot) {
            stream = model_.attention_sublayer(tape_, stream, order[slot], slot, extents, nullptr);
            stream = model_.mlp_sublayer(tape_, stream, order[slot], slot, nullptr);
        }
        const auto last = add_pending(tape_, stream);
        const auto losses = ops::linear_cross_entropy(tape_, model_.final_norm(tape_, last, nullptr), model_.head(),
                                                      targets_.flat(), weights_.flat());
        std::vector<wide_t<T>> host(length);
        backend_.template to_host<wide_t<T>>(losses.data(), host.data(), length);
        double sum = 0;
        for (wide_t<T> value : host) sum += static_cast<double>(value);
        require(std::isfinite(sum), "[sweep] expected a finite loss, got NaN or infinity under the order ",
                order.to_string());
        return sum;
    }

    const Model& model_;
    Backend& backend_;
    tape<T, Backend> tape_;
    tensor<token, Backend> ids_, targets_;
    tensor<wide_t<T>, Backend> weights_;
    tensor<T, Backend> clean_;  // (L * T, C): what enters every layer
};

}  // namespace detail

/// Mean next-token losses (nats) over all predictions of all prompts: one column an order. The ranks of `comm` share
/// the prompts.
template <decoder_model Model, class T = typename Model::number, class Backend = typename Model::backend_type>
sample_table order_losses(const Model& model, span<const prompt> prompts, const std::vector<layer_order>& orders,
                          const bootstrap_options& bootstrap = {}, communicator& comm = no_other_ranks()) {
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
    const auto measure = [&](std::size_t p, span<double> row) {
        const auto sums = run(prompts[p].tokens, orders);
        std::copy(sums.begin(), sums.end(), row.begin());
    };
    share_out(comm, prompts.size(), orders.size(), measure, [&](std::size_t p, span<const double> row) {
        out.add(row, static_cast<double>(prompts[p].tokens.size() - 1));
    });
    return out;
}

}  // namespace depthgrow
