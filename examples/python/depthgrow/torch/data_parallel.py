"""DistributedDataParallel around a model that grows: the wrapper is made anew, and stays the same object."""
import torch

from .._native import Error

# What DistributedDataParallel was made with and keeps under the same name.
KEPT = ("device_ids", "output_device", "dim", "broadcast_buffers", "process_group", "find_unused_parameters",
        "gradient_as_bucket_view", "static_graph")


def rewrap(wrapped):
    """Makes a DistributedDataParallel again around its own module, which has grown; on every rank, as grow is called.

    Its reducer knows the parameters of the module as it was. Those who hold the wrapper, a training loop for one, go on
    with the same object. Raises Error where a communication hook is registered, which is not known to go on.
    """
    if not isinstance(wrapped, torch.nn.parallel.DistributedDataParallel):
        raise Error(f"[rewrap] expected a DistributedDataParallel, got {type(wrapped).__name__}")
    if getattr(wrapped, "_comm_hooks", None):
        raise Error("[rewrap] expected no communication hook, got one: wrap the grown module yourself, and register it")
    options = {name: getattr(wrapped, name) for name in KEPT if hasattr(wrapped, name)}
    megabytes, training = wrapped.bucket_bytes_cap / 2 ** 20, wrapped.training
    module = wrapped.module
    wrapped.__init__(module, bucket_cap_mb=megabytes, **options)
    wrapped.train(training)
