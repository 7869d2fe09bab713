#!/usr/bin/env bash
# From nothing to a result: installs what is missing, builds, trains a small model plain and grown by LIDAS,
# prints one table and leaves a page with plots. On a fresh Debian 12 with two cores: under six minutes.
# Usage: bash examples/quickstart.sh [TEXTFILE] [more flags of depth_study]
set -euo pipefail
start=$SECONDS
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
source "$root/cmake/debian.sh"
text=()
if [[ " $* " == *" --help "* ]]; then
  sed -n '2,4s/^# //p' "${BASH_SOURCE[0]}"
  exit 0
fi
if [[ $# -gt 0 && "$1" != --* ]]; then
  [[ -f "$1" ]] || { echo "error: $1: expected a text file, found none of that name" >&2; exit 1; }
  [[ "$1" =~ \.(txt|jsonl|bin)$ ]] ||
    { echo "error: $1: expected a name ending in .txt, .jsonl or .bin" >&2; exit 1; }
  text=(--data "$(realpath "$1")")
  shift
fi
install_packages g++ cmake ninja-build libtbb-dev libopenblas-pthread-dev libdnnl-dev nlohmann-json3-dev libcli11-dev \
  libxxhash-dev
cd "$root"
cmake -S . -B build-quickstart -G Ninja -DDEPTHGROW_BUILD_TESTS=OFF -DDEPTHGROW_STUDY_MEASURES=OFF \
  -DCMAKE_UNITY_BUILD=ON > build-quickstart.log ||
  { cat build-quickstart.log >&2; exit 1; }
echo "building (about a minute) ..."
ninja -C build-quickstart depth_study >> build-quickstart.log || { tail -n 40 build-quickstart.log >&2; exit 1; }
rm -f build-quickstart.log
echo "set-up took $((SECONDS - start)) s"
out="runs/quickstart-$(date +%Y%m%d-%H%M%S)"
build-quickstart/examples/depth_study examples/depth_study/quickstart.json --out "$out" "${text[@]}" "$@"
[[ " $* " == *" --seeds "* ]] ||
  echo "one seed: losses of another one differ by 0.1; --seeds 3 gives means with intervals"
echo "all of it took $((SECONDS - start)) s"
