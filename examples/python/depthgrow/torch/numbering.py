"""What says how many layers there are and which one is which: layer_idx, num_hidden_layers, layer_types, ..."""
import dataclasses

from .._native import Error
from .find import child

INDICES = ("layer_idx", "layer_id", "layer_index", "layer_number", "layer_num", "block_idx")
DEPTHS = ("num_hidden_layers", "num_layers", "n_layer", "n_layers", "num_decoder_layers", "depth")
INDEX_LISTS = ("mlp_only_layers", "cross_attention_layers")  # lists of layers, not one element a layer


def renumber(layer, source, slot):
    """(object, attribute, value) of what a layer of `source` must say in `slot`; counted from 0 or from 1."""
    out = []
    for module in layer.modules():
        for name in INDICES:
            value = vars(module).get(name)
            if isinstance(value, int) and value - source in (0, 1):
                out.append((module, name, value - source + slot))
    return out


def fields_of(holder):
    return holder if isinstance(holder, dict) else getattr(holder, "__dict__", {})


def follow(holder, sources, depth):
    """(object, field, value) of what a configuration or module must say after growth by `sources` from `depth`."""
    out = []
    for name, value in list(fields_of(holder).items()):
        if name in DEPTHS and type(value) is int and value == depth:
            out.append((holder, name, len(sources)))
        elif name in INDEX_LISTS and isinstance(value, (list, tuple)):
            out.append((holder, name, type(value)(j for j, source in enumerate(sources) if source in value)))
        elif isinstance(value, (list, tuple)) and type(value) in (list, tuple) and len(value) == depth:
            if "layer" in name or "block" in name:
                out.append((holder, name, type(value)(value[source] for source in sources)))
    return out


def holders(model, path):
    """The modules on the way to the list of layers, and the configuration of the innermost that has one, with what
    repeats it above. Raises Error for encoder-decoders, whose configuration counts two stacks."""
    modules = [model]
    for name in path.split(".")[:-1]:
        modules.append(child(modules[-1], name))
    configs = [module.config for module in modules if fields_of(getattr(module, "config", None))]
    if any(fields_of(config).get("is_encoder_decoder") is True for config in configs):
        raise Error("[grow] expected a decoder or an encoder alone, got an encoder-decoder model")
    found = configs[-1:]
    for config in configs[:-1]:
        found += [one for one in (config, *fields_of(config).values()) if type(one) is type(configs[-1])]
    return list({id(holder): holder for holder in [*modules, *found]}.values())


def assign(holder, name, value):
    """Sets a field, of a dictionary or of a frozen dataclass too."""
    if isinstance(holder, dict):
        holder[name] = value
        return
    try:
        setattr(holder, name, value)
    except dataclasses.FrozenInstanceError:
        object.__setattr__(holder, name, value)
    except Exception as problem:  # a configuration that checks what it is given
        raise Error(f"[grow] expected a configuration whose {name} can be set, got {problem}") from problem
