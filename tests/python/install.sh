#!/usr/bin/env bash
# Installs the Python package from this checkout into a virtual environment that sees the system's packages (PyTorch).
# Usage: bash tests/python/install.sh PYTHON VENV   (exit 77: skipped, the tools to build it cannot be had here)
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
python="$1" venv="$2"
"$python" -m venv --system-site-packages "$venv" || { echo "skipped: $python has no venv (python3-venv)"; exit 77; }
"$venv/bin/python" -m pip install -q --retries 1 nanobind scikit-build-core ||
  { echo "skipped: the Python index cannot be reached, from which nanobind and scikit-build-core come"; exit 77; }
"$venv/bin/python" -m pip install -q --no-build-isolation --no-deps --force-reinstall "$root"
"$venv/bin/python" -c "import depthgrow; print('installed depthgrow', depthgrow.__version__)"
