// Logit lens and tuned lens: how far every layer's input is from the model's answer already.
// Assumes prompts without padding; means over all tokens of all prompts. Index L is the model's own head, for control.
// Maths: nostalgebraist 2020 (logit lens), Belrose et al. 2023 (arXiv 2303.08112, tuned lens); top-5 overlap, Csordás
// et al. 2025 (arXiv 2505.13898) and Kapl et al. 2025 (arXiv 2512.08819) figure 1B.
// Chosen: the layer's input is read; every token counts once (Csordás: every prompt); ties rank the lowest id first.
#pragma once

#include <array>
#include <vector>

#include "depthgrow/analysis/prompts.hpp"
#include "depthgrow/analysis/samples.hpp"
#include "depthgrow/analysis/shared_prompts.hpp"
#include "depthgrow/analysis/tuned_lens.hpp"

namespace depthgrow {

struct lens_options {
    std::size_t k = 5;              // of the overlap
    std::size_t logit_rows = 0;     // rows of logits at a time; 0: 256, on a device 1024
    bootstrap_options bootstrap{};  // of the means' intervals
};

/// What a lens is asked; the last two are over positions that have a next token.
enum class lens_quantity : std::size_t {
    kl_lens_final,
    kl_final_lens,
    top5_overlap,
    agreement,
    accuracy,
    cross_entropy
};

/// "top5_overlap": as the JSON of reports names it.
constexpr const char* name_of(lens_quantity which) {
    constexpr const char* names[] = {"kl_lens_final", "kl_final_lens", "top5_overlap",
                                     "agreement",     "accuracy",      "cross_entropy"};
    return names[static_cast<std::size_t>(which)];
}

/// Every quantity at layers 0 … L.
struct lens_report {
    static constexpr std::array quantities = {lens_quantity::kl_lens_final, lens_quantity::kl_final_lens,
                                              lens_quantity::top5_overlap,  lens_quantity::agreement,
                                              lens_quantity::accuracy,      lens_quantity::cross_entropy};
    static constexpr auto of_all_tokens = static_cast<std::size_t>(lens_quantity::accuracy);  // those before it
    std::size_t depth = 0;
    sample_table all_tokens, next_tokens;  // columns: quantity * (L + 1) + layer

    const sample_table& table(lens_quantity which) const {
        return which < lens_quantity::accuracy ? all_tokens : next_tokens;
    }
    /// The column of a quantity at a layer in its table.
    std::size_t column(lens_quantity which, std::size_t layer) const {
        const auto index = static_cast<std::size_t>(which);
        return (index < of_all_tokens ? index : index - of_all_tokens) * (depth + 1) + layer;
    }

