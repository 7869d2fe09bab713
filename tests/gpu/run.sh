#!/usr/bin/env bash
# Builds the CUDA backend's checks and runs them on this machine's GPU; prints a table, exit code 1 when a check fails.
# Usage: bash tests/gpu/run.sh [memcheck|racecheck|initcheck]
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
export PATH="$PATH:/usr/local/cuda/bin"
cmake -S "$root" -B "$root/build-gpu" -G Ninja -DCMAKE_BUILD_TYPE=Release -DDEPTHGROW_CUDA=ON > /dev/null
ninja -C "$root/build-gpu" test_gpu
if [[ $# -gt 0 ]]; then
  compute-sanitizer --tool "$1" --error-exitcode 1 "$root/build-gpu/tests/test_gpu" --small
else
  "$root/build-gpu/tests/test_gpu"
fi
