#!/usr/bin/env bash
# Our training step and PyTorch's, eager and compiled, in turn, on this machine; prints the medians of the ratios.
# Usage: [PRECISION=bf16] bash benchmarks/compare_model.sh BUILD_FOLDER PYTHON [ROUNDS] [MODEL ...]
set -euo pipefail
build=${1:?expected a build folder} python=${2:?expected a Python with torch} rounds=${3:-3}
precision=${PRECISION:-fp32}
shift $(( $# < 3 ? $# : 3 ))
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
models=("$@"); [[ ${#models[@]} -eq 0 ]] && models=(small mini width-512 360m-2-layers)
for model in "${models[@]}"; do
  for ((round = 0; round < rounds; ++round)); do
    "$build/benchmarks/model" --json --only "$model" --repeats 5 --precision "$precision"
    "$python" "$here/peer_pytorch.py" --only "$model" --repeats 5 --precision "$precision"
    "$python" "$here/peer_pytorch.py" --only "$model" --repeats 5 --precision "$precision" --compile
  done | "$python" -c '
import json, statistics, sys
rows = [json.loads(line) for line in sys.stdin]
ours = [r for r in rows if "share" in r]
def times(compiled):
    theirs = [r for r in rows if "torch" in r and r["compiled"] == compiled]
    return statistics.median(a["tokens_per_second"] / b["tokens_per_second"] for a, b in zip(ours, theirs, strict=True))
share = statistics.median(r["share"] for r in ours)
torch = next(r["torch"] for r in rows if "torch" in r)
print("%-14s %.2f times PyTorch %s eager, %.2f times compiled; "
      "%.0f%% of the step is what its matrix products take alone" % (
          ours[0]["model"], times(False), torch, times(True), 100 * share), flush=True)'
done
