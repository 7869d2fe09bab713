// How far apart two distributions over the vocabulary are: KL, softmax distance, cross entropy.
// Assumes C++17; logits in any number type, results in double, in nats.
// Maths: KL(p‖q) = Σ p (log p − log q); ‖softmax a − softmax b‖₂ is the output effect of Csordás et al. 2025.
#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

#include "depthgrow/core/error.hpp"
#include "depthgrow/metrics/reduce.hpp"

namespace depthgrow {

/// log Σ exp, without overflow.
template <class Logits> double log_sum_exp(const Logits& logits) {
    require(logits.size() > 0, "[log_sum_exp] expected at least 1 logit, got 0");
    double largest = detail::widen(logits[0]);
    for (std::size_t i = 1; i < logits.size(); ++i)
        if (detail::widen(logits[i]) > largest) largest = detail::widen(logits[i]);
    double sum = 0;
    for (std::size_t i = 0; i < logits.size(); ++i) sum += std::exp(detail::widen(logits[i]) - largest);
    return largest + std::log(sum);
}

/// Log-probabilities of V logits.
template <class Logits> std::vector<double> log_softmax(const Logits& logits) {
    const double normaliser = log_sum_exp(logits);
    std::vector<double> log_p(logits.size());
    for (std::size_t i = 0; i < log_p.size(); ++i) log_p[i] = detail::widen(logits[i]) - normaliser;
    return log_p;
}

/// KL(p‖q) in nats from log-probabilities; terms with p = 0 count 0.
template <class LogP, class LogQ> double kl_from_log(const LogP& log_p, const LogQ& log_q) {
    detail::require_same_size("kl_from_log", log_p, log_q);
    double sum = 0;
    for (std::size_t i = 0; i < log_p.size(); ++i) {
        const double p = std::exp(detail::widen(log_p[i]));
        if (p != 0) sum += p * (detail::widen(log_p[i]) - detail::widen(log_q[i]));
    }
    return sum;
}

/// KL(softmax p‖softmax q) in nats from logits.
template <class P, class Q> double kl_divergence(const P& p_logits, const Q& q_logits) {
    detail::require_same_size("kl_divergence", p_logits, q_logits);
    return kl_from_log(log_softmax(p_logits), log_softmax(q_logits));
}

/// ‖softmax a − softmax b‖₂ from logits; in [0, √2].
template <class A, class B> double softmax_distance(const A& a_logits, const B& b_logits) {
    detail::require_same_size("softmax_distance", a_logits, b_logits);
    std::vector<double> a = log_softmax(a_logits), b = log_softmax(b_logits);
    for (double& value : a) value = std::exp(value);
    for (double& value : b) value = std::exp(value);
    return l2_distance(a, b);
}

/// −log softmax(logits)[target] in nats.
template <class Logits> double cross_entropy(const Logits& logits, std::size_t target) {
    require(target < logits.size(), "[cross_entropy] expected a target below ", logits.size(), ", got ", target);
    return log_sum_exp(logits) - detail::widen(logits[target]);
}

}  // namespace depthgrow
