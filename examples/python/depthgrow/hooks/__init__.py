"""Depth use of any PyTorch decoder by hooks: residuals, contributions, skip effects, depth score, logit lens."""
from .probe import Probe, Trace
from .report import depth_report, read_prompts

__all__ = ["Probe", "Trace", "depth_report", "read_prompts"]
