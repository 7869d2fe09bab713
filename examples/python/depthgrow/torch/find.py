"""Which list of a model holds its layers, and which models cannot be grown in place."""
import torch

from .._native import Error

# Wrappers whose optimizer or reducer keeps parameters of its own, by the name of the class.
WRAPPERS = {
    "DistributedDataParallel": "grow model.module, then rewrap(model), on every rank",
    "FullyShardedDataParallel": "grow the model before it is sharded, or save it, grow the files and load them",
    "DeepSpeedEngine": "grow the model before the engine is made",
}
SHARDED = {"FlatParameter", "DTensor"}


def class_names(thing):
    """Names of the class of `thing` and of those that it inherits from."""
    return {kind.__name__ for kind in type(thing).__mro__}


def unwrap(model):
    """The module inside torch.compile's and DataParallel's wrappers. Raises Error for wrappers that hold parameters."""
    while True:
        wrapper = next((name for name in WRAPPERS if name in class_names(model)), None)
        if wrapper:
            raise Error(f"[grow] expected a model without {wrapper}, got one inside it: {WRAPPERS[wrapper]}")
        if "OptimizedModule" in class_names(model):
            model = model._orig_mod
        elif isinstance(model, torch.nn.DataParallel):
            model = model.module
        else:
            break
    for name, module in model.named_modules():
        wrapper = next((known for known in WRAPPERS if known in class_names(module)), None)
        if wrapper:
            raise Error(f"[grow] expected a model without {wrapper}, got one at {name}: {WRAPPERS[wrapper]}")
    for name, parameter in model.named_parameters():
        if SHARDED & class_names(parameter) or hasattr(parameter, "ds_id"):
            raise Error(f"[grow] expected whole parameters, got a sharded one ({type(parameter).__name__}) at {name}: "
                        "grow the model before it is sharded, or save it, grow the files and load them")
    return model


def plain(layer):
    """The module inside torch.compile's wrapper."""
    return layer._orig_mod if "OptimizedModule" in class_names(layer) else layer


def child(module, name):
    """The submodule of that name, through torch.compile's wrapper; None where there is none."""
    found = getattr(module, "_modules", {}).get(name)
    return child(module._orig_mod, name) if found is None and "OptimizedModule" in class_names(module) else found


def find_layers(model):
    """The dotted path of the longest ModuleList of modules of one type that lies inside no other ModuleList.

    Raises Error when there is none, or when several are equally long.
    """
    found, outer = {}, []
    for path, module in model.named_modules():
        if not isinstance(module, torch.nn.ModuleList):
            continue
        inside = any(path.startswith(list_path + ".") for list_path in outer)
        outer.append(path)
        if not inside and len(module) > 0 and len({type(plain(layer)) for layer in module}) == 1:
            found[path] = len(module)
    if not found:
        raise Error("[grow] expected a ModuleList of modules of one type, got a model without: name its layers, "
                    "layers=\"model.layers\"")
    longest = [path for path in found if found[path] == max(found.values())]
    if len(longest) > 1:
        raise Error(f"[grow] expected one longest ModuleList, got {' and '.join(longest)} of {found[longest[0]]} "
                    "layers each: name the one to grow, layers=\"...\"")
    return longest[0]


def layers_at(model, path):
    """The ModuleList or Sequential at a dotted path. Raises Error when there is none."""
    module = model
    for name in path.split("."):
        module = child(module, name)
        if module is None:
            raise Error(f"[grow] expected a module at {path}, got none")
    module = plain(module)
    if not isinstance(module, (torch.nn.ModuleList, torch.nn.Sequential)):
        raise Error(f"[grow] expected a ModuleList or Sequential at {path}, got {type(module).__name__}")
    return module
