"""Growth of arrays stacked over layers: parameters and optimizer states of JAX (optax), or NumPy arrays in dicts.

JAX is imported when it is there; trees of dicts, lists, tuples and named tuples need nothing but NumPy.
"""
import numpy

from ._native import Error, GrowthOperator
from .sequences import as_growth


def _children(tree):
    """(name, child) of a container, and how to make it again; None for a leaf."""
    if isinstance(tree, dict):
        return [(str(k), v) for k, v in tree.items()], lambda made: type(tree)(zip(tree, made))
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return list(zip(tree._fields, tree)), lambda made: type(tree)(*made)
    if isinstance(tree, (list, tuple)):
        return [(str(i), v) for i, v in enumerate(tree)], type(tree)
    return None


def _map_plain(change, tree, path=()):
    parts = _children(tree)
    if parts is None:
        return tree if tree is None else change(path, tree)
    children, make = parts
    return make([_map_plain(change, child, (*path, name)) for name, child in children])


def _map(change, tree):
    """change(path, leaf) of every leaf; paths are tuples of names."""
    try:
        import jax
    except ImportError:
        return _map_plain(change, tree)

    def name(key):
        return str(next(getattr(key, field) for field in ("key", "name", "idx") if hasattr(key, field)))

    return jax.tree_util.tree_map_with_path(lambda path, leaf: change(tuple(map(name, path)), leaf), tree)


def grow_stacked(tree, order, *, where=None, axis=0, state="copy", squares=()):
    """The tree with every array of layers grown along `axis` by `order` (what grow takes: an order, a stage of a plan,
    a GrowthOperator, ...); numbers without axes (counts) stay.

    where:   name that a path must hold for its arrays to grow, as "layers"; None: every array. Optimizer states hold
             the same names: grow_stacked(opt_state, order, where="layers").
    state:   for moments: "copy", "zero" (zero in new layers) or "all" (zero in every layer).
    squares: names whose arrays add up with squared coefficients where `order` mixes layers, as ("nu",).

    Raises Error where an array has another number of layers than the order; nothing is changed in place.
    """
    depth = getattr(order, "source_depth", None)
    if isinstance(order, GrowthOperator):
        depth = _layers_of(tree, where, axis)
    rows = as_growth(order, depth).rows()
    sources = [rows.main_source(slot) for slot in range(len(rows))]
    new = [slot for slot in range(len(rows)) if rows.is_new(slot)]
    if state not in ("copy", "zero", "all"):
        raise Error(f"[grow_stacked] expected one of copy, zero, all, got \"{state}\"")
    grown = 0

    def change(path, leaf):
        nonlocal grown
        shape = numpy.shape(leaf)
        if len(shape) == 0 or (where is not None and where not in path):
            return leaf
        if axis >= len(shape) or shape[axis] != rows.source_depth:
            raise Error(f"[grow_stacked] expected arrays of {rows.source_depth} layers along axis {axis}, got shape "
                        f"{tuple(shape)} at {'.'.join(path)}")
        grown += 1
        return _grown_array(leaf, rows, sources, new, axis, state, 2 if set(squares) & set(path) else 1)

    out = _map(change, tree)
    if grown == 0:
        raise Error(f"[grow_stacked] expected arrays to grow{f' below {where}' if where else ''}, got none")
    return out


def _layers_of(tree, where, axis):
    """Extent along `axis` of the arrays that grow, if it is one; None where there is none."""
    found = {}

    def look(path, leaf):
        shape = numpy.shape(leaf)
        if -len(shape) <= axis < len(shape) and (where is None or where in path):
            found.setdefault(shape[axis], ".".join(path))
        return leaf

    _map(look, tree)
    if len(found) > 1:
        (first, at), (other, beside) = list(found.items())[:2]
        raise Error(f"[grow_stacked] expected arrays of one number of layers along axis {axis}, got {first} at {at} "
                    f"and {other} at {beside}: name the arrays that grow, where=\"...\"")
    return next(iter(found), None)


def _grown_array(array, rows, sources, new, axis, state, power):
    if rows.is_order:
        made = array.take(numpy.array(sources), axis=axis)
    else:
        matrix = numpy.zeros((len(rows), rows.source_depth))
        for slot in range(len(rows)):
            for source, coefficient in rows[slot]:
                matrix[slot, source] = coefficient ** power
        moved = array.swapaxes(0, axis)
        flat = moved.reshape(moved.shape[0], -1)
        mixed = (matrix.astype(array.dtype) @ flat).reshape((len(rows), *moved.shape[1:]))
        made = mixed.swapaxes(0, axis)
    if state == "copy":
        return made
    kept = numpy.zeros(len(rows), bool)
    if state == "zero":
        kept[[slot for slot in range(len(rows)) if slot not in new]] = True
    shape = [1] * made.ndim
    shape[axis] = len(rows)
    return made * kept.reshape(shape).astype(made.dtype)
