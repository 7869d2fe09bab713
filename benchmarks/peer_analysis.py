"""Current skip effects as public scripts make them, in PyTorch on the CPU: a full forward pass for every skipped layer.

The model is that of peer_pytorch.py (mini). For each layer a hook leaves every position but the first as it entered the
layer; contributions of all layers and the softmax are compared with the clean run's. Prints one JSON line.
Usage: python3 peer_analysis.py [--prompts 20] [--length 256] [--threads 2]
"""

import argparse, json, time
import torch
import torch.nn as nn
import torch.nn.functional as F


class Block(nn.Module):
    def __init__(self, d, f, h):
        super().__init__()
        self.h, self.hd = h, d // h
        self.n1, self.n2 = nn.RMSNorm(d, eps=1e-5), nn.RMSNorm(d, eps=1e-5)
        self.qkv, self.o = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d, bias=False)
        self.gate_up, self.down = nn.Linear(d, 2 * f, bias=False), nn.Linear(f, d, bias=False)

    def forward(self, x, cos, sin):
        B, T, d = x.shape
        q, k, v = (t.view(B, T, -1, self.hd).transpose(1, 2) for t in self.qkv(self.n1(x)).split(d, -1))
        turn = lambda t: t * cos + torch.cat([-t[..., self.hd // 2 :], t[..., : self.hd // 2]], -1) * sin
        a = self.o(F.scaled_dot_product_attention(turn(q), turn(k), v, is_causal=True).transpose(1, 2).reshape(B, T, d))
        g, u = self.gate_up(self.n2(x + a)).chunk(2, -1)
        return a + self.down(F.silu(g) * u)  # the layer's contribution


class Model(nn.Module):
    def __init__(self, L=24, d=256, f=768, h=4, V=8192, T=256):
        super().__init__()
        self.embed, self.norm = nn.Embedding(V, d), nn.RMSNorm(d, eps=1e-5)
        self.blocks = nn.ModuleList(Block(d, f, h) for _ in range(L))
        hd = d // h
        a = torch.arange(T)[:, None] * 1e4 ** (-torch.arange(0, hd, 2) / hd)[None]
        self.cos, self.sin = torch.cat([a.cos(), a.cos()], -1), torch.cat([a.sin(), a.sin()], -1)

    def forward(self, ids, skipped=None):
        h, contributions = self.embed(ids), []
        for l, block in enumerate(self.blocks):
            c = block(h, self.cos, self.sin)
            if l == skipped:
                c[:, 1:] = 0
            contributions.append(c)
            h = h + c
        return contributions, F.linear(self.norm(h), self.embed.weight).softmax(-1)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--prompts", type=int, default=20)
    p.add_argument("--length", type=int, default=256)
    p.add_argument("--threads", type=int, default=2)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    model = Model(T=a.length)
    with torch.inference_mode():
        model(torch.arange(a.length)[None])
        start = time.perf_counter()
        for prompt in range(a.prompts):
            ids = torch.randint(0, 8192, (1, a.length))
            clean, y = model(ids)
            norms = [c.norm(dim=-1).clamp_min(1e-6) for c in clean]
            for s in range(len(model.blocks)):
                changed, y2 = model(ids, s)
                [float(((x - c).norm(dim=-1) / n).max()) for x, c, n in zip(changed, clean, norms)]
                float((y2 - y).norm(dim=-1).max())
        seconds = (time.perf_counter() - start) / a.prompts
    print(json.dumps({"torch": torch.__version__, "prompts": a.prompts, "seconds": seconds}))


main()