    /// One quantity at layers 0 … L, and its intervals.
    std::vector<double> quantity(lens_quantity which) const {
        std::vector<double> out;
        for (std::size_t l = 0; l <= depth; ++l) out.push_back(table(which).mean(column(which, l)));
        return out;
    }
    std::vector<mean_interval> intervals(lens_quantity which) const {
        std::vector<mean_interval> out;
        for (std::size_t l = 0; l <= depth; ++l) out.push_back(table(which).interval(column(which, l)));
        return out;
    }
};

namespace detail {

template <decoder_model Model, class T = typename Model::number, class Backend = typename Model::backend_type>
lens_report measure_lens(const Model& model, span<const prompt> prompts, const tuned_lens<T, Backend>* lens,
                         const lens_options& options, communicator& comm) {
    Backend& backend = model.backend();
    const std::size_t L = model.layers(), width = model.config().width, vocab = model.config().vocab;
    require(!prompts.empty(), "[lens] expected at least 1 prompt, got 0");
    if (lens) lens->check(model);
    for (std::size_t p = 0; p < prompts.size(); ++p) check_prompt(prompts[p], p, model.config().context, vocab);
    constexpr std::size_t all = lens_report::of_all_tokens, others = lens_report::quantities.size() - all;
    lens_report out{L, sample_table(all * (L + 1), prompts.size(), options.bootstrap),
                    sample_table(others * (L + 1), prompts.size(), options.bootstrap)};
    tape<T, Backend> run(backend), head(backend);
    tensor<T, Backend> residuals;
    const auto measure = [&](std::size_t p, span<double> row) {
        const prompt& one = prompts[p];
        const std::size_t length = one.tokens.size(),
                          chunk = std::min(length, rows_at_a_time<Backend>(options.logit_rows, 256, 1024));
        if (residuals.size() < (L + 1) * length * width)
            residuals = tensor<T, Backend>(backend, {(L + 1) * length, width});
        const auto ids = tensor<token, Backend>::from_host(backend, {length}, one.tokens);
        run.start(false);
        model.residual(run, ids.flat(), 1, nullptr, {}, [&](site where, std::size_t slot, matrix<T> h) {
            const std::size_t place = where == site::resid_pre ? slot : L;
            if (where == site::resid_pre || (where == site::resid_post && slot + 1 == L))
                backend.template copy<T>(h.data, residuals.rows().row(place * length), h.size());
        });
        const auto sums = row.subspan(0, all * (L + 1)), next_sums = row.subspan(all * (L + 1), others * (L + 1));
        std::vector<depthgrow::rows::comparison> compared(chunk);
        for (std::size_t first = 0; first < length; first += chunk) {
            const std::size_t count = std::min(chunk, length - first);
            std::vector<token> targets(count, -1);
            for (std::size_t u = 0; u < count && first + u + 1 < length; ++u) targets[u] = one.tokens[first + u + 1];
            head.start(false);
            const auto logits_of = [&](matrix<const T> rows) {
                const auto x = head.make(count, width);
                backend.template copy<T>(rows.data, x.value.data, rows.size());
                const auto normed = model.final_norm(head, x, nullptr);
                const auto z = ops::linear(head, normed, model.head());
                head.drop(x), head.drop(normed);
                return z;
            };
            const auto y = logits_of(residuals.rows().row_range(L * length + first, count));
            const auto ones = head.make(count, 1), moved = head.make(count, width);
            backend.template fill<T>(ones.value.data, count, T(1));
            for (std::size_t l = 0; l <= L; ++l) {
                matrix<const T> h = residuals.rows().row_range(l * length + first, count);
                if (lens && l < L) {
                    translate<T>(backend, lens->translators[l], h, ones.value, moved.value);
                    h = moved.value;
                }
                const auto q = l == L ? y : logits_of(h);
                depthgrow::rows::compare<T>(backend, q.value, y.value, targets, std::min(options.k, vocab),
                                            {compared.data(), count});
                if (l < L) head.drop(q);
                for (std::size_t u = 0; u < count; ++u) {
                    const depthgrow::rows::comparison& c = compared[u];
                    const double values[] = {c.kl_lens_final,      c.kl_final_lens,    c.overlap,
                                             c.agrees ? 1.0 : 0.0, c.hits ? 1.0 : 0.0, c.cross_entropy};
                    for (const auto which : lens_report::quantities)
                        (which < lens_quantity::accuracy ? sums : next_sums)[out.column(which, l)] +=
                            values[static_cast<std::size_t>(which)];
                }
            }
        }
        for (std::size_t i = 0; i < row.size(); ++i)
            require(std::isfinite(row[i]), "[lens] expected finite logits, got NaN or infinity at layer ", i % (L + 1),
                    " on ", prompt_name(one, p));
    };
    const std::size_t columns = out.all_tokens.columns(), next_columns = out.next_tokens.columns();
    share_out(comm, prompts.size(), columns + next_columns, measure, [&](std::size_t p, span<const double> row) {
        const std::size_t length = prompts[p].tokens.size();
        out.all_tokens.add(row.subspan(0, columns), static_cast<double>(length));
        out.next_tokens.add(row.subspan(columns, next_columns), static_cast<double>(length - 1));
    });
    return out;
}

}  // namespace detail

/// q_l = softmax(W_U Norm_f(h_l)). The ranks of `comm` share the prompts.
template <decoder_model Model, class T = typename Model::number, class Backend = typename Model::backend_type>
lens_report logit_lens(const Model& model, span<const prompt> prompts, const lens_options& options = {},
                       communicator& comm = no_other_ranks()) {
    return detail::measure_lens<Model, T, Backend>(model, prompts, nullptr, options, comm);
}

/// q_l = softmax(W_U Norm_f(h_l + A_l h_l + b_l)); a lens of another model is refused.
template <decoder_model Model, class T = typename Model::number, class Backend = typename Model::backend_type>
lens_report tuned_lens_statistics(const Model& model, span<const prompt> prompts, const tuned_lens<T, Backend>& lens,
                                  const lens_options& options = {}, communicator& comm = no_other_ranks()) {
    return detail::measure_lens<Model, T, Backend>(model, prompts, &lens, options, comm);
}

}  // namespace depthgrow
