"""Our logits and greedy continuations beside those of transformers, on ten prompts, in fp32.

  venv/bin/pip install torch transformers
  ninja -C build run_model
  venv/bin/python tests/real_model/compare.py MODEL build/tests/run_model [--threads 2] [--rounds 3]
"""

import argparse
import json
import pathlib
import subprocess
import tempfile
import time

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

PROMPTS = [
    "The capital of France is",
    "Once upon a time, in a small village by the sea,",
    "def fibonacci(n):\n    ",
    "Question: What is 12 + 30?\nAnswer:",
    "The three laws of thermodynamics state that",
    "In 1969, Neil Armstrong",
    "Water boils at 100 degrees Celsius because",
    "<|im_start|>user\nName two colours.<|im_end|>\n<|im_start|>assistant\n",
    "The quick brown fox jumps over the lazy dog. " * 12,
    "Ein Baum steht im Wald und",
]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("run_model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32).eval()
    ids = [tokenizer(p, add_special_tokens=False).input_ids for p in PROMPTS]
    theirs = []

    def generate(prompt):
        with torch.no_grad():
            return model.generate(
                torch.tensor([prompt]),
                max_new_tokens=args.new_tokens,
                min_new_tokens=args.new_tokens,
                do_sample=False,
                eos_token_id=None,
                pad_token_id=0,
            )[0, len(prompt) :].tolist()

    rates = {"ours": [], "transformers": []}
    with tempfile.TemporaryDirectory() as folder:
        prompts, out = pathlib.Path(folder) / "prompts.jsonl", pathlib.Path(folder) / "out.safetensors"
        prompts.write_text("".join(json.dumps({"tokens": i}) + "\n" for i in ids))
        for _ in range(args.rounds):  # in turns: a busy machine is as busy for both
            said = subprocess.run(
                [args.run_model, args.model, prompts, out, str(args.new_tokens), str(args.threads)],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
            rates["ours"].append(json.loads(said)["tokens_per_second"])
            start = time.perf_counter()
            theirs = [generate(prompt) for prompt in ids]
            rates["transformers"].append(len(ids) * args.new_tokens / (time.perf_counter() - start))
        ours = load_file(out)
    worst, same = 0.0, 0
    for p, prompt in enumerate(ids):
        with torch.no_grad():
            wanted = model(torch.tensor([prompt])).logits[0]
        got = ours[f"logits.{p}"]
        error = ((got - wanted).norm() / wanted.norm()).item()
        worst = max(worst, error)
        equal = theirs[p] == [int(t) for t in ours[f"tokens.{p}"]]
        same += equal
        print(
            f"{error:.2e}  largest difference {(got - wanted).abs().max().item():.2e}  greedy"
            f" {'equal' if equal else 'DIFFERS'}  {tokenizer.decode(theirs[p])[:60]!r}"
        )
    print(
        f"largest relative error of logits {worst:.2e} (bound 1e-4); greedy continuations equal: {same} of {len(ids)}"
    )
    for name, of in rates.items():
        print(
            f"generation, {args.threads} threads, {name}: median {sorted(of)[len(of) // 2]:.1f} tokens/s of"
            f" {[round(r, 1) for r in of]}"
        )
    raise SystemExit(0 if worst < 1e-4 and same == len(ids) else 1)


if __name__ == "__main__":
    main()
