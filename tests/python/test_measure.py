"""The library's own report from Python, where the package was built with it; else the sentence that says how."""
import json
import pathlib
import unittest

import depthgrow as dg
from depthgrow import measure

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "fixtures"


class Measure(unittest.TestCase):
    @unittest.skipIf(measure._measure, "the package was built with the library's models")
    def test_the_sentence(self):
        with self.assertRaisesRegex(dg.Error, "expected a package built with the library's models, got one without"):
            measure.depth_report(FIXTURES / "plain", FIXTURES / "plain" / "prompts.jsonl")

    @unittest.skipUnless(measure._measure, "the package was built without the library's models")
    def test_values(self):
        for name in ("plain", "grouped"):
            expected = json.loads((FIXTURES / name / "expected.json").read_text())
            report = measure.depth_report(FIXTURES / name, FIXTURES / name / "prompts.jsonl")
            for flavour in ("mean", "max"):
                for score in ("output", "layer"):
                    self.assertAlmostEqual(report["depth_score"][flavour][score],
                                           expected["depth_score"][flavour][score], delta=1e-5)
        with self.assertRaisesRegex(dg.Error, "found"):
            measure.depth_report(FIXTURES / "nowhere", FIXTURES / "plain" / "prompts.jsonl")


if __name__ == "__main__":
    unittest.main()
