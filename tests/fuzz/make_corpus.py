# Writes the seed files of the fuzzers: python3 tests/fuzz/make_corpus.py tests/fuzz/corpus
import json
import pathlib
import struct
import sys

root = pathlib.Path(sys.argv[1])


def put(folder, name, content):
    path = root / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def tensors(header, data=b""):
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def entry(kind, shape, begin, end):
    return {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}


put("safetensors", "empty", tensors({}))
put("safetensors", "metadata", tensors({"__metadata__": {"format": "pt", "a": "b"}}))
put("safetensors", "one", tensors({"w": entry("F32", [2, 2], 0, 16)}, bytes(range(16))))
put(
    "safetensors",
    "mixed",
    tensors(
        {
            "b": entry("F64", [1], 0, 8),
            "w": entry("BF16", [2], 8, 12),
            "h": entry("F16", [1], 12, 14),
            "u": entry("U8", [2], 14, 16),
            "z": entry("I64", [0, 3], 16, 16),
            "s": entry("F32", [], 16, 20),
        },
        bytes(range(100, 120)),
    ),
)
put("safetensors", "overlap", tensors({"a": entry("I8", [4], 0, 4), "b": entry("I8", [4], 2, 6)}, bytes(6)))
put("safetensors", "huge", tensors({"a": entry("F32", [4611686018427387904, 4], 0, 0)}))
put("safetensors", "long", struct.pack("<Q", 2**63) + b"{}")

config = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 16,
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 16,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "hidden_act": "silu",
    "torch_dtype": "float32",
}
put("json_config", "plain.json", json.dumps(config).encode())
put("json_config", "mix.json", json.dumps({**config, "norm_placement": "mix", "post_layers": 1}).encode())
put(
    "json_config",
    "nested.json",
    json.dumps(
        {**config, "head_dim": 4, "rope_scaling": None, "rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}}
    ).encode(),
)
scaled = {
    "rope_type": "llama3",
    "rope_theta": 5e5,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
yarn = {
    "type": "yarn",
    "factor": 4.0,
    "original_max_position_embeddings": 16,
    "beta_fast": 32,
    "beta_slow": 1,
    "mscale": 1.0,
    "mscale_all_dim": 0.5,
    "truncate": False,
}
types = ["sliding_attention", "full_attention"]


def of(model_type, architecture, **more):
    return json.dumps({**config, "model_type": model_type, "architectures": [architecture], **more}).encode()


put(
    "json_config",
    "llama3.json",
    of("llama", "LlamaForCausalLM", rope_parameters=scaled, attention_bias=True, mlp_bias=True, head_dim=8),
)
put("json_config", "yarn.json", of("llama", "LlamaForCausalLM", rope_scaling=yarn))
put("json_config", "linear.json", of("llama", "LlamaForCausalLM", rope_scaling={"type": "linear", "factor": 2.5}))
put("json_config", "mistral.json", of("mistral", "MistralForCausalLM", sliding_window=8))
put(
    "json_config",
    "qwen2.json",
    of("qwen2", "Qwen2ForCausalLM", use_sliding_window=True, sliding_window=8, max_window_layers=1),
)
put(
    "json_config",
    "qwen3.json",
    of("qwen3", "Qwen3ForCausalLM", head_dim=8, layer_types=types, use_sliding_window=True, sliding_window=4),
)
put("json_config", "olmo2.json", of("olmo2", "Olmo2ForCausalLM"))
put(
    "json_config",
    "smollm3.json",
    of("smollm3", "SmolLM3ForCausalLM", no_rope_layers=[1, 0], no_rope_layer_interval=2, layer_types=types),
)
put(
    "json_config",
    "gemma3.json",
    of(
        "gemma3_text",
        "Gemma3ForCausalLM",
        hidden_activation="gelu_pytorch_tanh",
        query_pre_attn_scalar=4,
        sliding_window=8,
        layer_types=types,
        head_dim=4,
        rope_parameters={
            "full_attention": {"rope_theta": 1e6, "rope_type": "default"},
            "sliding_attention": {"rope_theta": 1e4},
        },
    ),
)
put(
    "json_config",
    "gemma3_old.json",
    of(
        "gemma3_text",
        "Gemma3ForCausalLM",
        head_dim=4,
        rope_local_base_freq=1e4,
        sliding_window=8,
        sliding_window_pattern=2,
        rope_scaling={"rope_type": "linear", "factor": 8},
    ),
)
gpt2 = {
    "model_type": "gpt2",
    "architectures": ["GPT2LMHeadModel"],
    "vocab_size": 16,
    "n_embd": 8,
    "n_layer": 2,
    "n_head": 2,
    "n_positions": 16,
    "n_inner": None,
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
    "scale_attn_weights": True,
}
put("json_config", "gpt2.json", json.dumps(gpt2).encode())
put(
    "json_config",
    "gpt_neox.json",
    of(
        "gpt_neox",
        "GPTNeoXForCausalLM",
        rotary_pct=0.5,
        rotary_emb_base=10000,
        use_parallel_residual=True,
        hidden_act="gelu",
        layer_norm_eps=1e-5,
    ),
)
put("json_config", "deep.json", b"[" * 70 + b"]" * 70)
put("json_config", "twice.json", b'{"a": 1, "a": [1.5e300, -0, "\\u00e9\\ud83d\\ude00", true, null]}')

level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
tokenizer = {
    "version": "1.0",
    "added_tokens": [{"id": 0, "content": "<s>", "special": True}],
    "normalizer": None,
    "pre_tokenizer": level,
    "post_processor": None,
    "decoder": level,
    "model": {
        "type": "BPE",
        "unk_token": None,
        "vocab": {"<s>": 0, "a": 1, "b": 2, "\u0120": 3, "ab": 4},
        "merges": [["a", "b"]],
    },
}
put("tokenizer", "small.json", json.dumps(tokenizer).encode())
put(
    "tokenizer",
    "digits.json",
    json.dumps(
        {
            **tokenizer,
            "pre_tokenizer": {
                "type": "Sequence",
                "pretokenizers": [{"type": "Digits", "individual_digits": True}, level],
            },
        }
    ).encode(),
)
put(
    "tokenizer",
    "strings.json",
    json.dumps(
        {**tokenizer, "model": {**tokenizer["model"], "merges": ["a b"], "unk_token": "<s>", "ignore_merges": True}}
    ).encode(),
)


def sequence(name, *steps):
    return {"type": "Sequence", name: list(steps)}


def split(pattern, behavior="Isolated", invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


words = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
template = {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [],
    "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}},
}
flags = [
    {"id": 0, "content": "<s>", "special": True, "normalized": False, "lstrip": True},
    {"id": 5, "content": "<t>", "normalized": True, "rstrip": True, "single_word": True},
]
put(
    "tokenizer",
    "split.json",
    json.dumps(
        {
            **tokenizer,
            "added_tokens": flags,
            "normalizer": {"type": "NFC"},
            "post_processor": sequence("processors", level, template),
            "pre_tokenizer": sequence(
                "pretokenizers",
                split(words),
                split("a", "MergedWithNext", True, "String"),
                {**level, "use_regex": False},
            ),
        }
    ).encode(),
)
put(
    "tokenizer",
    "removed.json",
    json.dumps(
        {
            **tokenizer,
            "pre_tokenizer": sequence(
                "pretokenizers",
                split(words, "Removed", True),
                split(r"\p{Lu}++|[a-c]{2,}", "MergedWithPrevious"),
                split(r"\S", "Contiguous"),
                {**level, "add_prefix_space": True},
            ),
        }
    ).encode(),
)
sign = "\u2581"
text_model = {
    "type": "BPE",
    "unk_token": "<s>",
    "byte_fallback": True,
    "fuse_unk": True,
    "vocab": {"<s>": 0, sign: 1, "a": 2, sign + "a": 3, "<0xFF>": 4, "<0xE6>": 5},
    "merges": [[sign, "a"]],
}
text_decoder = sequence(
    "decoders",
    {"type": "Replace", "pattern": {"String": sign}, "content": " "},
    {"type": "ByteFallback"},
    {"type": "Fuse"},
    {"type": "Strip", "content": " ", "start": 1, "stop": 0},
)
flags_of_text = [flags[0], {**flags[1], "id": 6}]
put(
    "tokenizer",
    "prepend.json",
    json.dumps(
        {
            **tokenizer,
            "added_tokens": flags_of_text,
            "model": text_model,
            "decoder": text_decoder,
            "post_processor": template,
            "pre_tokenizer": None,
            "normalizer": sequence(
                "normalizers",
                {"type": "Prepend", "prepend": sign},
                {"type": "Replace", "pattern": {"String": " "}, "content": sign},
            ),
        }
    ).encode(),
)
metaspace = {"type": "Metaspace", "replacement": sign, "prepend_scheme": "first", "split": True}
put(
    "tokenizer",
    "metaspace.json",
    json.dumps(
        {
            **tokenizer,
            "added_tokens": flags_of_text,
            "model": {**text_model, "fuse_unk": False},
            "decoder": metaspace,
            "pre_tokenizer": metaspace,
        }
    ).encode(),
)
put("tokenizer", "pattern", (words + " a  b'LL 12345\n\n").encode())
put("tokenizer", "text", "They'll  see 12\u00bd \u0141\u00f3d\u017a \U0001f642\n\n x".encode() + b"\xff\xe6")

put(
    "request",
    "score.json",
    json.dumps(
        {
            "model": "m",
            "prompt": [[1, 2], [3]],
            "echo": True,
            "logprobs": 1,
            "max_tokens": 1,
            "temperature": 0,
            "seed": 1234,
        }
    ).encode(),
)
put(
    "request",
    "text.json",
    json.dumps(
        {
            "prompt": "a\u00e9",
            "max_tokens": 4,
            "stop": ["\n", "Q:"],
            "temperature": 0.7,
            "top_p": 0.9,
            "stream": False,
            "n": 1,
        }
    ).encode(),
)
put(
    "request",
    "texts.json",
    json.dumps({"prompt": ["a", [7, 8]], "logprobs": None, "stop": "x", "echo": False}).encode(),
)
