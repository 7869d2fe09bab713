"""Writes the arrays that depth_report --activations reads, from any decoder of transformers.

    python3 dump_activations.py MODEL PROMPTS.jsonl OUT      # a line of PROMPTS: {"tokens": [...]} or {"text": "..."}

Assumes a pre-norm decoder whose layers add what their attention and their MLP return (Llama, Qwen 2 and 3, Mistral,
GPT-2 and GPT-NeoX without parallel residuals); needs torch, transformers and numpy."""
import json
import pathlib
import sys

import numpy
import torch
import transformers


def first(value):
    return value[0] if isinstance(value, tuple) else value


def find(module, *names):
    return next(getattr(module, name) for name in names if hasattr(module, name))


def main(path, prompts, out):
    model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    base = model.base_model
    layers, norm = find(base, "layers", "h"), find(base, "norm", "ln_f", "final_layer_norm")
    kept = {"resid_pre": [], "attn_out": [], "mlp_out": []}

    def keep(name):
        return lambda _, __, output: kept[name].append(first(output)[0].detach())

    for layer in layers:
        layer.register_forward_pre_hook(lambda _, inputs, named: kept["resid_pre"].append(
            (inputs[0] if inputs else named["hidden_states"])[0].detach()), with_kwargs=True)
        find(layer, "self_attn", "attn", "attention").register_forward_hook(keep("attn_out"))
        layer.mlp.register_forward_hook(keep("mlp_out"))
    norm.register_forward_pre_hook(lambda _, inputs: kept["resid_pre"].append(inputs[0][0].detach()))

    for number, line in enumerate(filter(str.strip, open(prompts))):
        item = json.loads(line)
        tokens = item["tokens"] if "tokens" in item else \
            transformers.AutoTokenizer.from_pretrained(path)(item["text"])["input_ids"]
        for values in kept.values():
            values.clear()
        folder = pathlib.Path(out) / str(number)
        folder.mkdir(parents=True, exist_ok=True)
        with torch.no_grad():
            model(torch.tensor([tokens]), use_cache=False)
            arrays = {name: torch.stack(values) for name, values in kept.items()}  # (L + 1 or L, T, C)
            arrays["lens_logits"] = model.get_output_embeddings()(norm(arrays["resid_pre"]))  # (L + 1, T, V)
        for name, values in arrays.items():
            numpy.save(folder / f"{name}.npy", values.numpy())
        numpy.save(folder / "tokens.npy", numpy.array(tokens, dtype=numpy.int64))


if __name__ == "__main__":
    main(*sys.argv[1:])
