#!/usr/bin/env bash
# Builds the CUDA backend's checks and runs them on this machine's GPU; prints a table.
# Exit code 1: a check failed; 77: no GPU.
# Usage: bash tests/gpu/run.sh [memcheck|racecheck|initcheck] [CMAKE FLAGS]
# For another card than Hopper's: -DDEPTHGROW_CUDA_ARCHITECTURE=80
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
export PATH="$PATH:/usr/local/cuda/bin"
tool=""
case "${1:-}" in memcheck|racecheck|initcheck) tool="$1"; shift ;; esac
if [[ -n $tool ]] && ! command -v compute-sanitizer > /dev/null; then
  echo "$tool: expected compute-sanitizer (a part of the CUDA toolkit) on the PATH, found none" >&2
  exit 2
fi
cmake -S "$root" -B "$root/build-gpu" -G Ninja -DCMAKE_BUILD_TYPE=Release -DDEPTHGROW_CUDA=ON "$@" > /dev/null
ninja -C "$root/build-gpu" test_gpu
if [[ -n $tool ]]; then
  compute-sanitizer --tool "$tool" --error-exitcode 1 "$root/build-gpu/tests/test_gpu" --small
else
  "$root/build-gpu/tests/test_gpu"
fi
