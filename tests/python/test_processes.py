"""Growth under DistributedDataParallel in two processes: ranks grow alike, and as one process with both halves."""
import os
import pathlib
import subprocess
import sys
import tempfile
import types
import unittest

import depthgrow as dg

try:
    import torch
except ImportError:
    raise unittest.SkipTest("PyTorch is not here")

from small_decoder import Decoder, batch

RANKS, STEPS = 2, 8
PLAN = dg.plan_growth(dg.GrowthOperator("lidas", block=2), 4, 6, plateau_steps=STEPS - 1, total_steps=STEPS)


def callback_of(trainer):
    """GrowthCallback; a stand-in for transformers' base class, where that package is missing."""
    try:
        import transformers
    except ImportError:
        sys.modules["transformers"] = types.SimpleNamespace(TrainerCallback=object)
    from depthgrow.hf import GrowthCallback
    return GrowthCallback(PLAN, trainer=trainer)


def loss_of(model, tokens):
    logits = model(tokens[:, :-1])
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())


def train(rank, ranks):
    """Losses of a rank, as transformers' Trainer steps: the loop holds the wrapper, callbacks get the model inside."""
    model = Decoder()
    wrapped = torch.nn.parallel.DistributedDataParallel(model) if ranks > 1 else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    callback = callback_of(types.SimpleNamespace(model_wrapped=wrapped) if ranks > 1 else None)
    args, state = types.SimpleNamespace(world_size=ranks), types.SimpleNamespace(global_step=0)
    callback.on_train_begin(args, state, None, model=model)
    losses = []
    for step in range(STEPS):
        optimizer.zero_grad()
        rows = batch(step).chunk(ranks)[rank]
        loss = loss_of(wrapped, rows)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        state.global_step += 1
        callback.on_step_end(args, state, None, model=model, optimizer=optimizer)
    return losses, model


def main(rank, folder):
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=RANKS)
    losses, model = train(rank, RANKS)
    torch.save((losses, model.state_dict()), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


class Processes(unittest.TestCase):
    def test_two_ranks_grow_as_one_process_does(self):
        if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
            self.skipTest("this PyTorch has no gloo")
        with tempfile.TemporaryDirectory() as folder:
            ranks = [subprocess.Popen([sys.executable, __file__, str(rank), folder], stderr=subprocess.PIPE, text=True,
                                      env={**os.environ, "GLOO_SOCKET_IFNAME": "lo"}) for rank in range(RANKS)]
            for rank in ranks:
                said = rank.communicate(timeout=120)[1]
                self.assertEqual(rank.returncode, 0, said)
            found = [torch.load(pathlib.Path(folder) / f"{rank}.pt") for rank in range(RANKS)]
        losses, model = train(0, 1)
        self.assertEqual(len(model.layers), 6)
        for name, tensor in model.state_dict().items():
            self.assertTrue(torch.equal(found[0][1][name], found[1][1][name]), name)
            torch.testing.assert_close(found[0][1][name], tensor, rtol=0, atol=1e-9)
        for step in range(STEPS):
            self.assertAlmostEqual((found[0][0][step] + found[1][0][step]) / 2, losses[step], delta=1e-9)

    def test_several_processes_need_the_trainer(self):
        callback = callback_of(None)
        with self.assertRaisesRegex(dg.Error, "expected the Trainer under 2 processes, got none"):
            callback.on_train_begin(types.SimpleNamespace(world_size=2), types.SimpleNamespace(global_step=0), None,
                                    model=Decoder())


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1].isdigit():
        main(int(sys.argv[1]), sys.argv[2])
    else:
        unittest.main()
