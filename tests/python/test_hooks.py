"""The report by hooks beside the fixtures' expected values, which the C++ report is tested with; its refusals."""
import json
import pathlib
import tempfile
import unittest

import depthgrow as dg

try:
    import torch
except ImportError:
    raise unittest.SkipTest("PyTorch is not here")

from depthgrow.hooks import Probe, depth_report
from small_decoder import Decoder
from small_llama import fixture


class Report(unittest.TestCase):
    def compare(self, found, wanted, delta, path=""):
        """Every number of `found` beside the one of that key; counts what was compared."""
        if isinstance(found, dict):
            keys = [key for key in found if key in wanted]
            return sum(self.compare(found[key], wanted[key], delta, f"{path}/{key}") for key in keys)
        if isinstance(found, list):
            self.assertEqual(len(found), len(wanted), path)
            return sum(self.compare(a, b, delta, path) for a, b in zip(found, wanted))
        self.assertAlmostEqual(found, wanted, delta=delta, msg=path)
        return 1

    def test_values_of_the_fixtures(self):
        for name in ("plain", "grouped"):
            for unit in ("layer", "attention", "mlp"):
                with self.subTest(fixture=name, unit=unit):
                    model, expected, prompts = fixture(name)
                    report = depth_report(model, prompts, unit=unit)
                    layers = len(model.model.layers)
                    # contributions, lens, effects of 2 modes, depth scores
                    count = 8 * layers + 1 + 6 * (layers + 1) + 4 * (layers * layers + layers)
                    count += 4 if unit == "layer" else 0
                    self.assertEqual(self.compare(report, expected, 1e-9), count)

    def test_the_model_is_left_as_it_was(self):
        model, _, prompts = fixture("plain")
        model.train()
        model.model.layers[2].eval()
        depth_report(model, prompts)
        self.assertTrue(model.training and model.model.layers[1].training and not model.model.layers[2].training)
        self.assertFalse(any(module._forward_hooks for module in model.modules()))

    def test_skipping_by_hand(self):
        model, _, _ = fixture("plain")
        tokens = torch.arange(20).reshape(1, -1)
        mask = torch.zeros(1, 20, dtype=torch.bool)
        mask[0, 1:] = True
        skipped = Probe(model, tokens).run(tokens, skip=3, mask=mask)
        layer, inputs = model.model.layers[3], []
        layer.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
        layer.register_forward_hook(lambda module, args, out: torch.cat([out[:, :1], args[0][:, 1:]], dim=1))
        torch.testing.assert_close(skipped.logits, model(tokens).detach())

    def test_refusals(self):
        model, _, prompts = fixture("plain")
        with self.assertRaisesRegex(dg.Error, "prompt 0: expected a prompt with tokens, got a text and no tokenizer"):
            depth_report(model, ["a text"])
        with self.assertRaisesRegex(dg.Error, "prompts.jsonl:1: expected a prompt with tokens, got a text"):
            depth_report(model, pathlib.Path(__file__).parents[2] / "examples" / "prompts.jsonl")
        with self.assertRaisesRegex(dg.Error, "prompt 1: expected a prompt with tokens or text, got one with words"):
            depth_report(model, [list(range(16)), {"words": 1}])
        letters = "some words of text, long enough"
        of_text = depth_report(model, [letters], tokenizer=lambda text: {"input_ids": [ord(c) % 11 for c in text]})
        self.assertEqual(of_text, depth_report(model, [[ord(c) % 11 for c in letters]]))
        with self.assertRaisesRegex(dg.Error, "at least 13 tokens to draw a boundary from .* got 5 in prompt 0"):
            depth_report(model, [[1, 2, 3, 4, 5]])
        for prompt, found in ((5, "a list of token ids, got 5"), (None, "a list of token ids, got None"),
                              ({"tokens": ["a"]}, "a list of token ids, got .'a'."),
                              ({"tokens": "123"}, "a list of token ids, got '123'"),
                              ({"tokens": [1.7]}, r"a list of token ids, got \[1.7\]"),
                              ({"tokens": None}, "a list of token ids, got None")):
            with self.assertRaisesRegex(dg.Error, r"^\[depth_report\] prompt 0: expected " + found):
                depth_report(model, [prompt])
            with tempfile.TemporaryDirectory() as folder:
                path = pathlib.Path(folder) / "p.jsonl"
                path.write_text("\n" + json.dumps(prompt) + "\n")
                with self.assertRaisesRegex(dg.Error, "p.jsonl:2: expected " + found):
                    depth_report(model, path)
        with self.assertRaisesRegex(dg.Error, "prompt 0: expected a text, got 7"):
            depth_report(model, [{"text": 7}], tokenizer=lambda text: [1])
        with self.assertRaisesRegex(dg.Error, "at least 1 prompt, got none"):
            depth_report(model, [])
        with self.assertRaisesRegex(dg.Error, "expected one attention in layer 0, got none of norm, "):
            Probe(Decoder(), [1, 2, 3])
        model.model.layers[2].register_forward_hook(lambda module, args, out: 1.1 * out)
        with self.assertRaisesRegex(dg.Error, "got layer 2 whose output differs from the sum by 0.0"):
            Probe(model, [1, 2, 3])


if __name__ == "__main__":
    unittest.main()
