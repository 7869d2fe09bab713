"""Writes DIR/optimizer.pt of AdamW in Trainer's two groups, or compares a grown one with growth by hand."""
import json
import pathlib
import re
import struct
import sys

import torch

LAYER = re.compile(r"^(.*?\.)(\d+)\.(.*)$")
# named_parameters() of transformers' Qwen3ForCausalLM, layer by layer
ORDER = ("self_attn.q_proj self_attn.k_proj self_attn.v_proj self_attn.o_proj self_attn.q_norm self_attn.k_norm "
         "mlp.gate_proj mlp.up_proj mlp.down_proj input_layernorm post_attention_layernorm").split()


def named(directory):
    with open(pathlib.Path(directory) / "model.safetensors", "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    header.pop("__metadata__", None)

    def key(name):
        layer = LAYER.match(name)
        if layer:
            return 1, int(layer[2]), ORDER.index(layer[3].rsplit(".", 1)[0])
        return (0 if "embed" in name else 2), "lm_head" in name, 0

    names = sorted(header, key=key)
    decayed = [n for n in names if "norm" not in n]
    return [decayed, [n for n in names if "norm" in n]], header


def load(path):
    try:
        return torch.load(path, weights_only=not torch.__version__.startswith("1."))  # 1.13's takes no floats
    except TypeError:
        return torch.load(path)


def make(directory):
    torch.manual_seed(1)
    groups, header = named(directory)
    params = [[torch.nn.Parameter(torch.randn(header[n]["shape"])) for n in names] for names in groups]
    optimizer = torch.optim.AdamW([{"params": params[0], "weight_decay": 0.1}, {"params": params[1]}], lr=1e-3)
    for _ in range(2):
        for each in params[0] + params[1]:
            each.grad = torch.randn_like(each)
        optimizer.step()
    torch.save(optimizer.state_dict(), pathlib.Path(directory) / "optimizer.pt")


def compare(before, after, rows):
    old, new = (load(pathlib.Path(d) / "optimizer.pt") for d in (before, after))
    old_names, new_names = (sum(named(d)[0], []) for d in (before, after))
    rows = [[(float(t.split("*")[0]), t.split("*")[1]) if "*" in t else (1.0, t) for t in row.split("+")]
            for row in rows.split(",")]
    assert sum((g["params"] for g in new["param_groups"]), []) == list(range(len(new_names)))
    assert sorted(new["state"]) == list(range(len(new_names)))
    for a, b in zip(old["param_groups"], new["param_groups"]):
        assert {**a, "params": 0} == {**b, "params": 0}, (a, b)
    for i, name in enumerate(new_names):
        layer = LAYER.match(name)
        terms = [(c, f"{layer[1]}{n}.{layer[3]}") for c, n in rows[int(layer[2])]] if layer else [(1.0, name)]
        for state, power in (("exp_avg", 1), ("exp_avg_sq", 2)):
            want = sum(c ** power * old["state"][old_names.index(n)][state].double() for c, n in terms).float()
            assert torch.equal(new["state"][i][state], want), (name, state)
        assert float(new["state"][i]["step"]) == 2
    print("equal,", len(new_names), "parameters")


{"make": make, "compare": compare}[sys.argv[1]](*sys.argv[2:])
