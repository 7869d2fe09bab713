"""The Python of the package's page runs, block after block, with what it leaves to the reader put in."""
import pathlib
import re
import tempfile
import unittest

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "examples" / "python" / "README.md"


def blocks():
    """The Python blocks by the heading that they stand under."""
    out, heading = {}, ""
    for part in re.split(r"(^## [^\n]*$|^```python\n.*?^```$)", PAGE.read_text(encoding="utf-8"), flags=re.M | re.S):
        if part.startswith("## "):
            heading = part[3:]
        elif part.startswith("```python"):
            out.setdefault(heading, []).append(part[10:-3])
    return out


class Page(unittest.TestCase):
    def run_blocks(self, heading, **names):
        for block in blocks()[heading]:
            try:
                exec(compile("import depthgrow as dg\n" + block, str(PAGE), "exec"), names)
            except ModuleNotFoundError as missing:
                self.skipTest(str(missing))
        return names

    def test_every_block_is_run(self):
        here = pathlib.Path(__file__).read_text(encoding="utf-8")
        for heading in blocks():
            self.assertIn(f'"{heading}"', here)

    def test_growing(self):
        try:
            import small_decoder
            import torch
        except ImportError as missing:
            self.skipTest(str(missing))
        model = small_decoder.Decoder()
        optimizer = torch.optim.AdamW(model.parameters())
        grown = []

        def train_step(model, optimizer):
            small_decoder.train(model, optimizer, 0, 1)
            grown.append(len(model.layers))

        first, second = blocks()["Grow a PyTorch model in the middle of training"]
        names = {"model": model, "optimizer": optimizer, "train_step": train_step}
        exec(first, names)
        self.assertEqual(len(model.layers), 6)
        names["model"] = small_decoder.Decoder()
        names["optimizer"] = torch.optim.AdamW(names["model"].parameters())
        exec(second, names)
        self.assertEqual(sorted(set(grown)), [4, 6, 8])
        self.assertEqual(len(grown), 100)

    def test_trainer(self):
        try:
            import transformers
        except ImportError as missing:
            self.skipTest(str(missing))
        model = transformers.AutoModelForCausalLM.from_pretrained(ROOT / "tests" / "fixtures" / "families" / "gpt2")
        rows = [{"input_ids": [i, 3, 5, 8], "labels": [i, 3, 5, 8]} for i in range(20)]
        with tempfile.TemporaryDirectory() as folder:
            arguments = transformers.TrainingArguments(folder, max_steps=12, report_to=[], use_cpu=True,
                                                       save_strategy="no", disable_tqdm=True)
            names = self.run_blocks("transformers Trainer", Trainer=transformers.Trainer, model=model, rows=rows,
                                    arguments=arguments)
            names["trainer"].train()
        self.assertEqual(model.config.n_layer, 8)

    def test_depth_score(self):
        try:
            import small_llama
        except ImportError as missing:
            self.skipTest(str(missing))
        model, expected, prompts = small_llama.fixture("plain")
        names = self.run_blocks("Depth score of a decoder, by hooks", model=model, prompts=prompts)
        self.assertAlmostEqual(names["report"]["depth_score"]["mean"]["output"],
                               expected["depth_score"]["mean"]["output"])

    def test_moments(self):
        try:
            import small_llama
            import torch
            from small_decoder import train
        except ImportError as missing:
            self.skipTest(str(missing))
        model, _, _ = small_llama.fixture("plain")
        optimizer = torch.optim.AdamW(model.parameters())
        train(model, optimizer, 0, 1)
        block, = blocks()["Moments on disk"]
        with tempfile.TemporaryDirectory() as folder:
            names = {"model": model, "optimizer": optimizer}
            exec(block.replace("runs/mine", folder), names)
        self.assertEqual(names["step"], 1)

    def test_metrics(self):
        self.run_blocks("Metrics on arrays")

    def test_stacked(self):
        tree = {"layers": {"w": np.ones((4, 2))}, "head": np.ones(3)}
        names = self.run_blocks("JAX, and anything stacked over layers", params=tree, opt_state=(tree, np.int32(1)))
        self.assertEqual(names["params"]["layers"]["w"].shape, (6, 2))


if __name__ == "__main__":
    unittest.main()
