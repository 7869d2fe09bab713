"""Deep copies of layers: what a layer shares with the rest of the model stays shared, hooks come along."""
import copy
import functools
import types

import numpy
import torch

from .. import _native
from .._native import Error
from .find import class_names

HOOKS = ("_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks",
         "_forward_pre_hooks_with_kwargs", "_backward_hooks", "_backward_pre_hooks")
SIMPLE = (type(None), bool, int, float, complex, str, bytes, type, types.FunctionType, types.BuiltinFunctionType)


def shared_with_the_rest(model, layer):
    """Everything that `layer` refers to and the rest of the model too: parameters, buffers, modules, attributes such
    as a configuration. All modules outside count, so that a reference to one is never followed."""
    inside = {id(module) for module in layer.modules()}
    outside = [module for module in model.modules() if id(module) not in inside]
    # A module that is both in this layer and below something outside of it is shared.
    shared = {id(child): child for module in outside for child in module._modules.values()
              if child is not None and child is not layer and id(child) in inside}
    for module in list(shared.values()):
        shared.update((id(below), below) for below in module.modules())
    for module in [*outside, *shared.values()]:
        shared[id(module)] = module
        for values in (module._parameters, module._buffers, vars(module)):
            for name, value in values.items():
                if not isinstance(value, SIMPLE) and name not in ("_parameters", "_buffers", "_modules"):
                    shared[id(value)] = value
    shared.pop(id(layer), None)
    return shared


def copied_hooks(hooks):
    """The same callables, but for those of torch.nn.utils, which belong to their module."""
    own = {key: copy.deepcopy(hook) if type(hook).__module__.startswith("torch.nn.utils") else hook
           for key, hook in hooks.items()}
    return type(hooks)(own)


def refers_to(function, modules, depth=4):
    """Whether a function holds one of `modules` (ids) in itself or in its closure."""
    if depth == 0:
        return False
    held = [getattr(function, "__self__", None), getattr(function, "__wrapped__", None),
            getattr(function, "_torchdynamo_orig_callable", None)]
    if isinstance(function, functools.partial):
        held += [function.func, *function.args]
    for cell in getattr(function, "__closure__", None) or ():
        try:
            held.append(cell.cell_contents)
        except ValueError:  # an empty cell
            continue
    return any(id(thing) in modules or (callable(thing) and not isinstance(thing, (type, torch.nn.Module))
                                        and refers_to(thing, modules, depth - 1)) for thing in held)


def require_copyable(layer, name):
    """Raises Error for a module with a function of its own that holds the module: the copy would call the source."""
    inside = {id(module) for module in layer.modules()}
    for path, module in layer.named_modules():
        if "OptimizedModule" in class_names(module):
            continue
        for attribute, value in vars(module).items():
            if attribute == "_compiled_call_impl":  # left out of copies, and made anew
                continue
            if isinstance(value, types.FunctionType) and refers_to(value, inside):
                raise Error(f"[grow] expected layers whose functions are those of their class, got a function "
                            f"{attribute} at {'.'.join(filter(None, [name, path]))} that holds its module: its copy "
                            "would compute with the source's weights")


def copy_layer(layer, shared, name):
    """A deep copy of a layer that shares `shared` (ids to objects) with it. Gradients are not copied."""
    require_copyable(layer, name)
    memo = dict(shared)
    for module in layer.modules():
        for hooks in HOOKS:
            given = vars(module).get(hooks)
            if isinstance(given, dict):
                memo[id(given)] = copied_hooks(given)
    made = copy.deepcopy(layer, memo)
    for source, target in zip(layer.modules(), made.modules()):
        if getattr(source, "_compiled_call_impl", None) is not None and source is not target:
            target.compile()
    for source, target in zip(layer.parameters(), made.parameters()):
        for attribute, value in vars(source).items():
            if source is not target and attribute not in vars(target):
                setattr(target, attribute, value)
    return made


def mix_into(made, terms, name):
    """Sets the parameters of a copied layer to sums of coefficient * layer; buffers stay those of the copy."""
    sources = [(dict(layer.named_parameters()), coefficient) for layer, coefficient in terms]
    for part, target in made.named_parameters():
        if any(target is parameters.get(part) for parameters, _ in sources):
            continue  # shared with the rest of the model
        total = torch.zeros_like(target, dtype=torch.float64)
        for parameters, coefficient in sources:
            source = parameters.get(part)
            if source is None or source.shape != target.shape or not source.is_floating_point():
                raise Error(f"[grow] expected layers with parameters of one shape to add up at {name}, got others "
                            f"for {part}")
            total += coefficient * source.detach().to(torch.float64)
        target.data.copy_(total)


def add_noise(made, kept, sigma, seed, slot):
    """Adds normal numbers of `sigma` times each parameter's root mean square; the same for every run of one seed."""
    for part, target in made.named_parameters():
        if id(target) in kept or not target.is_floating_point():
            continue
        draws = numpy.asarray(_native.begin_noise(seed, slot, part, target.numel()))
        values = target.detach().to(torch.float64)
        scale = sigma * values.square().mean().sqrt()
        noise = torch.from_numpy(draws).reshape(target.shape).to(target.device)
        target.data.copy_(values + scale * noise)
