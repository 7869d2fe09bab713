"""The optimiser step of `device.cpp` in PyTorch on a GPU, as its users run it: torch.compile, bfloat16 autocast over
float32 weights, cuDNN attention, fused AdamW, gradient clip. Prints one JSON line a model.
Usage: peer_cuda.py [--only NAME] [--steps 20] [--fp8: torchao's float8 training, linear maps of the layers]
       peer_cuda.py --skips: current skip effects of a 1024-token prompt, a whole forward pass a skip, eager bfloat16
       peer_cuda.py --lens: steps of a lens of every layer, 8 x 2048 tokens, its loss compiled
       peer_cuda.py --attention: cuDNN's attention alone
On several GPUs, as `ranks.cpp`: torchrun --nproc-per-node N peer_cuda.py --ddp (gradients exchanged in bfloat16)
"""

import argparse, json, os, statistics, time
import torch
import torch.distributed
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from peer_pytorch import Llama

SETUPS = {  # layers, width, ffn, heads, kv heads, vocabulary, batch, length
    "smollm-360m": (32, 960, 2560, 15, 5, 49152, 16, 2048),
    "smollm-1.7b": (24, 2048, 8192, 32, 32, 49152, 8, 2048),
    "mini": (24, 256, 768, 4, 4, 8192, 128, 512),
}


def train(name, steps):
    s = SETUPS[name]
    torch.manual_seed(0)
    with torch.device("cuda"):
        model = Llama(*s)
    if a.fp8:
        from torchao.float8 import convert_to_float8_training

        convert_to_float8_training(model)
    ranks = torch.distributed.get_world_size() if a.ddp else 1
    run = model
    if a.ddp:
        from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook

        run = torch.nn.parallel.DistributedDataParallel(
            model, device_ids=[torch.cuda.current_device()], gradient_as_bucket_view=True
        )
        run.register_comm_hook(None, bf16_compress_hook)
    run = torch.compile(run)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.01, fused=True)
    ids = torch.randint(s[5], (s[6], s[7]), device="cuda")
    times = []
    for _ in range(steps + 4):
        torch.cuda.synchronize()
        t = time.perf_counter()
        optimizer.zero_grad()
        with torch.autocast("cuda", torch.bfloat16), sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
            loss = run(ids, ids.roll(-1, 1))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - t)
    seconds = statistics.median(times[4:])
    if a.ddp and torch.distributed.get_rank() > 0:
        return
    print(
        json.dumps(
            {
                "row": "train " + name + (" fp8" if a.fp8 else ""),
                "torch": torch.__version__,
                "ranks": ranks,
                "tokens_per_second": ranks * s[6] * s[7] / seconds,
                "gib": torch.cuda.max_memory_allocated() / 2**30,
            }
        ),
        flush=True,
    )


def attention(name):
    L, d, f, h, kv, V, B, T = SETUPS[name]
    hd = d // h
    qkv = torch.randn(B * T, d + 2 * kv * hd, device="cuda", dtype=torch.bfloat16, requires_grad=True)

    def once(backward):
        q, k, v = (t.view(B, T, -1, hd).transpose(1, 2) for t in qkv.split([d, kv * hd, kv * hd], -1))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=h != kv)
        if backward:
            torch.autograd.grad(y, (q, k, v), torch.randn_like(y))
        return y

    out = {}
    with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
        for backward in (False, True):
            for _ in range(3):
                once(backward)
            torch.cuda.synchronize()
            t = time.perf_counter()
            for _ in range(10):
                once(backward)
            torch.cuda.synchronize()
            out["both" if backward else "forward"] = (time.perf_counter() - t) / 10
    print(
        json.dumps(
            {
                "row": "attention " + name,
                "layers": L,
                "forward_ms_all_layers": out["forward"] * L * 1e3,
                "backward_ms_all_layers": (out["both"] - out["forward"]) * L * 1e3,
            }
        ),
        flush=True,
    )


def frozen(name):
    torch.manual_seed(0)
    layers, d, f, h, kv, vocab, _, length = SETUPS[name]
    with torch.device("cuda"):
        return Llama(layers, d, f, h, kv, vocab, 1, length).bfloat16().requires_grad_(False)


