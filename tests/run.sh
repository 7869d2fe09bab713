#!/usr/bin/env bash
# Installs what the tests need, builds everything with warnings as errors, and runs every test.
# Usage: bash tests/run.sh [quick]   (quick: only the tests that take seconds)
set -euo pipefail
start=$SECONDS
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
source "$root/cmake/debian.sh"
install_packages g++ clang cmake ninja-build libopenblas-openmp-dev libdnnl-dev nlohmann-json3-dev libcli11-dev \
  catch2 librapidcheck-dev libbenchmark-dev libeigen3-dev libxtensor-dev libxtensor-blas-dev
cd "$root"
cmake -S . -B build-tests -G Ninja -DDEPTHGROW_BUILD_BENCHMARKS=ON
ninja -C build-tests
label=()
[[ "${1:-}" == quick ]] && label=(-L quick)
ctest --test-dir build-tests --output-on-failure "${label[@]}"
echo "built and tested in $((SECONDS - start)) s: $(ctest --test-dir build-tests -N "${label[@]}" | tail -n 1)"
