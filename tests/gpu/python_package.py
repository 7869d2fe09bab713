"""The Python package on a GPU: grow of CUDA models with their optimizers, hooks, metrics of CUDA tensors.

    pip install -t FOLDER . && python tests/gpu/python_package.py FOLDER     # the folder that holds depthgrow/

Needs the Python version that the package was built for (the extension is of one version: _native.cpython-311-...) and a
PyTorch with CUDA. Exit code 1: a check failed; 77: no GPU."""
import copy
import sys

if len(sys.argv) == 2:
    sys.path.insert(0, sys.argv[1])
import torch

import depthgrow as dg
from depthgrow import metrics
from depthgrow.hooks import depth_report
from depthgrow.torch import grow

failures = 0


def check(what, holds, told=""):
    global failures
    failures += not holds
    print(f"{'passed' if holds else 'FAILED'}  {what} {told}")


class Attention(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.qkv, self.out = torch.nn.Linear(width, 3 * width), torch.nn.Linear(width, width)

    def forward(self, h):
        q, k, v = self.qkv(h).chunk(3, dim=-1)
        return self.out(torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True))


class Layer(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm, self.mlp_norm = torch.nn.LayerNorm(width), torch.nn.LayerNorm(width)
        self.attention = Attention(width)
        self.mlp = torch.nn.Sequential(torch.nn.Linear(width, 2 * width), torch.nn.GELU(),
                                       torch.nn.Linear(2 * width, width))

    def forward(self, h):
        h = h + self.attention(self.norm(h))
        return h + self.mlp(self.mlp_norm(h))


class Decoder(torch.nn.Module):
    def __init__(self, depth, width=32, vocab=29):
        super().__init__()
        self.embedding = torch.nn.Embedding(vocab, width)
        self.layers = torch.nn.ModuleList(Layer(width) for _ in range(depth))
        self.norm, self.head = torch.nn.LayerNorm(width), torch.nn.Linear(width, vocab)

    def forward(self, tokens):
        h = self.embedding(tokens)
        for layer in self.layers:
            h = layer(h)
        return self.head(self.norm(h))


def new_model(depth, dtype):
    torch.manual_seed(1)
    return Decoder(depth).to("cuda", dtype)


def train(model, optimizer, first, steps):
    losses = []
    for step in range(first, first + steps):
        tokens = torch.randint(29, (4, 17), generator=torch.Generator().manual_seed(step)).cuda()
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def source_name(name, sources):
    parts = name.split(".")
    if parts[0] == "layers":
        parts[1] = str(sources[int(parts[1])])
    return ".".join(parts)


def grown_by_hand(model, optimizer, sources, make):
    made = new_model(len(sources), next(model.parameters()).dtype)
    weights, old = model.state_dict(), dict(model.named_parameters())
    made.load_state_dict({name: weights[source_name(name, sources)] for name in made.state_dict()})
    made_optimizer = make(made.parameters())
    for name, parameter in made.named_parameters():
        made_optimizer.state[parameter] = copy.deepcopy(optimizer.state[old[source_name(name, sources)]])
    return made, made_optimizer


def check_growth(kind, dtype, options):
    def make(parameters):
        return kind(parameters, lr=1e-3, **options)

    model, order = new_model(4, dtype), dg.lidas(4, block=2)
    optimizer = make(model.parameters())
    train(model, optimizer, 0, 5)
    hand, hand_optimizer = grown_by_hand(model, optimizer, list(order), make)
    grow(model, optimizer, order)
    away = [n for n, p in model.named_parameters() if not p.is_cuda or not optimizer.state[p]]
    pairs = list(zip(train(model, optimizer, 5, 10), train(hand, hand_optimizer, 5, 10)))
    worst = max(abs(found - wanted) for found, wanted in pairs)
    name = f"{kind.__name__} {options} {str(dtype).split('.')[1]}"
    check(f"ten losses after growth are those of growth by hand: {name}", worst <= 1e-6, f"(apart by {worst:g})")
    check(f"parameters and states are on the GPU: {name}", not away, str(away[:2]))


def check_compiled():
    model = new_model(4, torch.float64)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    compiled = torch.compile(model, backend="eager")
    train(compiled, optimizer, 0, 3)
    hand, hand_optimizer = grown_by_hand(model, optimizer, [0, 1, 2, 1, 2, 3],
                                         lambda parameters: torch.optim.AdamW(parameters, lr=1e-3))
    grow(compiled, optimizer, dg.lidas(4, block=2))
    pairs = list(zip(train(compiled, optimizer, 3, 10), train(hand, hand_optimizer, 3, 10)))
    check("a compiled model grows", max(abs(a - b) for a, b in pairs) <= 1e-6)


def check_metrics():
    torch.manual_seed(2)
    a, b = torch.randn(2, 5, 100, device="cuda")
    want = (a.double().softmax(-1) * (a.double().log_softmax(-1) - b.double().log_softmax(-1))).sum(-1)
    for name, found in (("on the CPU", metrics.kl_divergence(a.cpu(), b.cpu())),
                        ("on the GPU", metrics.kl_divergence(a, b)),
                        ("on either", metrics.kl_divergence(a.requires_grad_(), b.cpu()))):
        check(f"metrics of tensors {name}", max(abs(float(x) - float(y)) for x, y in zip(found, want)) < 1e-9)


def check_hooks():
    model = new_model(4, torch.float64)
    prompts = [torch.randint(29, (24,), generator=torch.Generator().manual_seed(i)).tolist() for i in range(3)]
    found = depth_report(model, prompts)["depth_score"]["mean"]["output"]
    wanted = depth_report(model.cpu(), prompts)["depth_score"]["mean"]["output"]
    check("the depth score by hooks is that of the CPU", abs(found - wanted) < 1e-6, f"({found:.6f}, {wanted:.6f})")


if not torch.cuda.is_available():
    print("skipped: no GPU")
    sys.exit(77)
print(f"depthgrow {dg.__version__}, torch {torch.__version__}, {torch.cuda.get_device_name()}")
torch.use_deterministic_algorithms(True, warn_only=True)
torch.backends.cuda.matmul.allow_tf32 = False
checks = [(check_growth, torch.optim.AdamW, torch.float64, options)
          for options in ({}, {"foreach": True}, {"fused": True}, {"capturable": True}, {"amsgrad": True})]
checks += [(check_growth, torch.optim.SGD, torch.float64, {"momentum": 0.9}), (check_compiled,), (check_metrics,),
           (check_hooks,)]
for run, *arguments in checks:
    try:
        run(*arguments)
    except Exception as problem:
        check(f"{run.__name__} {arguments}", False, f"raised {type(problem).__name__}: {problem}")
print(f"{failures} checks failed")
sys.exit(failures > 0)
