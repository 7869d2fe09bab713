// Skip effects: what every later layer and the output lose when a layer, an attention or an MLP is skipped.
// Assumes prompts without padding. Skips of different layers are independent: at depth l every run that skips an
// earlier layer travels in one batch with the clean run, from which it forks where it first differs.
// Maths: Csordás et al. 2025 (arXiv 2505.13898) section 3; Kapl et al. 2025 (arXiv 2512.08819) appendix B.
// Chosen, as in their public code: position 0 is never skipped; without its attention, a layer's MLP is recomputed.
#pragma once

#include <type_traits>
#include <utility>
#include <vector>

#include "depthgrow/analysis/effects.hpp"
#include "depthgrow/analysis/prompts.hpp"
#include "depthgrow/analysis/row_operations.hpp"
#include "depthgrow/analysis/shared_prompts.hpp"
#include "depthgrow/nn/decoder.hpp"

namespace depthgrow {

/// What is skipped: the layer (output = input), its attention (a = 0, its MLP recomputed) or its MLP (m = 0).
enum class skip_unit { layer, attention, mlp };

struct skip_options {
    skip_unit unit = skip_unit::layer;
    // rows at a time, which bound the memory; 0: what suits the backend, here on a CPU and on a device
    std::size_t max_rows = 0;       // of runs × positions in flight, one residual each: 16384, 65536
    std::size_t layer_rows = 0;     // that pass through a layer together, with its activations: 4096, 65536
    std::size_t logit_rows = 0;     // of logits: 256, 1024
    std::uint64_t seed = 12345;     // of boundaries that prompts do not name
    bootstrap_options bootstrap{};  // of the means' intervals

