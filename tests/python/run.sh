#!/usr/bin/env bash
# Runs one file of tests with the installed package. Usage: bash tests/python/run.sh VENV NAME   (exit 77: skipped)
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
venv="$1" name="$2"
cd "$venv" 2> /dev/null && bin/python -c "import depthgrow" ||
  { echo "skipped: the Python package is not installed (python/install says why)"; exit 77; }
said="$(PYTHONDONTWRITEBYTECODE=1 bin/python "$here/test_$name.py" 2>&1)" && code=0 || code=$?
[[ $code -ne 0 && "$said" == *unittest.case.SkipTest* ]] && { echo "skipped: ${said##*SkipTest: }"; exit 77; }
echo "$said"
exit $code
