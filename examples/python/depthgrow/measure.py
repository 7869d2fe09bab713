"""The library's own depth report and tuned lens, in C++ on the CPU, for directories that its tools read."""
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
    return _call("depth_report", os.fspath(directory), os.fspath(prompts), unit, os.fspath(lens), sweeps, block, seed,
                 resamples, local, threads)


def fit_lens(directory, out, data=(), *, steps=250, tokens_per_step=8192, context=0, optimizer="sgd", rate=0.0,
             held_out=16, seed=1, threads=0):
    """Fits a tuned lens, as the tool fit_lens does, and returns what that writes with --json, as a dictionary.

    directory: a Hugging Face directory, or a run of train_smol.
    out:       a new directory for the lens, which depth_report(lens=...) takes.
    data:      files of text to fit on (.txt, .jsonl with "text", .bin tokens); none: the built-in corpus.
    context:   tokens of a sequence; 0: the model's.
    optimizer: "sgd" or "adam"; a rate of 0 is 0.1 or 0.001, falling linearly for "sgd".

    Raises Error where the package was built without it, and the library's own sentence for bad input.
    """
    return _call("fit_lens", os.fspath(directory), os.fspath(out), [os.fspath(file) for file in data], steps,
                 tokens_per_step, context, optimizer, rate, held_out, seed, threads)


def _call(name, *arguments):
    if _measure is None:
        raise Error(f"[{name}] expected a package built with the library's models, got one without: pip install . "
                    "-C cmake.define.DEPTHGROW_PYTHON_MEASURE=ON, where oneTBB and a CBLAS are installed, or use "
                    "depthgrow.hooks")
    try:
        return json.loads(getattr(_measure, name)(*arguments))
    except RuntimeError as problem:
        raise Error(str(problem)) from None
