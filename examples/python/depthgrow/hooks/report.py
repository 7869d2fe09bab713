"""Depth score, contributions, skip effects and logit lens of any decoder, with the keys of the library's own report."""
import os

import torch

from .. import metrics
from .._native import Error
from .probe import Probe
from .prompts import boundaries_of, read_prompts, with_tokens

CONTRIBUTION = ("attention_ratio", "mlp_ratio", "layer_ratio", "attention_cosine", "mlp_cosine", "layer_cosine",
                "block_influence", "residual_norm")
RATIO_FLOOR = 1e-6  # as in include/depthgrow/metrics/reduce.hpp


def _wide(tensor):
    """On the CPU, in float32 or wider, contiguous."""
    return tensor.detach().to("cpu", torch.float64 if tensor.dtype == torch.float64 else torch.float32).contiguous()


class _Effects:
    """Maxima over positions and boundaries of a prompt, then maximum and mean over prompts."""

    def __init__(self):
        self.change, self.output = [], []

    def add(self, change, output):
        self.change.append(change)
        self.output.append(output)

    def result(self):
        change, output = torch.stack(self.change), torch.stack(self.output)
        return {"change_max": change.amax(0).tolist(), "output_max": output.amax(0).tolist(),
                "change_mean": change.mean(0).tolist(), "output_mean": output.mean(0).tolist()}


def _skip_effects(probe, tokens, clean, boundaries, unit):
    """(change (L, L), output (L)) of a prompt for mode current and for mode future; rows of the batch are boundaries,
    the last one the end (current)."""
    length, count = tokens.shape[1], len(probe.layers)
    ends = torch.tensor([*boundaries, length], device=probe.device)
    positions = torch.arange(length, device=probe.device)
    mask = (positions >= 1) & (positions < ends[:, None])
    measured = positions >= ends[:, None]
    measured[-1] = True
    batch = tokens.expand(len(ends), -1)
    wide = torch.promote_types(clean.logits.dtype, torch.float32)
    added = clean.attention.to(wide) + clean.mlp.to(wide)
    norms = added.norm(dim=-1).clamp_min(RATIO_FLOOR)
    softmax = clean.logits.to(wide).softmax(-1)
    changes = torch.zeros(2, count, count, dtype=torch.float64)
    outputs = torch.zeros(2, count, dtype=torch.float64)
    for layer in range(count):
        run = probe.run(batch, skip=layer, unit=unit, mask=mask)
        change = (run.attention.to(wide) + run.mlp.to(wide) - added).norm(dim=-1) / norms  # (L, rows, T)
        output = (run.logits.to(wide).softmax(-1) - softmax).norm(dim=-1)                  # (rows, T)
        change = change.masked_fill(~measured, 0).amax(-1).cpu()
        output = output.masked_fill(~measured, 0).amax(-1).cpu()
        changes[0, layer], outputs[0, layer] = change[:, -1], output[-1]
        if len(boundaries):
            changes[1, layer], outputs[1, layer] = change[:, :-1].amax(-1), output[:-1].max()
    return changes, outputs


class _Lens:
    """Sums over tokens of what the input of each layer predicts."""

    def __init__(self, count):
        self.sums = {name: [0.0] * (count + 1) for name in ("kl_lens_final", "kl_final_lens", "top5_overlap",
                                                            "agreement", "accuracy", "cross_entropy")}
        self.tokens = self.followed = 0

    def add(self, probe, clean, tokens):
        final, ids = _wide(clean.logits[0]), tokens[0].tolist()
        self.tokens += len(ids)
        self.followed += len(ids) - 1
        for i in range(len(probe.layers) + 1):
            lens = final if i == len(probe.layers) else _wide(probe.lens(clean.residual[i])[0])
            values = {"kl_lens_final": metrics.kl_divergence(lens, final),
                      "kl_final_lens": metrics.kl_divergence(final, lens),
                      "top5_overlap": metrics.top_k_overlap(lens, final, k=min(5, final.shape[-1])),
                      "agreement": metrics.agreement(lens, final),
                      "accuracy": metrics.argmax(lens[:-1]) == ids[1:],
                      "cross_entropy": metrics.cross_entropy(lens[:-1], ids[1:])}
            for name, value in values.items():
                self.sums[name][i] += float(value.sum())

    def means(self):
        return {name: [value / (self.followed if name in ("accuracy", "cross_entropy") else self.tokens)
                       for value in sums] for name, sums in self.sums.items()}


def depth_report(model, prompts, *, tokenizer=None, unit="layer", seed=12345, layers=None, attention=None, mlp=None):
    """What a decoder does with its depth, as the library's depth_report defines and names it, as a dictionary.

    prompts:   a list of lists of token ids, of texts, or of dictionaries with "tokens" or "text", and "boundaries"
               where they have some; or a file's path (read_prompts). Without boundaries up to 4 are drawn, of 8, 16,
               24, ...; these need 13 tokens.
    tokenizer: what makes token ids of a text: a transformers tokenizer (with the special tokens that it adds, a
               beginning or an end), or a function.
    unit:      what is skipped: "layer", "attention" or "mlp". Depth scores are of layers only.

    Layers count from 0; lists of lens and residual_norm have one element more, the model's own. Everything runs one
    prompt at a time. Raises Error where the model is no stack of layers that add to a residual (Probe).
    """
    if isinstance(prompts, (str, os.PathLike)):
        prompts = read_prompts(prompts, tokenizer)
    prompts = [with_tokens(prompt, tokenizer, f"[depth_report] prompt {index}") for index, prompt in enumerate(prompts)]
    if not prompts:
        raise Error("[depth_report] expected at least 1 prompt, got none")
    boundaries = [boundaries_of(prompt, index, seed) for index, prompt in enumerate(prompts)]
    probe = Probe(model, prompts[0]["tokens"], layers=layers, attention=attention, mlp=mlp)
    count = len(probe.layers)
    means = [metrics.ContributionAccumulator() for _ in range(count)]
    last, tokens_seen = 0.0, 0
    effects, lens = (_Effects(), _Effects()), _Lens(count)
    with probe.quiet():
        for prompt, ends in zip(prompts, boundaries):
            tokens = torch.tensor([prompt["tokens"]], device=probe.device)
            clean = probe.run(tokens)
            for i in range(count):
                means[i].add(*(_wide(part[i][0]) for part in (clean.residual, clean.attention, clean.mlp)))
            last += float(metrics.l2_norm(_wide(clean.residual[-1][0])).sum())
            tokens_seen += tokens.shape[1]
            lens.add(probe, clean, tokens)
            changes, outputs = _skip_effects(probe, tokens, clean, ends, unit)
            for mode in (0, 1):
                effects[mode].add(changes[mode], outputs[mode])
    contribution = {name: [getattr(layer.mean(), name) for layer in means] for name in CONTRIBUTION}
    contribution["residual_norm"].append(last / tokens_seen)
    current, future = effects[0].result(), effects[1].result()
    report = {"layers": count, "prompts": len(prompts), "contribution": contribution,
              f"skip_{unit}": {"current": current, "future": future}, "logit_lens": lens.means()}
    if unit == "layer":
        report["depth_score"] = {flavour: _scores(future, flavour) for flavour in ("mean", "max")}
    return report


def _scores(future, flavour):
    change = torch.tensor(future[f"change_{flavour}"], dtype=torch.float64)
    return {"output": metrics.output_depth_score(future[f"output_{flavour}"]),
            "layer": metrics.layer_depth_score(change)}
