"""A Llama decoder in plain PyTorch, in float64, with the weights of a fixture: no other package is needed to run it."""
import json
import pathlib
import struct

import torch

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "fixtures"
torch.set_num_threads(1)


def read_safetensors(path):
    """Tensors of a float32 file by name, as float64."""
    data = pathlib.Path(path).read_bytes()
    length, = struct.unpack("<Q", data[:8])
    out = {}
    for name, entry in json.loads(data[8:8 + length]).items():
        if name != "__metadata__":
            begin, end = (8 + length + offset for offset in entry["data_offsets"])
            values = torch.frombuffer(bytearray(data[begin:end]), dtype=torch.float32)
            out[name] = values.reshape(entry["shape"]).double()
    return out


class RMSNorm(torch.nn.Module):
    def __init__(self, width, eps):
        super().__init__()
        self.weight, self.eps = torch.nn.Parameter(torch.ones(width)), eps

    def forward(self, x):
        return self.weight * x / (x.square().mean(-1, keepdim=True) + self.eps).sqrt()


class Attention(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        self.heads, self.kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
        width, self.theta = config["hidden_size"], config["rope_theta"]
        self.size = width // self.heads
        self.q_proj, self.o_proj = (torch.nn.Linear(width, width, bias=False) for _ in range(2))
        self.k_proj, self.v_proj = (torch.nn.Linear(width, self.kv_heads * self.size, bias=False) for _ in range(2))

    def turned(self, x):
        half = self.size // 2
        rates = self.theta ** (-torch.arange(half, dtype=torch.float64) / half)
        angles = torch.arange(x.shape[-2], dtype=torch.float64)[:, None] * rates
        a, b = x[..., :half], x[..., half:]
        return torch.cat([a * angles.cos() - b * angles.sin(), b * angles.cos() + a * angles.sin()], dim=-1)

    def forward(self, x):
        batch, length, width = x.shape
        q, k, v = (proj(x).reshape(batch, length, -1, self.size).transpose(1, 2)
                   for proj in (self.q_proj, self.k_proj, self.v_proj))
        repeats = self.heads // self.kv_heads
        q, k, v = self.turned(q), self.turned(k).repeat_interleave(repeats, 1), v.repeat_interleave(repeats, 1)
        mask = torch.ones(length, length, dtype=torch.bool).tril()
        weights = (q @ k.transpose(2, 3) / self.size ** 0.5).masked_fill(~mask, float("-inf")).softmax(-1)
        return self.o_proj((weights @ v).transpose(1, 2).reshape(batch, length, width))


class Mlp(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        width, ffn = config["hidden_size"], config["intermediate_size"]
        self.gate_proj, self.up_proj = (torch.nn.Linear(width, ffn, bias=False) for _ in range(2))
        self.down_proj = torch.nn.Linear(ffn, width, bias=False)

    def forward(self, x):
        return self.down_proj(torch.nn.functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        self.self_attn, self.mlp = Attention(config), Mlp(config)
        self.input_layernorm, self.post_attention_layernorm = (
            RMSNorm(config["hidden_size"], config["rms_norm_eps"]) for _ in range(2))

    def forward(self, h):
        h = h + self.self_attn(self.input_layernorm(h))
        return h + self.mlp(self.post_attention_layernorm(h))


class Body(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embed_tokens = torch.nn.Embedding(config["vocab_size"], config["hidden_size"])
        self.layers = torch.nn.ModuleList(Layer(config) for _ in range(config["num_hidden_layers"]))
        self.norm = RMSNorm(config["hidden_size"], config["rms_norm_eps"])

    def forward(self, tokens):
        h = self.embed_tokens(tokens)
        for layer in self.layers:
            h = layer(h)
        return self.norm(h)


class Llama(torch.nn.Module):
    """Names of parameters are those of a Hugging Face directory."""

    def __init__(self, config):
        super().__init__()
        self.model = Body(config)
        self.lm_head = torch.nn.Linear(config["hidden_size"], config["vocab_size"], bias=False)
        if config["tie_word_embeddings"]:
            self.lm_head.weight = self.model.embed_tokens.weight

    def forward(self, tokens):
        return self.lm_head(self.model(tokens))


def load(folder):
    """The model of a Hugging Face directory of the Llama family."""
    config = json.loads((folder / "config.json").read_text())
    model = Llama(config).double()
    weights = read_safetensors(folder / "model.safetensors")
    if config["tie_word_embeddings"]:
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    model.load_state_dict(weights)
    return model


def fixture(name):
    """(model, expected values, prompts' path) of a fixture of the Llama family."""
    folder = FIXTURES / name
    return load(folder), json.loads((folder / "expected.json").read_text()), folder / "prompts.jsonl"
