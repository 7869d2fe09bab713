#!/usr/bin/env bash
# Our current skip analysis and the usual one in PyTorch, in turn, on this machine; prints the medians of the ratios.
# Usage: bash benchmarks/compare_analysis.sh BUILD_FOLDER PYTHON [ROUNDS] [PROMPTS]
set -euo pipefail
build=${1:?expected a build folder} python=${2:?expected a Python with torch} rounds=${3:-3} prompts=${4:-20}
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
for ((round = 0; round < rounds; ++round)); do
  "$build/benchmarks/analysis" --json --prompts "$prompts"
  "$python" "$here/peer_analysis.py" --prompts "$prompts"
done | "$python" -c '
import json, statistics, sys
rows = [json.loads(line) for line in sys.stdin]
ours, theirs = [r for r in rows if "floor" in r], [r for r in rows if "torch" in r]
ratio = statistics.median(b["seconds"] / a["seconds"] for a, b in zip(ours, theirs))
floor = statistics.median(a["seconds"] / a["floor"] for a in ours)
print("current skips of mini, %d prompts of 256 tokens: %.3f s a prompt, PyTorch %s %.3f s: %.2f times faster; "
      "%.2f times the products alone" % (
          ours[0]["prompts"], statistics.median(a["seconds"] for a in ours), theirs[0]["torch"],
          statistics.median(b["seconds"] for b in theirs), ratio, floor))'
