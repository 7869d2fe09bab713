"""A decoder with hooks on its layers: what attention and MLP add to the residual, and runs without some of it."""
import collections
import contextlib
import re
from typing import NamedTuple

import torch

from .._native import Error
from ..torch.find import class_names, find_layers, layers_at, unwrap

BESIDE = re.compile(r"norm|^ln|dropout|rotary|drop_path")
ATTENTION = re.compile(r"attn|attention|mixer|mamba|recurrent|conv")
MLP = re.compile(r"mlp|feed_?forward|ffn|moe|^ff$|^fc2$|experts")
UNITS = ("layer", "attention", "mlp")


class Trace(NamedTuple):
    """One run of B sequences: residual (L + 1, B, T, d) into each layer and out of the last, attention and mlp
    (L, B, T, d), what each adds to it, logits (B, T, V)."""
    residual: torch.Tensor
    attention: torch.Tensor
    mlp: torch.Tensor
    logits: torch.Tensor


def first(output):
    return output[0] if isinstance(output, tuple) else output


def replaced(output, value):
    return (value, *output[1:]) if isinstance(output, tuple) else value


def hook(module, function):
    """Calls function(module, first input, output) after the module; removes itself as a handle does."""
    def with_kwargs(module, args, kwargs, output):
        given = args[0] if args else next(iter(kwargs.values()), None)
        return function(module, kwargs.get("hidden_states", given), output)

    try:
        return module.register_forward_hook(with_kwargs, with_kwargs=True)
    except TypeError:  # PyTorch 1
        return module.register_forward_hook(lambda module, args, output: function(module, args[0], output))


@contextlib.contextmanager
def hooks(pairs):
    handles = []
    try:
        for module, function in pairs:
            handles.append(hook(module, function))
        yield
    finally:
        for handle in handles:
            handle.remove()


