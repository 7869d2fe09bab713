"""A run of train_smol that PyTorch takes over for some steps and train_smol then goes on with: the unbroken losses."""
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

try:
    import torch
except ImportError:
    raise unittest.SkipTest("PyTorch is not here")

import depthgrow.torch as dgt
import small_llama
from depthgrow.torch.safetensors import write_file

TOOL = pathlib.Path(os.environ.get("DEPTHGROW_TOOLS", "/nowhere")) / "train_smol"
TEXT = "The quick brown fox jumps over the lazy dog."  # one window trains, one is held out: every batch is known
BATCH, DECAY, CLIP = 2, 0.01, 1.0
FLAGS = ["--preset", "tiny", "--layers", "4", "--block", "2", "--growth", "lidas", "--steps", "12", "--batch", BATCH,
         "--context", len(TEXT) - 1, "--data", "text.txt", "--weight-decay", DECAY, "--clip", CLIP, "--eval-every", 12,
         "--save-every", "1", "--keep", "12", "--log-every", "1", "--threads", "1", "--quiet"]


def steps_in_torch(model, optimizer, rates):
    """Losses of steps at these rates; the gradient is cut to norm CLIP as train_smol cuts it."""
    tokens, losses = torch.tensor([list(TEXT.encode())] * BATCH), []
    for rate in rates:
        optimizer.zero_grad()
        logits = model(tokens[:, :-1])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        norm = torch.stack([p.grad.square().sum() for p in model.parameters()]).sum().sqrt()
        for parameter in model.parameters():
            parameter.grad *= min(1.0, CLIP / norm)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        losses.append(loss.item())
    return losses


def save(model, optimizer, folder, steps):
    """Writes weights and moments over a checkpoint of train_smol and tells it how many steps were taken since."""
    weights = {name: tensor.float() for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
    write_file(folder / "model.safetensors", weights, {})
    dgt.save_moments(model, optimizer, folder)
    state = json.loads((folder / "trainer_state.json").read_text())
    state["step"] += steps
    state["random_state"]["step"] += steps
    state["data_position"] += steps * BATCH
    (folder / "trainer_state.json").write_text(json.dumps(state))


@unittest.skipUnless(TOOL.exists(), "the tool train_smol is not built")
class Trip(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        (self.folder / "text.txt").write_text(TEXT * 2)

    def train(self, *flags):
        done = subprocess.run([TOOL, *map(str, flags)], cwd=self.folder, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)

    def log(self, run):
        """{step: the line} of a run's training steps."""
        lines = map(json.loads, (self.folder / run / "log.jsonl").read_text().splitlines())
        return {line["step"]: line for line in lines if "gradient_norm" in line}

    def there_and_back(self, first, last):
        """Steps (first, last] in torch, the rest in train_smol; their losses beside the unbroken run's."""
        whole = self.log("whole")
        run = self.folder / f"back-{first}"
        shutil.copytree(self.folder / "whole", run, symlinks=True)
        for checkpoint in (run / "checkpoints").iterdir():
            if int(checkpoint.name.split("-")[1]) != first:
                shutil.rmtree(checkpoint)
        checkpoint, = (run / "checkpoints").iterdir()
        model = small_llama.load(checkpoint)
        optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), eps=1e-8, weight_decay=DECAY)
        self.assertEqual(dgt.load_moments(model, optimizer, checkpoint), first)
        losses = steps_in_torch(model, optimizer, [whole[step]["lr"] for step in range(first + 1, last + 1)])
        save(model, optimizer, checkpoint, last - first)
        (run / "log.jsonl").unlink()
        self.train(*FLAGS, "--resume", "auto", "--out", run.name)
        rest = self.log(run.name)
        self.assertEqual(sorted(rest), list(range(last + 1, 13)))
        losses += [rest[step]["loss"] for step in range(last + 1, 13)]
        for step, loss in enumerate(losses, first + 1):
            self.assertLess(abs(loss - whole[step]["loss"]), 1e-6, f"step {step}")

    def test_losses_are_those_of_the_unbroken_run(self):
        self.train(*FLAGS, "--out", "whole")
        self.there_and_back(1, 3)   # train_smol grows the model after it
        self.there_and_back(5, 9)   # the model has grown already


if __name__ == "__main__":
    unittest.main()
