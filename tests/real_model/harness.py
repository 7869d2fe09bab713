"""The real lm-evaluation-harness through `serve` on local files, beside the harness's own `hf` route, item by item.

  venv/bin/pip install lm_eval[hf,api]
  venv/bin/python tests/real_model/harness.py MODEL build/examples/serve --lambada FILE --hellaswag FILE
                  --svamp FILE [--items 200]
                  [--serve-flags "--order 0,1,…"] [--no-hf]
LAMBADA: lines {"text"} · HellaSwag: six lines an item (query, gold, four endings) in .txt.bz2 · SVAMP: its SVAMP.json.
"""

import argparse
import bz2
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

TASKS = {
    "local_lambada": (
        'output_type: loglikelihood\ndoc_to_text: "{{text.split(\' \')[:-1]|join(\' \')}}"\ndoc_to_target: "{{\''
        ' \'+text.split(\' \')[-1]}}"\nmetric_list:\n  - metric: acc\n  - metric: perplexity\n    aggregation:'
        ' perplexity\n    higher_is_better: false\n'
    ),
    "local_hellaswag": (
        'output_type: multiple_choice\ndoc_to_text: "{{query}}"\ndoc_to_target: "{{label}}"\ndoc_to_choice:'
        ' "{{choices}}"\nmetric_list:\n  - metric: acc\n  - metric: acc_norm\n'
    ),
    "local_svamp": (
        'output_type: loglikelihood\ndoc_to_text: "{{body}}\\nQuestion: {{question}}\\nAnswer:"\ndoc_to_target: "'
        ' {{answer}}"\nmetric_list:\n  - metric: acc\n'
    ),
}


def prepare(folder, args):
    def put(name, rows):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[: args.items]))
        (folder / f"{name}.yaml").write_text(
            f"task: {name}\ndataset_path: json\ndataset_kwargs:\n  data_files:\n    test:"
            f" {folder}/{name}.jsonl\ntest_split: test\n"
            + TASKS[name]
        )

    put("local_lambada", [json.loads(line) for line in open(args.lambada)])
    lines = bz2.open(args.hellaswag, "rt").read().split("\n")
    put(
        "local_hellaswag",
        [
            {"query": lines[i], "label": int(lines[i + 1]), "choices": lines[i + 2 : i + 6]}
            for i in range(0, len(lines) - 5, 6)
        ],
    )
    put(
        "local_svamp",
        [
            {"body": x["Body"], "question": x["Question"], "answer": f'{x["Answer"]:g}'}
            for x in json.load(open(args.svamp))
        ],
    )


def lm_eval(folder, out, model, model_args, batch):
    env = {
        **os.environ,
        "HF_DATASETS_OFFLINE": "1",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "OPENAI_API_KEY": "none",
    }
    start = time.time()
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "lm_eval",
            "run",
            "--model",
            model,
            "--model_args",
            model_args,
            "--tasks",
            ",".join(TASKS),
            "--include_path",
            str(folder),
            "--batch_size",
            str(batch),
            "--device",
            "cpu",
            "--log_samples",
            "--output_path",
            str(out),
        ],
        env=env,
        capture_output=True,
        text=True,
    )
    if run.returncode:
        raise SystemExit(run.stdout[-3000:] + run.stderr[-3000:])
    print(f"{model}: {time.time() - start:.0f} s")
    results, samples = {}, {}
    for path in sorted(out.rglob("*.json*")):
        if path.name.startswith("results"):
            results = json.loads(path.read_text())["results"]
        elif path.name.startswith("samples"):
            task = re.match(r"samples_(local_[a-z]+)", path.name).group(1)
            samples[task] = {s["doc_id"]: s for s in map(json.loads, path.open())}
    return results, samples


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("serve")
    for name in ("lambada", "hellaswag", "svamp"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--serve-flags", default="")
    parser.add_argument("--no-hf", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        prepare(folder, args)
        server = subprocess.Popen(
            [args.serve, "--model", args.model, "--port", "0", *args.serve_flags.split()],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            url = re.search(r"http://[0-9.:]+", server.stdout.readline()).group(0)
            results, ours = lm_eval(
                folder,
                folder / "ours",
                "local-completions",
                f"model=m,base_url={url}/v1/completions,tokenizer_backend=remote,num_concurrent=2,max_length=2048",
                8,
            )
        finally:
            server.terminate()
            server.wait()
        wanted, theirs = (
            ({}, {})
            if args.no_hf
            else lm_eval(folder, folder / "hf", "hf", f"pretrained={args.model},dtype=float32,max_length=2048", 8)
        )
        for task, values in results.items():
            print(task, {k: round(v, 4) for k, v in values.items() if isinstance(v, float)})
            if not theirs:
                continue
            print("   hf", {k: round(v, 4) for k, v in wanted[task].items() if isinstance(v, float)})
            different, largest = 0, 0.0
            for doc, sample in ours[task].items():
                other = theirs[task][doc]
                different += any(sample[m] != other[m] for m in ("acc", "acc_norm") if m in sample)
                for a, b in zip(sample["filtered_resps"], other["filtered_resps"]):
                    largest = max(largest, abs(float(a[0]) - float(b[0])))
            print(
                f"   items scored differently: {different} of {len(ours[task])}; largest difference of a log-likelihood"
                f" {largest:.2e}"
            )


if __name__ == "__main__":
    main()
