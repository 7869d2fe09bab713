#!/usr/bin/env python3
"""Writes tests/fixtures/torch: optimizer states as torch.save writes them, with what the tests expect of them.

Usage: torch_states.py OUT. Values are exact: element j of state k of parameter i is 100 * i + 10 * k + j / 8."""
import collections
import pathlib
import pickle
import sys
import zipfile

import torch


def value(i, k, shape, dtype=torch.float32):
    count = 1
    for extent in shape:
        count *= extent
    return (torch.arange(count, dtype=torch.float64) / 8 + 100 * i + 10 * k).reshape(shape).to(dtype)


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    shapes = [(3, 2), (2,), (2, 2)]
    state = {i: {"step": torch.tensor(7.0), "exp_avg": value(i, 1, s), "exp_avg_sq": value(i, 2, s)}
             for i, s in enumerate(shapes)}
    groups = [{"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.1, "amsgrad": False, "foreach": None,
               "params": [0, 2]},
              {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "amsgrad": False, "foreach": None,
               "params": [1]}]
    torch.save({"state": state, "param_groups": groups}, out / "adam.pt")
    half = torch.arange(6).to(torch.bfloat16)
    base = torch.arange(12, dtype=torch.float64).reshape(3, 4)
    torch.save({"bf16": half, "turned": base.t(), "part": base[1:],
                "ordered": collections.OrderedDict(a=1, b=[2 ** 40, -3]),
                "long": 2 ** 62, "none": None, "flag": True, "text": "über", "empty": torch.zeros(0)}, out / "kinds.pt")

    class Call:
        def __reduce__(self):
            return (print, ("called",))

    torch.save({"state": Call()}, out / "call.pt")
    torch.save({"a": torch.ones(2)}, out / "legacy.pt", _use_new_zipfile_serialization=False)


if __name__ == "__main__":
    main()
