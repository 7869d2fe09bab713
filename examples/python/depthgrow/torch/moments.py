"""Optimizer state beside a Hugging Face directory, as the library's own tools read and write it.

optimizer.safetensors holds STATE.TENSOR for every parameter that has the state, as exp_avg.model.norm.weight, and in
its string map the step count and, unless it is adamw, the optimizer's name.
"""
import os

import torch

from .._native import Error
from .find import unwrap
from .optimizers import unwrap as unwrap_optimizers
from .safetensors import read_file, write_file

STATES = {"adamw": ("exp_avg", "exp_avg_sq"), "sgd_nesterov": ("momentum_buffer",),
          "muon": ("exp_avg", "exp_avg_sq", "momentum_buffer")}
FILE = "optimizer.safetensors"


def _states(model, optimizer):
    """(name, parameter, its optimizer, its state) of the parameters that an optimizer steps; all in one place."""
    held = {id(p): one for one in unwrap_optimizers(optimizer) for group in one.param_groups for p in group["params"]}
    return [(name, parameter, held[id(parameter)], held[id(parameter)].state.get(parameter, {}))
            for name, parameter in unwrap(model).named_parameters() if id(parameter) in held]


def _kind_of(names):
    kinds = [kind for kind, states in STATES.items() if names and names <= set(states)]
    if not kinds:
        raise Error(f"[save_moments] expected the states of adamw (exp_avg, exp_avg_sq), sgd_nesterov (momentum_buffer)"
                    f" or muon (all three), got {', '.join(sorted(names)) or 'none: no step was taken'}")
    return kinds[0]



def save_moments(model, optimizer, directory, step=None):
    """Writes the moments of `optimizer` (one, or several in a list: Muon with AdamW) into a directory that the model
    was saved to, where grow_checkpoint grows them and train_smol --init --init-optimizer goes on from them.

    step: steps done; None takes the optimizer's count. Returns the file's path. Raises Error for other optimizers.
    The directory's manifest.json goes, since the files are no longer those that it lists.
    """
    tensors, steps, names = {}, set(), set()
    for name, parameter, _, state in _states(model, optimizer):
        if "step" in state:
            steps.add(int(state["step"]))
        for key, value in state.items():
            if key == "step" or value is None:
                continue
            if not isinstance(value, torch.Tensor) or value.shape != parameter.shape:
                raise Error(f"[save_moments] expected states of their parameter's shape, got {key} of {name}")
            names.add(key)
            tensors[f"{key}.{name}"] = value if value.dtype == torch.float64 else value.float()
    kind = _kind_of(names)
    if step is None:
        if len(steps) != 1:
            raise Error(f"[save_moments] expected one step count in the optimizer, got {sorted(steps) or 'none'}: give "
                        "step=")
        step = steps.pop()
    order = {key: i for i, key in enumerate(STATES[kind])}
    tensors = dict(sorted(tensors.items(), key=lambda entry: order[entry[0].split(".")[0]]))
    path = os.path.join(directory, FILE)
    metadata = {"step": str(int(step))}
    if kind != "adamw":
        metadata["optimizer"] = kind
    write_file(path, tensors, metadata)
    manifest = os.path.join(directory, "manifest.json")
    if os.path.exists(manifest):  # of the files as they were
        os.remove(manifest)
    return path


def load_moments(model, optimizer, directory):
    """Fills the optimizer's state from a directory's optimizer.safetensors and returns the step count.

    Raises Error, before anything is changed, where a state is missing or has another shape.
    """
    path = os.path.join(directory, FILE)
    tensors, metadata = read_file(path)
    kind = metadata.get("optimizer", "adamw")
    if kind not in STATES or not metadata.get("step", "").isdigit():
        raise Error(f"{path}: expected the states of {', '.join(STATES)} with a step count, got {kind} at step "
                    f"{metadata.get('step')}")
    step, filled = int(metadata["step"]), []
    for name, parameter, owner, _ in _states(model, optimizer):
        found = {key: tensors.pop(f"{key}.{name}") for key in STATES[kind] if f"{key}.{name}" in tensors}
        wrong = next((key for key, value in found.items() if value.shape != parameter.shape), None)
        if not found or wrong:
            raise Error(f"{path}: expected states of shape {tuple(parameter.shape)} for {name}, got "
                        f"{tuple(found[wrong].shape) if wrong else 'none'}")
        state = {key: value.to(parameter.device, parameter.dtype).clone() for key, value in found.items()}
        if "exp_avg" in state:
            state["step"] = torch.tensor(float(step))
        filled.append((owner, parameter, state))
    if tensors:
        raise Error(f"{path}: expected states of parameters that the optimizer steps, got {next(iter(tensors))}")
    for owner, parameter, state in filled:
        owner.state[parameter] = state
    return step
