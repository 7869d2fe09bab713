"""Prompts of the hooks' report: lists of token ids, texts, dictionaries or a JSONL file, and their boundaries."""
import json
import operator

from .. import _native
from .._native import Error


def read_prompts(path, tokenizer=None):
    """Prompts of a JSONL file with {"tokens": [...]} or {"text": "..."} a line, and {"boundaries": [...]} where it has
    them, as dictionaries with "tokens"; texts need a `tokenizer` (depth_report). Raises Error that names the line."""
    prompts = []
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    prompts.append(with_tokens(json.loads(line), tokenizer, f"{path}:{number}"))
                except json.JSONDecodeError as problem:
                    raise Error(f"{path}:{number}: expected a line of JSON, got {problem}") from None
    return prompts


def with_tokens(prompt, tokenizer, where):
    """A prompt (token ids, a text, or a dictionary with either) as a dictionary with "tokens"."""
    if isinstance(prompt, str):
        prompt = {"text": prompt}
    if not isinstance(prompt, dict):
        return {"tokens": _ids(prompt, where)}
    if "tokens" in prompt:
        return {**prompt, "tokens": _ids(prompt["tokens"], where)}
    if "text" not in prompt:
        raise Error(f"{where}: expected a prompt with tokens or text, got one with {', '.join(prompt) or 'nothing'}")
    if tokenizer is None:
        raise Error(f"{where}: expected a prompt with tokens, got a text and no tokenizer; give tokenizer=")
    if not isinstance(prompt["text"], str):
        raise Error(f"{where}: expected a text, got {prompt['text']!r:.40}")
    made = tokenizer(prompt["text"])
    return {**prompt, "tokens": _ids(made["input_ids"] if hasattr(made, "keys") else made, where)}


def _ids(tokens, where):
    try:
        if not isinstance(tokens, (str, bytes)):
            return [operator.index(token) for token in tokens]
    except TypeError:
        pass
    raise Error(f"{where}: expected a list of token ids, got {tokens!r:.40}")


def boundaries_of(prompt, index, seed):
    length = len(prompt["tokens"])
    given = prompt.get("boundaries")
    ends = [int(t) for t in given] if given else _native.draw_boundaries(length, seed, index)
    if not ends:
        raise Error(f"[depth_report] expected at least 13 tokens to draw a boundary from (or boundaries of its own: "
                    f'{{"tokens": [...], "boundaries": [2]}}), got {length} in prompt {index}')
    if not all(2 <= t < length for t in ends):
        raise Error(f"[depth_report] expected boundaries from 2 to {length - 1} (the last position) in prompt {index}, "
                    f"got {ends}")
    return ends
