// Tuned lens: one affine map a layer from its input to the final norm's input, and how it is fitted.
// Assumes translators A (C, C) and b (C) applied residually, h + A h + b; files hold A, not I + A.
// Maths: Belrose et al. 2023 (arXiv 2303.08112); loss KL(final‖lens), all translators together, SGD with Nesterov
// momentum 0.9, rate 0.1 falling to 0, coupled decay 1e-3, one global clip at 1 (Kapl et al. 2025 give no settings).
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "depthgrow/analysis/fingerprint.hpp"
#include "depthgrow/analysis/linear_softmax.hpp"
#include "depthgrow/analysis/shared_prompts.hpp"
#include "depthgrow/autograd/ops/linear.hpp"
#include "depthgrow/growth/grow.hpp"
#include "depthgrow/nn/forward.hpp"

namespace depthgrow {

/// h -> h + A h + b; zero is the logit lens.
template <class T, class Backend> struct translator {
    tensor<T, Backend> A, b;  // (C, C), (C)

    static translator zero(Backend& backend, std::size_t width) {
        return {tensor<T, Backend>::filled(backend, {width, width}, T(0)),
                tensor<T, Backend>::filled(backend, {width}, T(0))};
    }
    translator clone() const { return {A.clone(), b.clone()}; }
};

template <class T, class Backend> struct tuned_lens {
    std::vector<translator<T, Backend>> translators;  // one a layer, or one a slot of the order that the model runs
    std::size_t width = 0;
    std::string fingerprint;  // of the unembedding it was fitted to

    /// The logit lens of a model, to start a fit from.
    template <decoder_model Model> static tuned_lens zero(const Model& model) {
        tuned_lens made{{}, model.config().width, unembedding_fingerprint(model)};
        for (std::size_t l = 0; l < model.layers(); ++l)
            made.translators.push_back(translator<T, Backend>::zero(model.backend(), made.width));
        return made;
    }
    std::size_t layers() const { return translators.size(); }

    /// The translator at the input of a slot of an order that runs `depth` layers: the slot's own where the lens has
    /// one a slot (fitted to the model as it runs), else its layer's.
    const translator<T, Backend>& at(const std::vector<std::size_t>& order, std::size_t slot, std::size_t depth) const {
        return translators[layers() == depth ? order[slot] : slot];
    }

    /// Refuses a model that the lens was not fitted to; one that runs `slots` layers may have a translator for each.
    template <decoder_model Model> void check(const Model& model, std::size_t slots = 0) const {
        require(width == model.config().width, "[tuned_lens] expected a model of width ", width, ", got ",
                model.config().width, "; refit the lens to this model");
        require(layers() == model.layers() || layers() == slots, "[tuned_lens] expected a model of ", layers(),
                " layers, got ", model.layers(),
                "; a grown model needs its lens refitted (grow the lens by the same order to start from it)");
        require(fingerprint == unembedding_fingerprint(model),
                "[tuned_lens] expected the unembedding that the lens was fitted to (", fingerprint.substr(0, 12),
                "…), got another; refit the lens to this model");
    }
};

/// A lens grown by the order that its model grew by: a warm start for fitting, refused for reading if the model moved
/// on.
template <class T, class Backend> tuned_lens<T, Backend> grow(tuned_lens<T, Backend>&& lens, const layer_order& order) {
    lens.translators = depthgrow::grow(std::move(lens.translators), order);
    return std::move(lens);
}

namespace detail {

/// x = h + A h + b; `ones` is a column of as many ones as h has rows.
template <class T, class Backend>
void translate(Backend& backend, const translator<T, Backend>& map, matrix<const T> h, matrix<const T> ones,
               matrix<T> x) {
    if constexpr (adds_linear_maps<Backend, T>) {
        if (h.stride == x.stride) return backend.template linear_add<T>(h, map.A.rows(), h, x, map.b.flat());
    }
    backend.template copy<T>(h.data, x.data, h.size());
    backend.template gemm<T>(transpose::no, transpose::yes, 1, h, map.A.rows(), 1, x);
    backend.template gemm<T>(transpose::no, transpose::no, 1, ones, map.b.rows(), 1, x);
}

}  // namespace detail

enum class lens_optimizer { sgd_nesterov, adam };

struct lens_fit_options {
    std::size_t steps = 250;
    lens_optimizer optimizer = lens_optimizer::sgd_nesterov;
    double rate = 0;        // 0: 0.1 for SGD (falling linearly to 0), 1e-3 for Adam (constant)
    double momentum = 0.9;  // SGD
    double decay = 1e-3;    // SGD, coupled
    double clip = 1.0;      // global norm over all translators
    // rows at a time, which bound the memory; 0: what suits the backend, here on a CPU and on a device
    std::size_t max_rows = 0;    // tokens whose residuals of all layers are held: 4096, 16384
    std::size_t logit_rows = 0;  // of logits: 256, 16384
};

/// Fits a lens to a model step by step; the caller brings the tokens. The ranks of a communicator share a step's
/// sequences and hold the same lens.
template <class T, class Backend, decoder_model Model = decoder<T, Backend>> class lens_fitter {
public:
    /// Starts from zero, or from `warm` (same depth and width), whose fingerprint becomes the model's.
    lens_fitter(const Model& model, const lens_fit_options& options, tuned_lens<T, Backend> warm = {},
                communicator& comm = no_other_ranks())
        : lens(warm.layers() ? std::move(warm) : tuned_lens<T, Backend>::zero(model)),
          model_(model),
          backend_(model.backend()),
          options_(options),
          comm_(comm),
          run_tape_(backend_),
          norm_tape_(backend_),
          squares_(tensor<double, Backend>::filled(backend_, {1}, 0.0)),
          adam_(backend_, {1}),
          sgd_(backend_, {1}) {
        require(options.steps > 0, "[lens_fitter] expected at least 1 step, got 0");
        require(lens.width == model.config().width && lens.layers() == model.layers(),
                "[lens_fitter] expected a warm start of ", model.layers(), " layers of width ", model.config().width,
                ", got ", lens.layers(), " of width ", lens.width);
        options_.max_rows = rows_at_a_time<Backend>(options.max_rows, 4096, 16384);
        options_.logit_rows = rows_at_a_time<Backend>(options.logit_rows, 256, 16384);
        lens.fingerprint = unembedding_fingerprint(model);
        for (auto* set : {&gradients_, &first_, &second_})
            for (std::size_t l = 0; l < lens.layers(); ++l)
                if (set != &second_ || options.optimizer == lens_optimizer::adam)
                    set->push_back(translator<wide_t<T>, Backend>::zero(backend_, lens.width));
        if constexpr (mixed)
            for (const auto& map : lens.translators) master_.push_back(widened(map));
    }

    /// One step on `batch` sequences, of which all ranks are given all; returns the mean KL(final‖lens) of every layer
    /// before the step, in nats: in bfloat16 with a rounding of some 0.03 in each token's, so that a mean near 0 may
    /// come out below.
    std::vector<double> step(span<const token> tokens, std::size_t batch) {
        const std::size_t length = model_.extents(tokens.size(), batch).length,
                          together = std::max<std::size_t>(1, options_.max_rows / length);
        for (auto& g : gradients_)
            for (auto* part : {&g.A, &g.b}) backend_.template fill<wide_t<T>>(part->data(), part->size(), wide_t<T>(0));
        std::vector<double> losses(lens.layers());
        const auto own = own_share(batch, comm_);
        sum_parts(comm_, losses, [&] {
            for (std::size_t first = own.first; first < own.end(); first += together) {
                const std::size_t count = std::min(together, own.end() - first);
                accumulate(tokens.subspan(first * length, count * length), count,
                           1.0 / static_cast<double>(tokens.size()), losses);
            }
        });
        sum_gradients();
        for (std::size_t l = 0; l < losses.size(); ++l)
            require(std::isfinite(losses[l]), "[lens_fitter] expected a finite KL, got NaN or infinity at layer ", l,
                    " in step ", done_);
        update();
        return losses;
    }
    std::size_t steps_done() const { return done_; }

    /// The lens in the wide type: what is written to a file.
    tuned_lens<wide_t<T>, Backend> wide_lens() const {
        tuned_lens<wide_t<T>, Backend> out{{}, lens.width, lens.fingerprint};
        for (std::size_t l = 0; l < lens.layers(); ++l) {
            if constexpr (mixed) out.translators.push_back(master_[l].clone());
            else out.translators.push_back(lens.translators[l].clone());
        }
        return out;
    }

    tuned_lens<T, Backend> lens;

private:
    static constexpr bool mixed = !std::is_same_v<T, wide_t<T>>;
    translator<wide_t<T>, Backend> widened(const translator<T, Backend>& map) const {
        const auto wide = [&](const tensor<T, Backend>& x) {
            const auto values = x.to_host();
            std::vector<wide_t<T>> out(values.size());
            std::transform(values.begin(), values.end(), out.begin(),
                           [](T value) { return static_cast<wide_t<T>>(value); });
            return tensor<wide_t<T>, Backend>::from_host(backend_, x.extents(), out);
        };
        return {wide(map.A), wide(map.b)};
    }
    /// The loss's gradient by the normed x is (p - y) W for probabilities p of the lens and y of the model, and y W,
    /// `mean`, is the same for every layer. The loss needs no walk over both either: log p = x Wᵀ - log sum and Σ y =
    /// 1, hence KL(y‖p) = (last - x)·(y W) + log sum of the lens - log sum of the model. x·(y W) is the lens's logits'
    /// average under y.
    void accumulate(span<const token> tokens, std::size_t batch, double share, std::vector<double>& losses) {
        const std::size_t rows = tokens.size(), width = lens.width, vocab = model_.config().vocab,
                          chunk = std::min(rows, options_.logit_rows);
        reserve(rows, chunk);
        const auto ids = tensor<token, Backend>::from_host(backend_, {rows}, tokens);
        run_tape_.start(false);
        const auto last =
            model_
                .residual(run_tape_, ids.flat(), batch, nullptr, {},
                          [&](site where, std::size_t slot, matrix<T> h) {
                              if (where == site::resid_pre)
                                  backend_.template copy<T>(h.data, residuals_.rows().row(slot * rows), h.size());
                          })
                .normed.value;
        const matrix<T> z_all(z_.data(), chunk, vocab);
        const matrix<wide_t<T>> mean_all(mean_.data(), chunk, width), sums_all(sums_.data(), chunk, width);
        const std::size_t own_slot = lens.layers();  // of the model's own, behind the layers'
        std::vector<wide_t<T>> log_sums(log_sums_.size()), dots(dots_.size());
        for (std::size_t first = 0; first < rows; first += chunk) {
            const std::size_t count = std::min(chunk, rows - first);
            const auto z = z_all.row_range(0, count);
            const auto mean = mean_all.row_range(0, count), sums = sums_all.row_range(0, count);
            const auto shares = shares_.flat().subspan(0, count);
            const auto of = [&](auto& all, std::size_t slot) { return all.flat().subspan(slot * chunk, count); };
            const matrix<const T> ones(ones_.data(), count, 1), head = model_.head().value;
            const auto final_rows = last.row_range(first, count);
            rows::linear_softmax<T>(backend_, final_rows, head, {}, z, shares, of(log_sums_, own_slot));
            backend_.template gemm<T>(transpose::no, transpose::no, 1, z, head, 0, mean);
            rows::dots<T>(backend_, final_rows, mean, of(dots_, own_slot));
            for (std::size_t l = 0; l < lens.layers(); ++l) {
                const auto h = residuals_.rows().row_range(l * rows + first, count);
                norm_tape_.start(true);
                const auto x = norm_tape_.make(count, width);
                detail::translate<T>(backend_, lens.translators[l], h, ones, x.value);
                const auto normed = model_.final_norm(norm_tape_, x, nullptr);
                rows::dots<T>(backend_, normed.value, mean, of(dots_, l));
                rows::linear_softmax<T>(backend_, normed.value, head, of(dots_, l), z, shares, of(log_sums_, l));
                backend_.template gemm<T>(transpose::no, transpose::no, 1, z, head, 0, sums);
                rows::differences<T>(backend_, sums, shares, mean, static_cast<wide_t<T>>(share),
                                     norm_tape_.claim(normed).out);
                norm_tape_.backward();
                const auto dx = norm_tape_.gradient(x);  // (count, C)
                backend_.template gemm<T>(transpose::yes, transpose::no, 1, dx, h, 1, gradients_[l].A.rows());
                backend_.template bias_backward<T>(dx, gradients_[l].b.flat());
            }
            backend_.template to_host<wide_t<T>>(log_sums_.data(), log_sums.data(), log_sums.size());
            backend_.template to_host<wide_t<T>>(dots_.data(), dots.data(), dots.size());
            const auto cross_entropy = [&](std::size_t slot, std::size_t r) {  // -Σ y log p
                return static_cast<double>(log_sums[slot * chunk + r]) - static_cast<double>(dots[slot * chunk + r]);
            };
            for (std::size_t l = 0; l < lens.layers(); ++l)
                for (std::size_t r = 0; r < count; ++r)
                    losses[l] += share * (cross_entropy(l, r) - cross_entropy(own_slot, r));
        }
    }
    void reserve(std::size_t rows, std::size_t chunk) {
        const std::size_t vocab = model_.config().vocab;
        if (residuals_.size() < lens.layers() * rows * lens.width)
            residuals_ = tensor<T, Backend>(backend_, {lens.layers() * rows, lens.width});
        if (z_.size() >= chunk * vocab) return;
        z_ = tensor<T, Backend>(backend_, {chunk, vocab}), ones_ = tensor<T, Backend>::filled(backend_, {chunk}, T(1));
        for (auto* part : {&mean_, &sums_}) *part = tensor<wide_t<T>, Backend>(backend_, {chunk, lens.width});
        shares_ = tensor<wide_t<T>, Backend>(backend_, {chunk});
        for (auto* part : {&log_sums_, &dots_})
            *part = tensor<wide_t<T>, Backend>(backend_, {(lens.layers() + 1) * chunk});
    }
    void sum_gradients() {
        comm_.grouped([&] {
            for (auto& g : gradients_)
                for (auto* part : {&g.A, &g.b}) comm_.all_reduce(part->flat());
        });
        comm_.join();
    }
    void update() {
        backend_.template fill<double>(squares_.data(), 1, 0.0);
        for (const auto& g : gradients_)
            for (const auto* part : {&g.A, &g.b})
                backend_.template accumulate_squares<wide_t<T>>(part->flat(), squares_.data());
        comm_.broadcast(squares_.flat(), 0);  // atomic sums differ in bits, and lenses must not
        comm_.join();
        const bool sgd = options_.optimizer == lens_optimizer::sgd_nesterov;
        const double base = options_.rate > 0 ? options_.rate : sgd ? 0.1 : 1e-3;
        const double rate =
            sgd ? base * std::max(0.0, 1 - static_cast<double>(done_) / static_cast<double>(options_.steps)) : base;
        const adamw_constants adam{rate, 0.9, 0.999, 1e-8, 0, options_.clip, static_cast<std::int64_t>(done_ + 1)};
        const momentum_constants momentum{rate, options_.momentum, options_.decay, options_.clip};
        backend_.template from_host<adamw_constants>(&adam, adam_.data(), 1);
        backend_.template from_host<momentum_constants>(&momentum, sgd_.data(), 1);
        using wide = translator<wide_t<T>, Backend>;
        const auto parts = {std::pair{&wide::A, &translator<T, Backend>::A},
                            std::pair{&wide::b, &translator<T, Backend>::b}};
        for (std::size_t l = 0; l < lens.layers(); ++l)
            for (const auto& both : parts) {
                const auto part = both.first;  // a name of its own: clang 14 captures no structured binding
                const auto low_precision = both.second;
                const span<wide_t<T>> v = (first_[l].*part).flat();
                const span<const wide_t<T>> g = std::as_const(gradients_[l].*part).flat();
                const auto step = [&](span<wide_t<T>> x, span<T> rounded) {
                    if (sgd) backend_.template sgd_nesterov<T>(x, g, v, rounded, sgd_.data(), squares_.data());
                    else
                        backend_.template adamw<T>(x, g, v, (second_[l].*part).flat(), rounded, adam_.data(),
                                                   squares_.data());
                };
                if constexpr (mixed) step((master_[l].*part).flat(), (lens.translators[l].*low_precision).flat());
                else step((lens.translators[l].*low_precision).flat(), {});
            }
        ++done_;
    }

    const Model& model_;
    Backend& backend_;
    lens_fit_options options_;
    communicator& comm_;
    tape<T, Backend> run_tape_, norm_tape_;
    std::vector<translator<wide_t<T>, Backend>> gradients_, first_, second_, master_;  // master_: empty unless mixed
    tensor<double, Backend> squares_;
    tensor<adamw_constants, Backend> adam_;
    tensor<momentum_constants, Backend> sgd_;
    tensor<T, Backend> residuals_, z_, ones_;          // (L * rows, C), (chunk, V), (chunk)
    tensor<wide_t<T>, Backend> mean_, sums_, shares_;  // (chunk, C), (chunk, C), (chunk)
    tensor<wide_t<T>, Backend> log_sums_, dots_;       // (L + 1, chunk): of every layer's lens, last of the model
    std::size_t done_ = 0;
};

}  // namespace depthgrow
