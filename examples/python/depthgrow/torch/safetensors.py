"""The safetensors file format, read and written without another package: a header of JSON, then the numbers."""
import json
import os
import struct

import torch

from .._native import Error

TYPES = {"F64": (torch.float64, 8), "F32": (torch.float32, 4), "F16": (torch.float16, 2), "BF16": (torch.bfloat16, 2)}
LARGEST_HEADER = 100_000_000


def read_file(path):
    """(tensors by name, string map) of a file of floating-point tensors. Raises Error where it is none."""
    with open(path, "rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else -1
        if not 2 <= length <= LARGEST_HEADER:
            raise Error(f"{path}: expected a safetensors header, got {length} as its length")
        try:
            header = json.loads(file.read(length))
        except ValueError as problem:
            raise Error(f"{path}: expected a safetensors header of JSON, got {problem}") from problem
        data = file.read()
    metadata, out = header.pop("__metadata__", {}), {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        (kind, size), count = TYPES.get(entry["dtype"], (None, 0)), 1
        for extent in entry["shape"]:
            count *= extent
        if kind is None or not 0 <= begin <= end <= len(data) or end - begin != count * size:
            raise Error(f"{path}: expected floating-point numbers of shape {entry['shape']} for {name}, got "
                        f"{entry['dtype']} in {end - begin} bytes of a file of {len(data)}")
        values = torch.frombuffer(bytearray(data[begin:end]), dtype=kind) if count else torch.empty(0, dtype=kind)
        out[name] = values.reshape(entry["shape"])
    return out, metadata


def write_file(path, tensors, metadata):
    """Writes a file, whole or not at all. Tensors are of float64 or float32."""
    header, at = {"__metadata__": metadata}, 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        kind = "F64" if tensor.dtype == torch.float64 else "F32"
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    partial = f"{path}.tmp-{os.getpid()}"
    try:
        with open(partial, "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for tensor in tensors.values():
                file.write(tensor.detach().cpu().contiguous().numpy().tobytes())
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        if os.path.exists(partial):
            os.remove(partial)
        raise
