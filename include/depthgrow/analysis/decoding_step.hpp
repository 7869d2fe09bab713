// A step of generation: one new token each of many sequences, recorded once for a number of rows and replayed from then
// on. Assumes a backend that decodes steps (backend/capabilities.hpp), and weights that stay where they are. Rows are
// padded to a few numbers of them, each with a recording of its own; padded rows attend to themselves in a cache of
// their own. Maths: that of model_run; positions and caches are read where the kernels run, so that one recording
// serves them all.
#pragma once

#include <map>
#include <vector>

#include "depthgrow/analysis/model_run.hpp"
#include "depthgrow/backend/replay.hpp"

namespace depthgrow {

/// What one row of a step takes in: the token at `position` of the sequence whose slots' caches these are.
template <class T, class Backend> struct stepping_row {
    token id;
    std::size_t position;
    std::vector<layer_cache<T, Backend>>* caches;
};

template <class T, class Backend, decoder_model Model> class decoding_step {
public:
    decoding_step(const char* owner, const Model& model, const scoring_options<T, Backend>& options)
        : run_(owner, model, options), unused_(backend(), model.config(), 1) {}

    /// Takes a token in a row; gives each row's likeliest next token.
    std::vector<row_choice> operator()(span<const stepping_row<T, Backend>> rows) {
        std::vector<token> numbers;
        for (const auto& row : rows) numbers.push_back(row.id);
        run_.check(numbers);
        const std::size_t padded = padded_rows(rows.size());
        numbers.resize(padded);
        for (const auto& row : rows) numbers.push_back(static_cast<token>(row.position));
        numbers.resize(2 * padded);
        plan& p = plans_.try_emplace(padded, backend(), padded, run_.exit()).first->second;
        backend().template from_host<token>(numbers.data(), p.numbers.data(), numbers.size());
        place(p, padded, rows);
        const span<const token> in = p.numbers.flat();
        p.recorded(backend(), {padded, run_.tape().memory().generation(), run_.model().layers(), 0, 0}, [&] {
            const overlapped within(backend());
            const auto h = run_.steps(in.subspan(0, padded), in.subspan(padded, padded), p.places.flat());
            const matrix<const T> x = run_.answer(h);
            const std::size_t vocab = run_.model().config().vocab;
            p.logits = matrix<wide_t<T>>(run_.tape().make_wide(padded * vocab).data(), padded, vocab);
            ops::unembed<T>(backend(), x, run_.model().head().value, p.logits);
            backend().row_best(matrix<const wide_t<T>>(p.logits), p.choices.flat());
        });
        std::vector<row_choice> out(padded);
        backend().template to_host<row_choice>(p.choices.data(), out.data(), padded);
        out.resize(rows.size());
        last_ = p.logits;
        return out;
    }
    /// The last step's logits of a row, (V), on the host.
    std::vector<wide_t<T>> logits(std::size_t row) const {
        std::vector<wide_t<T>> out(last_.cols);
        backend().template to_host<wide_t<T>>(last_.row(row), out.data(), out.size());
        return out;
    }

private:
    /// Before the operation ahead of it has ended, one of a step may read weights, positions, places and past keys:
    /// nothing that a step writes.
    class overlapped {
    public:
        explicit overlapped(Backend& backend) : backend_(backend) { backend_.overlap(true); }
        overlapped(const overlapped&) = delete;
        overlapped& operator=(const overlapped&) = delete;
        ~overlapped() { backend_.overlap(false); }

    private:
        Backend& backend_;
    };
    struct plan {
        plan(Backend& backend, std::size_t rows, std::size_t slots)
            : numbers(backend, {2 * rows}),
              choices(backend, {rows}),
              places(backend, {std::max(slots, std::size_t{1}), rows}) {}

        tensor<token, Backend> numbers;           // ids, then positions
        tensor<row_choice, Backend> choices;      // what comes of them
        tensor<cached_row<T>, Backend> places;    // (slots, rows)
        std::vector<cached_row<T>> places_there;  // what it holds
        matrix<wide_t<T>> logits;                 // (rows, V), in memory of the run
        replay<Backend> recorded;
    };

    Backend& backend() const { return run_.model().backend(); }
    /// Up to 4 rows as they are, more by eights: so many recordings there are at most.
    static std::size_t padded_rows(std::size_t rows) { return rows <= 4 ? rows : (rows + 7) / 8 * 8; }
    /// Brings the rows' caches to the backend where they have changed.
    void place(plan& p, std::size_t padded, span<const stepping_row<T, Backend>> rows) {
        std::vector<cached_row<T>> places(run_.exit() * padded, {unused_.keys.data(), unused_.values.data(), 1});
        for (std::size_t slot = 0; slot < run_.exit(); ++slot)
            for (std::size_t r = 0; r < rows.size(); ++r) {
                auto& cache = (*rows[r].caches)[slot];
                places[slot * padded + r] = {cache.keys.data(), cache.values.data(), cache.capacity};
            }
        if (places == p.places_there) return;
        backend().template from_host<cached_row<T>>(places.data(), p.places.data(), places.size());
        p.places_there = std::move(places);
    }

    model_run<T, Backend, Model> run_;
    layer_cache<T, Backend> unused_;  // of rows that fill up a step
    std::map<std::size_t, plan> plans_;
    matrix<wide_t<T>> last_;
};

}  // namespace depthgrow