    /// These with the rows that suit the backend.
    template <class Backend> skip_options on() const {
        auto out = *this;
        out.max_rows = rows_at_a_time<Backend>(max_rows, 16384, 65536);
        out.layer_rows = std::min(out.max_rows, rows_at_a_time<Backend>(layer_rows, 4096, 65536));
        out.logit_rows = rows_at_a_time<Backend>(logit_rows, 256, 1024);
        return out;
    }
};

/// One run: unit of `layer` skipped at positions [1, until), measured from position `from`, into `into`.
struct skip_run {
    std::size_t layer = 0, until = 0, from = 0;
    prompt_effects* into = nullptr;
};

/// Runs skips over one prompt at a time; keeps its memory from prompt to prompt.
template <class T, class Backend, decoder_model Model = decoder<T, Backend>> class skip_walker {
public:
    skip_walker(const Model& model, const skip_options& options)
        : model_(model), backend_(model.backend()), options_(options.on<Backend>()), tape_(model.backend()) {}

    /// Runs every skip, batch by batch; `runs` sorted by layer.
    void operator()(span<const token> tokens, span<const skip_run> runs) {
        const std::size_t together = std::max<std::size_t>(2, options_.max_rows / tokens.size()) - 1;
        for (std::size_t first = 0; first < runs.size(); first += together)
            walk(tokens, runs.subspan(first, std::min(together, runs.size() - first)));
    }

private:
    void walk(span<const token> tokens, span<const skip_run> runs) {
        length_ = tokens.size();
        prepare(tokens, 1 + runs.size());
        std::size_t next = 0;
        for (std::size_t l = 0; l < model_.layers(); ++l) {
            if (active_.empty() && next == runs.size()) break;
            const std::size_t travelling = 1 + active_.size(), last = next_of(runs, next, l);
            const std::size_t together = std::max<std::size_t>(1, options_.layer_rows / length_);
            for (std::size_t first = 0; first < travelling; first += together)
                advance(l, first, std::min(together, travelling - first));
            if (next < last) fork(l, runs.subspan(next, last - next));
            next = last;
        }
        if (active_.empty()) return;
        read_measured();
        measure_output();  // a device works on it while the host goes on
        raise_changes();
        raise_outputs();
    }
    /// Takes runs [first, first + count) through layer l and measures them; run 0 is the clean one, whose parts are
    /// kept.
    void advance(std::size_t l, std::size_t first, std::size_t count) {
        const auto rows = stream_.rows().row_range(first * length_, count * length_);
        tape_.start(false);
        if (first == 0) keep(clean_h_, run_rows(0));
        auto between =
            model_.attention_sublayer(tape_, {borrowed(rows), {}}, l, l, model_.extents(rows.rows, count), nullptr);
        between.pending.kept = true;
        const auto a = between.pending.value;
        const auto after = model_.mlp_sublayer(tape_, between, l, l, nullptr);
        const auto mid = after.h.value, m = after.pending.value;
        if (first == 0) {
            keep(clean_a_, a.row_range(0, length_)), keep(clean_mid_, mid.row_range(0, length_)),
                keep(clean_m_, m.row_range(0, length_));
            norms_ = note_changes({}, {}, clean(clean_a_), clean(clean_m_), length_);
        }
        const std::size_t skip = first == 0 ? 1 : 0;  // the clean run is not compared with itself
        if (count > skip)
            measure(l, first + skip - 1, a.row_range(skip * length_, (count - skip) * length_),
                    m.row_range(skip * length_, (count - skip) * length_));
        backend_.template add<T>(mid, wide_t<T>(1), m, rows);
    }

    static std::size_t next_of(span<const skip_run> runs, std::size_t from, std::size_t layer) {
        while (from < runs.size() && runs[from].layer == layer) ++from;
        return from;
    }
    void prepare(span<const token> tokens, std::size_t batch) {
        const std::size_t rows = batch * length_, width = model_.config().width;
        if (stream_.size() < rows * width) {
            stream_ = tensor<T, Backend>(backend_, {rows, width});
            distance_ = tensor<wide_t<T>, Backend>(backend_, {rows});
        }
        if (ids_.size() < length_) {
            ids_ = tensor<token, Backend>(backend_, {length_});
            for (auto* part : {&clean_h_, &clean_a_, &clean_mid_, &clean_m_})
                *part = tensor<T, Backend>(backend_, {length_, width});
        }
        backend_.template from_host<token>(tokens.data(), ids_.data(), length_);
        active_.clear(), waiting_.clear();
        measured_ = 0;
        if (const std::size_t most = model_.layers() * (rows + 3 * length_); changes_.size() < most)
            changes_ = tensor<wide_t<T>, Backend>(backend_, {most});
        tape_.start(false);
        const auto h = model_.embedding(tape_, ids_.flat().subspan(0, length_), model_.extents(length_, 1)).value;
        backend_.template copy<T>(h.data, stream_.data(), h.size());
    }
    static variable<T> borrowed(matrix<T> rows) { return {rows, nullptr, true}; }
    void keep(tensor<T, Backend>& to, matrix<const T> rows) {
        backend_.template copy<T>(rows.data, to.data(), rows.size());
    }
    matrix<T> clean(tensor<T, Backend>& part) { return part.rows().row_range(0, length_); }
    matrix<T> run_rows(std::size_t run) { return stream_.rows().row_range(run * length_, length_); }
    /// ‖(a'+m') − (a+m)‖ of each row, measured now and read at the end of the walk, so that a device need not wait for
    /// the host at every layer; returns where among the measured.
    std::size_t note_changes(matrix<const T> a_run, matrix<const T> m_run, matrix<const T> a, matrix<const T> m,
                             std::size_t rows) {
        const std::size_t at = measured_;
        rows::changes<T>(backend_, a_run, m_run, a, m, changes_.flat().subspan(at, rows));
        measured_ += rows;
        return at;
    }
    double ratio(std::size_t layer, std::size_t at, std::size_t norms, std::size_t position) const {
        const double value = static_cast<double>(host_[at + position]) /
                             detail::floored(static_cast<double>(host_[norms + position]), ratio_floor);
        require(std::isfinite(value), "[skip_effects] expected finite activations, got NaN or infinity in layer ",
                layer, " at position ", position);
        return value;
    }

    /// Changes of layer l in the active runs from `first` on, given what their layer added.
    void measure(std::size_t l, std::size_t first, matrix<const T> a, matrix<const T> m) {
        const std::size_t at = note_changes(a, m, clean(clean_a_), clean(clean_m_), a.rows);
        if (waiting_.empty() || waiting_.back().layer != l) waiting_.push_back({l, first, 0, at, norms_});
        waiting_.back().runs += a.rows / length_;
    }
    /// What was measured, and which runs have skipped a unit that adds exactly nothing: it changes nothing, and what
    /// they would tell is rounding.
    void read_measured() {
        host_.resize(measured_);
        backend_.template to_host<wide_t<T>>(changes_.data(), host_.data(), measured_);
        for (started_run& run : active_) run.inert = adds_nothing(host_.data() + run.skipped, run);
    }
    /// Given the norms of what a run skips.
    static bool adds_nothing(const wide_t<T>* skipped, const skip_run& run) {
        bool nothing = true;
        for (std::size_t u = 1; u < run.until; ++u) nothing = nothing && skipped[u] == 0;
        return nothing;
    }
    void raise_changes() {
        for (const started_run& run : active_)
            for (std::size_t u = std::max<std::size_t>(1, run.from); u < run.until && !run.inert; ++u)
                run.into->raise_change(run.layer, run.layer, ratio(run.layer, run.changed, run.norms, u));
        for (const auto& part : waiting_)
            for (std::size_t r = 0; r < part.runs; ++r) {
                const started_run& run = active_[part.first + r];
                if (run.inert) continue;
                double largest = 0;
                for (std::size_t u = run.from; u < length_; ++u)
                    largest = std::max(largest, ratio(part.layer, part.at + r * length_, part.norms, u));
                run.into->raise_change(run.layer, part.layer, largest);
            }
    }

    /// Starts the runs that skip layer l, but for the last layer in future mode, since nothing after it mixes
    /// positions.
    void fork(std::size_t l, span<const skip_run> runs) {
        const auto a = clean(clean_a_), m = clean(clean_m_);
        std::size_t skipped = norms_, changed = norms_;
        matrix<T> replaced = clean(clean_h_);  // what leaves the layer where it is skipped
        if (options_.unit == skip_unit::attention) {
            tape_.start(false);
            const auto alone = model_.mlp_sublayer(tape_, {borrowed(replaced), {}}, l, l, nullptr);
            skipped = note_changes({}, {}, a, {}, length_);
            changed = note_changes({}, alone.pending.value, a, m, length_);
            replaced = tape_.make(length_, a.cols).value;
            backend_.template add<T>(alone.h.value, wide_t<T>(1), alone.pending.value, replaced);
        } else if (options_.unit == skip_unit::mlp) {
            skipped = note_changes({}, {}, m, {}, length_);
            changed = note_changes(a, {}, a, m, length_);
            replaced = clean(clean_mid_);
        }
        const auto kept = run_rows(0);  // what leaves the layer where it is not
        for (const skip_run& run : runs) {
            if (run.from > 0 && l + 1 == model_.layers()) continue;
            if constexpr (std::is_base_of_v<reference, Backend>)  // in the host's memory: known now
                if (adds_nothing(changes_.data() + skipped, run)) continue;
            active_.push_back({run, skipped, changed, norms_});
            const auto rows = run_rows(active_.size());
            backend_.template copy<T>(kept.row(0), rows.row(0), rows.cols);
            backend_.template copy<T>(replaced.row(1), rows.row(1), (run.until - 1) * rows.cols);
            backend_.template copy<T>(kept.row(run.until), rows.row(run.until), (length_ - run.until) * rows.cols);
        }
    }

    void measure_output() {
        const std::size_t rows = (1 + active_.size()) * length_, vocab = model_.config().vocab,
                          chunk = std::min(length_, options_.logit_rows);
        tape_.start(false);
        const auto normed = model_.final_norm(tape_, {stream_.rows().row_range(0, rows), nullptr}, nullptr).value;
        const auto y = tape_.make(chunk, vocab).value, z = tape_.make(chunk, vocab).value;
        for (std::size_t first = 0; first < length_; first += chunk) {
            const std::size_t end = std::min(first + chunk, length_);
            const auto clean = y.row_range(0, end - first);
            ops::unembed<T>(backend_, normed.row_range(first, end - first), model_.head().value, clean);
            rows::softmax_inplace<T>(backend_, clean);
            for (std::size_t r = 0; r < active_.size(); ++r) {
                const std::size_t from = std::max(first, active_[r].from);
                if (from >= end || active_[r].inert) continue;
                const auto part = z.row_range(0, end - from);
                ops::unembed<T>(backend_, normed.row_range((1 + r) * length_ + from, end - from), model_.head().value,
                                part);
                rows::softmax_distances<T>(backend_, part, clean.row_range(from - first, end - from),
                                           distance_.flat().subspan(r * length_ + from, end - from));
            }
        }
    }
    void raise_outputs() {
        std::vector<wide_t<T>> host(active_.size() * length_);
        backend_.template to_host<wide_t<T>>(distance_.data(), host.data(), host.size());
        for (std::size_t r = 0; r < active_.size(); ++r)
            for (std::size_t u = active_[r].from; u < length_ && !active_[r].inert; ++u) {
                const wide_t<T> distance = host[r * length_ + u];
                require(std::isfinite(distance),
                        "[skip_effects] expected finite logits, got NaN or infinity at position ", u);
                active_[r].into->raise_output(active_[r].layer, static_cast<double>(distance));
            }
    }

    const Model& model_;
    Backend& backend_;
    skip_options options_;
    tape<T, Backend> tape_;
    tensor<T, Backend> stream_;                                   // (runs * T, C)
    tensor<T, Backend> clean_h_, clean_a_, clean_mid_, clean_m_;  // of the layer just run, (T, C) each
    tensor<wide_t<T>, Backend> distance_;                         // (runs * T)
    tensor<token, Backend> ids_;
    tensor<wide_t<T>, Backend> changes_;    // what was measured, rows of all layers
    std::vector<wide_t<T>> host_;           // the same as read
    std::size_t measured_ = 0, norms_ = 0;  // how many; where ‖c_l‖ of the clean run is among them, (T)
    struct measured_layer {
        std::size_t layer, first, runs, at, norms;  // runs [first, first + runs); at, norms: places among the measured
    };
    std::vector<measured_layer> waiting_;
    struct started_run : skip_run {
        std::size_t skipped, changed, norms;  // places of ‖what is skipped‖, of the layer's own change, of ‖c_l‖
        bool inert = false;
    };
    std::vector<started_run> active_;
    std::size_t length_ = 0;
};

/// Current and future effects over the same prompts, in one walk each.
struct skip_effects_result {
    effects current, future;
};

namespace detail {

/// The skips of one prompt, sorted by layer.
inline std::vector<skip_run> runs_of(std::size_t layers, std::size_t length, const std::vector<std::size_t>& boundaries,
                                     prompt_effects* current, prompt_effects* future) {
    std::vector<skip_run> runs;
    for (std::size_t l = 0; l < layers; ++l) {
        if (current) runs.push_back({l, length, 0, current});
        if (future)
            for (std::size_t t : boundaries) runs.push_back({l, t, t, future});
    }
    return runs;
}

template <decoder_model Model, class T = typename Model::number, class Backend = typename Model::backend_type>
skip_effects_result measure_skips(const Model& model, span<const prompt> prompts, const skip_options& options,
                                  bool current, bool future, communicator& comm) {
    require(!prompts.empty(), "[skip_effects] expected at least 1 prompt, got 0");
    const std::size_t layers = model.layers();
    for (std::size_t p = 0; p < prompts.size(); ++p) {  // before any work: partial results are never given
        check_prompt(prompts[p], p, model.config().context, model.config().vocab);
        if (future) boundaries_of(prompts[p], p, options.seed);
    }
    skip_walker<T, Backend, Model> walker(model, options);
    const auto wanted = [&](bool any) {
        return any ? options.bootstrap : bootstrap_options{options.bootstrap.seed, 0, options.bootstrap.confidence};
    };
    effects_accumulator now(layers, prompts.size(), wanted(current)), later(layers, prompts.size(), wanted(future));
    const std::size_t each = prompt_effects::size_of(layers), now_size = current ? each : 0,
                      later_size = future ? each : 0;
    const auto measure = [&](std::size_t p, span<double> row) {
        prompt_effects here(layers), after(layers);
        const auto boundaries = future ? boundaries_of(prompts[p], p, options.seed) : std::vector<std::size_t>{};
        walker(prompts[p].tokens, runs_of(layers, prompts[p].tokens.size(), boundaries, current ? &here : nullptr,
                                          future ? &after : nullptr));
        if (current) here.write(row.subspan(0, now_size));
        if (future) after.write(row.subspan(now_size, later_size));
    };
    share_out(comm, prompts.size(), now_size + later_size, measure, [&](std::size_t, span<const double> row) {
        if (current) now.add(prompt_effects(layers, row.subspan(0, now_size)));
        if (future) later.add(prompt_effects(layers, row.subspan(now_size, later_size)));
    });
    return {current ? std::move(now).result() : effects{}, future ? std::move(later).result() : effects{}};
}

}  // namespace detail

/// What a skip at every position but 0 does to every position, and what a skip before each boundary does from it on.
/// The ranks of `comm` share the prompts, here and below.
template <decoder_model Model, class T = typename Model::number, class Backend = typename Model::backend_type>
skip_effects_result skip_effects(const Model& model, span<const prompt> prompts, const skip_options& options = {},
                                 communicator& comm = no_other_ranks()) {
    return detail::measure_skips(model, prompts, options, true, true, comm);
}
/// Current effects alone: skipped at every position but 0, measured everywhere.
template <decoder_model Model, class T = typename Model::number, class Backend = typename Model::backend_type>
effects current_effects(const Model& model, span<const prompt> prompts, const skip_options& options = {},
                        communicator& comm = no_other_ranks()) {
    return detail::measure_skips(model, prompts, options, true, false, comm).current;
}
/// Future effects alone: skipped before each boundary, measured from it on. What the depth score is made of.
template <decoder_model Model, class T = typename Model::number, class Backend = typename Model::backend_type>
effects future_effects(const Model& model, span<const prompt> prompts, const skip_options& options = {},
                       communicator& comm = no_other_ranks()) {
    return detail::measure_skips(model, prompts, options, false, true, comm).future;
}

}  // namespace depthgrow
