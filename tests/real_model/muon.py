"""Six Muon steps in float64 on the fixture `plain`, grown after three by MIDAS or LIDAS: writes tests/fixtures/muon.

Muon as Jordan et al. 2024 (kellerjordan.github.io/posts/muon) has it, with the step size 0.2 sqrt(max(rows, cols)) of
Liu et al. 2025 (arXiv 2502.16982); AdamW (Loshchilov & Hutter 2019) on what is no matrix inside a layer; growth as in
Kapl et al. 2025 (arXiv 2512.08819), momentum and moments copied with their layers.
Usage: python tests/real_model/muon.py     (needs torch, safetensors)
"""

import json
import math
import pathlib

import safetensors.torch as files
import torch
from torch.nn import functional as F

torch.set_default_dtype(torch.float64)
FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "fixtures"
RATE, DECAY, CLIP, MU, BETA1, BETA2, EPS = 3e-3, 0.01, 1.0, 0.95, 0.9, 0.95, 1e-8
MATRICES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
KEPT = ["model.embed_tokens.weight", "model.norm.weight"] + [
    f"model.layers.{layer}.{part}.weight"
    for layer in (1, 5)
    for part in ("self_attn.k_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.down_proj", "input_layernorm")
]


def forward(weights, tokens, config):
    """Next-token loss of a Llama (Touvron et al. 2023) with half-split RoPE (Su et al. 2021)."""
    batch, length = tokens.shape
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    width = config["hidden_size"] // heads
    angles = torch.outer(
        torch.arange(length).double(), config["rope_theta"] ** (-torch.arange(0, width, 2).double() / width)
    )
    turn = torch.polar(torch.ones_like(angles), angles)

    def rotated(x):
        low, high = x.chunk(2, -1)
        z = torch.complex(low, high) * turn
        return torch.cat((z.real, z.imag), -1)

    def norm(x, name):
        return F.rms_norm(x, x.shape[-1:], weights[name + ".weight"], config["rms_norm_eps"])

    h = F.embedding(tokens, weights["model.embed_tokens.weight"])
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        x = norm(h, at + "input_layernorm")
        split = (
            lambda part, count: F.linear(x, weights[f"{at}self_attn.{part}_proj.weight"])
            .unflatten(-1, (count, width))
            .transpose(1, 2)
        )
        keys, values = (
            torch.repeat_interleave(m, heads // groups, 1) for m in (rotated(split("k", groups)), split("v", groups))
        )
        mixed = F.scaled_dot_product_attention(rotated(split("q", heads)), keys, values, is_causal=True)
        h = h + F.linear(mixed.transpose(1, 2).flatten(2), weights[at + "self_attn.o_proj.weight"])
        x = norm(h, at + "post_attention_layernorm")
        mlp = lambda part, y: F.linear(y, weights[f"{at}mlp.{part}_proj.weight"])
        h = h + mlp("down", F.silu(mlp("gate", x)) * mlp("up", x))
    logits = F.linear(norm(h, "model.norm"), weights["model.embed_tokens.weight"])
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())


def orthogonalised(x):
    x = x / (x.norm() + 1e-7)
    wide = x if x.shape[0] <= x.shape[1] else x.T
    for _ in range(5):
        gram = wide @ wide.T
        wide = 3.4445 * wide + (-4.7750 * gram + 2.0315 * gram @ gram) @ wide
    return wide if x.shape[0] <= x.shape[1] else wide.T


def step(weights, states, count, tokens, config):
    leaves = {name: w.clone().requires_grad_() for name, w in weights.items()}
    loss = forward(leaves, tokens, config)
    gradients = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values()))))
    norm = math.sqrt(sum(float((g * g).sum()) for g in gradients.values()))
    for name, g in gradients.items():
        g = g * min(1.0, CLIP / (norm + 1e-6))
        state, w = states[name], weights[name] * (1 - RATE * DECAY)
        if any(part in name for part in MATRICES):
            state["momentum_buffer"] = torch.lerp(state["momentum_buffer"], g, 1 - MU)
            direction = orthogonalised(torch.lerp(g, state["momentum_buffer"], MU))
            weights[name] = w - RATE * 0.2 * math.sqrt(max(w.shape)) * direction
        else:
            state["exp_avg"] = BETA1 * state["exp_avg"] + (1 - BETA1) * g
            state["exp_avg_sq"] = BETA2 * state["exp_avg_sq"] + (1 - BETA2) * g * g
            first, second = state["exp_avg"] / (1 - BETA1**count), state["exp_avg_sq"] / (1 - BETA2**count)
            weights[name] = w - RATE * first / (second.sqrt() + EPS)
    return loss.item(), norm


def grown(tensors, sources):
    out = {name: value for name, value in tensors.items() if ".layers." not in name}
    for slot, source in enumerate(sources):
        start = f"model.layers.{source}."
        out.update(
            {
                f"model.layers.{slot}.{name[len(start):]}": value
                for name, value in tensors.items()
                if name.startswith(start)
            }
        )
    return out


def main():
    plain = FIXTURES / "plain"
    expected = json.loads((plain / "expected.json").read_text())
    tokens = torch.tensor(expected["train_tokens"])
    values, tensors = {}, {}
    for operator in ("midas", "lidas"):
        config = json.loads((plain / "config.json").read_text())
        weights = {name: w.double() for name, w in files.load_file(plain / "model.safetensors").items()}
        states = {
            name: {kind: torch.zeros_like(w) for kind in ("momentum_buffer", "exp_avg", "exp_avg_sq")}
            for name, w in weights.items()
        }
        losses, norms = [], []
        for count in range(1, 7):
            if count == 4:
                sources = expected[operator]["source"]
                config["num_hidden_layers"] = len(sources)
                weights = grown(weights, sources)
                states = {name: dict(state) for name, state in grown(states, sources).items()}
            loss, norm = step(weights, states, count, tokens, config)
            losses.append(loss), norms.append(norm)
        values[operator] = {"loss": losses, "grad_norm": norms}
        for name in KEPT:
            tensors[f"{operator}.{name}"] = weights[name].contiguous()
        for kind, name in (("momentum_buffer", KEPT[8]), ("exp_avg", KEPT[1]), ("exp_avg_sq", KEPT[1])):
            tensors[f"{operator}.{kind}.{name}"] = states[name][kind].contiguous()
    (FIXTURES / "muon").mkdir(exist_ok=True)
    (FIXTURES / "muon" / "expected.json").write_text(json.dumps(values, indent=1) + "\n")
    files.save_file(tensors, FIXTURES / "muon" / "expected.safetensors")


if __name__ == "__main__":
    main()
