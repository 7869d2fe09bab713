"""Sends the log.jsonl of a run of train_smol to TensorBoard or to Weights & Biases.

    python export_log.py RUN [--out FOLDER]      # event files; needs torch and tensorboard
    python export_log.py RUN --wandb PROJECT     # needs wandb
"""
import argparse
import json
import pathlib


def scalars(lines):
    """(step, {tag: number}) of each line of a log."""
    for line in filter(str.strip, lines):
        entry = json.loads(line)
        entry = entry.get("growth", entry)
        numbers = {f"train/{key}": value for key, value in entry.items()}
        numbers.update({f"answers/{task}": share for task, share in entry.get("answer_accuracy", {}).items()})
        numbers = {tag: value for tag, value in numbers.items() if type(value) in (int, float) and tag != "train/step"}
        if "step" in entry and numbers:
            yield entry["step"], numbers


def main():
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("run", type=pathlib.Path)
    flags.add_argument("--out", type=pathlib.Path, help="folder of the event files; the run's own if not given")
    flags.add_argument("--wandb", metavar="PROJECT")
    given = flags.parse_args()
    older = sorted(given.run.glob("log.*.jsonl"), key=lambda file: int(file.suffixes[-2][1:]))
    lines = [line for file in [*older, given.run / "log.jsonl"]
             for line in file.read_text(encoding="utf-8").splitlines()]
    if given.wandb:
        import wandb
        with wandb.init(project=given.wandb, name=given.run.name) as run:
            for step, numbers in scalars(lines):
                run.log(numbers, step=step)
        return
    from torch.utils.tensorboard import SummaryWriter
    with SummaryWriter(str(given.out or given.run)) as writer:
        for step, numbers in scalars(lines):
            for tag, value in numbers.items():
                writer.add_scalar(tag, value, step)


if __name__ == "__main__":
    main()
