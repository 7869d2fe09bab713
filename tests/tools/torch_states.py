"""Writes DIR/optimizer.pt of AdamW, or compares a grown one with growth by hand.

Groups: "two", as transformers' Trainer makes them; "one", in the order of named_parameters(); "named", by param_names
alone: three groups, in an order that no model has."""
import json
import pathlib
import re
import struct
import sys

import torch

LAYER = re.compile(r"^(.*?\.)(\d+)\.(.*)$")
# named_parameters() of transformers, layer by layer
ORDER = {"qwen3": "self_attn.q_proj self_attn.k_proj self_attn.v_proj self_attn.o_proj self_attn.q_norm "
                  "self_attn.k_norm mlp.gate_proj mlp.up_proj mlp.down_proj input_layernorm post_attention_layernorm",
         "gpt_neox": "input_layernorm post_attention_layernorm attention.query_key_value attention.dense "
                     "mlp.dense_h_to_4h mlp.dense_4h_to_h"}


def named(directory, kind):
    """(names by group, header of the weights)"""
    directory = pathlib.Path(directory)
    order = ORDER[json.loads((directory / "config.json").read_text())["model_type"]].split()
    with open(directory / "model.safetensors", "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    header.pop("__metadata__", None)

    def key(name):
        layer, bias = LAYER.match(name), name.endswith("bias")
        if layer:
            return 1, int(layer[2]), order.index(layer[3].rsplit(".", 1)[0]), bias
        return (0 if "embed_tokens" in name or "embed_in" in name else 2), "norm" not in name, 0, bias

    names = sorted(header, key=key)
    if kind == "one":
        return [names], header
    if kind == "two":
        plain = [n for n in names if "norm" in n or n.endswith("bias")]
        return [[n for n in names if n not in plain], plain], header
    names.sort(key=lambda name: (key(name)[:2], name))
    return [[n for n in names if len(header[n]["shape"]) == size and ("mlp" in n) == mlp]
            for size, mlp in ((1, False), (1, True), (2, True), (2, False))
            if any(len(header[n]["shape"]) == size and ("mlp" in n) == mlp for n in names)], header


def load(path):
    try:
        return torch.load(path, weights_only=not torch.__version__.startswith("1."))  # 1.13's takes no floats
    except TypeError:
        return torch.load(path)


def make(directory, kind):
    torch.manual_seed(1)
    groups, header = named(directory, kind)
    params = [[torch.nn.Parameter(torch.randn(header[n]["shape"])) for n in names] for names in groups]
    optimizer = torch.optim.AdamW([{"params": each, "weight_decay": 0.1 * i} for i, each in enumerate(params)], lr=1e-3)
    for _ in range(2):
        for each in sum(params, []):
            each.grad = torch.randn_like(each)
        optimizer.step()
    state = optimizer.state_dict()
    if kind == "named":
        for group, names in zip(state["param_groups"], groups):
            group["param_names"] = names
    torch.save(state, pathlib.Path(directory) / "optimizer.pt")


def compare(before, after, kind, rows, policy):
    old, new = (load(pathlib.Path(d) / "optimizer.pt") for d in (before, after))
    old_names, groups = sum(named(before, kind)[0], []), named(after, kind)[0]
    new_names = sum(groups, [])
    rows = [[(float(t.split("*")[0]), t.split("*")[1]) if "*" in t else (1.0, t) for t in row.split("+")]
            for row in rows.split(",")]
    kept = [next(i for i, row in enumerate(rows) if row == [(1.0, str(n))]) for n in range(len(rows))
            if [(1.0, str(n))] in rows]
    assert [g["params"] for g in new["param_groups"]] == \
        [list(range(len(new_names)))[sum(map(len, groups[:i])):][:len(g)] for i, g in enumerate(groups)]
    assert sorted(new["state"]) == list(range(len(new_names)))
    for a, b, names in zip(old["param_groups"], new["param_groups"], groups):
        assert {**a, "params": 0, "param_names": 0} == {**b, "params": 0, "param_names": 0}, (a, b)
        assert b.get("param_names", names) == names and ("param_names" in a) == ("param_names" in b)
    for i, name in enumerate(new_names):
        layer = LAYER.match(name)
        terms = [(c, f"{layer[1]}{n}.{layer[3]}") for c, n in rows[int(layer[2])]] if layer else [(1.0, name)]
        zero = layer and (policy == "all" or policy == "zero" and int(layer[2]) not in kept)
        for state, power in (("exp_avg", 1), ("exp_avg_sq", 2)):
            want = sum(c ** power * old["state"][old_names.index(n)][state].double() for c, n in terms).float()
            assert torch.equal(new["state"][i][state], want * 0 if zero else want), (name, state)
        assert float(new["state"][i]["step"]) == 2
    print("equal,", len(new_names), "parameters")


{"make": make, "compare": compare}[sys.argv[1]](*sys.argv[2:])
