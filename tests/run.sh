#!/usr/bin/env bash
# Installs what the tests need, builds everything with warnings as errors, and runs every test.
# Usage: bash tests/run.sh [quick|packages]   (quick: only the tests that take seconds; packages: install, no more)
set -euo pipefail
case "${1:-}" in
  "" | quick | packages) ;;
  *) echo "error: expected quick, packages or nothing, found $1" >&2; exit 1 ;;
esac
start=$SECONDS
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
source "$root/cmake/debian.sh"
install_packages g++ clang clang-format cmake ninja-build libtbb-dev libopenblas-pthread-dev libdnnl-dev \
  nlohmann-json3-dev libcli11-dev libcpp-httplib-dev doxygen \
  catch2 librapidcheck-dev libbenchmark-dev libeigen3-dev libxtensor-dev libxtensor-blas-dev libtorch-dev \
  pkg-config help2man procps libopenmpi-dev openmpi-bin libxxhash-dev python3-dev python3-venv python3-numpy
install_packages python3-torch || echo "no python3-torch here: the tests of the Python package skip PyTorch" >&2
[[ "${1:-}" != packages ]] || exit 0
cd "$root"
cuda=OFF
for folder in "" /usr/local/cuda/bin; do
  if command -v "${folder:+$folder/}nvcc" > /dev/null; then cuda=AUTO; export PATH="$PATH${folder:+:$folder}"; fi
done
# The tools in few units: half the time, since each would instantiate the same models.
cmake -S . -B build-tests -G Ninja -DDEPTHGROW_BUILD_BENCHMARKS=ON -DDEPTHGROW_COMPILED=ON -DDEPTHGROW_CUDA=$cuda \
  -DCMAKE_UNITY_BUILD=ON
ninja -C build-tests
label=()
[[ "${1:-}" == quick ]] && label=(-L quick)
status=0
ctest --test-dir build-tests --output-on-failure "${label[@]}" -LE fuzz || status=$?
if [[ ${#label[@]} -eq 0 ]]; then  # nothing in these is timed
  ctest --test-dir build-tests --output-on-failure -L fuzz -j 2 || status=$?
fi
[[ $status -eq 0 ]] || exit "$status"
ctest --test-dir build-tests -N -L gpu | grep -q "Total Tests: [1-9]" &&
  echo "the CUDA backend was compiled; its checks run where a GPU is (bash tests/gpu/run.sh)" ||
  echo "no CUDA toolkit, or not all of it: the CUDA backend was not compiled"
echo "built and tested in $((SECONDS - start)) s: $(ctest --test-dir build-tests -N "${label[@]}" | tail -n 1)"