class Probe:
    """Runs a decoder and sees what its layers add.

    layers, attention, mlp: dotted path of the list and names within a layer, where they are not found by themselves.
    tokens: a few token ids, run once to see which module's output is what is added (a norm may stand behind it).

    Raises Error where a layer's output is not its input plus what its attention and its MLP add.
    """

    def __init__(self, model, tokens, *, layers=None, attention=None, mlp=None):
        self.model = unwrap(model.module if "DistributedDataParallel" in class_names(model) else model)
        self.path = layers or find_layers(self.model)
        self.layers = layers_at(self.model, self.path)
        self.device = next(self.model.parameters()).device
        with self.quiet():
            self._find(torch.as_tensor(tokens, device=self.device).reshape(1, -1), attention, mlp)

    @contextlib.contextmanager
    def quiet(self):
        """Without gradients, in evaluation mode; the mode of every module is put back."""
        modes = [(module, module.training) for module in self.model.modules()]
        try:
            self.model.eval()
            with torch.no_grad():
                yield
        finally:
            for module, mode in modes:
                module.training = mode

    def _call(self, tokens):
        options = {"use_cache": False} if hasattr(getattr(self.model, "config", None), "use_cache") else {}
        output = self.model(tokens, **options)
        return output.logits if hasattr(output, "logits") else first(output)

    def _child(self, layer, index, given, pattern, what):
        names = [name for name, _ in layer.named_children()
                 if (name == given if given else pattern.search(name) and not BESIDE.search(name))]
        if len(names) != 1:
            raise Error(f"[Probe] expected one {what} in layer {index}, got {', '.join(names) or 'none'} of "
                        f"{', '.join(name for name, _ in layer.named_children())}: name it, {what}=\"...\"")
        return getattr(layer, names[0])

    def _find(self, tokens, attention, mlp):
        """The modules whose outputs are added, the final norm and the head, by following tensors through one run."""
        starts = [(self._child(layer, i, attention, ATTENTION, "attention"), self._child(layer, i, mlp, MLP, "mlp"))
                  for i, layer in enumerate(self.layers)]
        calls, inside = [], {id(module) for module in self.layers.modules()}

        def note(module, given, output):
            calls.append((module, given, first(output)))

        seen = [child for layer in self.layers for child in (layer, *layer.children())]
        seen += [module for module in self.model.modules() if id(module) not in inside]
        with hooks([(module, note) for module in seen]):
            logits = self._call(tokens)
        out_of = {id(module): output for module, _, output in calls}
        times = collections.Counter(id(module) for module, _, _ in calls)
        self.adds = []
        for i, layer in enumerate(self.layers):
            children = {id(child) for child in layer.children()}
            pair = []
            for module in starts[i]:
                while True:  # a norm or dropout that takes this very tensor stands between it and the sum
                    after = [m for m, given, _ in calls if id(m) in children and given is out_of[id(module)]
                             and m is not module and id(m) not in map(id, starts[i]) and times[id(m)] == 1]
                    if not after:
                        break
                    module = after[0]
                pair.append(module)
            self.adds.append(tuple(pair))
        last = out_of[id(self.layers[-1])]
        norms = [module for module, given, _ in calls if given is last and id(module) not in inside]
        if not norms:
            raise Error("[Probe] expected a module that takes the last layer's output (the final norm), got none")
        self.norm = norms[0]
        self.head = self._find_head(calls, out_of, logits)
        self.scale = self._factor("residual_multiplier")
        trace = self.run(tokens)
        self._check(trace)

    def _find_head(self, calls, out_of, logits):
        if hasattr(self.model, "get_output_embeddings") and self.model.get_output_embeddings() is not None:
            return self.model.get_output_embeddings()
        linear = [module for module, _, output in calls if isinstance(module, torch.nn.Linear)
                  and output.shape[-1] == logits.shape[-1]]
        if not linear:
            raise Error("[Probe] expected a Linear that gives the logits, got none")
        return linear[-1]

    def _factor(self, name):
        value = getattr(getattr(self.model, "config", None), name, None)
        return 1.0 if value is None else float(value)

    def _check(self, trace):
        for i in range(len(self.layers)):
            made = trace.residual[i] + trace.attention[i] + trace.mlp[i]
            wrong = (made - trace.residual[i + 1]).norm() / trace.residual[i + 1].norm().clamp_min(1e-6)
            if not wrong < 64 * torch.finfo(trace.residual.dtype).eps:
                raise Error(f"[Probe] expected layers that add the outputs of attention and MLP to their input, got "
                            f"layer {i} whose output differs from the sum by {wrong:.2g} of its norm")
        wrong = (self.lens(trace.residual[-1]) - trace.logits).norm() / trace.logits.norm().clamp_min(1e-6)
        if not wrong < 256 * torch.finfo(trace.logits.dtype).eps:
            raise Error(f"[Probe] expected logits that are the head of the normed residual, got others, by {wrong:.2g} "
                        "of their norm")

    def lens(self, residual):
        """Logits that the model's own final norm and head give to a residual (..., d)."""
        logits = self.head(self.norm(residual)) * self._factor("logit_scale") / self._factor("logits_scaling")
        cap = getattr(getattr(self.model, "config", None), "final_logit_softcapping", None)
        return logits if cap is None else torch.tanh(logits / cap) * cap

    def run(self, tokens, *, skip=None, unit="layer", mask=None):
        """A Trace of tokens (B, T). With `skip`, a layer's index, its unit ("layer", "attention" or "mlp") adds
        nothing where mask (B, T) is true; without its attention an MLP runs on what enters the layer."""
        if unit not in UNITS:
            raise Error(f"[Probe] expected a unit of {', '.join(UNITS)}, got \"{unit}\"")
        count = len(self.layers)
        residual, parts = [None] * (count + 1), [[None] * count, [None] * count]
        hidden = None if mask is None else mask.unsqueeze(-1)

        def layer_hook(i):
            def after(module, given, output):
                value = first(output)
                if i == skip and unit == "layer":
                    value = torch.where(hidden, given, value)
                    for part in parts:
                        part[i] = part[i].masked_fill(hidden, 0)
                residual[i], residual[i + 1] = given, value
                return replaced(output, value)
            return after

        def part_hook(i, which):
            def after(module, given, output):
                value = first(output)
                rows = value.reshape(*tokens.shape, -1)  # some layers join batch and positions
                if i == skip and unit == UNITS[1 + which]:
                    rows = rows.masked_fill(hidden, 0)
                parts[which][i] = rows * self.scale
                return replaced(output, rows.reshape(value.shape))
            return after

        pairs = [(layer, layer_hook(i)) for i, layer in enumerate(self.layers)]
        for i, both in enumerate(self.adds):
            pairs += [(module, part_hook(i, which)) for which, module in enumerate(both)]
        with self.quiet(), hooks(pairs):
            logits = self._call(tokens)
        return Trace(*(torch.stack(values) for values in (residual, *parts)), logits)
