// One model in training: the optimiser step over micro-batches, growth with optimiser state, and what went wrong.
// Assumes host batches of B sequences of T tokens, row-major; targets of -1 carry no loss. The caller owns the loop.
// Growth: Kapl et al. 2025, section 3: layers and both AdamW moments are copied, the step count and rate go on.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "depthgrow/growth/grow.hpp"
#include "depthgrow/nn/forward.hpp"
#include "depthgrow/optim/adamw.hpp"

namespace depthgrow {

/// Host tokens of one optimiser step: B sequences of T inputs, their targets and the targets' weights, (B, T) each.
struct training_batch {
    span<const token> inputs, targets;
    span<const float> weights;
    std::size_t sequences = 0;  // B
    std::size_t length() const { return inputs.size() / sequences; }
};

struct step_result {
    double loss = 0;           // weighted mean, nats
    double gradient_norm = 0;  // before the clip
};

template <class T, class Backend>
class trainer {
public:
    using set = parameter_set<T, Backend>;

    /// A fresh model of config.layers layers; `final_layers` is the depth it will grow to.
    trainer(Backend& backend, const llama_config& config, std::uint64_t seed, std::size_t final_layers, adamw_constants constants = {})
        : model(backend, config, seed, final_layers), optimizer(backend, config, constants), gradients(backend, config, config.layers),
          tape_(backend) {}
    /// Zero weights and moments, to be loaded.
    trainer(Backend& backend, const llama_config& config, adamw_constants constants = {})
        : model(backend, config), optimizer(backend, config, constants), gradients(backend, config, config.layers), tape_(backend) {}

    /// One optimiser step in micro-batches of `micro` sequences. A loss or gradient that is not finite changes nothing.
    step_result step(const training_batch& batch, std::size_t micro, double rate) {
        require(micro > 0 && batch.sequences % micro == 0, "[trainer] expected the micro-batch to divide the batch of ", batch.sequences, ", got ", micro);
        double weight = 0, loss = 0;
        for (float w : batch.weights) weight += w;
        require(weight > 0, "[trainer] expected a batch with a positive total weight, got ", weight);
        gradients.set_zero();
        for (std::size_t first = 0; first < batch.sequences; first += micro) loss += pass(batch, first, micro, 1.0 / weight, &gradients);
        optimizer.step(model.weights, gradients, rate);
        return {loss / weight, optimizer.gradient_norm()};
    }
    /// The weighted mean loss of a batch, without gradients.
    double loss(const training_batch& batch, std::size_t micro, span<const std::size_t> order = {}) {
        double weight = 0, sum = 0;
        for (float w : batch.weights) weight += w;
        for (std::size_t first = 0; first < batch.sequences; first += micro)
            sum += pass(batch, first, std::min(micro, batch.sequences - first), 0, nullptr, order);
        return sum / weight;
    }

    /// Layers become `order` of themselves, moments with them (or zero moments for the new ones).
    void grow(const layer_order& order, state_policy policy = state_policy::copy) {
        Backend& backend = model.backend();
        tape_.memory().release();
        gradients.layers.clear();  // gone before the new layers arrive, so that they cost no extra memory
        model.weights.layers = depthgrow::grow(std::move(model.weights.layers), order);
        optimizer.grow_layers(order, policy);
        model.adopt_depth();
        const std::size_t size = layer_layout(model.config(), 0).size;
        for (std::size_t l = 0; l < model.layers(); ++l) gradients.layers.emplace_back(backend, size);
    }

    /// The first tensor that is not finite, as a phrase: a weight, then an activation of this batch, then a gradient.
    std::string first_bad_tensor(const training_batch& batch, std::size_t micro);

    tape<T, Backend>& workspace() { return tape_; }

    llama<T, Backend> model;
    adamw<T, Backend> optimizer;
    set gradients;

private:
    /// Sum of weight * loss over sequences [first, first + count).
    double pass(const training_batch& batch, std::size_t first, std::size_t count, double scale, set* into, span<const std::size_t> order = {}) {
        const std::size_t length = batch.length(), from = first * length, tokens = count * length;
        to_device(batch, from, tokens);
        const auto losses = token_losses<T, Backend>(model, tape_, inputs_.flat(), targets_.flat(), weights_.flat(), count,
                                                     static_cast<wide_t<T>>(scale), into, order);
        host_losses_.resize(tokens);
        model.backend().template to_host<wide_t<T>>(losses.data(), host_losses_.data(), tokens);
        double sum = 0;
        for (std::size_t i = 0; i < tokens; ++i) sum += static_cast<double>(batch.weights[from + i]) * static_cast<double>(host_losses_[i]);
        return sum;
    }
    void to_device(const training_batch& batch, std::size_t from, std::size_t tokens) {
        Backend& backend = model.backend();
        if (inputs_.size() != tokens) {
            inputs_ = tensor<token, Backend>(backend, {tokens});
            targets_ = tensor<token, Backend>(backend, {tokens});
            weights_ = tensor<float, Backend>(backend, {tokens});
        }
        backend.template from_host<token>(batch.inputs.data() + from, inputs_.data(), tokens);
        backend.template from_host<token>(batch.targets.data() + from, targets_.data(), tokens);
        backend.template from_host<float>(batch.weights.data() + from, weights_.data(), tokens);
    }
    static bool finite(const std::vector<T>& values) {
        for (T value : values)
            if (!std::isfinite(static_cast<double>(value))) return false;
        return true;
    }
    std::string first_bad_of(const set& numbers, const char* kind) const {
        std::string found;
        each_tensor(model.config(), [&](const std::string& name, const tensor_place& place, std::size_t block) {
            if (!found.empty()) return;
            std::vector<T> values(place.size());
            model.backend().template to_host<T>(block_of(numbers, block).at(place).data, values.data(), values.size());
            if (!finite(values)) found = text(kind, " ", name);
        });
        return found;
    }

    tape<T, Backend> tape_;
    tensor<token, Backend> inputs_, targets_;
    tensor<float, Backend> weights_;
    std::vector<wide_t<T>> host_losses_;
};

template <class T, class Backend>
std::string trainer<T, Backend>::first_bad_tensor(const training_batch& batch, std::size_t micro) {
    if (auto bad = first_bad_of(model.weights, "weight"); !bad.empty()) return bad;
    std::string found;
    static constexpr const char* names[] = {"resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post"};
    const auto watch = [&](site where, std::size_t slot, matrix<T> rows) {
        if (!found.empty()) return;
        std::vector<T> values(rows.size());
        model.backend().template to_host<T>(rows.data, values.data(), values.size());
        if (!finite(values)) found = text("activation ", names[static_cast<int>(where)], " of layer ", slot);
    };
    for (std::size_t first = 0; first < batch.sequences && found.empty(); first += micro) {
        const std::size_t length = batch.length();
        to_device(batch, first * length, micro * length);
        logits(model, tape_, inputs_.flat(), micro, {}, watch);
    }
    if (!found.empty()) return found;
    if (auto bad = first_bad_of(gradients, "gradient of"); !bad.empty()) return bad;
    return "no weight, activation or gradient (the loss itself)";
}

}  // namespace depthgrow
