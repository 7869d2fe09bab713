// Row statistics of the diagnostics: relative changes, softmax distances, lens comparisons, gradients of probabilities.
// Assumes host memory (a backend derived from `reference`), or a backend that has the operation as a member.
// Sums run in the wide type within a row, rows over the backend's threads; the definitions are those of metrics/.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <type_traits>

#include "depthgrow/backend/contract.hpp"
#include "depthgrow/backend/reference.hpp"
#include "depthgrow/backend/vector_math.hpp"

namespace depthgrow::rows {

namespace detail {

template <class Backend> constexpr void require_host_memory() {
    static_assert(std::is_base_of_v<reference, Backend>,
                  "depthgrow: a backend whose memory is not the host's must have this row operation as a member");
}
/// body(row) for every row; rows are independent, so any number of threads gives the same bits.
template <class Backend, class Body> void each(const Backend& backend, std::size_t count, const Body& body) {
    const auto share = [&](std::size_t first, std::size_t last) {
        for (std::size_t r = first; r < last; ++r) body(r);
    };
    if constexpr (requires { backend.ranges(count, 1, share); }) backend.ranges(count, 2, share);
    else share(0, count);
}

template <class T> T largest(const T* values, std::size_t count) {
    T best = values[0];
#pragma omp simd reduction(max : best)
    for (std::size_t i = 0; i < count; ++i) best = values[i] > best ? values[i] : best;
    return best;
}
/// Replaces logits by exp(logit - largest); returns their sum.
template <class T> T exponentials(T* DEPTHGROW_RESTRICT row, std::size_t count, T shift) {
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::size_t i = 0; i < count; ++i) {
        row[i] = depthgrow::detail::exp_of(row[i] - shift);
        sum += row[i];
    }
    return sum;
}
/// Row r of x, or nothing when x is empty; a shorter x repeats.
template <class T> const T* cyclic(matrix<const T> x, std::size_t r) { return x.data ? x.row(r % x.rows) : nullptr; }

}  // namespace detail

/// distance[r] = ‖(a'+m') − (a+m)‖₂ and norm[r] = ‖a+m‖₂ of row r. An empty operand is zero; a and m may have fewer
/// rows, which then repeat (one prompt's clean rows under many runs). `norm` may be empty.
template <class T, class Backend>
void changes(Backend& backend, matrix<const T> a_run, matrix<const T> m_run, matrix<const T> a, matrix<const T> m,
             span<wide_t<T>> distance, span<wide_t<T>> norm = {}) {
    if constexpr (requires { backend.template row_changes<T>(a_run, m_run, a, m, distance, norm); }) {
        backend.template row_changes<T>(a_run, m_run, a, m, distance, norm);
    } else {
        detail::require_host_memory<Backend>();
        const std::size_t width = std::max(a.cols, m.cols);
        detail::each(backend, distance.size(), [&](std::size_t r) {
            const T *ar = detail::cyclic(a_run, r), *mr = detail::cyclic(m_run, r), *ac = detail::cyclic(a, r),
                    *mc = detail::cyclic(m, r);
            wide_t<T> difference = 0, clean = 0;
            const auto accumulate = [&](auto changed, auto kept) {
#pragma omp simd reduction(+ : difference, clean)
                for (std::size_t c = 0; c < width; ++c) {
                    const wide_t<T> k = kept(c), d = changed(c) - k;
                    difference += d * d;
                    clean += k * k;
                }
            };
            const auto value = [](const T* x) {
                return [x](std::size_t c) { return x ? static_cast<wide_t<T>>(x[c]) : wide_t<T>(0); };
            };
            if (ar && mr && ac && mc)
                accumulate(
                    [=](std::size_t c) { return static_cast<wide_t<T>>(ar[c]) + static_cast<wide_t<T>>(mr[c]); },
                    [=](std::size_t c) { return static_cast<wide_t<T>>(ac[c]) + static_cast<wide_t<T>>(mc[c]); });
            else
                accumulate([&](std::size_t c) { return value(ar)(c) + value(mr)(c); },
                           [&](std::size_t c) { return value(ac)(c) + value(mc)(c); });
            distance[r] = std::sqrt(difference);
            if (!norm.empty()) norm[r] = std::sqrt(clean);
        });
    }
}

