"""The same optimiser step in PyTorch on the CPU, as its users write it: eager or torch.compile, SDPA, fused AdamW.

Needs a current PyTorch, installed outside this project. Prints one JSON line a model, keys as those of
`benchmarks/model --json`.
Usage: python3 peer_pytorch.py [--compile] [--precision bf16] [--threads 2] [--repeats 7] [--only NAME]
In bf16 the forward pass and the loss run under autocast; weights, gradients and AdamW stay float32.
"""

import argparse, json, statistics, time
import torch
import torch.nn as nn
import torch.nn.functional as F

SETUPS = {  # layers, width, ffn, heads, kv heads, vocabulary, batch, length
    "small": (12, 64, 192, 4, 2, 256, 8, 128),
    "mini": (24, 256, 768, 4, 4, 8192, 4, 512),
    "width-512": (8, 512, 1536, 8, 8, 8192, 4, 512),
    "360m-2-layers": (2, 960, 2560, 15, 5, 8192, 2, 512),
}


class Block(nn.Module):
    def __init__(self, d, f, h, kv):
        super().__init__()
        self.h, self.kv, self.hd = h, kv, d // h
        self.n1, self.n2 = nn.RMSNorm(d, eps=1e-5), nn.RMSNorm(d, eps=1e-5)
        self.qkv = nn.Linear(d, d + 2 * kv * self.hd, bias=False)
        self.o = nn.Linear(d, d, bias=False)
        self.gate_up, self.down = nn.Linear(d, 2 * f, bias=False), nn.Linear(f, d, bias=False)

    def forward(self, x, cos, sin):
        B, T, d = x.shape
        q, k, v = self.qkv(self.n1(x)).split([d, self.kv * self.hd, self.kv * self.hd], -1)
        q, k, v = (t.view(B, T, -1, self.hd).transpose(1, 2) for t in (q, k, v))
        turn = lambda t: t * cos + torch.cat([-t[..., self.hd // 2 :], t[..., : self.hd // 2]], -1) * sin
        y = F.scaled_dot_product_attention(turn(q), turn(k), v, is_causal=True, enable_gqa=self.h != self.kv)
        x = x + self.o(y.transpose(1, 2).reshape(B, T, d))
        g, u = self.gate_up(self.n2(x)).chunk(2, -1)
        return x + self.down(F.silu(g) * u)


class Llama(nn.Module):
    def __init__(self, L, d, f, h, kv, V, B, T):
        super().__init__()
        self.embed = nn.Embedding(V, d)
        self.blocks = nn.ModuleList(Block(d, f, h, kv) for _ in range(L))
        self.norm = nn.RMSNorm(d, eps=1e-5)
        hd = d // h
        a = torch.arange(T)[:, None] * 1e4 ** (-torch.arange(0, hd, 2) / hd)[None]
        self.register_buffer("cos", torch.cat([a.cos(), a.cos()], -1))
        self.register_buffer("sin", torch.cat([a.sin(), a.sin()], -1))

    def forward(self, ids, targets):
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        z = F.linear(self.norm(x), self.embed.weight)
        return F.cross_entropy(z.flatten(0, 1), targets.flatten())


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--compile", action="store_true")
    p.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--repeats", type=int, default=7)
    p.add_argument("--only", default="")
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    for name, s in SETUPS.items():
        if a.only and name != a.only:
            continue
        torch.manual_seed(0)
        model = Llama(*s)
        run = torch.compile(model) if a.compile else model
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.01, fused=True)
        B, T = s[6], s[7]
        ids = (torch.arange(B * T) * 7919 % s[5]).view(B, T)
        times = []
        for _ in range(a.repeats + 1):
            t = time.perf_counter()
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=a.precision == "bf16"):
                loss = run(ids, ids)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            times.append(time.perf_counter() - t)
        seconds = statistics.median(times[1:])
        print(
            json.dumps(
                {
                    "model": name,
                    "torch": torch.__version__,
                    "compiled": a.compile,
                    "seconds": seconds,
                    "tokens_per_second": B * T / seconds,
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
