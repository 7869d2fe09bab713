"""What export_log.py sends of a run's log."""
import importlib.util
import pathlib
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SPEC = importlib.util.spec_from_file_location("export_log", ROOT / "examples" / "python" / "export_log.py")
export_log = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(export_log)


class Log(unittest.TestCase):
    def test_scalars(self):
        lines = ['{"step": 1, "layers": 4, "loss": 2.5, "lr": 0.001, "note": "x"}', "",
                 '{"growth": {"step": 1, "layers": 8, "order": [0, 0]}}',
                 '{"step": 2, "validation_loss": 2.25, "answer_accuracy": {"copy": 0.5}}', '{"done": true}']
        self.assertEqual(list(export_log.scalars(lines)), [
            (1, {"train/layers": 4, "train/loss": 2.5, "train/lr": 0.001}), (1, {"train/layers": 8}),
            (2, {"train/validation_loss": 2.25, "answers/copy": 0.5})])


if __name__ == "__main__":
    unittest.main()
