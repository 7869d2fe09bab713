"""A decoder of a few layers in PyTorch, in float64, and the growth of model and optimizer written out by hand."""
import copy

import torch

torch.set_num_threads(1)  # the layers are small, and tests run beside each other


class Layer(torch.nn.Module):
    def __init__(self, width, layer_idx):
        super().__init__()
        self.layer_idx = layer_idx
        self.norm = torch.nn.LayerNorm(width)
        self.query_key_value = torch.nn.Linear(width, 3 * width, bias=False)
        self.out = torch.nn.Linear(width, width, bias=False)
        self.mlp_norm = torch.nn.LayerNorm(width)
        self.up = torch.nn.Linear(width, 2 * width)
        self.down = torch.nn.Linear(2 * width, width)
        self.register_buffer("scale", torch.tensor(1.0 + layer_idx / 100))

    def forward(self, h):
        q, k, v = self.query_key_value(self.norm(h)).chunk(3, dim=-1)
        mask = torch.ones(h.shape[1], h.shape[1], dtype=torch.bool).tril()
        weights = (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).masked_fill(~mask, -1e9).softmax(dim=-1)
        h = h + self.scale * self.out(weights @ v)
        return h + self.down(torch.nn.functional.gelu(self.up(self.mlp_norm(h))))


class Config:
    def __init__(self, depth):
        self.num_hidden_layers = depth
        self.layer_types = [f"type {layer}" for layer in range(depth)]


class Decoder(torch.nn.Module):
    def __init__(self, depth=4, width=12, vocab=17):
        super().__init__()
        torch.manual_seed(1)
        self.config = Config(depth)
        self.embedding = torch.nn.Embedding(vocab, width)
        self.layers = torch.nn.ModuleList(Layer(width, layer) for layer in range(depth))
        self.norm = torch.nn.LayerNorm(width)
        self.head = torch.nn.Linear(width, vocab, bias=False)
        self.to(torch.float64)

    def forward(self, tokens):
        h = self.embedding(tokens)
        for layer in self.layers:
            h = layer(h)
        return self.head(self.norm(h))


def batch(step, vocab=17):
    generator = torch.Generator().manual_seed(100 + step)
    return torch.randint(vocab, (4, 10), generator=generator)


def train(model, optimizer, first, steps):
    """Losses of `steps` steps from step `first` on."""
    losses = []
    for step in range(first, first + steps):
        tokens = batch(step)
        logits = model(tokens[:, :-1])
        loss = torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), tokens[:, 1:].reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def grown_by_hand(model, optimizer, sources, make_optimizer):
    """A new model and optimizer made from scratch: weights by name, states by name, one group as make_optimizer's."""
    by_hand = Decoder(depth=len(sources), width=model.norm.weight.numel())
    weights = model.state_dict()
    for name, tensor in by_hand.state_dict().items():
        parts = name.split(".")
        if parts[0] == "layers":
            parts[1] = str(sources[int(parts[1])])
        tensor.copy_(weights[".".join(parts)])
    made = make_optimizer(by_hand)
    old = dict(model.named_parameters())
    for name, parameter in by_hand.named_parameters():
        parts = name.split(".")
        if parts[0] == "layers":
            parts[1] = str(sources[int(parts[1])])
        state = optimizer.state.get(old[".".join(parts)])
        if state:
            made.state[parameter] = copy.deepcopy(state)
    return by_hand, made
