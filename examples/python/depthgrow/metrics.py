"""The library's metrics on arrays of NumPy, PyTorch, JAX or anything with DLPack, read in place; those on a GPU are
brought to the CPU first.

Functions of runs take (n) and give a number, or take (T, n) and give (T); formats are float64, float32, bfloat16 and
float16, one a call; sums are in float64. Definitions and papers: include/depthgrow/metrics.
"""
from ._native import (ContributionAccumulator, LayerContribution, MeanInterval, RunningStatistics, agreement,
                      angular_distance, argmax, binomial_standard_error, block_influence, block_similarity,
                      bootstrap_mean, centre_of_mass, cosine, cross_entropy, dot_product, future_output_effect,
                      kl_divergence, kl_from_log, l2_distance, l2_norm, layer_depth_score, layer_effects, log_softmax,
                      log_sum_exp, norm_ratio, output_depth_score, paired_difference, relative_change, relative_depth,
                      set_overlap, softmax_distance, top_k, top_k_overlap)

__all__ = ["ContributionAccumulator", "LayerContribution", "MeanInterval", "RunningStatistics", "agreement",
           "angular_distance", "argmax", "binomial_standard_error", "block_influence", "block_similarity",
           "bootstrap_mean", "centre_of_mass", "contribution", "cosine", "cross_entropy", "dot_product",
           "future_output_effect", "kl_divergence", "kl_from_log", "l2_distance", "l2_norm", "layer_depth_score",
           "layer_effects", "log_softmax", "log_sum_exp", "norm_ratio", "output_depth_score", "paired_difference",
           "relative_change", "relative_depth", "set_overlap", "softmax_distance", "top_k", "top_k_overlap"]


def contribution(h, a, m):
    """Token means of one layer (LayerContribution) from residual, attention and MLP outputs, each (T, d)."""
    layer = ContributionAccumulator()
    layer.add(h, a, m)
    return layer.mean()
