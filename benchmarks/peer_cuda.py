"""The optimiser step of `device.cpp` in PyTorch on a GPU, as its users run it: torch.compile, bfloat16 autocast over
float32 weights, cuDNN attention, fused AdamW, gradient clip. Prints one JSON line a model.
Usage: peer_cuda.py [--only NAME] [--steps 20] [--fp8: torchao's float8 training, linear maps of the layers]
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


p = argparse.ArgumentParser()
p.add_argument("--only", default="")
p.add_argument("--steps", type=int, default=20)
p.add_argument("--attention", action="store_true")
p.add_argument("--ddp", action="store_true")
p.add_argument("--fp8", action="store_true")
a = p.parse_args()
if a.ddp:
    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("nccl")
torch.set_float32_matmul_precision("high")
for name in SETUPS:
    if a.only in name:
        attention(name) if a.attention else train(name, a.steps)
