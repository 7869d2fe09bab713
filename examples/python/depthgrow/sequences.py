"""What every way of growing starts from: an order, mixture or growth as rows, and lists with one element per layer."""
import copy

from ._native import Error, Growth, GrowthOperator, LayerOrder, Mixture


def as_growth(order, depth=None, init="copy", state="copy", seed=0):
    """`order` (LayerOrder, Mixture, Growth, GrowthStage, GrowthOperator, list of ints) as a Growth of `depth` layers.

    Raises Error where the order is for another depth or names a layer outside.
    """
    if hasattr(order, "growth"):
        order = order.growth
    if isinstance(order, GrowthOperator):
        if depth is None:
            raise Error("[grow] expected an order, got a growth operator and nothing that says for how many layers: "
                        "give operator.rows(layers)")
        order = order.rows(depth)
    if not isinstance(order, (Growth, Mixture)):
        if not isinstance(order, LayerOrder):
            sources = [int(source) for source in order]
            if any(source < 0 for source in sources):
                raise Error(f"[grow] expected layer indices of at least 0, got {min(sources)}")
            order = LayerOrder(sources, depth if depth is not None else max(sources, default=-1) + 1)
        order = Mixture(order)
    how = order if isinstance(order, Growth) else Growth(order, init, state, seed)
    if depth is not None and how.layers.source_depth != depth:
        raise Error(f"[grow] expected an order for {depth} layers, got one for {how.layers.source_depth}")
    if len(how.layers) == 0:
        raise Error("[grow] expected an order of at least 1 layer, got 0")
    return how


def grow(elements, order):
    """The list with one element per layer that `order` makes of `elements`: those that stay are the same objects, new
    ones are deep copies. Works for names, rates, layers of any kind. Raises Error for mixtures."""
    elements = list(elements)
    order = as_growth(order, len(elements)).layers.order()
    made = [copy.deepcopy(elements[source]) if order.is_new(slot) else None for slot, source in enumerate(order)]
    return [made[slot] if order.is_new(slot) else elements[source] for slot, source in enumerate(order)]
