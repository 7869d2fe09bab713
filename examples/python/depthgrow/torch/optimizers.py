"""Optimizer state at growth: parameters enter the groups of their sources, moments follow, step counts carry over."""
import copy

import torch

from .._native import Error
from .find import class_names

SHARDED = {"ZeroRedundancyOptimizer": "grow before the optimizer is sharded",
           "DeepSpeedZeroOptimizer": "grow before the engine is made",
           "LBFGS": "use one whose state is kept by parameter"}
SQUARES = ("_sq", "square_avg", "sum", "acc_delta")  # states that add up with squared coefficients, by their ends


def unwrap(optimizer):
    """The optimizers inside a wrapper (accelerate) or a sequence; none for None. Raises Error for what cannot grow."""
    if optimizer is None:
        return []
    if isinstance(optimizer, (list, tuple)):
        return [inner for one in optimizer for inner in unwrap(one)]
    refused = next((name for name in SHARDED if name in class_names(optimizer)), None)
    if refused:
        raise Error(f"[grow] expected an optimizer with a state for each parameter, got {refused}: {SHARDED[refused]}")
    inner = getattr(optimizer, "optimizer", None)
    if isinstance(inner, torch.optim.Optimizer):
        return unwrap(inner)
    if not isinstance(getattr(optimizer, "param_groups", None), list) or not hasattr(optimizer, "state"):
        raise Error(f"[grow] expected an optimizer with param_groups and state, got {type(optimizer).__name__}")
    return [optimizer]


def require_parameters_of(model, optimizers):
    """Raises Error for optimizers that train none of the model, such as one made for a model that was replaced. Of
    several, one may hold none: that of another model which is trained beside this one."""
    own = {id(parameter) for parameter in model.parameters()}
    held = [parameter for one in optimizers for group in one.param_groups for parameter in group["params"]]
    if optimizers and own and not any(id(parameter) in own for parameter in held):
        raise Error(f"[grow] expected an optimizer that holds parameters of the model, got {len(held)} parameters "
                    f"of which none is the model's; was it made for another model?")


def is_moment(value, parameter):
    return isinstance(value, torch.Tensor) and value.shape == parameter.shape


def is_count(key, value):
    """Whether an entry is carried over as it is: a step, or another scalar."""
    return key == "step" or not isinstance(value, torch.Tensor) or value.numel() <= 1


def copied(value):
    return value.detach().clone() if isinstance(value, torch.Tensor) else copy.deepcopy(value)


def zeroed(key, value, parameter):
    if is_moment(value, parameter) and key != "step":
        return torch.zeros_like(value)
    if is_count(key, value) and not isinstance(value, (list, tuple, dict)):
        return copied(value)
    raise Error(f"[grow] expected optimizer states of their parameter's shape {tuple(parameter.shape)} to set to zero, "
                f"got {key} of {tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__}")


def mixed(states, parameter):
    """The state of a sum of layers: first moments with the coefficients, second with their squares, largest counts."""
    present = [(state, coefficient) for state, coefficient in states if state]
    out = {}
    for key in present[0][0] if present else ():
        values = [(state[key], coefficient) for state, coefficient in present if key in state]
        if all(is_moment(value, parameter) for value, _ in values) and key != "step":
            power = 2 if key.endswith(SQUARES) else 1
            out[key] = sum(value.detach() * coefficient ** power for value, coefficient in values)
        elif all(is_count(key, value) for value, _ in values):
            out[key] = copied(max((value for value, _ in values), key=lambda v: -1 if v is None else float(v)))
        else:
            raise Error(f"[grow] expected optimizer states of their parameter's shape {tuple(parameter.shape)} to add "
                        f"up, got another for {key}")
    return out


class OptimizerGrowth:
    """A growth in two halves: the constructor does all that can fail and only reads, finish() changes.

    `made` is a list of (new parameter, [(source parameter, coefficient)], main source), `gone` the ids of parameters
    that no layer has any longer, `layered` those of layers, by id (for the policy `all`).
    """

    def __init__(self, optimizer, made, gone, layered, names, policy):
        self.optimizer, self.gone = optimizer, gone
        group_of = {id(p): g for g, group in enumerate(optimizer.param_groups) for p in group["params"]}
        self.added = [[] for _ in optimizer.param_groups]
        self.states = []
        for parameter, terms, main in made:
            if id(main) not in group_of:
                continue
            self.added[group_of[id(main)]].append(parameter)
            states = [(optimizer.state.get(source, {}), coefficient) for source, coefficient in terms]
            if len(terms) == 1 and terms[0][1] == 1:
                state = {key: copied(value) for key, value in states[0][0].items()}
            else:
                state = mixed(states, parameter)
            if policy != "copy":
                state = {key: zeroed(key, value, parameter) for key, value in state.items()}
            if state:
                self.states.append((parameter, state))
        if policy == "all":
            for parameter in layered.values():
                if id(parameter) not in gone and optimizer.state.get(parameter):
                    state = optimizer.state[parameter]
                    self.states.append((parameter, {k: zeroed(k, v, parameter) for k, v in state.items()}))
        place = {id(parameter): i for i, (_, parameter) in enumerate(names)}
        self.ordered = []
        for group in optimizer.param_groups:
            places = [place.get(id(parameter), -1) for parameter in group["params"]]
            self.ordered.append(-1 not in places and places == sorted(places))

    def finish(self, names):
        """Groups in the order of the grown model's parameters (`names` are its pairs) where they were before."""
        place = {id(parameter): (i, name) for i, (name, parameter) in enumerate(names)}
        for group, added, ordered in zip(self.optimizer.param_groups, self.added, self.ordered):
            old = dict(zip(map(id, group["params"]), group.get("param_names", [])))
            params = [parameter for parameter in group["params"] if id(parameter) not in self.gone] + added
            if ordered:
                params.sort(key=lambda parameter: place[id(parameter)][0])
            group["params"][:] = params
            if "param_names" in group:
                group["param_names"][:] = [place.get(id(p), (0, old.get(id(p), "")))[1] for p in params]
        for parameter in [p for p in self.optimizer.state if id(p) in self.gone]:
            del self.optimizer.state[parameter]
        for parameter, state in self.states:
            self.optimizer.state[parameter] = state
