"""The library's own depth report, in C++ on the CPU, on directories that its tools read: nine families of decoders."""
import json
import os

from ._native import Error

try:
    from . import _measure
except ImportError:
    _measure = None


def depth_report(directory, prompts, *, unit="layer", lens="", sweeps="none", block=None, seed=12345, resamples=2000,
                 local=False, threads=0):
    """What the tool depth_report writes with --json, as a dictionary: depth scores, effects and lenses with intervals.

    directory: a Hugging Face directory, or a run of train_smol.
    prompts:   a file of JSON lines, as examples/prompts.jsonl.
    lens:      a folder of fit_lens, for the tuned lens.
    sweeps:    "none", "standard" or "swap:1,2;reverse:4;loop:4x2"; `local` adds local effects.
    threads:   of the CPU; 0: all.

    Raises Error where the package was built without it, and the library's own sentence for bad input.
    """
    if _measure is None:
        raise Error("[depth_report] expected a package built with the library's models, got one without: pip install . "
                    "-C cmake.define.DEPTHGROW_PYTHON_MEASURE=ON, where oneTBB and a CBLAS are installed, or use "
                    "depthgrow.hooks")
    try:
        return json.loads(_measure.depth_report(os.fspath(directory), os.fspath(prompts), unit, os.fspath(lens), sweeps,
                                                block, seed, resamples, local, threads))
    except RuntimeError as problem:
        raise Error(str(problem)) from None
