"""The library's own report from Python, where the package was built with it; else the sentence that says how."""
import json
import os
import pathlib
import subprocess
import tempfile
import unittest

import depthgrow as dg
from depthgrow import measure

TOOL = pathlib.Path(os.environ.get("DEPTHGROW_TOOLS", "/nowhere")) / "train_smol"
FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "fixtures"


class Measure(unittest.TestCase):
    @unittest.skipIf(measure._measure, "the package was built with the library's models")
    def test_the_sentence(self):
        with self.assertRaisesRegex(dg.Error, "expected a package built with the library's models, got one without"):
            measure.depth_report(FIXTURES / "plain", FIXTURES / "plain" / "prompts.jsonl")
        with self.assertRaisesRegex(dg.Error, "fit_lens. expected a package built with the library's models"):
            measure.fit_lens(FIXTURES / "plain", "lens")

    @unittest.skipUnless(measure._measure, "the package was built without the library's models")
    def test_values(self):
        for name in ("plain", "grouped"):
            expected = json.loads((FIXTURES / name / "expected.json").read_text())
            report = measure.depth_report(FIXTURES / name, FIXTURES / name / "prompts.jsonl")
            for flavour in ("mean", "max"):
                for score in ("output", "layer"):
                    self.assertAlmostEqual(report["depth_score"][flavour][score],
                                           expected["depth_score"][flavour][score], delta=1e-5)
    @unittest.skipUnless(measure._measure and TOOL.exists(), "neither the library's models nor train_smol are built")
    def test_a_fitted_lens_is_closer(self):
        with tempfile.TemporaryDirectory() as folder:
            model, lens, prompts = (pathlib.Path(folder) / name for name in ("model", "lens", "prompts.jsonl"))
            subprocess.run([TOOL, "--preset", "tiny", "--layers", "4", "--steps", "30", "--quiet", "--out", model],
                           check=True)
            prompts.write_text('{"text": "the words of a small model"}\n')
            record = measure.fit_lens(model, lens, steps=30, tokens_per_step=512, threads=1)
            self.assertLess(sum(record["held_out"]["tuned_lens"]), sum(record["held_out"]["logit_lens"]))
            self.assertIn("tuned_lens", measure.depth_report(model, prompts, lens=lens))
            with self.assertRaisesRegex(dg.Error, "expected a new directory"):
                measure.fit_lens(model, lens)

    @unittest.skipUnless(measure._measure, "the package was built without the library's models")
    def test_refusals(self):
        with self.assertRaisesRegex(dg.Error, "found"):
            measure.depth_report(FIXTURES / "nowhere", FIXTURES / "plain" / "prompts.jsonl")


if __name__ == "__main__":
    unittest.main()
