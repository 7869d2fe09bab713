// One model in training: the optimiser step over micro-batches, growth with optimiser state, and what went wrong.
// Assumes host batches of B sequences of T tokens, row-major; targets of -1 carry no loss. The caller owns the loop.
// Several ranks are all given the same whole batches: each runs its rows and updates its share (ZeRO, stage 1).
// Growth: Kapl et al. 2025, section 3: layers and the optimiser's state are copied, the step count and rate go on.
#pragma once

#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "depthgrow/backend/planning.hpp"
#include "depthgrow/backend/replay.hpp"
#include "depthgrow/core/token_batch.hpp"
#include "depthgrow/growth/grow.hpp"
#include "depthgrow/nn/forward.hpp"
#include "depthgrow/optim/adamw.hpp"
#include "depthgrow/train/exchange.hpp"

namespace depthgrow {

/// Host tokens of one optimiser step: B sequences of T inputs, their targets and the targets' weights, (B, T) each.
struct training_batch {
    span<const token> inputs, targets;
    span<const float> weights;
    std::size_t sequences = 0;  // B
    std::size_t length() const { return inputs.size() / sequences; }
};

/// A growth, and the optimiser steps done before it.
struct recorded_growth {
    growth how;
    std::size_t step = 0;
};

struct step_result {
    double loss = 0;           // weighted mean, nats
    double gradient_norm = 0;  // before the clip
    bool skipped = false;      // its gradient norm was above that of skip_above(): nothing changed
};

/// Bytes of working memory that a pass forward and back over `sequences` of `length` tokens takes, by doing it on
/// paper.
template <class T, class Planning>
std::size_t workspace_bytes(const decoder_config& config, std::size_t sequences, std::size_t length,
                            std::size_t head_rows, bool recompute = false) {
    Planning counter(head_rows);
    const decoder<T, Planning> model(counter, config);
    parameter_set<wide_t<T>, Planning> gradients(counter, config, config.layers);
    tape<T, Planning> tape(counter);
    tape.recompute(recompute);
    const std::vector<token> ids(sequences * length, 0);
    const std::vector<wide_t<T>> weights(ids.size(), 0);
    token_losses<T, Planning>(model, tape, ids, ids, weights, sequences, &gradients);
    return tape.memory().bytes_used();
}

template <class T, class Backend, class Optimizer = adamw<T, Backend>> class trainer {
public:
    static_assert(optimizer_for<Optimizer, T, Backend>,
                  "depthgrow: a trainer needs an optimiser with every member of optim/optimizer.hpp");
    using set = parameter_set<wide_t<T>, Backend>;
    using constants_type = typename Optimizer::constants_type;
    /// Whether weights have master copies in the wide type.
    static constexpr bool mixed = !std::is_same_v<T, wide_t<T>>;

    /// A fresh model of config.layers layers; `final_layers` is the depth it will grow to.
    trainer(Backend& backend, const decoder_config& config, std::uint64_t seed, std::size_t final_layers,
            constants_type constants = {}, communicator& comm = no_other_ranks())
        : trainer(backend, config, constants, comm) {
        draw_model<wide_t<T>>(config, seed, final_layers, [&](std::size_t block, const std::vector<wide_t<T>>& values) {
            assign_block(block_of(model.weights, block), values);
            if constexpr (mixed) assign_share(block_of(master, block), values, shards_);
        });
    }
    /// Zero weights and moments, to be loaded.
    trainer(Backend& backend, const decoder_config& config, constants_type constants = {},
            communicator& comm = no_other_ranks())
        : model(backend, config, sharding(comm)),
          optimizer(backend, config, constants, comm),
          comm_(&comm),
          shards_(comm),
          exchange_(comm),
          tape_(backend),
          outer_layout_(outer_layout(config)),
          layer_layout_(layer_layout(config)) {
        gradients = set(backend, shards_.padded(outer_layout_.size), shards_.padded(layer_layout_.size), config.layers);
        if constexpr (mixed) master = detail::state_of<set>(backend, config, shards_);
    }

    /// Layers that steps and losses run; empty: all, once. A layer named twice is shared and its gradients add up:
    /// looped models and retrofitted recurrence (Kapl et al. 2026, arXiv 2602.16490). Growth resets it.
    void run_order(std::vector<std::size_t> order) {
        for (std::size_t source : order)
            require(source < model.layers(), "[trainer] expected layer indices below ", model.layers(),
                    " in the order, got ", source);
        order_ = std::move(order);
        ++moves_;
    }
    const std::vector<std::size_t>& run_order() const { return order_; }

    /// Whether steps keep only the residual entering each layer and compute the layer again in the backward pass: the
    /// activations of one layer in memory instead of all, for about one more forward pass.
    void recompute(bool on) {
        tape_.recompute(on);
        tape_.memory().release();
        reserved_for_ = {};
        ++moves_;
    }

    /// Steps whose gradient norm is above `norm` change neither weights nor the optimiser's state, though they count;
    /// 0: none are. train/outliers.hpp finds such a norm.
    void skip_above(double norm) { skip_above_ = norm; }

    /// One optimiser step in micro-batches of `micro` sequences a rank. A loss or gradient that is not finite changes
    /// nothing.
    step_result step(const training_batch& batch, std::size_t micro, double rate) {
        start(batch, micro, rate);
        return finish();
    }
    /// The same in two halves: `start` hands the work to the backend, `finish` waits for it. `batch` may change
    /// between.
    void start(const training_batch& batch, std::size_t micro, double rate) {
        const std::size_t length = batch.length(), sequences = batch.sequences / shards_.ranks;
        require(micro > 0 && batch.sequences % shards_.ranks == 0 && sequences % micro == 0,
                "[trainer] expected the micro-batch to divide the batch of ", batch.sequences, " on ", shards_.ranks,
                " ranks, got ", micro);
        const double total = total_weight(batch);
        require(total > 0, "[trainer] expected a batch with a positive total weight, got ", total);
        to_device(batch, 1 / total);
        optimizer.prepare(rate, skip_above_);
        reserve_workspace(micro, length);
        replay_(model.backend(), {sequences, length, micro, tape_.memory().generation(), moves_}, [&] {
            if (order_.empty()) clear_sums();
            else gradients.set_zero();  // a layer may be named twice, or not at all
            gradients.fresh = order_.empty();
            for (std::size_t first = 0; first < sequences; first += micro) {
                if (first + micro == sequences) exchange_.watch(gradients, order_);
                pass(first * length, micro, length, &gradients);
                gradients.fresh = false;
            }
            exchange_.finish(gradients);
            const auto blocks = trained_blocks();
            optimizer.measure(blocks);
            exchange_.gather(model.weights,
                             [&](std::size_t from, std::size_t to) { optimizer.update(blocks, from, to); });
        });
    }
    step_result finish() {
        const double loss = mean_loss(), norm = optimizer.gradient_norm();
        return {loss, norm, skip_above_ > 0 && norm > skip_above_};
    }
    /// One optimiser step on rows as training data gives them, `micro` of them at a time (0: all at once).
    step_result step(const token_batch& rows, double rate, std::size_t micro = 0) {
        return step(prepared(rows), micro ? micro : rows.rows, rate);
    }
    /// Losses of the last step's or loss's tokens that this rank ran (`own_rows`), nats, (B, T); 0 where the weight is.
    span<const wide_t<T>> last_losses() const { return host_losses_; }
    /// Which of a batch's rows this rank runs: all, where there is one.
    sharding::range own_rows(std::size_t rows) const { return shards_.own_rows(rows); }
    communicator& ranks() const { return *comm_; }
    /// The weighted mean loss of rows, without gradients.
    double loss(const token_batch& rows, std::size_t micro = 0) {
        return loss(prepared(rows), micro ? micro : rows.rows);
    }
    /// The weighted mean loss of a batch, without gradients.
    double loss(const training_batch& batch, std::size_t micro, span<const std::size_t> order = {}) {
        const double total = total_weight(batch);
        to_device(batch, 1 / total);
        const std::size_t sequences = own_rows(batch.sequences).count;
        for (std::size_t first = 0; first < sequences; first += micro)
            pass(first * batch.length(), std::min(micro, sequences - first), batch.length(), nullptr, order);
        return mean_loss();
    }

    /// Layers become `order` of themselves, the optimiser's state with them (or zero for the new ones).
    void grow(const layer_order& order, state_policy policy = state_policy::copy) { grow(growth{order, {}, policy}); }
    /// Layers become what `how` says: the same objects, copies, sums, or layers that begin otherwise; the optimiser's
    /// state grows with them. In float the result is, byte for byte, that of grow_directory on a checkpoint of this
    /// trainer. A backend's scales go with the memory of weights: layers that stay keep theirs, new ones begin anew.
    void grow(const growth& how) {
        const decoder_config grown = grown_config(model.config(), how);  // refuses before anything changes
        Backend& backend = model.backend();
        ++moves_;
        order_.clear();
        tape_.memory().release();
        gradients.layers.clear();  // gone before the new layers arrive, so that they cost no extra memory
        model.grow(how);
        const mixture rows = how.rows();
        if constexpr (mixed) master.layers = depthgrow::grow(std::move(master.layers), rows);
        for (std::size_t slot = 0; slot < rows.size(); ++slot) {
            const bool begins = how.begins(slot) && !how.init.is_mixture();
            if (begins || (mixed && !rows.is_copy(slot))) begin_layer(slot, grown, begins ? &how : nullptr);
        }
        optimizer.grow_layers(how);
        const std::size_t size = shards_.padded(layer_layout_.size);
        for (std::size_t l = 0; l < model.layers(); ++l) gradients.layers.emplace_back(backend, size);
        growths.push_back({how, steps()});
        require_alike(model.weights, *comm_);
    }

    /// Optimiser steps done.
    std::size_t steps() const { return static_cast<std::size_t>(optimizer.steps()); }

    /// The first tensor that is not finite, as a phrase: a weight, then an activation of this batch, then a gradient.
    std::string first_bad_tensor(const training_batch& batch, std::size_t micro);

    /// The weights that training updates: the model's own, or their master copies (of which a rank has its shares).
    set& trained() {
        if constexpr (mixed) return master;
        else return model.weights;
    }
    tape<T, Backend>& workspace() { return tape_; }

    decoder<T, Backend> model;
    set master;  // the weights in the wide type, of this rank's shares; empty unless `mixed`
    Optimizer optimizer;
    set gradients;
    std::vector<recorded_growth> growths;  // of this trainer, oldest first

private:
    /// Rows as the two lists that a model reads and should say next.
    training_batch prepared(const token_batch& rows) {
        rows.split(row_inputs_, row_targets_);
        return {row_inputs_, row_targets_, rows.weights, rows.rows};
    }
    /// What the optimiser steps, in shares of every block.
    span<const trained_block<T>> trained_blocks() {
        blocks_.clear();
        for (std::size_t b = 0; b <= model.layers(); ++b) {
            const auto weights = shards_.own(block_of(model.weights, b).flat());
            const span<const wide_t<T>> gradient = shards_.own(block_of(gradients, b).flat());
            if constexpr (mixed) blocks_.push_back({block_of(master, b).flat(), gradient, weights});
            else blocks_.push_back({weights, gradient, {}});
        }
        return blocks_;
    }
    /// Lets a new layer begin as `how` says (null: it is a sum of layers), in the master copy where there is one and
    /// from that, rounded, in the model. Every rank makes the whole layer, and keeps its share.
    void begin_layer(std::size_t slot, const decoder_config& grown, const growth* how) {
        if constexpr (!mixed) {
            begin_block(model.weights.layers[slot], grown, how->init, how->seed, slot);
        } else {
            auto whole = whole_block(master.layers[slot], *comm_);
            if (how) begin_block(whole, grown, how->init, how->seed, slot);
            std::vector<wide_t<T>> values(layer_layout_.size);
            model.backend().template to_host<wide_t<T>>(whole.flat().data(), values.data(), values.size());
            assign_share(master.layers[slot], values, shards_);
            assign_block(model.weights.layers[slot], values);
        }
    }
    static double total_weight(const training_batch& batch) {
        double total = 0;
        for (float w : batch.weights) total += w;
        return total;
    }
    /// One block of working memory for a pass, before the first of its size: memory then never exceeds the plan.
    void reserve_workspace(std::size_t sequences, std::size_t length) {
        const std::array<std::size_t, 3> size{sequences, length, model.layers()};
        if (size == reserved_for_) return;
        std::size_t bytes = workspace_bytes<T, planning_for<Backend, T>>(
            model.config(), sequences, length, head_rows(model.backend()), tape_.recomputes());
        if constexpr (runs_fp8_mlps<Backend, T>) bytes += ops::mlp_scales_bytes * model.layers();
        if (tape_.memory().bytes_reserved() < bytes) {
            tape_.memory().release();
            tape_.memory().reserve(bytes);
        }
        reserved_for_ = size;
    }
    /// Zeroes the gradients that only ever add up: gains, biases, and embeddings that are not also the head. A pass
    /// that uses every layer once overwrites all others.
    void clear_sums() {
        const auto clear = [&](auto& block, const block_layout& layout) {
            for (const auto& place : layout.places) {
                const bool looked_up =
                    place.kind == role::embedding && !(place.which == part::embedding && model.config().tied);
                if (!place.vector() && !looked_up) continue;
                const auto sums = block.at(place);
                model.backend().template fill<wide_t<T>>(sums.data, sums.size(), wide_t<T>(0));
            }
        };
        clear(gradients.outer, outer_layout_);
        for (auto& layer : gradients.layers) clear(layer, layer_layout_);
    }
    /// Losses of `count` sequences from token `from` on the device, into losses_; gradients of their weighted sum
    /// `into`.
    void pass(std::size_t from, std::size_t count, std::size_t length, set* into, span<const std::size_t> order = {}) {
        const std::size_t tokens = count * length;
        const auto losses =
            token_losses<T, Backend>(model, tape_, inputs_.flat().subspan(from, tokens),
                                     targets_.flat().subspan(from, tokens), weights_.flat().subspan(from, tokens),
                                     count, into, order.empty() ? span<const std::size_t>(order_) : order);
        model.backend().template copy<wide_t<T>>(losses.data(), losses_.data() + from, tokens);
    }
    /// This rank's rows of a batch; weights are scaled such that weighted sums over all ranks are means.
    void to_device(const training_batch& batch, double scale) {
        Backend& backend = model.backend();
        const auto rows = own_rows(batch.sequences);
        const std::size_t first = rows.first * batch.length(), tokens = rows.count * batch.length();
        if (inputs_.size() != tokens) {
            ++moves_;
            inputs_ = tensor<token, Backend>(backend, {tokens});
            targets_ = tensor<token, Backend>(backend, {tokens});
            weights_ = tensor<wide_t<T>, Backend>(backend, {tokens});
            losses_ = tensor<wide_t<T>, Backend>(backend, {tokens});
            host_weights_.resize(tokens), host_losses_.resize(tokens);
        }
        for (std::size_t i = 0; i < tokens; ++i)
            host_weights_[i] = static_cast<wide_t<T>>(scale * static_cast<double>(batch.weights[first + i]));
        backend.template from_host<token>(batch.inputs.data() + first, inputs_.data(), tokens);
        backend.template from_host<token>(batch.targets.data() + first, targets_.data(), tokens);
        backend.template from_host<wide_t<T>>(host_weights_.data(), weights_.data(), tokens);
    }
    double mean_loss() {
        comm_->settle();
        model.backend().template to_host<wide_t<T>>(losses_.data(), host_losses_.data(), host_losses_.size());
        std::array<double, 2> sums{};  // of losses, of weights
        for (std::size_t i = 0; i < host_losses_.size(); ++i) {
            sums[0] += static_cast<double>(host_weights_[i]) * static_cast<double>(host_losses_[i]);
            sums[1] += static_cast<double>(host_weights_[i]);
        }
        comm_->sum(sums);
        return sums[0] / sums[1];
    }
    template <class U> static bool finite(const std::vector<U>& values) {
        for (U value : values)
            if (!std::isfinite(static_cast<wide_t<U>>(value))) return false;
        return true;
    }
    template <class U> std::string first_bad_of(const parameter_set<U, Backend>& numbers, const char* kind) const {
        std::string found;
        each_tensor(model.config(), [&](const tensor_place& place, std::size_t block) {
            if (!found.empty()) return;
            std::vector<U> values(place.size());
            model.backend().template to_host<U>(block_of(numbers, block).at(place).data, values.data(), values.size());
            if (!finite(values)) found = text(kind, " ", tensor_title(place.which, block));
        });
        return found;
    }

    communicator* comm_;
    sharding shards_;
    exchange<T, Backend> exchange_;
    std::vector<trained_block<T>> blocks_;  // of the step at hand; kept for its memory
    tape<T, Backend> tape_;
    block_layout outer_layout_, layer_layout_;
    tensor<token, Backend> inputs_, targets_;
    tensor<wide_t<T>, Backend> weights_, losses_;
    std::vector<wide_t<T>> host_weights_, host_losses_;
    std::vector<token> row_inputs_, row_targets_;
    replay<Backend> replay_;
    std::array<std::size_t, 3> reserved_for_{};
    double skip_above_ = 0;
    std::size_t moves_ = 0;  // how often memory that a recorded step refers to has moved
    std::vector<std::size_t> order_;
};

template <class T, class Backend, class Optimizer>
std::string trainer<T, Backend, Optimizer>::first_bad_tensor(const training_batch& batch, std::size_t micro) {
    if (auto bad = first_bad_of(model.weights, "weight"); !bad.empty()) return bad;
    std::string found;
    static constexpr const char* names[] = {"resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post"};
    const auto watch = [&](site where, std::size_t slot, matrix<T> rows) {
        if (!found.empty()) return;
        std::vector<T> values(rows.size());
        model.backend().template to_host<T>(rows.data, values.data(), values.size());
        if (!finite(values)) found = text("activation ", names[static_cast<int>(where)], " of layer ", slot);
    };
    to_device(batch, 1);
    const std::size_t tokens = micro * batch.length();
    for (std::size_t first = 0; first < inputs_.size() && found.empty(); first += tokens)
        logits(model, tape_, inputs_.flat().subspan(first, tokens), micro, order_, watch);
    if (!found.empty()) return found;
    if (auto bad = first_bad_of(gradients, "gradient of"); !bad.empty()) return bad;
    return "no weight, activation or gradient (the loss itself)";
}

}  // namespace depthgrow
