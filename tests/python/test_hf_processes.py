"""The transformers Trainer itself in two processes: ranks grow alike, and as one process with the whole batch."""
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import depthgrow as dg

try:
    import torch
    import transformers
    import accelerate  # noqa: F401, the Trainer needs it
except ImportError:
    raise unittest.SkipTest("transformers or accelerate is not here")
from depthgrow.hf import GrowthCallback

RANKS, STEPS = 2, 8
PLAN = dg.plan_growth(dg.GrowthOperator("lidas", block=2), 4, 6, plateau_steps=STEPS - 1, total_steps=STEPS)


class Rows(torch.utils.data.Dataset):
    def __len__(self):
        return 64

    def __getitem__(self, i):
        row = torch.randint(61, (16,), generator=torch.Generator().manual_seed(i))
        return {"input_ids": row, "labels": row}


def train(folder, rows_a_device):
    """Losses and the model of a Trainer that grows; its own rank's where it runs under several."""
    torch.manual_seed(1)
    config = transformers.LlamaConfig(vocab_size=61, hidden_size=32, intermediate_size=64, num_hidden_layers=4,
                                      num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=32)
    model = transformers.LlamaForCausalLM(config).double()
    arguments = transformers.TrainingArguments(
        folder, max_steps=STEPS, per_device_train_batch_size=rows_a_device, learning_rate=1e-3, logging_steps=1,
        report_to=[], use_cpu=True, save_strategy="no", seed=3, disable_tqdm=True, max_grad_norm=0.0)
    trainer = transformers.Trainer(model, arguments, train_dataset=Rows())
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.add_callback(GrowthCallback(PLAN, trainer=trainer))
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry], model


def main(folder):
    losses, model = train(folder, 4)
    torch.save((losses, model.state_dict()), f"{folder}/{os.environ['RANK']}.pt")


class Processes(unittest.TestCase):
    def test_two_ranks_grow_as_one_process_does(self):
        if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
            self.skipTest("this PyTorch has no gloo")
        with tempfile.TemporaryDirectory() as folder:
            environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
            run = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node",
                                  str(RANKS), __file__, folder], env=environment, capture_output=True, text=True)
            self.assertEqual(run.returncode, 0, run.stderr[-3000:])
            found = [torch.load(pathlib.Path(folder) / f"{rank}.pt") for rank in range(RANKS)]
            losses, model = train(folder, 8)
        self.assertEqual(len(model.model.layers), 6)
        for name, tensor in model.state_dict().items():
            self.assertTrue(torch.equal(found[0][1][name], found[1][1][name]), name)
            torch.testing.assert_close(found[0][1][name], tensor, rtol=0, atol=1e-9)
        self.assertEqual(len(losses), STEPS)
        for mine, whole in zip(found[0][0], losses):
            self.assertAlmostEqual(mine, whole, delta=1e-4)  # the Trainer logs four digits


if __name__ == "__main__":
    if len(sys.argv) == 2 and pathlib.Path(sys.argv[1]).is_dir():
        main(sys.argv[1])
    else:
        unittest.main()