/// Every row of logits (M, V) becomes its softmax; log_sums[r] = log Σ exp(logits[r]), in nats, where log_sums is not
/// empty.
template <class T, class Backend>
void softmax_inplace(Backend& backend, matrix<T> logits, span<wide_t<T>> log_sums = {}) {
    if constexpr (requires { backend.template row_softmax_inplace<T>(logits, log_sums); }) {
        backend.template row_softmax_inplace<T>(logits, log_sums);
    } else {
        detail::require_host_memory<Backend>();
        detail::each(backend, logits.rows, [&](std::size_t r) {
            T* DEPTHGROW_RESTRICT row = logits.row(r);
            const T top = detail::largest(row, logits.cols), sum = detail::exponentials(row, logits.cols, top),
                    share = T(1) / sum;
            if (!log_sums.empty()) log_sums[r] = static_cast<wide_t<T>>(top) + std::log(static_cast<wide_t<T>>(sum));
#pragma omp simd
            for (std::size_t c = 0; c < logits.cols; ++c) row[c] *= share;
        });
    }
}

/// out[r] = x[r]·y[r], both (M, C).
template <class T, class Backend>
void dots(Backend& backend, matrix<const T> x, matrix<const wide_t<T>> y, span<wide_t<T>> out) {
    if constexpr (requires { backend.template row_dots<T>(x, y, out); }) {
        backend.template row_dots<T>(x, y, out);
    } else {
        detail::require_host_memory<Backend>();
        detail::each(backend, x.rows, [&](std::size_t r) {
            const T* a = x.row(r);
            const wide_t<T>* b = y.row(r);
            wide_t<T> sum = 0;
#pragma omp simd reduction(+ : sum)
            for (std::size_t c = 0; c < x.cols; ++c) sum += static_cast<wide_t<T>>(a[c]) * b[c];
            out[r] = sum;
        });
    }
}

/// out[r] = factor (shares[r] x[r] − y[r]), all (M, C).
template <class T, class Backend>
void differences(Backend& backend, matrix<const wide_t<T>> x, span<const wide_t<T>> shares, matrix<const wide_t<T>> y,
                 wide_t<T> factor, matrix<T> out) {
    if constexpr (requires { backend.template row_differences<T>(x, shares, y, factor, out); }) {
        backend.template row_differences<T>(x, shares, y, factor, out);
    } else {
        detail::require_host_memory<Backend>();
        detail::each(backend, x.rows, [&](std::size_t r) {
            const wide_t<T>* a = x.row(r);
            const wide_t<T>* b = y.row(r);
            const wide_t<T> share = shares[r];
            T* DEPTHGROW_RESTRICT to = out.row(r);
#pragma omp simd
            for (std::size_t c = 0; c < x.cols; ++c) to[c] = static_cast<T>(factor * (share * a[c] - b[c]));
        });
    }
}

/// distance[r] = ‖softmax(logits[r]) − probabilities[r]‖₂. The logits are used up.
template <class T, class Backend>
void softmax_distances(Backend& backend, matrix<T> logits, matrix<const T> probabilities, span<wide_t<T>> distance) {
    if constexpr (requires { backend.template row_softmax_distances<T>(logits, probabilities, distance); }) {
        backend.template row_softmax_distances<T>(logits, probabilities, distance);
    } else {
        detail::require_host_memory<Backend>();
        detail::each(backend, logits.rows, [&](std::size_t r) {
            T* DEPTHGROW_RESTRICT row = logits.row(r);
            const T* DEPTHGROW_RESTRICT other = probabilities.row(r);
            const T share = T(1) / detail::exponentials(row, logits.cols, detail::largest(row, logits.cols));
            wide_t<T> sum = 0;
#pragma omp simd reduction(+ : sum)
            for (std::size_t c = 0; c < logits.cols; ++c) {
                const wide_t<T> d = static_cast<wide_t<T>>(row[c] * share) - static_cast<wide_t<T>>(other[c]);
                sum += d * d;
            }
            distance[r] = std::sqrt(sum);
        });
    }
}

/// How one row's distribution q differs from the model's own y.
struct comparison {
    double kl_lens_final = 0;  ///< KL(q‖y), nats
    double kl_final_lens = 0;  ///< KL(y‖q), nats
    double cross_entropy = 0;  ///< −log q[target], nats; 0 without a target
    double overlap = 0;        ///< |top k of q ∩ top k of y| / k
    bool agrees = false;       ///< the same first choice
    bool hits = false;         ///< q's first choice is the target
};