def residuals(model, x, skipped=None):
    """The residual at every layer's input and after the last; a skipped layer adds to the first position alone."""
    states, (cos, sin) = [x], (t[: x.shape[1]] for t in (model.cos, model.sin))
    for layer, block in enumerate(model.blocks):
        y = block(x, cos, sin)
        if layer == skipped:
            y[:, 1:] = x[:, 1:]
        states.append(x := y)
    return states


@torch.inference_mode()
def skips(name, length=1024):
    model = frozen(name)

    def contributions(ids, skipped=None):
        states = residuals(model, model.embed(ids), skipped)
        last = F.linear(model.norm(states[-1]), model.embed.weight)
        return [b - a for a, b in zip(states, states[1:])], last.float().softmax(-1)

    def effects(ids):
        clean, y = contributions(ids)
        norms = [c.norm(dim=-1).clamp_min(1e-6) for c in clean]
        out = []
        for layer in range(len(model.blocks)):
            changed, y2 = contributions(ids, layer)
            out += [((x - c).norm(dim=-1) / n).max() for x, c, n in zip(changed, clean, norms)]
            out.append((y2 - y).norm(dim=-1).max())
        return torch.stack(out).tolist()

    times = []
    for _ in range(6):
        ids = torch.randint(SETUPS[name][5], (1, length), device="cuda")
        t = time.perf_counter()
        effects(ids)
        times.append(time.perf_counter() - t)
    print(json.dumps({"row": "skip " + name, "torch": torch.__version__, "seconds": statistics.median(times[1:])}))


def lens(name, batch=8):
    model = frozen(name)
    layers, d, length = SETUPS[name][0], SETUPS[name][1], SETUPS[name][7]
    with torch.device("cuda"):
        maps = torch.nn.ModuleList(torch.nn.Linear(d, d) for _ in range(layers))
    for p in maps.parameters():
        torch.nn.init.zeros_(p)
    optimizer = torch.optim.SGD(maps.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-3)
    ids = torch.randint(SETUPS[name][5], (batch, length), device="cuda")

    @torch.compile
    def divergence(h, own, weight, bias):
        z = F.linear(model.norm(h + F.linear(h, weight, bias)), model.embed.weight)
        return F.kl_div(z.float().log_softmax(-1), own, reduction="sum", log_target=True) / h.shape[0]

    def step():
        optimizer.zero_grad()
        with torch.no_grad():
            states = [x.flatten(0, 1) for x in residuals(model, model.embed(ids))]
            own = F.linear(model.norm(states[-1]), model.embed.weight).float().log_softmax(-1)
        losses = []
        for m, h in zip(maps, states):
            with torch.autocast("cuda", torch.bfloat16):
                loss = divergence(h, own, m.weight, m.bias)
            loss.backward()
            losses.append(loss.detach())
        torch.nn.utils.clip_grad_norm_(maps.parameters(), 1.0)
        optimizer.step()
        return torch.stack(losses).tolist()

    step(), step()
    times = []
    for _ in range(5):
        t = time.perf_counter()
        step()
        times.append(time.perf_counter() - t)
    rate = batch * length / statistics.median(times)
    print(json.dumps({"row": "lens " + name, "torch": torch.__version__, "tokens_per_second": rate}))


p = argparse.ArgumentParser()
p.add_argument("--only", default="")
p.add_argument("--steps", type=int, default=20)
for kind in ("skips", "lens", "attention"):
    p.add_argument("--" + kind, action="store_true")
p.add_argument("--ddp", action="store_true")
p.add_argument("--fp8", action="store_true")
a = p.parse_args()
if a.ddp:
    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("nccl")
torch.set_float32_matmul_precision("high")
for name in SETUPS:
    if a.only not in name or ((a.skips or a.lens) and name == "mini"):
        continue
    torch._dynamo.reset()  # or shapes that differ between models become dynamic
    if a.attention:
        attention(name)
    elif a.skips or a.lens:
        with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
            skips(name) if a.skips else lens(name)
    else:
        train(name, a.steps)
