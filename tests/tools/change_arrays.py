"""Copies of a folder of arrays for activations.sh: change_arrays.py half|rounded|safetensors|padded IN OUT

half:        every array of numbers as float16; rounded: the same numbers as float32.
safetensors: one file a prompt.
padded:      three rows of junk behind every token axis, which a mask leaves out."""
import json
import pathlib
import struct
import sys

import numpy


def arrays_of(prompt):
    return {str(path.relative_to(prompt).with_suffix("")): numpy.load(path) for path in sorted(prompt.rglob("*.npy"))}


def padded(arrays):
    rows = arrays["attn_out"].shape[1]
    out = {"mask": numpy.array([1] * rows + [0] * 3)}
    for name, array in arrays.items():
        widths = [(0, 3 if name != "boundaries" and axis == max(0, array.ndim - 2) else 0)
                  for axis in range(array.ndim)]
        out[name] = numpy.pad(array, widths, constant_values=-7)
    return out


def write_safetensors(path, arrays):
    header, data = {}, b""
    for name, array in arrays.items():
        content = array.tobytes()
        header[name] = {"dtype": "I64" if array.dtype.kind == "i" else "F64", "shape": list(array.shape),
                        "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def main(kind, source, out):
    for prompt in pathlib.Path(source).iterdir():
        arrays, folder = arrays_of(prompt), pathlib.Path(out) / prompt.name
        if kind in ("half", "rounded"):
            halves = {n: a if a.dtype.kind == "i" else a.astype("<f2") for n, a in arrays.items()}
            arrays = halves if kind == "half" else {n: a if a.dtype.kind == "i" else a.astype("<f4")
                                                    for n, a in halves.items()}
        if kind == "padded":
            arrays = padded(arrays)
        if kind == "safetensors":
            pathlib.Path(out).mkdir(exist_ok=True)
            write_safetensors(folder.with_suffix(".safetensors"), arrays)
            continue
        for name, array in arrays.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            numpy.save(folder / f"{name}.npy", array)


main(*sys.argv[1:])
