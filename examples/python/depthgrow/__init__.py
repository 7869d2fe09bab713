"""Layer orders, growth operators, schedules and lineage; `depthgrow.torch`, `.jax`, `.hf`, `.hooks` and `.metrics`.

Nothing here imports PyTorch, JAX or transformers; the submodules of these names do.
"""
from ._native import (Error, Growth, GrowthOperator, GrowthPlan, GrowthStage, LayerOrder, Lineage, Mixture, ModelShape,
                      __version__, collapse, compose, doubling, flop_matched_steps, forward_flops_per_token, gradual,
                      interleave, lidas, loop, midas, operator_names, operator_table, plan_growth, plan_plain, reverse,
                      skip, solar, stage_lengths, swap_blocks, training_flops)
from .sequences import grow

__all__ = ["Error", "Growth", "GrowthOperator", "GrowthPlan", "GrowthStage", "LayerOrder", "Lineage", "Mixture",
           "ModelShape", "__version__", "collapse", "compose", "doubling", "flop_matched_steps",
           "forward_flops_per_token", "gradual", "grow", "interleave", "lidas", "loop", "midas", "operator_names",
           "operator_table", "plan_growth", "plan_plain", "reverse", "skip", "solar", "stage_lengths", "swap_blocks",
           "training_flops"]
