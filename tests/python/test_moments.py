"""Moments on disk: written and read back, grown by the tool as in memory, refused where they do not fit."""
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import depthgrow as dg

try:
    import torch
except ImportError:
    raise unittest.SkipTest("PyTorch is not here")

import depthgrow.torch as dgt
import small_llama
from small_decoder import train

TOOL = pathlib.Path(os.environ.get("DEPTHGROW_TOOLS", "/nowhere")) / "grow_checkpoint"


class Moments(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory())) / "model"
        shutil.copytree(small_llama.FIXTURES / "plain", self.folder)
        self.model, _, _ = small_llama.fixture("plain")

    def trained(self, make):
        """An optimizer after one step whose weights were put back, so that they are the directory's."""
        optimizer = make(self.model)
        before = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        train(self.model, optimizer, 0, 1)
        self.model.load_state_dict(before)
        return optimizer

    def test_back_and_forth(self):
        for make in (lambda m: torch.optim.AdamW(m.parameters()),
                     lambda m: torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9, nesterov=True)):
            optimizer = self.trained(make)
            dgt.save_moments(self.model, optimizer, self.folder, step=1)
            other = small_llama.load(self.folder)
            loaded = make(other)
            self.assertEqual(dgt.load_moments(other, loaded, self.folder), 1)
            self.assertEqual(train(other, loaded, 1, 3), train(self.model, optimizer, 1, 3))
            self.setUp()

    @unittest.skipUnless(TOOL.exists(), "the tool grow_checkpoint is not built")
    def test_the_tool_grows_them_as_grow_does(self):
        make = lambda m: torch.optim.AdamW(m.parameters())
        optimizer = self.trained(make)
        dgt.save_moments(self.model, optimizer, self.folder)
        grown = self.folder.parent / "grown"
        subprocess.run([TOOL, self.folder, grown, "--operator", "lidas", "--block", "4"], check=True,
                       capture_output=True)
        other = small_llama.load(grown)
        loaded = make(other)
        self.assertEqual(dgt.load_moments(other, loaded, grown), 1)
        dgt.grow(self.model, optimizer, dg.lidas(8, block=4))
        self.assertEqual(json.loads((grown / "config.json").read_text())["num_hidden_layers"], 12)
        self.assertEqual(train(other, loaded, 1, 3), train(self.model, optimizer, 1, 3))

    def test_refusals(self):
        optimizer = torch.optim.AdamW(self.model.parameters())
        with self.assertRaisesRegex(dg.Error, "got none: no step was taken"):
            dgt.save_moments(self.model, optimizer, self.folder)
        optimizer = self.trained(lambda m: torch.optim.AdamW(m.parameters()))
        dgt.save_moments(self.model, optimizer, self.folder)
        deeper = small_llama.load(self.folder)
        fresh = torch.optim.AdamW(deeper.parameters())
        dgt.grow(deeper, fresh, dg.lidas(8))
        with self.assertRaisesRegex(dg.Error, "for model.layers.8.self_attn.q_proj.weight, got none"):
            dgt.load_moments(deeper, fresh, self.folder)
        self.assertEqual(len(fresh.state), 0)
        path = self.folder / "optimizer.safetensors"
        path.write_bytes(path.read_bytes()[:-8])
        with self.assertRaisesRegex(dg.Error, "expected floating-point numbers of shape"):
            dgt.load_moments(self.model, optimizer, self.folder)
        adagrad = self.trained(lambda m: torch.optim.Adagrad(m.parameters()))
        with self.assertRaisesRegex(dg.Error, "or muon .all three., got sum"):
            dgt.save_moments(self.model, adagrad, self.folder)


if __name__ == "__main__":
    unittest.main()
