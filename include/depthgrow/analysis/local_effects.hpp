// Local effects: every later layer run alone on the clean residual without what an earlier layer added to it.
// Assumes prompts without padding. Nothing accumulates between layers, so all (skip, boundary) pairs of one layer are
// one batch, cut into pieces of at most `layer_rows` rows; the contributions of one prompt (L T C numbers) are kept.
// Maths: Csordás et al. 2025 (arXiv 2505.13898), direct effects; Kapl et al. 2025 (arXiv 2512.08819) appendix B,
// "local". Chosen: position 0 keeps its residual, as for skips; maxima over positions, boundaries and prompts.
#pragma once

#include <vector>

#include "depthgrow/analysis/skip_effects.hpp"

namespace depthgrow {

/// (L, L) row-major each, zero on and below the diagonal.
struct local_effects_result {
    std::size_t layers = 0;
    std::vector<double> current, future;
};

template <class T, class Backend, decoder_model Model = decoder<T, Backend>> class local_walker {
public:
    local_walker(const Model& model, const skip_options& options)
        : model_(model), backend_(model.backend()), options_(options.on<Backend>()), tape_(model.backend()) {}

    /// Raises the changes of one prompt's runs in `run.into`.
    void operator()(span<const token> tokens, span<const skip_run> runs) {
        length_ = tokens.size();
        const std::size_t width = model_.config().width, layers = model_.layers();
        ids_ = tensor<token, Backend>::from_host(backend_, {length_}, tokens);
        if (kept_.size() < layers * length_ * width) kept_ = tensor<T, Backend>(backend_, {layers * length_, width});
        distance_ = tensor<wide_t<T>, Backend>(backend_, {std::max(length_, options_.layer_rows)});
        stream_ = tensor<T, Backend>(backend_, {length_, width});
        tape_.start(false);
        const auto embedded = model_.embedding(tape_, ids_.flat(), model_.extents(length_, 1)).value;
        backend_.template copy<T>(embedded.data, stream_.data(), embedded.size());
        std::vector<std::vector<wide_t<T>>> added(layers);  // ‖c_l‖ of each position
        std::vector<skip_run> earlier;
        std::size_t next = 0;
        for (std::size_t l = 0; l < layers; ++l) {
            for (; next < runs.size() && runs[next].layer < l; ++next) {
                bool inert = true;
                for (std::size_t u = 1; u < runs[next].until; ++u) inert = inert && added[runs[next].layer][u] == 0;
                if (!inert) earlier.push_back(runs[next]);
            }
            added[l] = walk_layer(l, earlier);
        }
    }

private:
    /// Clean run of layer l, then the layer alone for every earlier skip; returns ‖c_l‖.
    std::vector<wide_t<T>> walk_layer(std::size_t l, span<const skip_run> earlier) {
        tape_.start(false);
        const auto clean = contribution(l, stream_.rows(), 1);  // (T, C)
        const auto c = kept_.rows().row_range(l * length_, length_);
        backend_.template copy<T>(clean.data, c.data, c.size());
        auto norms = distances({}, c, length_);
        const std::size_t together = std::max<std::size_t>(1, options_.layer_rows / length_);
        for (std::size_t first = 0; first < earlier.size(); first += together) {
            const auto part = earlier.subspan(first, std::min(together, earlier.size() - first));
            tape_.start(false);
            const auto in = tape_.make(part.size() * length_, c.cols).value;
            for (std::size_t r = 0; r < part.size(); ++r) {
                const auto rows = in.row_range(r * length_, length_);
                backend_.template copy<T>(stream_.data(), rows.data, rows.size());
                backend_.template add_inplace<T>(wide_t<T>(-1),
                                                 kept_.rows().row_range(part[r].layer * length_ + 1, part[r].until - 1),
                                                 rows.row_range(1, part[r].until - 1));
            }
            const auto changed = distances(contribution(l, in, part.size()), c, in.rows);
            for (std::size_t r = 0; r < part.size(); ++r)
                for (std::size_t u = part[r].from; u < length_; ++u) {
                    const double value = static_cast<double>(changed[r * length_ + u]) /
                                         detail::floored(static_cast<double>(norms[u]), ratio_floor);
                    require(std::isfinite(value),
                            "[local_effects] expected finite activations, got NaN or infinity in layer ", l,
                            " at position ", u);
                    part[r].into->raise_change(part[r].layer, l, value);
                }
        }
        backend_.template add_inplace<T>(wide_t<T>(1), c, stream_.rows());
        return norms;
    }
    /// a + m of layer l on these rows, in tape memory.
    matrix<T> contribution(std::size_t l, matrix<const T> rows, std::size_t batch) {
        const auto h = tape_.make(rows.rows, rows.cols), a = tape_.make(rows.rows, rows.cols),
                   sum = tape_.make(rows.rows, rows.cols);
        backend_.template copy<T>(rows.data, h.value.data, rows.size());
        const auto between =
            model_.attention_sublayer(tape_, {h, {}}, l, l, model_.extents(batch * length_, batch), nullptr);
        backend_.template copy<T>(between.pending.value.data, a.value.data, rows.size());
        const auto after = model_.mlp_sublayer(tape_, between, l, l, nullptr);
        backend_.template add<T>(a.value, wide_t<T>(1), after.pending.value, sum.value);
        return sum.value;
    }
    std::vector<wide_t<T>> distances(matrix<const T> changed, matrix<const T> clean, std::size_t rows) {
        if (distance_.size() < rows) distance_ = tensor<wide_t<T>, Backend>(backend_, {rows});
        rows::changes<T>(backend_, changed, {}, clean, {}, distance_.flat().subspan(0, rows));
        std::vector<wide_t<T>> out(rows);
        backend_.template to_host<wide_t<T>>(distance_.data(), out.data(), rows);
        return out;
    }

    const Model& model_;
    Backend& backend_;
    skip_options options_;
    tape<T, Backend> tape_;
    tensor<T, Backend> kept_, stream_;  // (L * T, C), (T, C)
    tensor<wide_t<T>, Backend> distance_;
    tensor<token, Backend> ids_;
    std::size_t length_ = 0;
};

/// Direct effects of every layer on every later one; `options.unit` is not used, whole layers are taken away. The ranks
/// of `comm` share the prompts.
template <decoder_model Model, class T = typename Model::number, class Backend = typename Model::backend_type>
local_effects_result local_effects(const Model& model, span<const prompt> prompts, const skip_options& options = {},
                                   communicator& comm = no_other_ranks()) {
    require(!prompts.empty(), "[local_effects] expected at least 1 prompt, got 0");
    const std::size_t layers = model.layers();
    for (std::size_t p = 0; p < prompts.size(); ++p) {
        detail::check_prompt(prompts[p], p, model.config().context, model.config().vocab);
        detail::boundaries_of(prompts[p], p, options.seed);
    }
    local_walker<T, Backend, Model> walker(model, options);
    local_effects_result out{layers, std::vector<double>(layers * layers), std::vector<double>(layers * layers)};
    const auto measure = [&](std::size_t p, span<double> row) {
        prompt_effects current(layers), future(layers);
        walker(prompts[p].tokens,
               detail::runs_of(layers, prompts[p].tokens.size(), detail::boundaries_of(prompts[p], p, options.seed),
                               &current, &future));
        std::copy(future.change.begin(), future.change.end(),
                  std::copy(current.change.begin(), current.change.end(), row.begin()));
    };
    share_out(comm, prompts.size(), 2 * layers * layers, measure, [&](std::size_t, span<const double> row) {
        for (std::size_t i = 0; i < layers * layers; ++i) {
            out.current[i] = std::max(out.current[i], row[i]);
            out.future[i] = std::max(out.future[i], row[layers * layers + i]);
        }
    });
    return out;
}

}  // namespace depthgrow
