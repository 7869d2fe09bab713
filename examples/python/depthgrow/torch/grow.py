"""grow: a PyTorch model and its optimizer deepened in place, in the middle of training."""
import sys

import torch

from .._native import Error
from ..sequences import as_growth
from . import numbering, optimizers
from .copies import add_noise, copy_layer, mix_into, shared_with_the_rest
from .find import class_names, find_layers, layers_at, unwrap


def new_layer(model, layers, how, rows, slot, path):
    """The layer of a new slot: a copy, a sum, or a copy with noise."""
    row, main = rows[slot], rows.main_source(slot)
    source = layers[main]
    shared = shared_with_the_rest(model, source)
    made = copy_layer(source, shared, f"{path}.{main}")
    if len(row) > 1 or row[0][1] != 1:
        mix_into(made, [(layers[term], coefficient) for term, coefficient in row], f"{path}.{slot}")
    if how.init == "noise" and how.begins(slot):
        add_noise(made, shared, how.sigma, how.seed, slot)
    return made


def parameter_terms(layers, made, row, main):
    """(new parameter, [(source parameter, coefficient)], main source) of each parameter that a new layer brings."""
    sources = [(dict(layers[source].named_parameters()), coefficient) for source, coefficient in row]
    own = dict(layers[main].named_parameters())
    return [(parameter, [(parameters[part], coefficient) for parameters, coefficient in sources], own[part])
            for part, parameter in made.named_parameters() if parameter is not own[part]]


def parameters_outside(model, lists):
    """Ids of the parameters that are reached without going through `lists` (ids of modules)."""
    found, waiting, seen = set(), [model], set(lists)
    while waiting:
        module = waiting.pop()
        if module is None or id(module) in seen:
            continue
        seen.add(id(module))
        found.update(id(parameter) for parameter in module._parameters.values() if parameter is not None)
        waiting.extend(module._modules.values())
    return found


def compiled(model):
    return any("OptimizedModule" in class_names(module) or getattr(module, "_compiled_call_impl", None) is not None
               for module in model.modules())


class _ListGrowth:
    """New layers of one list and what they must say, before anything is changed."""

    def __init__(self, model, path, order, options):
        self.layers = layers_at(model, path)
        depth = len(self.layers)
        how = as_growth(order, depth, *options)
        if how.init not in ("copy", "average", "noise"):
            raise Error(f"[grow] expected layers that begin as copy, average or noise:SIGMA, got {how.init}")
        self.rows, self.policy = how.rows(), how.state
        self.mains = [self.rows.main_source(slot) for slot in range(len(self.rows))]
        self.slots, self.made, self.assignments = [], [], []
        for slot, main in enumerate(self.mains):
            layer = self.layers[main]
            if self.rows.is_new(slot):
                layer = new_layer(model, self.layers, how, self.rows, slot, path)
                self.made += parameter_terms(self.layers, layer, self.rows[slot], main)
            self.slots.append(layer)
            self.assignments += numbering.renumber(layer, main, slot)
        for holder in numbering.holders(model, path):
            self.assignments += numbering.follow(holder, self.mains, depth)

    def put(self, layers):
        """Makes the list hold `layers`; it stays the same object."""
        self.layers._modules.clear()
        for slot, layer in enumerate(layers):
            self.layers._modules[str(slot)] = layer


def grow(model, optimizer, order, *, layers=None, init="copy", state="copy", seed=0):
    """Deepens `model` in place by `order` (LayerOrder, Mixture, Growth, GrowthOperator,
    stage of a plan, or a list of source indices).

    Layers that stay are the same objects; new ones are deep copies of their sources, apart from what a layer shares
    with the rest of the model, which stays shared. Their parameters enter the sources' groups of `optimizer` (one,
    several in a list, or None), with the sources' moments and step counts. layer_idx, num_hidden_layers, layer_types
    and their like follow. Call it between optimizer.step() and the next forward pass, with gradients cleared.

    layers: dotted path of the list, or several paths; None finds it (find_layers).
    init:   how copies begin: "copy", "average" (of the kept neighbours), "noise:SIGMA" with `seed`.
    state:  moments of new layers: "copy", "zero", or "all" (zero in every layer); step counts always carry over.
            A Growth, and so a stage of a plan, says init, state and seed itself.

    Returns the number of layers. Raises Error, one sentence, before anything is changed; an optimizer that holds no
    parameter of `model` is refused too.
    """
    top, model = model, unwrap(model)
    paths = [find_layers(model)] if layers is None else [layers] if isinstance(layers, str) else list(layers)
    inner_optimizers = optimizers.unwrap(optimizer)
    optimizers.require_parameters_of(model, inner_optimizers)
    with torch.no_grad():
        lists = [_ListGrowth(model, path, order, (init, state, seed)) for path in paths]
        kept = {id(p) for one in lists for slot in one.slots for p in slot.parameters()}
        layered = {id(p): p for one in lists for layer in one.layers for p in layer.parameters()}
        rest = parameters_outside(model, {id(one.layers) for one in lists})
        gone = {key for key in layered if key not in kept and key not in rest}
        made = [entry for one in lists for entry in one.made]
        names = list(model.named_parameters())
        halves = [optimizers.OptimizerGrowth(one, made, gone, {k: p for k, p in layered.items() if k not in rest},
                                             names, lists[0].policy) for one in inner_optimizers]
        before = [(one, list(one.layers)) for one in lists]
        written = []
        try:
            for one in lists:
                one.put(one.slots)
                for holder, name, value in one.assignments:
                    old = numbering.fields_of(holder)[name]
                    numbering.assign(holder, name, value)
                    written.append((holder, name, old))
        except Exception:
            for holder, name, value in reversed(written):
                numbering.assign(holder, name, value)
            for one, old_layers in before:
                one.put(old_layers)
            raise
        names = list(model.named_parameters())
        for half in halves:
            half.finish(names)
    if compiled(top) and "torch._dynamo" in sys.modules:
        sys.modules["torch._dynamo"].reset()
    return len(lists[0].layers)
