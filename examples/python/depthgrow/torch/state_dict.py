"""Growth of dictionaries of tensors: state_dict() of a model, what a safetensors file holds, NumPy arrays too."""
import copy
import re

from .._native import Error
from ..sequences import as_growth

NUMBERED = re.compile(r"^(?:(.*?)\.)?(\d+)(?:\.(.*))?$")


def split(key):
    """(prefix, layer, rest) at the first number of a dotted name, or None."""
    found = NUMBERED.match(key)
    return found and (found[1] or "", int(found[2]), found[3])


def stacks_of(keys):
    """Number of layers by prefix, of prefixes whose numbers are 0 ... n-1."""
    numbers = {}
    for key in keys:
        parts = split(key)
        if parts and parts[2] is not None:
            numbers.setdefault(parts[0], set()).add(parts[1])
    return {prefix: len(found) for prefix, found in numbers.items() if found == set(range(len(found)))}


def find_prefix(keys):
    """The prefix with most layers. Raises Error when there is none, or when several have as many."""
    stacks = stacks_of(keys)
    if not stacks:
        raise Error("[grow_state_dict] expected names PREFIX.0. ... PREFIX.n., got a dictionary without")
    longest = [prefix for prefix in stacks if stacks[prefix] == max(stacks.values())]
    if len(longest) > 1:
        raise Error(f"[grow_state_dict] expected one prefix with most layers, got {' and '.join(longest)} of "
                    f"{stacks[longest[0]]} each: name the one to grow, prefix=\"...\"")
    return longest[0]


def duplicate(value):
    return value.clone() if hasattr(value, "clone") else copy.deepcopy(value)


def grow_names(mapping, prefix, order, duplicate):
    """A dictionary of the same kind of entries with layers by slot, where the first layer stood."""
    layers, out, placed = {}, {}, False
    for key in mapping:
        parts = split(key)
        if parts and parts[0] == prefix:
            layers.setdefault(parts[1], []).append((key, parts[2]))
    for key, value in mapping.items():
        parts = split(key)
        if not parts or parts[0] != prefix:
            out[key] = value
        elif not placed:
            placed = True
            for slot, source in enumerate(order):
                for name, rest in layers.get(source, []):
                    grown = ".".join(filter(None, [prefix, str(slot), rest]))
                    out[grown] = duplicate(mapping[name]) if order.is_new(slot) else mapping[name]
    return out


def grow_state_dict(state_dict, order, prefix=None):
    """A dictionary whose tensors PREFIX.N.REST follow `order`; tensors of copies are copies, all others the same.

    prefix: "model.layers", "transformer.h", ...; None finds the one with most layers. Buffers are copied as they are.
    Raises Error when the number of layers is not the order's, or when layers are mixed.
    """
    prefix = find_prefix(state_dict) if prefix is None else prefix
    depth = stacks_of(state_dict).get(prefix)
    if depth is None:
        raise Error(f"[grow_state_dict] expected names {prefix}.0. ... {prefix}.n., got a dictionary without")
    order = as_growth(order, depth).layers.order()
    out = type(state_dict)(grow_names(state_dict, prefix, order, duplicate))
    metadata = getattr(state_dict, "_metadata", None)
    if metadata is not None:
        out._metadata = type(metadata)(grow_names(metadata, prefix, order, copy.deepcopy))
    return out


def grow_optimizer_state_dict(state_dict, order, prefix=None, *, state="copy"):
    """An optimizer's dictionary with names of parameters as keys, {"state": {NAME: {...}}, "param_groups": [{"params":
    [NAME, ...], ...}]}, grown as grow_state_dict grows the model's. torch.distributed.checkpoint.state_dict gives and
    takes such dictionaries (full_state_dict=True), of sharded models too.

    state: moments of new layers: "copy", "zero", or "all" (zero in every layer); step counts carry over.
    """
    names = [name for group in state_dict["param_groups"] for name in group["params"]]
    if not all(isinstance(name, str) for name in names):
        raise Error("[grow_optimizer_state_dict] expected names of parameters, got numbers: take the dictionary of "
                    "torch.distributed.checkpoint.state_dict, or grow the optimizer itself")
    prefix = find_prefix(names) if prefix is None else prefix
    if not any(parts and parts[0] == prefix for parts in map(split, names)):
        raise Error(f"[grow_optimizer_state_dict] expected names {prefix}.0. ... {prefix}.n., got a dictionary without")
    how = as_growth(order, stacks_of(names).get(prefix), state=state)  # None where some layers are frozen
    order = how.layers.order()

    def entry(name):
        parts = split(name)
        return parts if parts and parts[0] == prefix else None

    states = grow_names(state_dict["state"], prefix, order, lambda values: {k: duplicate(v) for k, v in values.items()})
    for name, values in states.items():
        parts = entry(name)
        if parts and (how.state == "all" or (how.state == "zero" and order.is_new(parts[1]))):
            states[name] = {key: zeroed_by_name(key, value) for key, value in values.items()}
    groups = []
    for group in state_dict["param_groups"]:
        grown = grow_names(dict.fromkeys(group["params"]), prefix, order, copy.copy)
        groups.append({**group, "params": list(grown)})
    return {**state_dict, "state": states, "param_groups": groups}


def zeroed_by_name(key, value):
    """A moment set to zero; a step and other scalars as they are."""
    scalar = key == "step" or not hasattr(value, "shape") or len(value.shape) == 0
    return duplicate(value) if scalar else value * 0