namespace detail {

inline constexpr std::size_t largest_k = 16;

/// Ids of the k largest values, largest first, the lowest id on a tie.
template <class T> std::array<std::size_t, largest_k> top_k(const T* values, std::size_t count, std::size_t k) {
    std::array<std::size_t, largest_k> ids{};
    std::size_t kept = 0;
    constexpr std::size_t stretch = 64;
    for (std::size_t first = 0; first < count; first += stretch) {
        const std::size_t last = std::min(count, first + stretch);
        if (kept == k && !(largest(values + first, last - first) > values[ids[k - 1]])) continue;
        for (std::size_t id = first; id < last; ++id) {
            if (kept == k && !(values[id] > values[ids[k - 1]])) continue;
            std::size_t place = kept < k ? kept++ : k - 1;
            for (; place > 0 && values[id] > values[ids[place - 1]]; --place) ids[place] = ids[place - 1];
            ids[place] = id;
        }
    }
    return ids;
}

template <class T>
comparison compare(const T* DEPTHGROW_RESTRICT q, const T* DEPTHGROW_RESTRICT y, std::size_t vocab, token target,
                   std::size_t k) {
    const T q_top = largest(q, vocab), y_top = largest(y, vocab);
    wide_t<T> q_sum = 0, y_sum = 0, q_pull = 0, y_pull = 0;
#pragma omp simd reduction(+ : q_sum, y_sum, q_pull, y_pull)
    for (std::size_t c = 0; c < vocab; ++c) {
        const wide_t<T> qs = q[c] - q_top, ys = y[c] - y_top, gap = qs - ys;
        const wide_t<T> qe = depthgrow::detail::exp_of(qs), ye = depthgrow::detail::exp_of(ys);
        q_sum += qe, y_sum += ye;
        q_pull += qe * gap;
        y_pull -= ye * gap;
    }
    // Σ q (log q − log y) = Σ q (gap) − (log Σ q' − log Σ y'), and the same with the roles exchanged.
    const double shift = std::log(static_cast<double>(q_sum)) - std::log(static_cast<double>(y_sum));
    comparison out;
    out.kl_lens_final = static_cast<double>(q_pull) / static_cast<double>(q_sum) - shift;
    out.kl_final_lens = static_cast<double>(y_pull) / static_cast<double>(y_sum) + shift;
    const auto q_ids = top_k(q, vocab, k), y_ids = top_k(y, vocab, k);
    std::size_t shared = 0;
    for (std::size_t i = 0; i < k; ++i)
        for (std::size_t j = 0; j < k; ++j) shared += q_ids[i] == y_ids[j];
    out.overlap = static_cast<double>(shared) / static_cast<double>(k);
    out.agrees = q_ids[0] == y_ids[0];
    if (target >= 0) {
        out.hits = q_ids[0] == static_cast<std::size_t>(target);
        out.cross_entropy =
            std::log(static_cast<double>(q_sum)) + static_cast<double>(q_top) - static_cast<double>(q[target]);
    }
    return out;
}

}  // namespace detail

/// Compares logits q with logits y, (M, V) each; targets (M) in host memory, -1: none; `k` of the overlap, at most 16.
template <class T, class Backend>
void compare(Backend& backend, matrix<const T> q, matrix<const T> y, span<const token> targets, std::size_t k,
             span<comparison> out) {
    require(k > 0 && k <= std::min(detail::largest_k, q.cols), "[compare_rows] expected k from 1 to ",
            std::min(detail::largest_k, q.cols), ", got ", k);
    if constexpr (requires { backend.template row_compare<T>(q, y, targets, k, out); }) {
        backend.template row_compare<T>(q, y, targets, k, out);
    } else {
        detail::require_host_memory<Backend>();
        detail::each(backend, q.rows,
                     [&](std::size_t r) { out[r] = detail::compare(q.row(r), y.row(r), q.cols, targets[r], k); });
    }
}

/// value[r] = softmax(z[r])[gold[r]]; z becomes its gradient, p_gold (onehot − p); rows with gold below 0 become zero.
template <class T, class Backend>
void probability_gradient_inplace(Backend& backend, matrix<T> z, span<const token> gold, span<wide_t<T>> value) {
    if constexpr (requires { backend.template row_probability_gradient_inplace<T>(z, gold, value); }) {
        backend.template row_probability_gradient_inplace<T>(z, gold, value);
    } else {
        detail::require_host_memory<Backend>();
        detail::each(backend, z.rows, [&](std::size_t r) {
            T* DEPTHGROW_RESTRICT row = z.row(r);
            value[r] = 0;
            if (gold[r] < 0) return std::fill_n(row, z.cols, T(0)), void();
            const T share = T(1) / detail::exponentials(row, z.cols, detail::largest(row, z.cols)),
                    p = row[gold[r]] * share;
            for (std::size_t c = 0; c < z.cols; ++c) row[c] *= -p * share;
            row[gold[r]] += p;
            value[r] = p;
        });
    }
}

}  // namespace depthgrow::rows
